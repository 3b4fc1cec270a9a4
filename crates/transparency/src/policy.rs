//! Which logs are believed, and how many witnesses are enough (C2SP `tlog-policy`).
//!
//! ```text
//! # Who keeps the log, and who watches it.
//! log example.com/log+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx https://example.com/log
//! witness first  <vkey>
//! witness second <vkey>
//! witness third  <vkey>
//! group two-of-them 2 first second third
//! quorum two-of-them
//! ```
//!
//! A checkpoint is accepted if one of the logs signed it as its own and the quorum saw it: a witness by cosigning it, a
//! group if at least so many of its members saw it. `any` is 1, `all` is every member; `quorum none` asks for no witness.
//! A name stands on a line before those that use it, and is a member of one group at most, so that each witness
//! counts once.
//!
//! The file is octets, not characters: spaces and tabs separate, and a name is equal to another if its octets are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::checkpoint::{Checkpoint, CheckpointError, OtherOrigin};
use crate::cosignature;
use crate::note::{self, KeyError, KeyType, Note, VerifierKey};
use crate::text;

/// The largest policy that is read, in bytes. It bounds the number of logs, witnesses and groups too.
pub const MAX_POLICY_BYTES: usize = 1_000_000;

/// The quorum of nobody.
const NONE: &[u8] = b"none";

/// A name or URL of a policy: octets without spaces, shown as UTF-8 as far as they are.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Word(Vec<u8>);

impl Word {
    /// Its octets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Word({self})")
    }
}

/// A log that is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Its key, named like the log.
    pub key: VerifierKey,
    /// Where it is, if the policy says so.
    pub url: Option<Word>,
}

/// A witness that is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Its name in this policy.
    pub name: Word,
    /// Its key, which has a name of its own.
    pub key: VerifierKey,
    /// Where it takes checkpoints, if the policy says so.
    pub url: Option<Word>,
}

/// Which logs are believed, and which witnesses have to agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    logs: Vec<Log>,
    /// Witnesses and groups in the order of their lines; a group names only what is before it.
    voters: Vec<Voter>,
    /// Which of them must have seen a checkpoint; `None` for the quorum `none`.
    quorum: Option<usize>,
}

/// What can see a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Voter {
    Witness(Box<Witness>),
    Group { name: Word, threshold: usize, members: Vec<usize> },
}

impl Voter {
    fn name(&self) -> &Word {
        match self {
            Voter::Witness(witness) => &witness.name,
            Voter::Group { name, .. } => name,
        }
    }
}

/// A checkpoint that a policy accepts, and on whose word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted<'p> {
    /// What was signed.
    pub checkpoint: Checkpoint,
    /// The log that signed it.
    pub log: &'p Log,
    /// The witnesses of the policy that cosigned it, each once, and when, in seconds since 1970: the latest time, if one
    /// of them did so several times.
    pub witnesses: Vec<(&'p Witness, u64)>,
}

impl Policy {
    /// The policy that believes this log and asks for no witness.
    pub fn of_log(key: VerifierKey) -> Policy {
        Policy { logs: vec![Log { key, url: None }], voters: Vec::new(), quorum: None }
    }

    /// Reads a policy file.
    pub fn parse(file: &[u8]) -> Result<Policy, PolicyError> {
        if file.len() > MAX_POLICY_BYTES {
            return Err(PolicyError::TooLarge { size: file.len() });
        }
        let mut parser = Parser::default();
        for (number, line) in (1..).zip(file.split(|byte| *byte == b'\n')) {
            parser.line(line).map_err(|problem| PolicyError::Line { line: number, problem })?;
        }
        let quorum = parser.quorum.ok_or(PolicyError::NoQuorum)?;
        Ok(Policy { logs: parser.logs, voters: parser.voters, quorum })
    }

