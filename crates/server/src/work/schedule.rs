//! Which tags are checked again, and when: one queue over all of them, the longest due first.
//!
//! A tag on the schedule is checked once in its interval; a tag whose import failed is tried again after a minute,
//! then two, four, eight and so on up to an hour apart. Registries are spared: there is a lane for each host, with few
//! checks under way at a time, and each check needs a *turn* that the host's budget gives (`tagtrail_importer`). A lane
//! that has to wait holds up no other.
//!
//! Nothing of this is kept on the disk. What is to be checked stands in the read model; the times are drawn anew at
//! each start, over one interval, so that what was due meanwhile comes spread and not as a storm.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tagtrail_domain::check::{self, Reason};
use tagtrail_domain::{
    Digest, Failure, ImageReference, StreamKey, StreamState, TagName, TagState, Timestamp,
};
use tagtrail_importer::Wait;
use tokio::sync::Notify;

use crate::config::Intervals;
use crate::importing::Question;

/// How many checks are under way at a time.
const AT_ONCE: usize = 64;
/// How many of them at one registry host: a silent one is not to take all.
const AT_ONCE_PER_HOST: usize = 8;
/// When a check is made again first that came to nothing for a reason of our own: a full queue, a disk.
const OUR_RETRY: Duration = Duration::from_secs(10);
/// A turn is not asked for again sooner.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
/// What is due for so long and not under way is called late.
const LATE: Duration = Duration::from_secs(2);
/// So many tags are counted before a late one, and no more: the writer waits meanwhile.
const COUNTED: usize = 1_000;

/// The tags that are checked again.
pub(crate) struct Schedule {
    intervals: Intervals,
    /// A random number of at least 0 and less than 1.
    draw: Box<dyn Fn() -> f64 + Send + Sync>,
    table: Mutex<Table>,
    /// Rung when the next check may be another one, or may be made now.
    pub arrived: Notify,
}

#[derive(Default)]
struct Table {
    streams: BTreeMap<StreamKey, BTreeMap<TagName, Entry>>,
    /// How many tags that is.
    tags: usize,
    /// By registry host.
    lanes: BTreeMap<String, Lane>,
    under_way: usize,
    /// How many checks have begun.
    begun: u64,
}

/// The tags of one registry host.
#[derive(Default)]
struct Lane {
    /// Those that wait, the longest due first.
    queue: BTreeSet<Waiting>,
    under_way: usize,
    /// The host is left alone until then, and why. If that is over: until when it was, the last time.
    held: Option<(Instant, Wait)>,
}

/// A tag that waits, by when it is due.
type Waiting = (Instant, StreamKey, TagName);

struct Entry {
    subject: Subject,
    reason: Reason,
    interval: Duration,
    due: Instant,
    /// The check that is under way, by its number. The tag is not in its lane's queue meanwhile.
    under_way: Option<u64>,
    /// How often in a row it has failed, been put off, or come to nothing for a reason of ours.
    failures: u32,
    seen: Option<Seen>,
    last: Option<Checked>,
}

/// What is checked. If this changes, what is known of the last check says nothing any more.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Subject {
    /// The stream's life.
    uid: String,
    /// Where from, as it was typed.
    source: String,
    reference: ImageReference,
}

/// What the registry named when the image was last fetched. It may be an index from which the image was chosen, so the
/// tag's own state does not tell it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    /// What was asked.
    pub question: Question,
    /// What the registry named.
    pub named: Digest,
    /// What the tag pointed to afterwards.
    pub image: Digest,
}

/// A check that is to be made now. To be given back with [`Schedule::done`].
#[derive(Debug)]
pub(crate) struct Check {
    /// The stream.
    pub key: StreamKey,
    /// The tag.
    pub tag: TagName,
    /// Why.
    pub reason: Reason,
    /// What is remembered of the last check.
    pub seen: Option<Seen>,
    /// How often it has failed in a row.
    pub failures: u32,
    /// Every check has one of its own.
    number: u64,
    host: String,
    began: Instant,
}

/// What to do next.
#[derive(Debug)]
pub(crate) enum Next<Turn> {
    /// Make this check, in this turn.
    Check(Box<Check>, Turn),
    /// Nothing before this moment.
    WaitUntil(Option<Instant>),
}

