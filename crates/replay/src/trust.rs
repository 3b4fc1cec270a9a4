//! Whose word is taken for which log this is.

use tagtrail_transparency::policy::Refusal;
use tagtrail_transparency::{Checkpoint, Note, Policy, VerifierKey};

use crate::source::{Source, SourceError};
use crate::wrong::Wrong;

/// Whose signature a checkpoint must have.
#[derive(Clone, Debug)]
pub enum Trust {
    /// What whoever audits brought along: a key, or a policy.
    Given(Box<Policy>),
    /// The key that the log itself names. It shows that nobody without the log's key changed the log; whoever can change the
    /// log's key can change the log.
    Own(Box<VerifierKey>),
    /// There is no key: what checkpoints say is compared, and nobody answers for it.
    Nobody,
}

impl Trust {
    /// What was brought along, or the key that the source itself names.
    ///
    /// # Errors
    /// [`SourceError`] if that key cannot be read.
    pub fn of(given: Option<Policy>, source: &dyn Source) -> Result<Trust, SourceError> {
        match given {
            Some(policy) => Ok(Trust::Given(Box::new(policy))),
            None => Ok(source.own_key()?.map_or(Trust::Nobody, |key| Trust::Own(Box::new(key)))),
        }
    }

    /// The checkpoint in a note, if it is to be believed.
    ///
    /// # Errors
    /// [`Wrong`].
    pub fn open(&self, name: &str, note: &[u8]) -> Result<Checkpoint, Wrong> {
        let unreadable = |why: &dyn std::fmt::Display| Wrong::CheckpointUnreadable {
            name: name.to_owned(),
            why: why.to_string(),
        };
        let note = Note::parse(note).map_err(|why| unreadable(&why))?;
        let signature = |why: &dyn std::fmt::Display| Wrong::CheckpointSignature {
            name: name.to_owned(),
            why: why.to_string(),
        };
        let check = |policy: &Policy| match policy.check(&note) {
            Ok(accepted) => Ok(accepted.checkpoint),
            Err(Refusal::Checkpoint(why)) => Err(unreadable(&why)),
            Err(Refusal::OtherOrigin(other)) => Err(Wrong::OtherLog {
                what: format!("checkpoint {name}"),
                said: other.origin,
                expected: other.key,
            }),
            Err(why @ (Refusal::Signature(_) | Refusal::NoLog | Refusal::NoQuorum { .. })) => {
                Err(signature(&why))
            }
        };
        match self {
            Trust::Given(policy) => check(policy),
            Trust::Own(key) => check(&Policy::of_log(VerifierKey::clone(key))),
            Trust::Nobody => note.text().parse().map_err(|why| unreadable(&why)),
        }
    }

    /// Whose word it is, as a sentence.
    #[must_use]
    pub fn in_words(&self) -> String {
        match self {
            Trust::Given(policy) => {
                let logs: Vec<String> = policy.logs().iter().map(|log| log.key.to_string()).collect();
                format!("signatures were checked against the key that was given: {}", logs.join(", "))
            }
            Trust::Own(key) => format!(
                "signatures were checked against the key that the log itself names, {key}: whoever could change the log could \
                 change that too. Get the key from elsewhere and give it with --vkey"
            ),
            Trust::Nobody => {
                "no signature was checked, for there is no key: give it with --vkey, or a policy with --policy".into()
            }
        }
    }
}
