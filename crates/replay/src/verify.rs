//! The whole log, from its first event to its last: hashed into a tree, compared with what was signed, and replayed.
//!
//! Two threads share the work, so that both cores have some: the one that calls reads, hashes and compares; the other checks
//! the rules and replays. What the first has read goes to the second in batches, and a few of these may wait. Decoding is
//! done by whoever has the time: by the first where the second has enough waiting, and else by the second.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tagtrail_domain::event::{Fact, LogContinued};
use tagtrail_domain::permitted::{Broken, Checker};
use tagtrail_domain::{Recorded, StreamKey, StreamState};
use tagtrail_event_log::blobs::{BlobError, named_by};
use tagtrail_event_log::codec;
use tagtrail_transparency::{Checkpoint, Frontier, Hash, hash, proof, source as stored};

use crate::source::{Ahead, Blobs, Entry, Source, SourceError, StoredHashes};
use crate::trust::Trust;
use crate::wrong::{Wrong, under};

/// How many events go from one thread to the other at once, and how many such batches may wait.
const BATCH: (usize, usize) = (512, 16);

/// Most differing hashes of leaves that are looked at more closely.
const MOST_DIFFERENCES: usize = 256;

/// What to hold a log against.
#[derive(Debug)]
pub struct Against {
    /// Whose signatures count.
    pub trust: Trust,
    /// Checkpoints that somebody kept, with the names they go by.
    pub checkpoints: Vec<(String, Vec<u8>)>,
}

/// How far a check is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// How many events were read.
    pub done: u64,
    /// About how many there are.
    pub of: Option<u64>,
    /// Since when.
    pub elapsed: Duration,
}

/// A checkpoint that was compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// Its name.
    pub name: String,
    /// What it says.
    pub checkpoint: Checkpoint,
    /// Whether the events lead to its root.
    pub agrees: bool,
}

/// What an audit found.
#[derive(Debug)]
pub struct Verdict {
    /// What was looked at.
    pub source: String,
    /// How many events were read.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// Whose signatures were asked for.
    pub trust: Trust,
    /// The checkpoints that were to be believed, by size.
    pub checkpoints: Vec<Compared>,
    /// How many stored hashes were compared.
    pub hashes: u64,
    /// How many manifests and configurations were hashed.
    pub blobs: u64,
    /// How many events were found to be such as the rules allow.
    pub permitted: u64,
    /// Everything that is wrong, the first event first.
    pub wrong: Vec<Wrong>,
    /// Why it could not be read to its end.
    pub unread: Option<String>,
    /// What there is to know beside.
    pub remarks: Vec<String>,
    /// What is true of each stream after the last permitted event.
    pub streams: BTreeMap<StreamKey, StreamState>,
    /// How long it took.
    pub elapsed: Duration,
}

impl Verdict {
    /// How many of the events the newest checkpoint is of that they agree with: more than these nobody has signed.
    #[must_use]
    pub fn signed(&self) -> u64 {
        self.checkpoints
            .iter()
            .filter(|compared| compared.agrees)
            .map(|c| c.checkpoint.size())
            .max()
            .unwrap_or(0)
    }

    /// Whether the log is as it must be. `None`: it could not be told.
    #[must_use]
    pub fn is_fine(&self) -> Option<bool> {
        match (self.wrong.is_empty(), &self.unread) {
            (false, _) => Some(false),
            (true, None) => Some(true),
            (true, Some(_)) => None,
        }
    }

    /// Events a second.
    #[must_use]
    pub fn rate(&self) -> u64 {
        rate(self.size, self.elapsed)
    }
}

/// Events a second.
pub(crate) fn rate(events: u64, elapsed: Duration) -> u64 {
    (events as f64 / elapsed.as_secs_f64().max(1e-6)) as u64
}