/// What a check came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// The registry still names the same image.
    Unchanged,
    /// The tag points to another image now.
    Moved(Digest),
    /// The registry did not give the image.
    Failed(Failure),
    /// The registry has asked to be left alone for so long. Nothing is known of the tag.
    PutOff(Duration, Failure),
    /// We could not take over what the registry gave.
    Ours(String),
    /// Nobody wants to know any more.
    Dropped,
}

impl Outcome {
    /// Its word in metrics.
    #[must_use]
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Moved(_) => "moved",
            Self::Failed(_) => "failed",
            Self::PutOff(..) => "put_off",
            Self::Ours(_) => "ours",
            Self::Dropped => "dropped",
        }
    }
}

/// A check that was made.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    /// When it ended.
    pub at: Timestamp,
    /// What it came to.
    pub outcome: Outcome,
}

/// Of which tags a list is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    /// Those of a namespace; of all, if it is empty.
    Namespace(&'a str),
    /// Those of a stream.
    Stream(&'a StreamKey),
}

/// A tag on the list, for people.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    /// The stream.
    pub key: StreamKey,
    /// The tag.
    pub tag: TagName,
    /// Where from, as it was typed.
    pub source: String,
    /// Why it is checked.
    pub reason: Reason,
    /// How often. For a failed tag that is not on the schedule: at least so often.
    pub interval: Duration,
    /// The last check since the server started.
    pub last: Option<Checked>,
    /// How often it has failed in a row.
    pub failures: u32,
    /// In how long the next check is due; `None`: it is under way.
    pub due_in: Option<Duration>,
    /// By how much it is late, and why.
    pub late: Option<(Duration, String)>,
}

impl Schedule {
    /// Nothing to check yet.
    #[must_use]
    pub(crate) fn new(intervals: Intervals, draw: impl Fn() -> f64 + Send + Sync + 'static) -> Self {
        Self { intervals, draw: Box::new(draw), table: Mutex::default(), arrived: Notify::new() }
    }

    /// Takes up the tags of a stream at the start: whatever was due meanwhile is spread over one interval.
    pub(crate) fn fill(&self, key: &StreamKey, state: &StreamState, wall: Timestamp, now: Instant) {
        let Some(stream) = &state.life else { return };
        let mut table = self.lock();
        for (tag, state) in &stream.tags {
            let Some(mut entry) = self.wanted(&stream.uid, state, now) else { continue };
            if let Some(condition) = &state.condition {
                let failing = u64::try_from(wall.seconds - condition.since.seconds).unwrap_or(0);
                entry.failures = failures_in(Duration::from_secs(failing), self.intervals.first_retry);
            }
            let failures = state.condition.is_some().then_some(entry.failures);
            entry.due = now + self.delay(entry.interval, failures).mul_f64((self.draw)());
            table.insert(key.clone(), tag.clone(), entry);
        }
        drop(table);
        self.arrived.notify_one();
    }

    /// Some tags of a stream have changed; `None`: perhaps any.
    pub(crate) fn changed(
        &self,
        key: &StreamKey,
        state: &StreamState,
        tags: Option<&BTreeSet<&TagName>>,
        now: Instant,
    ) {
        let mut table = self.lock();
        let Some(stream) = &state.life else {
            table.remove_all(key);
            return;
        };
        let gone = |known: &TagName| !stream.tags.contains_key(known);
        let mut touched: BTreeSet<&TagName> = BTreeSet::new();
        let known: Vec<TagName> = match tags {
            Some(tags) => {
                touched.extend(tags);
                Vec::new()
            }
            None => {
                touched.extend(stream.tags.keys());
                let known = table.streams.get(key).into_iter().flat_map(BTreeMap::keys);
                known.filter(|tag| gone(tag)).cloned().collect()
            }
        };
        touched.extend(&known);
        for tag in touched {
            let state = stream.tags.get(tag);
            let wanted = state.and_then(|state| self.wanted(&stream.uid, state, now));
            let failing = state.is_some_and(|state| state.condition.is_some());
            self.change(&mut table, key, tag, wanted, failing, now);
        }
        drop(table);
        self.arrived.notify_one();
    }

