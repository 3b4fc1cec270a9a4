//! What only the disk knows: events older than the tail, the streams of a snapshot, and streams as they were after a
//! command. Few watchers read at the same time, each a little, so that many who are behind do not take the machine.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use prost::Message;
use tagtrail_api::v1;
use tagtrail_domain::{HistoryItem, StreamKey, StreamState, TagName};
use tokio::sync::Semaphore;

use super::End;
use super::filter::{Filter, Wish};
use super::tail::{Change, Told};
use crate::config::Repository;
use crate::convert::{Histories, Shown};
use crate::past::{self, Past, PastError, Wanted};

/// How much a watcher holds of what it has not been handed yet: so many events or streams, or so many bytes of them and of the
/// states that go with them, and at least one. A thousand that have stopped hold a thousand times as much.
pub(super) const PAGE: usize = 64;
pub(super) const PAGE_BYTES: usize = 32 << 10;
/// How many events are looked at before others have their turn, and how many bytes of them are read at once.
const SCANNED: usize = 2_000;
/// How many names of streams are looked at before others have their turn.
const LISTED: usize = 200;
const READ_BYTES: usize = 1 << 20;

/// Reads for watchers.
pub(super) struct Reader {
    pub(super) past: Past,
    pub(super) repository: Repository,
    pub(super) permits: Arc<Semaphore>,
}

/// Some of what a watcher asks for, and up to where that is all.
pub(super) struct Page {
    pub(super) told: VecDeque<Arc<Told>>,
    pub(super) up_to: u64,
}

/// Some streams of a snapshot.
pub(super) struct Listed {
    pub(super) streams: VecDeque<v1::ImageStream>,
    pub(super) rest: Rest,
}

/// Which names of a snapshot are still to be looked at.
#[derive(Clone)]
pub(super) enum Rest {
    All,
    After(StreamKey),
    None,
}

/// A stream's state at a position, so that its next change need not be told from its first event on.
pub(super) struct Then {
    key: StreamKey,
    state: Arc<StreamState>,
    /// Everything before this sequence is in it.
    until: u64,
}

/// A stream after a command, if there is something to tell of it.
pub(super) struct AfterCommand {
    pub(super) told: Option<v1::WatchedStream>,
    /// Sequence of the last event that the command made of this stream.
    pub(super) last: u64,
    pub(super) then: Option<Then>,
}

/// For answers that show only what is newest, which the state itself has.
struct Newest;

impl Histories for Newest {
    fn older(&self, _: &StreamKey, _: &TagName, _: u64, _: usize) -> Vec<HistoryItem> {
        Vec::new()
    }

    fn unique_images(&self, _: &StreamKey) -> u64 {
        unreachable!("only descriptions tell how many images there are")
    }
}

