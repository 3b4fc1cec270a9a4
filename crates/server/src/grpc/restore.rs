//! Bringing back what was deleted: what it was is read from the log, before the writer is asked.

use tagtrail_api::v1;
use tagtrail_domain::command::{Restore, RestoredTag};
use tagtrail_domain::event::Recorded;
use tagtrail_domain::refusal::resource;
use tagtrail_domain::{
    Command, Event, Fact, HistoryItem, Model, Refusal, Stream, StreamKey, TagName, TagState, World, limits,
};
use tagtrail_event_log::codec::to_proto;
use tonic::{Request, Status};

use super::rollback::ends;
use super::tags::tag_of;
use super::{Services, check, errors, opened, result};

/// How many events of a stream are looked at at a time.
const EVENTS: usize = 100;
/// What a history item takes beside its reference, at most; what the items of one tag may take in their event, together with its
/// annotations; and what those of all tags may take in one run.
const ITEM_BYTES: usize = 400;
const EVENT_BYTES: usize = 48 << 10;
const RUN_BYTES: usize = 10 << 20;

impl Services {
    pub(super) async fn bring_back(
        &self,
        request: Request<v1::RestoreRequest>,
    ) -> Result<v1::RestoreResponse, Status> {
        let (request, origin) = opened(request)?;
        let key = tag_of(&request.namespace, &request.name)?;
        if let Some(written) = self.written_before(&key, &origin)? {
            let events: Vec<_> = written.events.iter().map(|recorded| &recorded.event).collect();
            return Ok(v1::RestoreResponse { result: Some(result(&written)), ..self.restored(&events)? });
        }
        let (this, of, dry_run) = (self.clone(), key.clone(), request.dry_run);
        // A long past is read from the disk.
        let wish = tokio::task::spawn_blocking(move || this.wish(&of, &request));
        let wish = Command::Restore(wish.await.map_err(|error| errors::internal(&error))??);
        if dry_run {
            let events = check(self.try_together(&[(key, wish)], &origin))?;
            return self.restored(&events.iter().map(|(_, event)| event).collect::<Vec<_>>());
        }
        let written = self.write(&key, wish, origin).await?;
        let events: Vec<_> = written.events.iter().map(|recorded| &recorded.event).collect();
        Ok(v1::RestoreResponse { result: Some(result(&written)), ..self.restored(&events)? })
    }

    /// What is to come back.
    fn wish(&self, key: &StreamKey, request: &v1::RestoreRequest) -> Result<Restore, Status> {
        let now = self.view.stream(key);
        if now.sequence == 0 {
            return Err(errors::refused(&Refusal::no_stream(key)));
        }
        let tag = match request.tag.as_str() {
            "" => None,
            text => Some(TagName::parse(text).map_err(|_| no_tag(key, text))?),
        };
        refuse_existing(key, now.life.as_ref(), tag.as_ref())?;
        let as_of = match self.at(request.at.as_ref())? {
            Some(at) => at.sequence,
            None => self.before_deletion(key, tag.as_ref())?,
        };
        let model = self.stream_until(key, as_of + 1)?;
        let state = model.stream(key);
        let missing = |name: String| {
            errors::refused(&Refusal::Usage(format!(
                "\"{name}\" did not exist at sequence {as_of}; give a moment at which it did ('tagtrail history {}/{name}' shows its past)",
                key.namespace
            )))
        };
        let stream = state.life.as_ref().ok_or_else(|| missing(key.name.to_string()))?;
        let tags = match &tag {
            None => stream.tags.iter().map(|(tag, state)| as_it_was(key, tag, state, &model)).collect(),
            Some(tag) => {
                let there = stream.tags.get(tag);
                let state = there.ok_or_else(|| missing(format!("{}:{tag}", key.name)))?;
                vec![as_it_was(key, tag, state, &model)]
            }
        };
        let tags = fitting(tags);
        let Stream { lookup_local, labels, annotations, .. } = stream.clone();
        Ok(Restore { lookup_local, labels, annotations, whole: tag.is_none(), tags, as_of })
    }