    fn change(
        &self,
        table: &mut Table,
        key: &StreamKey,
        tag: &TagName,
        wanted: Option<Entry>,
        failing: bool,
        now: Instant,
    ) {
        let old = table.remove(key, tag);
        let Some(mut entry) = wanted else { return };
        match old.filter(|old| old.subject == entry.subject) {
            Some(old) => {
                // Somebody may have mended it by hand.
                let failures = if failing { old.failures } else { 0 };
                entry = Entry { reason: entry.reason, interval: entry.interval, failures, ..old };
                // A shorter interval, or a failure, may bring the next check forward, never back.
                let failures = failing.then_some(entry.failures);
                entry.due = entry.due.min(now + self.delay(entry.interval, failures));
            }
            None if failing => entry.due = now + self.delay(entry.interval, Some(0)),
            None => entry.due = now + self.spread(entry.interval),
        }
        table.insert(key.clone(), tag.clone(), entry);
    }

    /// What is to be known of a tag to check it, if it is to be checked.
    fn wanted(&self, uid: &str, state: &TagState, now: Instant) -> Option<Entry> {
        let reason = check::reason(state)?;
        let spec = state.spec.as_ref()?;
        let source = spec.source.as_ref()?.name.clone();
        let reference = ImageReference::parse(&source).ok()?;
        let interval = match reason {
            Reason::Scheduled => {
                spec.import_policy.interval.map_or(self.intervals.scheduled, |own| own.duration())
            }
            Reason::Failed => self.intervals.longest_retry,
        };
        let subject = Subject { uid: uid.to_owned(), source, reference };
        let entry = Entry {
            subject,
            reason,
            interval,
            due: now,
            under_way: None,
            failures: 0,
            seen: None,
            last: None,
        };
        Some(entry)
    }

    /// How long after a check the next one comes, after so many failures before it. A failing tag is tried again sooner
    /// than others, and one on the schedule never later than its interval says.
    fn delay(&self, interval: Duration, failures: Option<u32>) -> Duration {
        failures
            .map_or(interval, |failures| self.back_off(self.intervals.first_retry, failures).min(interval))
    }

