//! The past, read from the log: streams as they were. A stream is told from where the read model kept it last, a history from
//! the moment back, so it costs the same however much has happened before or since.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message;
use tagtrail_api::v1;
use tagtrail_domain::event::{HistoryChange, Recorded};
use tagtrail_domain::state::Current;
use tagtrail_domain::{Fact, HistoryItem, Model, Position, StreamKey, StreamState, TagName, apply};
use tagtrail_event_log::codec::{self, DecodeError};
use tagtrail_event_log::{Log, ReadError, Stored};
use tagtrail_projection::{Look, View};

use crate::convert::{Histories, share};

/// How many events are looked for at a time.
const EVENTS: usize = 1_000;
/// How many events of a tag are looked at in one go, where only one is looked for.
pub(crate) const LOOKED_FOR: usize = 32;
/// How many bytes of events are read at a time.
const READ_BYTES: usize = 1 << 20;
/// Events that lie no farther apart are read in one go: to read what lies between costs less than to look for the next.
const NEAR: u64 = 4;

/// Reads the past. The read model knows which events are a stream's, and the log what they say.
#[derive(Clone)]
pub(crate) struct Past {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) view: Arc<View>,
}

/// Why the past cannot be read. Nothing is made up instead.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PastError {
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The read model names an event that the log does not have.
    #[error("event {0} is not there")]
    Missing(u64),
    /// An event is not one this version can read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// A stream with what is asked for of its histories: as it is, or as it was.
pub(crate) enum Then<'v> {
    /// As the rows have it. The writer waits while it lives.
    Now(Look<'v>),
    /// As its events tell.
    Past(Remembered),
}

/// A stream as it was.
pub(crate) struct Remembered {
    state: Arc<StreamState>,
    /// What was asked for, newest first.
    histories: BTreeMap<TagName, Vec<(u64, Current)>>,
    unique_images: u64,
}

/// What is asked for of the histories of a stream as it was.
#[derive(Clone, Copy)]
pub(crate) enum Wanted<'a> {
    /// At most so many items of each tag, as far as they fit into one answer.
    OfEach(usize),
    /// At most so many items of one tag, older than number `before` (the oldest is 0).
    Of {
        /// The tag.
        tag: &'a TagName,
        /// Where to begin.
        before: u64,
        /// How many.
        limit: usize,
    },
}

impl Then<'_> {
    /// The state of the stream's name.
    pub(crate) fn stream(&self, key: &StreamKey) -> Arc<StreamState> {
        match self {
            Self::Now(look) => look.stream(key),
            Self::Past(remembered) => remembered.state.clone(),
        }
    }

    /// A tag's history as OpenShift shows it, newest first: see [`Look::history`]. Of the past, only what was asked for.
    pub(crate) fn history(
        &self,
        key: &StreamKey,
        tag: &TagName,
        before: u64,
        limit: usize,
    ) -> Vec<(u64, Current)> {
        match self {
            Self::Now(look) => look.history(key, tag, before, limit),
            Self::Past(remembered) => {
                let items = remembered.histories.get(tag).into_iter().flatten();
                items.filter(|(number, _)| *number < before).take(limit).cloned().collect()
            }
        }
    }

    /// How many different images the history of the stream holds.
    pub(crate) fn unique_images(&self, key: &StreamKey) -> u64 {
        match self {
            Self::Now(look) => look.unique_images(key),
            Self::Past(remembered) => remembered.unique_images,
        }
    }
}

impl Histories for Then<'_> {
    fn older(&self, key: &StreamKey, tag: &TagName, before: u64, limit: usize) -> Vec<HistoryItem> {
        self.history(key, tag, before, limit).into_iter().map(|(_, current)| current.item).collect()
    }

    fn unique_images(&self, key: &StreamKey) -> u64 {
        Then::unique_images(self, key)
    }
}

impl Past {
    /// A stream as it was before the event `end`, with its histories.
    pub(crate) fn stream_until(&self, key: &StreamKey, end: u64) -> Result<Model, PastError> {
        let mut model = Model::default();
        self.each(key, 1, end, |Recorded { event, sequence, recorded_at, .. }| {
            model.apply(key, &event, Position { sequence, recorded_at });
        })?;
        Ok(model)
    }