    /// The last event before the command that deleted a tag, or the stream, last.
    fn before_deletion(&self, key: &StreamKey, tag: Option<&TagName>) -> Result<u64, Status> {
        let deletion = match tag {
            Some(tag) => {
                let run = |recorded: &Recorded| ends(recorded).then_some(recorded.run);
                self.newest(key, tag, u64::MAX, run)?.ok_or_else(|| no_tag(key, tag.as_str()))?
            }
            None => self.stream_deletion(key)?.run,
        };
        Ok(deletion.first_sequence - 1)
    }

    fn stream_deletion(&self, key: &StreamKey) -> Result<Recorded, Status> {
        let mut before = u64::MAX;
        loop {
            let sequences = self.view.events_of_before(key, before, EVENTS);
            for sequence in &sequences {
                let recorded = self.event(*sequence)?;
                if let Fact::StreamDeleted { .. } = recorded.event.fact {
                    return Ok(recorded);
                }
            }
            before = *sequences.last().ok_or_else(|| errors::refused(&Refusal::no_stream(key)))?;
        }
    }

    /// What came back, as the events tell.
    fn restored(&self, events: &[&Event]) -> Result<v1::RestoreResponse, Status> {
        let restored = events.iter().filter_map(|event| match &event.fact {
            Fact::TagRestored(restored) => Some(restored),
            _ => None,
        });
        let tags: Vec<_> = restored.clone().map(|restored| restored.tag.to_string()).collect();
        let at = match restored.map(|restored| restored.as_of).next() {
            None | Some(0) => None,
            Some(sequence) => {
                let time = Some(to_proto::timestamp(self.event(sequence)?.recorded_at));
                Some(v1::ShownMoment { sequence, time })
            }
        };
        Ok(v1::RestoreResponse { tags, at, result: None })
    }
}

/// What is there cannot come back.
fn refuse_existing(key: &StreamKey, life: Option<&Stream>, tag: Option<&TagName>) -> Result<(), Status> {
    let Some(stream) = life else { return Ok(()) };
    let (resource, name) = match tag {
        None => (resource::STREAMS, key.name.to_string()),
        Some(tag) if stream.tags.contains_key(tag) => (resource::TAG, format!("{}:{tag}", key.name)),
        Some(_) => return Ok(()),
    };
    Err(errors::refused(&Refusal::AlreadyExists { resource, name }))
}

/// As much of the histories as one command can bring back: the same share of each, and the newest of each at least.
fn fitting(mut tags: Vec<RestoredTag>) -> Vec<RestoredTag> {
    let item_bytes = |item: &HistoryItem| ITEM_BYTES + item.reference.len();
    for tag in &mut tags {
        let annotations = tag.spec.iter().flat_map(|spec| &spec.annotations);
        let mut room = EVENT_BYTES
            - annotations.map(|(key, value)| key.len() + value.len()).sum::<usize>().min(EVENT_BYTES);
        let mut number = 0;
        tag.items.retain(|item| {
            number += 1;
            let fits = number == 1 || room >= item_bytes(item);
            room = if fits { room.saturating_sub(item_bytes(item)) } else { 0 };
            fits
        });
    }
    let all = |tags: &[RestoredTag]| tags.iter().flat_map(|tag| &tag.items).map(item_bytes).sum::<usize>();
    let mut most = limits::ITEMS_PER_RESTORED_TAG;
    while most > 1 && all(&tags) > RUN_BYTES {
        most /= 2;
        tags.iter_mut().for_each(|tag| tag.items.truncate(most));
    }
    tags
}

fn as_it_was(key: &StreamKey, tag: &TagName, state: &TagState, model: &Model) -> RestoredTag {
    let items = model.history(key, tag).iter().rev().take(limits::ITEMS_PER_RESTORED_TAG);
    RestoredTag {
        tag: tag.clone(),
        spec: state.spec.clone(),
        items: items.map(|current| current.item.clone()).collect(),
        hold: state.hold.as_ref().map(|hold| hold.terms.clone()),
    }
}

fn no_tag(key: &StreamKey, tag: &str) -> Status {
    errors::refused(&Refusal::no_tag(key, tag, true))
}