/// Checks a log from its first event to its last. `progress` is told now and then how far it is.
///
/// # Errors
/// [`SourceError`]: it could not even be begun.
pub fn verify(
    source: &dyn Source,
    against: Against,
    progress: &mut dyn FnMut(Progress),
) -> Result<Verdict, SourceError> {
    let started = Instant::now();
    let mut wrong = Vec::new();
    let Opened { mut signed, others, mut remarks } = open_checkpoints(source, &against, &mut wrong);
    let all = signed.iter().chain(&others);
    let mut sizes: Vec<u64> = all.map(|(_, checkpoint)| checkpoint.size()).collect();
    sizes.sort_unstable();
    let (sender, receiver) = sync_channel(BATCH.1);
    let (hashed, replayed) = thread::scope(|scope| {
        let blobs = source.blobs();
        let replaying = scope.spawn(move || replay(&receiver, blobs));
        let hashed = hash_all(source, &sizes, sender, started, progress);
        let replayed = replaying.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (hashed, replayed)
    });
    let Hashed { tree, roots, differences, hashes, ended, tree_ended, passed_over } = hashed;
    remarks.extend(passed_over);
    let mut unread = replayed.unread;
    match tree_ended {
        Ok(()) => {}
        Err(SourceError::Wrong(found)) => wrong.push(*found),
        Err(SourceError::Unreadable(why)) => unread = Some(why),
    }
    match &ended {
        Ok(()) if replayed.wrong.is_empty() => {
            if let Err(broken) = replayed.checker.end() {
                wrong.push(told(broken, tree.size(), None));
            }
        }
        Ok(()) => {}
        Err(SourceError::Wrong(found)) => wrong.push((**found).clone()),
        Err(SourceError::Unreadable(why)) => unread = Some(why.clone()),
    }
    wrong.extend(replayed.wrong);
    let whole = ended.is_ok();
    for (name, checkpoint) in others {
        match earlier(&replayed.continuations, name, checkpoint, source, &signed) {
            Ok(checkpoint) => signed.push(checkpoint),
            Err(found) => wrong.push(found),
        }
    }
    signed.sort_by_key(|(_, checkpoint)| checkpoint.size());
    let checkpoints = compare(&signed, &tree, &roots, whole, &mut wrong);
    if let Some(stored) = source.hashes() {
        if differences.len() > 1 {
            let at_least = if differences.len() == MOST_DIFFERENCES { "at least " } else { "" };
            remarks
                .push(format!("{at_least}{} stored hashes are not those of the events", differences.len()));
        }
        let newest = checkpoints.iter().map(|compared| &compared.checkpoint).max_by_key(|c| c.size());
        judge_hashes(stored, differences, newest, &tree, whole, &mut wrong, &mut unread);
    } else {
        remarks
            .push("there are no stored hashes to compare: the tree was built from the events alone".into());
    }
    let only_tiles = |wrong: &Wrong| matches!(wrong, Wrong::TileDiffers { .. } | Wrong::TileMissing { .. });
    if checkpoints.iter().any(|compared| compared.agrees) && !wrong.is_empty() && wrong.iter().all(only_tiles)
    {
        remarks.push(
            "the events are those that were signed, only stored hashes are not theirs: in a data directory, stop the server, \
             delete tree/, and start it, and they come back from the events"
                .into(),
        );
    }
    // A checkpoint that was kept speaks for what is older. Who keeps the log must say what it is now: to take that away is not to be
    // an answer either.
    let signed = checkpoints.iter().filter(|compared| compared.agrees).map(|c| c.checkpoint.size()).max();
    let some_unsigned = signed.is_some_and(|signed| signed < tree.size());
    if source.checkpoint().is_none() && some_unsigned && matches!(against.trust, Trust::Given(_)) {
        unread = Some(
            "the log has no checkpoint of its own, so nobody has signed for what is newer than yours".into(),
        );
    }
    if checkpoints.is_empty() && wrong.is_empty() {
        let nobody = "there is no checkpoint, so nobody has signed for these events";
        match against.trust {
            // Whoever brings a key asks whose log this is. To take the checkpoint away is not to be an answer.
            Trust::Given(_) => unread = Some(nobody.into()),
            Trust::Own(_) | Trust::Nobody => remarks.push(nobody.into()),
        }
    }
    remarks.extend(source.not_looked_at().iter().map(|what| format!("not looked at: {what}")));
    // What is first in the log comes first; what is not about events follows.
    wrong.sort_by_key(|wrong| wrong.sequence().unwrap_or(u64::MAX));
    Ok(Verdict {
        source: source.name().to_owned(),
        size: tree.size(),
        root: tree.root(),
        trust: against.trust,
        checkpoints,
        hashes,
        blobs: replayed.blobs,
        permitted: replayed.checker.sequence(),
        wrong,
        unread,
        remarks,
        streams: replayed.checker.into_streams().collect(),
        elapsed: started.elapsed(),
    })
}