    /// A stream as it was before the event `end`, without its histories. `state` is what it was before the event `from`.
    pub(crate) fn state_until(
        &self,
        key: &StreamKey,
        mut state: Arc<StreamState>,
        from: u64,
        end: u64,
    ) -> Result<Arc<StreamState>, PastError> {
        self.each(key, from, end, |Recorded { event, sequence, recorded_at, .. }| {
            let before = Arc::unwrap_or_clone(std::mem::take(&mut state));
            state = Arc::new(apply(before, &event, Position { sequence, recorded_at }));
        })?;
        Ok(state)
    }

    /// A stream as it was right after the event `at`, without its histories. It is told from where it was kept last.
    pub(crate) fn state_at(&self, key: &StreamKey, at: u64) -> Result<Arc<StreamState>, PastError> {
        let now = self.view.stream(key);
        if now.sequence <= at {
            return Ok(now);
        }
        let (kept, from) = self.kept(key, at);
        self.state_until(key, kept, from, at + 1)
    }

    /// A stream as it was kept last, right after the event `at` or before, and the event from which on it is to be told.
    pub(crate) fn kept(&self, key: &StreamKey, at: u64) -> (Arc<StreamState>, u64) {
        let kept = self.view.snapshot(key, at).unwrap_or_default();
        let from = kept.sequence + 1;
        (kept, from)
    }

    /// The same with as much of its histories as is asked for.
    pub(crate) fn remember(
        &self,
        key: &StreamKey,
        at: u64,
        wanted: Wanted<'_>,
    ) -> Result<Remembered, PastError> {
        let state = self.state_at(key, at)?;
        let mut histories = BTreeMap::new();
        let tags = state.life.as_ref().map(|stream| &stream.tags);
        let count = tags.map_or(0, BTreeMap::len);
        for (tag, tag_state) in tags.into_iter().flatten() {
            let (before, limit) = match wanted {
                Wanted::OfEach(limit) => (u64::MAX, share(limit, count)),
                Wanted::Of { tag: one, before, limit } if one == tag => (before, limit),
                Wanted::Of { .. } => continue,
            };
            let items = self.items(key, tag, tag_state.history_length, at, before, limit)?;
            histories.insert(tag.clone(), items);
        }
        let unique_images = self.view.unique_images_after(key, state.sequence);
        Ok(Remembered { state, histories, unique_images })
    }

    /// The history of a tag as it was right after the event `at`, when it had `length` items: at most `limit` of those older
    /// than number `before`, newest first. The tag's own events tell, from the newest back.
    fn items(
        &self,
        key: &StreamKey,
        tag: &TagName,
        length: u64,
        at: u64,
        before: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Current)>, PastError> {
        let mut items = Items { left: length, before, limit, edited: false, found: Vec::new() };
        let mut end = at + 1;
        while items.left > 0 && items.found.len() < limit {
            let mut sequences = self.view.events_of_tag_before(key, tag, end, EVENTS.min(2 * limit + 8));
            sequences.reverse();
            end = *sequences.first().ok_or(PastError::Missing(end))?;
            for event in self.events(&sequences)?.into_iter().rev() {
                items.look_at(event);
            }
        }
        Ok(items.found)
    }

    /// The newest event of a tag before `before` for which `find` gives something. It lies where it lies: the cost grows with
    /// how many events of the tag came after it.
    pub(crate) fn newest_of_tag<T>(
        &self,
        key: &StreamKey,
        tag: &TagName,
        mut before: u64,
        mut find: impl FnMut(&Recorded) -> Option<T>,
    ) -> Result<Option<T>, PastError> {
        loop {
            let mut sequences = self.view.events_of_tag_before(key, tag, before, LOOKED_FOR);
            sequences.reverse();
            let Some(oldest) = sequences.first() else { return Ok(None) };
            before = *oldest;
            if let Some(found) = self.events(&sequences)?.iter().rev().find_map(&mut find) {
                return Ok(Some(found));
            }
        }
    }

    /// Events by their sequences, which ascend.
    fn events(&self, sequences: &[u64]) -> Result<Vec<Recorded>, PastError> {
        let mut events = Vec::with_capacity(sequences.len());
        self.read(sequences, |stored| {
            events.push(codec::decode(&stored.payload)?);
            Ok(())
        })?;
        Ok(events)
    }