    /// The policy as a file: logs first, then witnesses and groups, then the quorum; without comments.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut file = Vec::new();
        let mut line = |words: &[&[u8]], url: Option<&Word>| {
            file.extend(words.join(&b' '));
            if let Some(url) = url {
                file.push(b' ');
                file.extend(&url.0);
            }
            file.push(b'\n');
        };
        for log in &self.logs {
            line(&[b"log", log.key.to_string().as_bytes()], log.url.as_ref());
        }
        for voter in &self.voters {
            match voter {
                Voter::Witness(witness) => {
                    let key = witness.key.to_string();
                    line(&[b"witness", &witness.name.0, key.as_bytes()], witness.url.as_ref());
                }
                Voter::Group { name, threshold, members } => {
                    let threshold = threshold.to_string();
                    let mut words: Vec<&[u8]> = vec![b"group", &name.0, threshold.as_bytes()];
                    words.extend(members.iter().map(|member| self.voters[*member].name().as_bytes()));
                    line(&words, None);
                }
            }
        }
        line(&[b"quorum", self.quorum.map_or(NONE, |quorum| self.voters[quorum].name().as_bytes())], None);
        file
    }

    /// The logs that are believed. There may be none: then no checkpoint is accepted.
    pub fn logs(&self) -> &[Log] {
        &self.logs
    }

    /// The witnesses, also those that the quorum does not ask for.
    pub fn witnesses(&self) -> impl Iterator<Item = &Witness> {
        self.voters.iter().filter_map(|voter| match voter {
            Voter::Witness(witness) => Some(&**witness),
            Voter::Group { .. } => None,
        })
    }

    /// Checks that one of the logs signed a checkpoint as its own and that the quorum saw it.
    ///
    /// One wrong signature of any log or witness of the policy, and nothing is accepted.
    pub fn check(&self, note: &Note) -> Result<Accepted<'_>, Refusal> {
        let known = self.logs.iter().map(|log| &log.key).chain(self.witnesses().map(|witness| &witness.key));
        let signed = note.verify(known)?;
        let checkpoint: Checkpoint = note.text().parse()?;
        let is_signed = |log: &&Log| signed.iter().any(|signed| signed.key == &log.key);
        let log = match self.logs.iter().filter(is_signed).find(|log| log.key.name() == checkpoint.origin()) {
            Some(log) => log,
            None => match self.logs.iter().find(is_signed) {
                Some(other) => {
                    let key = other.key.name().to_owned();
                    return Err(OtherOrigin { origin: checkpoint.origin().to_owned(), key }.into());
                }
                None => return Err(Refusal::NoLog),
            },
        };
        let mut saw = vec![false; self.voters.len()];
        let mut witnesses = Vec::new();
        for (index, voter) in self.voters.iter().enumerate() {
            saw[index] = match voter {
                Voter::Witness(witness) => {
                    let own = signed.iter().filter(|signed| signed.key == &witness.key);
                    let latest = own.filter_map(|signed| cosignature::time(signed.signature)).max();
                    witnesses.extend(latest.map(|time| (&**witness, time)));
                    latest.is_some()
                }
                Voter::Group { threshold, members, .. } => {
                    members.iter().filter(|member| saw[**member]).count() >= *threshold
                }
            };
        }
        match self.quorum {
            Some(quorum) if !saw[quorum] => Err(Refusal::NoQuorum {
                quorum: self.voters[quorum].name().clone(),
                saw: witnesses.len(),
                of: self.witnesses().count(),
            }),
            Some(_) | None => Ok(Accepted { checkpoint, log, witnesses }),
        }
    }
}

/// What the lines read so far say.
#[derive(Default)]
struct Parser {
    logs: Vec<Log>,
    log_keys: BTreeSet<[u8; 32]>,
    voters: Vec<Voter>,
    witness_keys: BTreeSet<[u8; 32]>,
    names: BTreeMap<Vec<u8>, usize>,
    /// Those that are a member of a group already.
    members: BTreeSet<usize>,
    quorum: Option<Option<usize>>,
}