    /// `first` after the first failure, twice as long after each further one, up to the longest retry.
    fn back_off(&self, first: Duration, failures: u32) -> Duration {
        let doubled = first.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX));
        // Up to half as long again, so that those that failed together do not come back together.
        doubled.min(self.intervals.longest_retry).mul_f64(1.0 + (self.draw)() / 2.0)
    }

    /// Tags that are set together are not to be checked together for ever after.
    fn spread(&self, interval: Duration) -> Duration {
        interval.mul_f64(0.5 + (self.draw)() / 2.0)
    }

    /// Takes the check to make now: of the registries that can be asked, where the fewest are under way, so that
    /// many silent ones do not starve one that answers; and of these the check that has been due the longest. `turn`
    /// is asked for a turn at the registry of an image; its error says how long there is none.
    pub(crate) fn next<Turn>(
        &self,
        now: Instant,
        mut turn: impl FnMut(&ImageReference) -> Result<Turn, Wait>,
    ) -> Next<Turn> {
        let mut guard = self.lock();
        let table = &mut *guard;
        loop {
            if table.under_way >= AT_ONCE {
                return Next::WaitUntil(None);
            }
            let lanes = || table.lanes.iter().filter_map(|(host, lane)| Some((lane.first()?, lane, host)));
            let ready = lanes().filter(|(first, lane, _)| lane.ready_at(first) <= now);
            let Some((first, _, host)) = ready.min_by_key(|(first, lane, _)| (lane.under_way, *first)) else {
                return Next::WaitUntil(lanes().map(|(first, lane, _)| lane.ready_at(first)).min());
            };
            let (first, host) = (first.clone(), host.clone());
            let lane = table.lanes.get_mut(&host).expect("it was found just now");
            let entry = table.streams.get_mut(&first.1).and_then(|tags| tags.get_mut(&first.2));
            let entry = entry.expect("what is in a queue is in the table");
            match turn(&entry.subject.reference) {
                Err(wait) => lane.held = Some((now + wait.time().max(SHORTEST_WAIT), wait)),
                Ok(turn) => {
                    lane.queue.remove(&first);
                    lane.under_way += 1;
                    table.under_way += 1;
                    table.begun += 1;
                    entry.under_way = Some(table.begun);
                    let check = Check {
                        key: first.1,
                        tag: first.2,
                        reason: entry.reason,
                        seen: entry.seen.clone(),
                        failures: entry.failures,
                        number: table.begun,
                        host,
                        began: now,
                    };
                    return Next::Check(Box::new(check), turn);
                }
            }
        }
    }

    /// A check has ended. `seen` is what it learnt, if it fetched the image.
    pub(crate) fn done(
        &self,
        check: &Check,
        outcome: Outcome,
        seen: Option<Seen>,
        at: Timestamp,
        now: Instant,
    ) {
        let mut guard = self.lock();
        let table = &mut *guard;
        table.under_way -= 1;
        table.lanes.entry(check.host.clone()).or_default().under_way -= 1;
        // Taken out and put back, because the queue is ordered by what changes here.
        if let Some(mut entry) = table.remove(&check.key, &check.tag) {
            // The tag may be another one by now, or even be checked again as such. Then nothing was learnt of it.
            if entry.under_way == Some(check.number) {
                self.note(&mut entry, check.began, outcome, seen, at, now);
            }
            table.insert(check.key.clone(), check.tag.clone(), entry);
        }
        table.forget_idle(&check.host);
        drop(guard);
        self.arrived.notify_one();
    }

    fn note(
        &self,
        entry: &mut Entry,
        began: Instant,
        outcome: Outcome,
        seen: Option<Seen>,
        at: Timestamp,
        now: Instant,
    ) {
        let first_retry = self.intervals.first_retry;
        let after_failure = |first| self.back_off(first, entry.failures).min(entry.interval);
        (entry.due, entry.failures) = match &outcome {
            // Counted from when it began: where there are too few turns for all, all fall back equally.
            Outcome::Unchanged | Outcome::Moved(_) | Outcome::Dropped => (began + entry.interval, 0),
            Outcome::Failed(_) => (now + after_failure(first_retry), entry.failures.saturating_add(1)),
            Outcome::PutOff(wait, _) => {
                (now + after_failure(first_retry).max(*wait), entry.failures.saturating_add(1))
            }
            Outcome::Ours(_) => (now + after_failure(OUR_RETRY), entry.failures.saturating_add(1)),
        };
        entry.under_way = None;
        entry.seen = seen.or(entry.seen.take());
        if outcome != Outcome::Dropped {
            entry.last = Some(Checked { at, outcome });
        }
    }

    /// The tags of a place after `after`, in order, at most `limit`.
    #[must_use]
    pub(crate) fn list(
        &self,
        place: Place<'_>,
        after: Option<&(StreamKey, TagName)>,
        limit: usize,
        now: Instant,
    ) -> Vec<Listed> {
        let table = self.lock();
        let start = after.map_or(Bound::Unbounded, |(key, _)| Bound::Included(key));
        let streams = table.streams.range::<StreamKey, _>((start, Bound::Unbounded));
        let streams = streams.filter(|(key, _)| match place {
            Place::Namespace(namespace) => namespace.is_empty() || key.namespace.as_str() == namespace,
            Place::Stream(stream) => *key == stream,
        });
        streams
            .flat_map(|(key, tags)| tags.iter().map(move |(tag, entry)| (key, tag, entry)))
            .filter(|(key, tag, _)| after.is_none_or(|(k, t)| (*key, *tag) > (k, t)))
            .take(limit)
            .map(|(key, tag, entry)| table.listed(key, tag, entry, now))
            .collect()
    }

    /// How many tags are checked, and by how much the first of them is late.
    #[must_use]
    pub(crate) fn load(&self, now: Instant) -> (usize, Duration) {
        let table = self.lock();
        let first = table.lanes.values().filter_map(|lane| lane.queue.first()).map(|(due, ..)| *due).min();
        (table.tags, first.map_or(Duration::ZERO, |due| now.saturating_duration_since(due)))
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn insert(&mut self, key: StreamKey, tag: TagName, entry: Entry) {
        if entry.under_way.is_none() {
            let lane = self.lanes.entry(host(&entry.subject.reference)).or_default();
            lane.queue.insert((entry.due, key.clone(), tag.clone()));
        }
        self.streams.entry(key).or_default().insert(tag, entry);
        self.tags += 1;
    }

    fn remove(&mut self, key: &StreamKey, tag: &TagName) -> Option<Entry> {
        let tags = self.streams.get_mut(key)?;
        let entry = tags.remove(tag)?;
        self.tags -= 1;
        if tags.is_empty() {
            self.streams.remove(key);
        }
        let host = host(&entry.subject.reference);
        if let Some(lane) = self.lanes.get_mut(&host) {
            lane.queue.remove(&(entry.due, key.clone(), tag.clone()));
        }
        self.forget_idle(&host);
        Some(entry)
    }

    fn forget_idle(&mut self, host: &str) {
        if self.lanes.get(host).is_some_and(|lane| lane.queue.is_empty() && lane.under_way == 0) {
            self.lanes.remove(host);
        }
    }

    fn remove_all(&mut self, key: &StreamKey) {
        let tags: Vec<TagName> =
            self.streams.get(key).into_iter().flat_map(BTreeMap::keys).cloned().collect();
        for tag in tags {
            self.remove(key, &tag);
        }
    }

    fn listed(&self, key: &StreamKey, tag: &TagName, entry: &Entry, now: Instant) -> Listed {
        let late = now.saturating_duration_since(entry.due);
        Listed {
            key: key.clone(),
            tag: tag.clone(),
            source: entry.subject.source.clone(),
            reason: entry.reason,
            interval: entry.interval,
            last: entry.last.clone(),
            failures: entry.failures,
            due_in: entry.under_way.is_none().then(|| entry.due.saturating_duration_since(now)),
            late: (entry.under_way.is_none() && late > LATE)
                .then(|| (late, self.why_late(key, tag, entry, now))),
        }
    }

    fn why_late(&self, key: &StreamKey, tag: &TagName, entry: &Entry, now: Instant) -> String {
        let host = host(&entry.subject.reference);
        let Some(lane) = self.lanes.get(&host) else { return String::new() };
        // Where the budget is spent again and again, it is the reason, however many checks are under way just now.
        let budget = matches!(lane.held, Some((until, Wait::Budget(_))) if now < until + LATE);
        match lane.held {
            Some((until, Wait::Asked(_))) if now < until => {
                let left = until - now;
                let left = humantime::format_duration(Duration::from_secs(left.as_secs() + 1));
                format!("{host} has asked to be left alone for another {left}")
            }
            _ if !budget && lane.under_way >= AT_ONCE_PER_HOST => {
                format!("{host} answers slowly: {} checks are under way there", lane.under_way)
            }
            _ if !budget && self.under_way >= AT_ONCE => {
                format!("{} checks are under way, which is as many as there may be", self.under_way)
            }
            _ => {
                let before = lane.queue.range(..(entry.due, key.clone(), tag.clone()));
                let before = match before.take(COUNTED).count() {
                    COUNTED => format!("{COUNTED} or more"),
                    few => few.to_string(),
                };
                format!("it waits for its turn at {host} (requests_per_second); checks before it: {before}")
            }
        }
    }
}

impl Lane {
    /// What comes next. `None`: nothing waits, or as much as there may be is under way.
    fn first(&self) -> Option<&Waiting> {
        self.queue.first().filter(|_| self.under_way < AT_ONCE_PER_HOST)
    }

    /// When it may be checked.
    fn ready_at(&self, (due, ..): &Waiting) -> Instant {
        self.held.map_or(*due, |(until, _)| until.max(*due))
    }
}

fn host(reference: &ImageReference) -> String {
    reference.with_defaults().registry
}

/// How often a tag will have been tried that has failed for so long, each time twice as long after the last.
fn failures_in(failing: Duration, first_retry: Duration) -> u32 {
    (failing.as_secs() / first_retry.as_secs().max(1)).checked_ilog2().map_or(0, |doublings| doublings + 1)
}

#[cfg(test)]
mod tests;