impl Reader {
    /// Reads on threads that may wait for the disk, when it is this reader's turn. Gives what was read, and since when it is
    /// there: it is read even while nobody polls for it.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, PastError> + Send + 'static,
    ) -> Result<(T, Instant), End> {
        let reader = self.clone();
        let reading = tokio::spawn(async move {
            let turn = reader.permits.clone().acquire_owned().await.expect("turns are never ended");
            let work = move || {
                let read = work(&reader);
                drop(turn);
                read.map(|read| (read, Instant::now()))
            };
            tokio::task::spawn_blocking(work).await
        });
        // A panic of the read model is told to whoever asked: see `View::damaged`.
        Ok(reading.await.and_then(|read| read).map_err(|error| End::Broken(error.to_string()))??)
    }

    /// Reads events after a sequence, at most up to another, and gives those that are asked for.
    pub(super) fn events(&self, wish: &Wish, after: u64, until: u64) -> Result<Page, PastError> {
        match &wish.filter.stream {
            Some(key) => self.events_of(key, wish, after, until),
            None => self.scan(wish, after, until),
        }
    }

    fn scan(&self, wish: &Wish, after: u64, until: u64) -> Result<Page, PastError> {
        let (mut page, mut scanned) = (Sieve::new(wish, after), 0);
        while page.up_to < until {
            let events = self.past.log.read(page.up_to + 1, PAGE, READ_BYTES)?;
            if events.is_empty() {
                return Err(PastError::Missing(page.up_to + 1));
            }
            for stored in &events {
                page.look_at(Arc::new(Told::decode(&stored.payload, None)?));
                scanned += 1;
                if page.up_to == until || page.is_full() || scanned >= SCANNED {
                    return Ok(page.end());
                }
            }
        }
        Ok(page.end())
    }

    /// The read model knows which events are a stream's: it has come at least as far as everybody may hear.
    fn events_of(&self, key: &StreamKey, wish: &Wish, after: u64, until: u64) -> Result<Page, PastError> {
        let mut page = Sieve::new(wish, after);
        let sequences = self.past.view.events_of(key, after + 1, SCANNED);
        let all = sequences.len() < SCANNED || sequences.last().is_some_and(|last| *last > until);
        for sequence in sequences.into_iter().take_while(|sequence| *sequence <= until) {
            let stored = self.past.log.read(sequence, 1, usize::MAX)?;
            let stored = stored.first().ok_or(PastError::Missing(sequence))?;
            page.look_at(Arc::new(Told::decode(&stored.payload, None)?));
            if page.is_full() {
                return Ok(page.end());
            }
        }
        if all {
            page.up_to = until;
        }
        Ok(page.end())
    }

    /// Streams after a name, each as it was at a position which ends a command. The names of those that live no more are
    /// gone through too: they may have lived then.
    pub(super) fn list(&self, wish: &Wish, position: u64, rest: Rest) -> Result<Listed, PastError> {
        let mut listed = Listed { streams: VecDeque::new(), rest };
        let after = match &listed.rest {
            Rest::None => return Ok(listed),
            Rest::All => None,
            Rest::After(key) => Some(key),
        };
        let keys = match &wish.filter.stream {
            Some(key) => vec![key.clone()],
            None => self.past.view.names(wish.filter.namespace.as_ref(), after, LISTED),
        };
        let last_page = wish.filter.stream.is_some() || keys.len() < LISTED;
        let mut bytes = 0;
        for key in keys {
            if listed.streams.len() == PAGE || bytes >= PAGE_BYTES {
                return Ok(listed);
            }
            if let Some(stream) = self.stream_at(wish, &key, position)? {
                bytes += stream.encoded_len();
                listed.streams.push_back(stream);
            }
            listed.rest = Rest::After(key);
        }
        if last_page {
            listed.rest = Rest::None;
        }
        Ok(listed)
    }

    /// A stream that lived at a position and matches.
    fn stream_at(
        &self,
        wish: &Wish,
        key: &StreamKey,
        position: u64,
    ) -> Result<Option<v1::ImageStream>, PastError> {
        let matches = |state: &StreamState| {
            state.life.as_ref().is_some_and(|stream| wish.selector.matches(&stream.labels))
        };
        {
            let look = self.past.view.look();
            let state = look.stream(key);
            if state.sequence <= position {
                let shown = Shown { look, repository: &self.repository };
                return Ok(matches(&state).then(|| shown.stream(key, &state, wish.history_limit)).flatten());
            }
        }
        // It has changed since, so what it was is told by its events.
        let state = self.past.state_at(key, position)?;
        if !matches(&state) {
            return Ok(None);
        }
        self.show(wish, key, &state)
    }

    /// Tells what a command made of its stream. `told` is one of its events; `then` the stream before it, if that was told
    /// of last.
    pub(super) fn after_command(
        &self,
        wish: &Wish,
        told: &Told,
        then: Option<Then>,
    ) -> Result<AfterCommand, PastError> {
        let (first, last) = told.run();
        let key = StreamKey::parse(&told.event.namespace, &told.event.stream)
            .expect("the log holds only events of streams that can be");
        if let Some(change) = &told.change {
            let told = self.tell(wish, &key, change)?;
            return Ok(AfterCommand { told, last: change.last, then: None });
        }
        // A command may have changed several streams; the events of each stand together.
        let of_run = (last - told.event.sequence + 1).try_into().unwrap_or(usize::MAX);
        let own = self.past.view.events_of(&key, told.event.sequence, of_run);
        let last = own.into_iter().take_while(|sequence| *sequence <= last).last().unwrap_or(last);
        let (state, from) = match then {
            Some(then) if then.key == key && then.until <= first => (then.state, then.until),
            _ => self.past.kept(&key, first - 1),
        };
        let before = self.past.state_until(&key, state, from, first)?;
        let after = self.past.state_until(&key, before.clone(), first, last + 1)?;
        let change = Change { before, after: after.clone(), events: 0, last };
        let told = self.tell(wish, &key, &change)?;
        Ok(AfterCommand { told, last, then: Some(Then { key, state: after, until: last + 1 }) })
    }

    /// Whether telling of a change needs no disk.
    pub(super) fn is_at_hand(wish: &Wish, told: &Told) -> bool {
        told.change.is_some() && wish.history_limit == 1
    }

    fn tell(
        &self,
        wish: &Wish,
        key: &StreamKey,
        change: &Change,
    ) -> Result<Option<v1::WatchedStream>, PastError> {
        let matches = |state: &StreamState| {
            state.life.as_ref().is_some_and(|stream| wish.selector.matches(&stream.labels))
        };
        let (told, state) = match (matches(&change.before), matches(&change.after)) {
            (false, false) => return Ok(None),
            (false, true) => (v1::StreamChange::Added, &change.after),
            (true, true) => (v1::StreamChange::Modified, &change.after),
            (true, false) => (v1::StreamChange::Deleted, &change.before),
        };
        let stream = self.show(wish, key, state)?;
        Ok(Some(v1::WatchedStream { change: told.into(), stream, sequence: change.last }))
    }

    /// A stream as a state has it, with the histories that belong to it.
    fn show(
        &self,
        wish: &Wish,
        key: &StreamKey,
        state: &StreamState,
    ) -> Result<Option<v1::ImageStream>, PastError> {
        let (limit, repository) = (wish.history_limit, &self.repository);
        if limit == 1 {
            return Ok(Shown { look: Newest, repository }.stream(key, state, limit));
        }
        {
            let look = self.past.view.look();
            if look.stream(key).sequence == state.sequence {
                return Ok(Shown { look, repository }.stream(key, state, limit));
            }
        }
        let look = past::Then::Past(self.past.remember(key, state.sequence, Wanted::OfEach(limit))?);
        Ok(Shown { look, repository }.stream(key, state, limit))
    }
}