impl Parser {
    fn line(&mut self, line: &[u8]) -> Result<(), Problem> {
        if let Some(byte) = line.iter().find(|byte| matches!(byte, 0..=8 | 10..=31 | 127)) {
            return Err(Problem::ControlCharacter(*byte));
        }
        let words: Vec<&[u8]> =
            line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty()).collect();
        match words.as_slice() {
            [] => Ok(()),
            [first, ..] if first.starts_with(b"#") => Ok(()),
            [b"log", key] => self.log(key, None),
            [b"log", key, url] => self.log(key, Some(url)),
            [b"log", ..] => Err(Problem::LogForm),
            [b"witness", name, key] => self.witness(name, key, None),
            [b"witness", name, key, url] => self.witness(name, key, Some(url)),
            [b"witness", ..] => Err(Problem::WitnessForm),
            [b"group", name, threshold, members @ ..] if !members.is_empty() => {
                self.group(name, threshold, members)
            }
            [b"group", ..] => Err(Problem::GroupForm),
            [b"quorum", name] => self.quorum(name),
            [b"quorum", ..] => Err(Problem::QuorumForm),
            [other, ..] => Err(Problem::Unknown(word(other))),
        }
    }

    fn log(&mut self, key: &[u8], url: Option<&[u8]>) -> Result<(), Problem> {
        let key = parse_key(key, KeyType::Ed25519)?;
        if !self.log_keys.insert(*key.public_key()) {
            return Err(Problem::SameKey);
        }
        self.logs.push(Log { key, url: url.map(word) });
        Ok(())
    }

    fn witness(&mut self, name: &[u8], key: &[u8], url: Option<&[u8]>) -> Result<(), Problem> {
        let key = parse_key(key, KeyType::Cosignature)?;
        if !self.witness_keys.insert(*key.public_key()) {
            return Err(Problem::SameKey);
        }
        self.define(Voter::Witness(Box::new(Witness { name: word(name), key, url: url.map(word) })))
    }

    fn group(&mut self, name: &[u8], threshold: &[u8], names: &[&[u8]]) -> Result<(), Problem> {
        let count = names.len();
        let threshold = match threshold {
            b"any" => 1,
            b"all" => count,
            number => match str::from_utf8(number).ok().and_then(text::decimal).map(usize::try_from) {
                Some(Ok(number)) if (1..=count).contains(&number) => number,
                _ => return Err(Problem::Threshold { given: word(number), members: count }),
            },
        };
        let mut members = Vec::with_capacity(count);
        for member in names {
            let index = self.defined(member)?;
            if !self.members.insert(index) {
                return Err(Problem::MemberTwice(word(member)));
            }
            members.push(index);
        }
        self.define(Voter::Group { name: word(name), threshold, members })
    }

    fn quorum(&mut self, name: &[u8]) -> Result<(), Problem> {
        if self.quorum.is_some() {
            return Err(Problem::SecondQuorum);
        }
        self.quorum = Some(if name == NONE { None } else { Some(self.defined(name)?) });
        Ok(())
    }

    fn define(&mut self, voter: Voter) -> Result<(), Problem> {
        let name = voter.name().clone();
        if name.0 == NONE {
            return Err(Problem::NamedNone);
        }
        if self.names.insert(name.0.clone(), self.voters.len()).is_some() {
            return Err(Problem::SameName(name));
        }
        self.voters.push(voter);
        Ok(())
    }

    fn defined(&self, name: &[u8]) -> Result<usize, Problem> {
        self.names.get(name).copied().ok_or_else(|| Problem::NotDefined(word(name)))
    }
}

fn word(octets: &[u8]) -> Word {
    Word(octets.to_vec())
}

fn parse_key(octets: &[u8], wanted: KeyType) -> Result<VerifierKey, Problem> {
    let key: VerifierKey = str::from_utf8(octets).map_err(|_| KeyError::Form)?.parse()?;
    match (wanted, key.key_type()) {
        (KeyType::Ed25519, KeyType::Cosignature) => Err(Problem::WitnessKey),
        (KeyType::Cosignature, KeyType::Ed25519) => Err(Problem::LogKey),
        (KeyType::Ed25519, KeyType::Ed25519) | (KeyType::Cosignature, KeyType::Cosignature) => Ok(key),
    }
}