    /// One event.
    pub(crate) fn event(&self, sequence: u64) -> Result<Recorded, PastError> {
        let stored = self.log.read(sequence, 1, usize::MAX)?;
        let stored = stored.first().ok_or(PastError::Missing(sequence))?;
        Ok(codec::decode(&stored.payload)?)
    }

    /// One event in the words of the wire.
    pub(crate) fn told_one(&self, sequence: u64) -> Result<v1::Event, PastError> {
        self.told(&[sequence])?.pop().ok_or(PastError::Missing(sequence))
    }

    /// Events in the words of the wire, by their sequences, which ascend.
    pub(crate) fn told(&self, sequences: &[u64]) -> Result<Vec<v1::Event>, PastError> {
        let mut events = Vec::with_capacity(sequences.len());
        self.read(sequences, |stored| {
            events.push(v1::Event::decode(stored.payload.clone()).map_err(DecodeError::from)?);
            Ok(())
        })?;
        Ok(events)
    }

    /// The events of a stream from `from` on, before `end`.
    fn each(
        &self,
        key: &StreamKey,
        mut from: u64,
        end: u64,
        mut take: impl FnMut(Recorded),
    ) -> Result<(), PastError> {
        loop {
            let sequences = self.view.events_of(key, from, EVENTS);
            let wanted = sequences.partition_point(|sequence| *sequence < end);
            self.read(&sequences[..wanted], |stored| {
                take(codec::decode(&stored.payload)?);
                Ok(())
            })?;
            match sequences.last() {
                Some(last) if wanted == sequences.len() => from = last + 1,
                _ => return Ok(()),
            }
        }
    }

    /// Reads events by their sequences, which ascend.
    fn read(
        &self,
        sequences: &[u64],
        mut take: impl FnMut(&Stored) -> Result<(), PastError>,
    ) -> Result<(), PastError> {
        for near in sequences.chunk_by(|one, next| next - one <= NEAR) {
            let mut left = near;
            while let (Some(first), Some(last)) = (left.first(), left.last()) {
                let span = usize::try_from(last - first + 1).unwrap_or(usize::MAX);
                let events = self.log.read(*first, span, READ_BYTES)?;
                if events.first().is_none_or(|stored| stored.sequence != *first) {
                    return Err(PastError::Missing(*first));
                }
                for stored in &events {
                    if left.first() == Some(&stored.sequence) {
                        take(stored)?;
                        left = &left[1..];
                    }
                }
            }
        }
        Ok(())
    }
}

/// Items of a tag's history, found from the newest back.
struct Items {
    /// How many are not found yet.
    left: u64,
    before: u64,
    limit: usize,
    /// Whether the next event made the item that was found last, which was then changed in place.
    edited: bool,
    found: Vec<(u64, Current)>,
}

impl Items {
    fn look_at(&mut self, recorded: Recorded) {
        match recorded.event.fact {
            Fact::TagMoved(moved) => {
                if !std::mem::replace(&mut self.edited, moved.change != HistoryChange::Added) {
                    self.find(Current { item: moved.item, sequence: recorded.sequence });
                }
            }
            Fact::TagRestored(restored) => {
                let edited = usize::from(std::mem::take(&mut self.edited));
                for item in restored.items.into_iter().skip(edited) {
                    self.find(Current { item, sequence: recorded.sequence });
                }
            }
            Fact::TagDeleted { .. }
            | Fact::StreamDeleted { .. }
            | Fact::StreamCreated { .. }
            | Fact::StreamMetadataSet { .. }
            | Fact::LookupPolicySet { .. }
            | Fact::TagSet { .. }
            | Fact::ImportFailed { .. }
            | Fact::FailureCleared { .. }
            | Fact::TagHeld { .. }
            | Fact::TagReleased { .. }
            | Fact::MoveWithheld(_)
            | Fact::ImageRecorded(_)
            | Fact::ImportFinished(_)
            | Fact::RepositoryImportFailed { .. }
            | Fact::TestimonyTaken(_)
            | Fact::LogContinued(_) => {}
        }
    }

    fn find(&mut self, current: Current) {
        if self.left == 0 || self.found.len() == self.limit {
            return; // What belongs to an earlier life, or was not asked for.
        }
        self.left -= 1;
        if self.left < self.before {
            self.found.push((self.left, current));
        }
    }
}
