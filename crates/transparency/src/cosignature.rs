//! What a witness signs: that it saw the log only grow up to this checkpoint, and when (C2SP `tlog-cosignature`, the
//! Ed25519 form).
//!
//! ```text
//! cosignature/v1
//! time 1679315147
//! the text of the checkpoint
//! ```
//!
//! is signed; the line in the note has, after the key id, the time in 8 bytes and the signature in 64.

use crate::checkpoint::Checkpoint;
use crate::note::{Signature, SigningKey};

/// The latest time a cosignature can have, in seconds since 1970.
pub const MAX_TIME: u64 = i64::MAX as u64;

/// Signs a checkpoint as a witness who saw it at `time`, in seconds since 1970. [`SigningKey::cosigner`] checks it.
///
/// A witness does this only after it has checked and stored that the checkpoint goes on from the last one it signed.
pub fn sign(key: &SigningKey, checkpoint: &Checkpoint, time: u64) -> Result<Signature, TimeTooLate> {
    if time > MAX_TIME {
        return Err(TimeTooLate(time));
    }
    let signature = key.sign_bytes(&message(&checkpoint.to_string(), time));
    let bytes = [&time.to_be_bytes()[..], &signature].concat();
    let cosigner = key.cosigner();
    Ok(Signature::new(cosigner.name().to_owned(), cosigner.id(), bytes))
}

/// When a cosignature says that it was made, in seconds since 1970; `None` if it has not the form of one. To be believed
/// only once [`Note::verify`](crate::note::Note::verify) has found it to be of a known key.
pub fn time(signature: &Signature) -> Option<u64> {
    split(signature).map(|(time, _)| time)
}

/// Splits a cosignature into its time and the Ed25519 signature.
pub(crate) fn split(signature: &Signature) -> Option<(u64, &[u8])> {
    let (time, rest) = signature.bytes().split_first_chunk::<8>()?;
    let time = u64::from_be_bytes(*time);
    (rest.len() == 64 && time <= MAX_TIME).then_some((time, rest))
}

/// The bytes that are signed for a text with the newline at its end.
pub(crate) fn message(text: &str, time: u64) -> Vec<u8> {
    format!("cosignature/v1\ntime {time}\n{text}").into_bytes()
}

/// The time cannot be written into a cosignature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a time in seconds since 1970: give one up to 2^63 - 1")]
pub struct TimeTooLate(u64);