/// The checkpoints that are to be believed, with their names.
struct Opened {
    /// Those of this log.
    signed: Vec<(String, Checkpoint)>,
    /// Those of other logs, which this one may have been before.
    others: Vec<(String, Checkpoint)>,
    remarks: Vec<String>,
}

/// Reads all checkpoints there are, and notes those that are not to be believed.
fn open_checkpoints(source: &dyn Source, against: &Against, wrong: &mut Vec<Wrong>) -> Opened {
    let own = source.checkpoint().map(|note| (format!("of {}", source.name()), note.to_vec()));
    let mut signed: Vec<(String, Checkpoint)> = Vec::new();
    for (name, note) in own.iter().chain(&against.checkpoints) {
        match against.trust.open(name, note) {
            Ok(checkpoint) => signed.push((name.clone(), checkpoint)),
            Err(found) => wrong.push(found),
        }
    }
    // Of one log: the one that the directory says it is, or else the first one's.
    let first = signed.first().map(|(_, checkpoint)| checkpoint.origin().to_owned());
    let id = source.log_id().map(|id| id.to_string());
    let fits = |(_, checkpoint): &(String, Checkpoint)| {
        let origin = checkpoint.origin();
        match &id {
            Some(id) => origin.rsplit('/').next() == Some(id),
            None => first.as_deref() == Some(origin),
        }
    };
    let (mut signed, others): (Vec<_>, Vec<_>) = signed.into_iter().partition(fits);
    signed.sort_by_key(|(_, checkpoint)| checkpoint.size());
    for pair in signed.windows(2) {
        let [(one, first), (other, second)] = pair else { continue };
        if first.size() == second.size() && first.root() != second.root() {
            wrong.push(Wrong::Fork { one: one.clone(), other: other.clone(), size: first.size() });
        }
    }
    let remark = own.is_none().then(|| "the log has no checkpoint of its own".to_owned());
    Opened { signed, others, remarks: remark.into_iter().collect() }
}

/// A checkpoint of another log: of what this one was before it went on under a new id, up to where it did so.
fn earlier(
    continuations: &[(u64, LogContinued)],
    name: String,
    checkpoint: Checkpoint,
    source: &dyn Source,
    signed: &[(String, Checkpoint)],
) -> Result<(String, Checkpoint), Wrong> {
    let (origin, size) = (checkpoint.origin(), checkpoint.size());
    match continuations.iter().find(|(_, continued)| continued.old_origin == origin) {
        Some((_, continued)) if size <= continued.head => Ok((name, checkpoint)),
        Some((sequence, continued)) => {
            Err(Wrong::GivenUp { name, size, head: continued.head, sequence: *sequence })
        }
        None => {
            let id = source.log_id().map(|id| id.to_string());
            let own = signed.first().map(|(_, checkpoint)| checkpoint.origin().to_owned());
            let (said, expected) = (origin.to_owned(), own.or(id).unwrap_or_default());
            Err(Wrong::OtherLog { what: format!("checkpoint {name}"), said, expected })
        }
    }
}

/// What the first thread finds.
struct Hashed {
    tree: Frontier,
    /// The roots at the sizes asked for, as far as the log reaches.
    roots: BTreeMap<u64, Hash>,
    /// Stored hashes that are not those of the events, with what they must be: level, index.
    differences: Vec<(u8, u64)>,
    /// How many were compared.
    hashes: u64,
    /// How reading the events ended.
    ended: Result<(), SourceError>,
    /// How reading the stored hashes ended.
    tree_ended: Result<(), SourceError>,
    passed_over: Option<String>,
}