/// Why a file is not a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It is larger than [`MAX_POLICY_BYTES`].
    #[error("a policy of {size} bytes is larger than the {limit} bytes that are read", limit = MAX_POLICY_BYTES)]
    TooLarge {
        /// Its size in bytes.
        size: usize,
    },
    /// A line is wrong.
    #[error("line {line} of the policy: {problem}")]
    Line {
        /// The number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: Problem,
    },
    /// No line says what the quorum is.
    #[error(
        "the policy has no quorum: add a line `quorum` with the name of a witness or group, or `quorum none`"
    )]
    NoQuorum,
}

/// What is wrong with a line of a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It has a control character other than a tab.
    #[error(
        "it has the control character {0:#04x}: only tabs are allowed, so save the file with Unix line ends"
    )]
    ControlCharacter(u8),
    /// It starts with another word.
    #[error(
        "`{0}` says nothing here: a line starts with `log`, `witness`, `group`, `quorum`, or `#` for a comment"
    )]
    Unknown(Word),
    /// A log has other words.
    #[error("a log is written `log <vkey> [<url>]`")]
    LogForm,
    /// A witness has other words.
    #[error("a witness is written `witness <name> <vkey> [<url>]`")]
    WitnessForm,
    /// A group has other words.
    #[error("a group is written `group <name> <number, any or all> <member>...`, with at least one member")]
    GroupForm,
    /// A quorum has other words.
    #[error("the quorum is written `quorum <name of a witness or group, or none>`")]
    QuorumForm,
    /// The key cannot be read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The key of a witness stands where that of a log must be.
    #[error(
        "this is the key of a witness (type 0x04), and a log signs with one of type 0x01: take the log's key"
    )]
    WitnessKey,
    /// The key of a log stands where that of a witness must be.
    #[error(
        "this key is of type 0x01, and a witness signs with one of type 0x04: ask it for its cosignature key"
    )]
    LogKey,
    /// An earlier line has the same public key.
    #[error(
        "an earlier line has the same public key, if under another name: a key may stand here once, so take one away"
    )]
    SameKey,
    /// An earlier line has the same name.
    #[error("the name `{0}` is taken by an earlier line: witnesses and groups need different names")]
    SameName(Word),
    /// The name says that there is nobody.
    #[error("nothing may be named `none`: it stands for the quorum without witnesses, so take another name")]
    NamedNone,
    /// No earlier line has the name.
    #[error("no witness or group `{0}` is defined before this line: move its line up, or correct the name")]
    NotDefined(Word),
    /// A name is a member twice, of this group or of two.
    #[error(
        "`{0}` is a member of a group already: each witness and group can be one once, so that it counts once"
    )]
    MemberTwice(Word),
    /// So many members cannot be asked for.
    #[error(
        "`{given}` is not how many of {members} members are enough: write a number from 1 to {members}, `any` or `all`"
    )]
    Threshold {
        /// What was written.
        given: Word,
        /// How many members the group has.
        members: usize,
    },
    /// An earlier line is a quorum too.
    #[error("the quorum stands on an earlier line already: a policy has one, so take one away")]
    SecondQuorum,
}

/// Why a checkpoint is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody the policy knows signed it, or a signature of one of them is wrong.
    #[error(transparent)]
    Signature(#[from] note::VerifyError),
    /// It was signed, and is not a checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Only witnesses signed it.
    #[error("no log of the policy signed it: add the log's key to the policy, if it is to be believed")]
    NoLog,
    /// A log signed it for another.
    #[error(transparent)]
    OtherOrigin(#[from] OtherOrigin),
    /// Too few witnesses cosigned it.
    #[error(
        "{saw} of the {of} witnesses of the policy cosigned it, which is not the quorum `{quorum}`: wait for a \
         checkpoint with more cosignatures"
    )]
    NoQuorum {
        /// The witness or group that had to see it.
        quorum: Word,
        /// How many witnesses did.
        saw: usize,
        /// How many witnesses the policy has.
        of: usize,
    },
}
