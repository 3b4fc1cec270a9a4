//! Taking a tag back: where to is found in its past, before the writer is asked.

use tagtrail_api::v1;
use tagtrail_api::v1::rollback_request::To;
use tagtrail_domain::command::Rollback;
use tagtrail_domain::event::{HistoryChange, MoveCause, Recorded, TagRestored};
use tagtrail_domain::state::Current;
use tagtrail_domain::{Command, Event, Fact, Refusal, StreamKey, TagName};
use tagtrail_event_log::codec::to_proto;
use tonic::{Request, Status};

use super::{Services, check, errors, holds, opened, result};
use crate::convert;

impl Services {
    pub(super) async fn roll_back(
        &self,
        request: Request<v1::RollbackRequest>,
    ) -> Result<v1::RollbackResponse, Status> {
        let (request, origin) = opened(request)?;
        let (key, tag) = self.named(&request.namespace, &request.name, &request.tag)?;
        if let Some(written) = self.written_before(&key, &origin)? {
            let events = written.events.iter().map(|recorded| &recorded.event);
            return Ok(v1::RollbackResponse { result: Some(result(&written)), ..answer(events, &tag) });
        }
        let expect = check(convert::expectation(&request.expected_image))?;
        let terms = holds::terms(&origin, request.expires_at)?;
        // Whoever expects something is told first that it is not so, whatever there is to go back to.
        let stay = Command::Hold { tag: tag.clone(), terms: terms.clone(), expect: expect.clone() };
        check(self.try_out(&key, &stay, &origin))?;
        let (this, at) = (self.clone(), (key.clone(), tag.clone()));
        // A long past is read from the disk.
        let target = tokio::task::spawn_blocking(move || this.target(&at.0, &at.1, request.to));
        let (to, planned) = target.await.map_err(|error| errors::internal(&error))??;
        let wish = Command::Rollback(Rollback { tag: tag.clone(), to, terms, expect, planned });
        if request.dry_run {
            let events = check(self.try_together(&[(key, wish)], &origin))?;
            return Ok(answer(events.iter().map(|(_, event)| event), &tag));
        }
        let written = self.write(&key, wish, origin).await?;
        let events = written.events.iter().map(|recorded| &recorded.event);
        Ok(v1::RollbackResponse { result: Some(result(&written)), ..answer(events, &tag) })
    }

    /// Where a tag is to go back to, with the event that had brought that to it; and, where that depends on what the tag
    /// points to, the event that had set this.
    fn target(&self, key: &StreamKey, tag: &TagName, to: Option<To>) -> Result<(Current, u64), Status> {
        let state = self.view.stream(key);
        let stream = state.life.as_ref();
        let tag_state = stream.and_then(|stream| stream.tags.get(tag));
        let tag_state = tag_state
            .ok_or_else(|| errors::refused(&Refusal::no_tag(key, tag.as_str(), stream.is_some())))?;
        let Some(current) = &tag_state.current else {
            return Err(refuse(format!("\"{}:{tag}\" does not point to an image yet", key.name)));
        };
        match to {
            None => Ok((self.before(key, tag, current)?, current.sequence)),
            Some(To::Sequence(sequence)) => Ok((self.pointed_to_at(key, tag, sequence)?, 0)),
            Some(To::Digest(digest)) => Ok((self.with_image(key, tag, &digest)?, 0)),
        }
    }

    /// What a tag pointed to before its present image came. What a rollback has brought came when it was brought there the
    /// first time: so one rollback after another goes back further and further.
    fn before(&self, key: &StreamKey, tag: &TagName, current: &Current) -> Result<Current, Status> {
        let mut sequence = current.sequence;
        // Every step leads to an older event.
        while sequence > 0 {
            sequence = match self.event(sequence)?.event.fact {
                Fact::TagMoved(moved) if moved.change == HistoryChange::Renewed => moved.replaces_sequence,
                Fact::TagMoved(moved) if moved.cause == MoveCause::Rollback => moved.copied_from,
                Fact::TagMoved(moved) => match moved.previous {
                    Some(previous) if previous.is_same(&current.item) => moved.replaces_sequence,
                    Some(item) => return Ok(Current { item, sequence: moved.replaces_sequence }),
                    None => 0,
                },
                Fact::TagRestored(restored) => self.brought_by(key, &restored)?,
                _ => 0,
            };
        }
        let (name, path) = (format!("{}:{tag}", key.name), format!("{key}:{tag}"));
        Err(refuse(format!(
            "\"{name}\" has come from nothing else since it was created; to take it to an image of its earlier past, name that with --to ('tagtrail history {path}' shows them)"
        )))
    }