fn hash_all(
    source: &dyn Source,
    sizes: &[u64],
    sender: SyncSender<Batch>,
    started: Instant,
    progress: &mut dyn FnMut(Progress),
) -> Hashed {
    let mut hashed = Hashed {
        tree: Frontier::new(),
        roots: BTreeMap::new(),
        differences: Vec::new(),
        hashes: 0,
        ended: Ok(()),
        tree_ended: Ok(()),
        passed_over: None,
    };
    if sizes.first() == Some(&0) {
        hashed.roots.insert(0, hash::empty_root());
    }
    let entries = source.entries(1);
    let mut entries = match entries {
        Ok(entries) => entries,
        Err(error) => {
            hashed.ended = Err(error);
            return hashed;
        }
    };
    let mut ahead = source.hashes().map(Ahead::of);
    // The other thread takes no more once it has found something.
    let mut sender = Some(sender);
    let mut batch = Vec::with_capacity(BATCH.0);
    let mut completed = Vec::new();
    for entry in entries.by_ref() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                hashed.ended = Err(error);
                break;
            }
        };
        completed.clear();
        hashed.tree.push_and_keep(hash::leaf(&entry.payload), |level, index, hash| {
            completed.push((level, index, hash));
        });
        if let Err(error) = compare_stored(&mut ahead, &completed, &mut hashed) {
            // What is there of the tree cannot be read: that is told, and the events are read on.
            ahead = None;
            hashed.tree_ended = Err(error);
        }
        let size = hashed.tree.size();
        if sizes.binary_search(&size).is_ok() {
            hashed.roots.insert(size, hashed.tree.root());
        }
        if sender.is_some() {
            batch.push(entry);
        }
        if batch.len() == BATCH.0 {
            let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH.0));
            sender.take_if(|sender| !hand_over(sender, full));
        }
        if size.is_multiple_of(BATCH.0 as u64) {
            progress(Progress { done: size, of: source.about(), elapsed: started.elapsed() });
        }
    }
    hashed.passed_over = entries.passed_over();
    if let Some(sender) = sender {
        hand_over(&sender, batch);
    }
    hashed
}

/// Gives entries to the other thread, decoded if that one is busy. `false`: it has found something and listens no more.
fn hand_over(sender: &SyncSender<Batch>, entries: Vec<Entry>) -> bool {
    match sender.try_send(Batch::Read(entries)) {
        Ok(()) => true,
        Err(TrySendError::Full(batch)) => sender.send(Batch::Decoded(batch.decoded().collect())).is_ok(),
        Err(TrySendError::Disconnected(_)) => false,
    }
}

/// Entries on their way from the one thread to the other.
enum Batch {
    Read(Vec<Entry>),
    Decoded(Vec<Decoded>),
}

impl Batch {
    fn decoded(self) -> impl Iterator<Item = Decoded> {
        let (read, decoded) = match self {
            Batch::Read(entries) => (entries, Vec::new()),
            Batch::Decoded(decoded) => (Vec::new(), decoded),
        };
        decoded.into_iter().chain(read.into_iter().map(|entry| Decoded::from(&entry)))
    }
}

fn compare_stored(
    ahead: &mut Option<Ahead<'_>>,
    completed: &[(u8, u64, Hash)],
    hashed: &mut Hashed,
) -> Result<(), SourceError> {
    let Some(ahead) = ahead else { return Ok(()) };
    for (level, index, computed) in completed {
        if let Some(found) = ahead.hash(*level, *index)? {
            hashed.hashes += 1;
            if found != *computed && hashed.differences.len() < MOST_DIFFERENCES {
                hashed.differences.push((*level, *index));
            }
        }
    }
    Ok(())
}

/// What the second thread finds.
struct Replayed {
    checker: Checker,
    wrong: Vec<Wrong>,
    blobs: u64,
    /// Where the log went on under a new id.
    continuations: Vec<(u64, LogContinued)>,
    unread: Option<String>,
}

