//! Two logs, and where they part. Every event of both is read: neither is believed to be what its hashes say.

use std::time::Instant;

use crate::source::{Entry, Source, SourceError};
use crate::verify::Progress;

/// How two logs relate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parting {
    /// They are the same.
    Never {
        /// How many events both have.
        size: u64,
    },
    /// One goes on where the other ends.
    Longer {
        /// How many events both have.
        size: u64,
        /// Whether it is the second that goes on.
        second: bool,
    },
    /// They have different events at one place.
    At {
        /// The first such event.
        sequence: u64,
        /// Its bytes in the one and in the other.
        payloads: Box<[bytes::Bytes; 2]>,
    },
}

/// Finds the first event in which two logs differ.
///
/// # Errors
/// [`SourceError`], of whichever of them.
pub fn diff(
    one: &dyn Source,
    other: &dyn Source,
    progress: &mut dyn FnMut(Progress),
) -> Result<Parting, SourceError> {
    let started = Instant::now();
    let of = one.about().or(other.about());
    let (mut ones, mut others) = (one.entries(1)?, other.entries(1)?);
    let mut size = 0;
    loop {
        let next = |entries: &mut dyn Iterator<Item = Result<Entry, SourceError>>| entries.next().transpose();
        match (next(&mut *ones)?, next(&mut *others)?) {
            (Some(one), Some(other)) if one.payload == other.payload => size += 1,
            (Some(one), Some(other)) => {
                let payloads = Box::new([one.payload, other.payload]);
                return Ok(Parting::At { sequence: size + 1, payloads });
            }
            (None, None) => return Ok(Parting::Never { size }),
            (one, _) => return Ok(Parting::Longer { size, second: one.is_none() }),
        }
        if size.is_multiple_of(4096) {
            progress(Progress { done: size, of, elapsed: started.elapsed() });
        }
    }
}