    /// The event that had brought the image of a restored tag to it, before it was deleted.
    fn brought_by(&self, key: &StreamKey, restored: &TagRestored) -> Result<u64, Status> {
        let brought = self.newest(key, &restored.tag, restored.as_of + 1, pointed)?;
        Ok(brought.map_or(0, |current| current.sequence))
    }

    /// What a tag pointed to right after the command that an event belongs to.
    fn pointed_to_at(&self, key: &StreamKey, tag: &TagName, sequence: u64) -> Result<Current, Status> {
        let head = self.view.position();
        if sequence > head {
            let text = format!("the log ends at sequence {head}; {sequence} lies beyond it");
            return Err(errors::out_of_range(text));
        }
        let end = match sequence {
            0 => 0,
            _ => {
                let run = self.event(sequence)?.run;
                run.first_sequence + u64::from(run.length)
            }
        };
        let decides = |recorded: &Recorded| match pointed(recorded) {
            None if !ends(recorded) => None,
            pointed => Some(pointed),
        };
        self.newest(key, tag, end, decides)?.flatten().ok_or_else(|| {
            refuse(format!("\"{}:{tag}\" pointed to nothing at sequence {sequence}", key.name))
        })
    }

    /// The newest item of a tag, in all of its lives, with an image whose digest begins so.
    fn with_image(&self, key: &StreamKey, tag: &TagName, prefix: &str) -> Result<Current, Status> {
        let fits =
            |current: &Current| current.item.image.as_ref().is_some_and(|image| image.matches_prefix(prefix));
        let found = self.newest(key, tag, u64::MAX, |recorded| pointed(recorded).filter(fits))?;
        let found = found.filter(|_| !prefix.is_empty()).ok_or_else(|| {
            let (name, path) = (format!("{}:{tag}", key.name), format!("{key}:{tag}"));
            refuse(format!(
                "\"{name}\" has never pointed to an image {prefix}; 'tagtrail history {path}' shows what it has pointed to"
            ))
        })?;
        if found.item.image.as_ref().is_some_and(|image| image.as_str() == prefix) {
            return Ok(found);
        }
        let other = |current: &Current| fits(current) && current.item.image != found.item.image;
        match self.newest(key, tag, u64::MAX, |recorded| pointed(recorded).filter(other))? {
            None => Ok(found),
            Some(second) => {
                let image = |current: Current| current.item.image.map(|i| i.to_string()).unwrap_or_default();
                let (one, other) = (image(found), image(second));
                Err(refuse(format!("{prefix} may mean {one} or {other}; give more digits")))
            }
        }
    }

    /// What the newest event of a tag before `before` tells of which `find` wants to hear.
    pub(super) fn newest<T>(
        &self,
        key: &StreamKey,
        tag: &TagName,
        before: u64,
        find: impl FnMut(&Recorded) -> Option<T>,
    ) -> Result<Option<T>, Status> {
        self.past().newest_of_tag(key, tag, before, find).map_err(|error| errors::past(&error))
    }

    pub(super) fn event(&self, sequence: u64) -> Result<Recorded, Status> {
        self.past().event(sequence).map_err(|error| errors::past(&error))
    }
}

/// What an event pointed its tag to.
pub(super) fn pointed(recorded: &Recorded) -> Option<Current> {
    let item = match &recorded.event.fact {
        Fact::TagMoved(moved) => Some(&moved.item),
        Fact::TagRestored(restored) => restored.items.first(),
        _ => None,
    };
    item.map(|item| Current { item: item.clone(), sequence: recorded.sequence })
}

/// Whether a tag is gone after an event.
pub(super) fn ends(recorded: &Recorded) -> bool {
    matches!(recorded.event.fact, Fact::TagDeleted { .. } | Fact::StreamDeleted { .. })
}

fn answer<'e>(mut events: impl Iterator<Item = &'e Event>, tag: &TagName) -> v1::RollbackResponse {
    let moved = events.find_map(|event| match &event.fact {
        Fact::TagMoved(moved) if moved.tag == *tag => Some(moved),
        _ => None,
    });
    v1::RollbackResponse {
        from: moved.and_then(|moved| moved.previous.as_ref()).map(to_proto::history_item),
        to: moved.map(|moved| to_proto::history_item(&moved.item)),
        restored_sequence: moved.map_or(0, |moved| moved.copied_from),
        result: None,
    }
}

fn refuse(text: String) -> Status {
    errors::refused(&Refusal::Usage(text))
}