fn replay(receiver: &Receiver<Batch>, blobs: Option<&dyn Blobs>) -> Replayed {
    let mut replayed = Replayed {
        checker: Checker::default(),
        wrong: Vec::new(),
        blobs: 0,
        continuations: Vec::new(),
        unread: None,
    };
    for decoded in receiver.iter().flat_map(Batch::decoded) {
        match decoded.check(&mut replayed.checker) {
            Ok(recorded) => {
                if let Some(blobs) = blobs {
                    check_blobs(blobs, &recorded, &mut replayed);
                }
                if let Fact::LogContinued(continued) = recorded.event.fact {
                    replayed.continuations.push((recorded.sequence, *continued));
                }
            }
            Err(found) => {
                // What follows cannot be judged: the state is not known any more.
                replayed.wrong.push(found);
                return replayed;
            }
        }
    }
    replayed
}

/// An entry, decoded or found to be no event.
struct Decoded {
    sequence: u64,
    last_of_run: Option<bool>,
    recorded: Result<Recorded, codec::DecodeError>,
}

impl Decoded {
    fn from(entry: &Entry) -> Decoded {
        let Entry { sequence, last_of_run, payload } = entry;
        Decoded { sequence: *sequence, last_of_run: *last_of_run, recorded: codec::decode(payload) }
    }

    /// The event, if it may stand where it stands.
    fn check(self, checker: &mut Checker) -> Result<Recorded, Wrong> {
        let sequence = self.sequence;
        let recorded = self.recorded.map_err(|why| Wrong::Undecodable { sequence, why: why.to_string() })?;
        checker.take(&recorded).map_err(|broken| told(broken, sequence, Some(&recorded.stream)))?;
        let ends = recorded.sequence + 1 == recorded.run.first_sequence + u64::from(recorded.run.length);
        if self.last_of_run.is_some_and(|marked| marked != ends) {
            let why = "the journal marks the end of its run elsewhere than it says itself".into();
            return Err(Wrong::RunBroken { sequence, why });
        }
        Ok(recorded)
    }
}

/// Decodes an event and checks that it may stand where it stands.
pub(crate) fn check(checker: &mut Checker, entry: &Entry) -> Result<Recorded, Wrong> {
    Decoded::from(entry).check(checker)
}

fn told(broken: Broken, sequence: u64, stream: Option<&StreamKey>) -> Wrong {
    match (broken, stream) {
        (Broken::Sequence { said, .. }, _) => Wrong::WrongSequence { sequence, said },
        (Broken::Revision { stream, due, said }, _) => Wrong::WrongRevision { sequence, stream, due, said },
        (Broken::Run(why), _) => Wrong::RunBroken { sequence, why },
        (Broken::Rule(why), Some(stream)) => Wrong::RuleBroken { sequence, stream: stream.clone(), why },
        (Broken::Rule(why), None) => Wrong::RunBroken { sequence, why },
    }
}

fn check_blobs(blobs: &dyn Blobs, recorded: &Recorded, replayed: &mut Replayed) {
    let sequence = recorded.sequence;
    for digest in named_by(recorded) {
        match blobs.check(digest.as_str()) {
            Ok(()) => replayed.blobs += 1,
            Err(BlobError::Missing { digest, .. }) => {
                replayed.wrong.push(Wrong::MissingBlob { sequence, digest });
            }
            Err(why @ BlobError::Damaged { .. }) => {
                let digest = digest.to_string();
                replayed.wrong.push(Wrong::BlobDamaged { sequence, digest, why: why.to_string() });
            }
            // An image by another algorithm than the blobs are named by.
            Err(BlobError::InvalidDigest(_)) => {}
            Err(why @ BlobError::Io { .. }) => replayed.unread = Some(why.to_string()),
        }
    }
}