/// Keeps of events in their order what is asked for. Where streams are told, the first of a command's events that passes stands
/// for what the command made of its stream: it may stop within that.
pub(super) struct Sieve<'a> {
    filter: &'a Filter,
    whole_runs: bool,
    told: VecDeque<Arc<Told>>,
    size: usize,
    up_to: u64,
}

impl<'a> Sieve<'a> {
    pub(super) fn new(wish: &'a Wish, after: u64) -> Self {
        let told = VecDeque::new();
        Self { filter: &wish.filter, whole_runs: wish.streams, told, size: 0, up_to: after }
    }

    pub(super) fn look_at(&mut self, told: Arc<Told>) {
        self.up_to = told.event.sequence;
        let stands_already =
            || self.whole_runs && self.told.back().is_some_and(|before| before.is_of_one_change(&told));
        if !self.filter.passes(&told) || stands_already() {
            return;
        }
        if self.whole_runs {
            self.size += told.size + told.states();
            self.told.push_back(told);
        } else {
            self.size += told.size;
            let has_states = told.change.is_some();
            self.told.push_back(if has_states { Arc::new(told.without_change()) } else { told });
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.told.len() >= PAGE || self.size >= PAGE_BYTES
    }

    pub(super) fn end(self) -> Page {
        Page { told: self.told, up_to: self.up_to }
    }
}