/// Holds the tree of the events against what was signed.
fn compare(
    signed: &[(String, Checkpoint)],
    tree: &Frontier,
    roots: &BTreeMap<u64, Hash>,
    whole: bool,
    wrong: &mut Vec<Wrong>,
) -> Vec<Compared> {
    let agreeing = |checkpoint: &Checkpoint| roots.get(&checkpoint.size()) == Some(checkpoint.root());
    let mut compared = Vec::new();
    for (name, checkpoint) in signed {
        let size = checkpoint.size();
        match roots.get(&size) {
            Some(computed) if computed != checkpoint.root() => {
                let before = signed.iter().map(|(_, other)| other).filter(|other| other.size() < size);
                let agreed = before.filter(|other| agreeing(other)).map(Checkpoint::size).max().unwrap_or(0);
                wrong.push(Wrong::CheckpointInconsistent {
                    name: name.clone(),
                    size,
                    signed: *checkpoint.root(),
                    computed: *computed,
                    first: agreed + 1,
                    last: size,
                });
            }
            // Where the events could not be read to their end, that was told already.
            None if whole => {
                wrong.push(Wrong::CheckpointNewerThanLog { name: name.clone(), size, log: tree.size() });
            }
            Some(_) | None => {}
        }
        let agrees = agreeing(checkpoint);
        compared.push(Compared { name: name.clone(), checkpoint: checkpoint.clone(), agrees });
    }
    compared
}

/// Tells of stored hashes that are not those of the events which of the two is what was signed.
fn judge_hashes(
    stored: &dyn StoredHashes,
    differences: Vec<(u8, u64)>,
    newest: Option<&Checkpoint>,
    tree: &Frontier,
    whole: bool,
    wrong: &mut Vec<Wrong>,
    unread: &mut Option<String>,
) {
    let log = tree.size();
    let due = newest.map_or(0, Checkpoint::size).min(log);
    if whole && stored.size() > log {
        wrong.push(Wrong::TreeNewerThanLog { tree: stored.size(), log });
    }
    if whole && stored.size() < due {
        let index = stored.size();
        wrong.push(Wrong::TileMissing { place: stored.place(0, index), level: 0, index });
    }
    let leaves: Vec<u64> =
        differences.iter().filter(|(level, _)| *level == 0).map(|(_, index)| *index).collect();
    // A hash above leaves that differ says nothing new.
    let above = differences.into_iter().filter(|(level, index)| {
        let (from, to) = under(*level, *index);
        *level > 0 && !leaves.iter().any(|leaf| (from..=to).contains(&(leaf + 1)))
    });
    let above: Vec<(u8, u64)> = above.collect();
    // The stored hash of a leaf that was signed tells which event was changed. Proven, it vouches for all hashes of its tile, so
    // that it is the first one of it; and what differs in a tile before it shows in a hash above.
    if let (Some(leaf), Some(newest)) = (leaves.first(), newest)
        && above.iter().all(|(level, index)| under(*level, *index).0 > *leaf)
        && proves(stored, *leaf, newest, unread)
    {
        for found in wrong.iter_mut() {
            if let Wrong::CheckpointInconsistent { first, last, .. } = found
                && (*first..=*last).contains(&(leaf + 1))
            {
                (*first, *last) = (leaf + 1, leaf + 1);
            }
        }
        return;
    }
    for (level, index) in leaves.first().map(|leaf| (0, *leaf)).into_iter().chain(above) {
        wrong.push(Wrong::TileDiffers { level, index, place: stored.place(level, index) });
    }
}

/// Whether the stored hash of a leaf is the one that a checkpoint was signed for.
fn proves(stored: &dyn StoredHashes, index: u64, newest: &Checkpoint, unread: &mut Option<String>) -> bool {
    let size = newest.size();
    if index >= size || stored.size() < size {
        return false;
    }
    let made = stored.tile_hash(0, index).and_then(|leaf| {
        let made = proof::inclusion(&stored, index, size).map_err(|error| match error {
            proof::ProveError::Source(error) => error,
            other => SourceError::Unreadable(other.to_string()),
        })?;
        Ok((leaf, made))
    });
    match made {
        Ok((leaf, made)) => proof::verify_inclusion(&leaf, index, size, &made, newest.root()).is_ok(),
        Err(SourceError::Unreadable(why)) => {
            *unread = Some(why);
            false
        }
        Err(SourceError::Wrong(_)) => false,
    }
}

/// The stored root at a size, if all hashes for it are there.
pub(crate) fn stored_root(hashes: &dyn StoredHashes, size: u64) -> Result<Hash, SourceError> {
    stored::root(&hashes, size)
}
