//! Why a tag points to what it points to: from its last move back to what was seen in a registry, or told by a document.

use tagtrail_api::kind::Kind;
use tagtrail_api::v1;
use tagtrail_api::v1::event::Fact;
use tagtrail_domain::{Refusal, TagName};
use tagtrail_event_log::codec::{DecodeError, to_proto};
use tonic::Status;

use super::entry::{self, Open};
use super::{Services, check, errors, stream_of, tag_of};
use crate::convert;
use crate::moment::At;
use crate::past::{Past, PastError};

/// The longest chain that is told, and most events that are looked at for it: an image can have been confirmed many times.
const LINKS: usize = 300;
const LOOKED_AT: usize = 3_000;

/// The event that brought an image to a tag, before it is looked at.
struct Step {
    sequence: u64,
    /// The image that is followed back, by its reference and its digest. `None`: whatever the event brought.
    wanted: Option<(String, String)>,
}

/// An event that brought an image to a tag.
struct Link {
    event: v1::Event,
    /// What it took the image from.
    before: Option<Step>,
}

impl Services {
    pub(super) fn causes(&self, request: &v1::WhyRequest) -> Result<v1::WhyResponse, Status> {
        let key = check(convert::existing(&request.namespace, &request.name))?;
        let at = self.at(request.at.as_ref())?;
        let past = self.past();
        let state = match at {
            Some(at) => past.state_at(&key, at.sequence).map_err(|error| errors::past(&error))?,
            None => self.view.stream(&key),
        };
        let missing = || errors::refused(&Refusal::no_tag(&key, &request.tag, state.life.is_some()));
        let tag = TagName::parse(&request.tag).map_err(|_| missing())?;
        let tag_state = state.tag(&tag).ok_or_else(missing)?;
        let current = tag_state.current.as_ref().ok_or_else(|| {
            let text = format!("\"{}:{tag}\" does not point to an image", key.name);
            errors::refused(&Refusal::Usage(text))
        })?;
        let causes = past.causes(current.sequence).map_err(|error| errors::past(&error))?;
        Ok(v1::WhyResponse { causes, at: at.map(At::shown) })
    }
}

impl Past {
    fn causes(&self, sequence: u64) -> Result<Vec<v1::Cause>, PastError> {
        let mut causes = Vec::new();
        let mut next = Some(Step { sequence, wanted: None });
        let mut looked_at = 0;
        while let Some(step) = next {
            let Link { event, before } = self.link(step)?;
            looked_at += 1;
            // That the image was confirmed is no reason for it to be there.
            if Kind::of(&event) != Some(Kind::TagConfirmed) {
                causes.push(self.cause(event, before.is_none())?);
            }
            next = before.filter(|_| causes.len() < LINKS && looked_at < LOOKED_AT);
        }
        Ok(causes)
    }

    fn link(&self, step: Step) -> Result<Link, PastError> {
        let event = self.told_one(step.sequence)?;
        // Several items come with one event where a tag was restored: the one that is followed need not be the newest.
        let wanted = step.wanted.or_else(|| entry::brings(&event).first().map(name));
        let before = if let Some(Fact::TagRestored(restored)) = &event.fact {
            let (key, tag) = (stream_of(&event.namespace, &event.stream), tag_of(&restored.tag));
            self.newest_of_tag(&key, &tag, restored.as_of_sequence + 1, |recorded| {
                let event = to_proto::event(recorded);
                let brought = entry::brings(&event).iter().any(|item| Some(name(item)) == wanted);
                brought.then_some(event.sequence)
            })?
        } else if let Some(Fact::TagMoved(moved)) = &event.fact {
            let confirmed = moved.change() == v1::HistoryChange::Renewed;
            let sequence = if confirmed { moved.replaces_sequence } else { moved.copied_from_sequence };
            Some(sequence).filter(|sequence| *sequence != 0)
        } else {
            None
        };
        Ok(Link { event, before: before.map(|sequence| Step { sequence, wanted }) })
    }

    fn cause(&self, event: v1::Event, last: bool) -> Result<v1::Cause, PastError> {
        let wish = match event.caused_by {
            0 => None,
            sequence => Some(self.told_one(sequence)?),
        };
        let observation = if last { self.observation(&event)? } else { None };
        let testimony = if last { self.testimony(&event)? } else { None };
        let kind = Kind::of(&event).ok_or(DecodeError::Missing("fact"))?;
        let (entry, open) = entry::entry(event, kind, None);
        debug_assert_eq!(open, Open::Nothing, "what brings an image to a tag says what it was");
        Ok(v1::Cause { entry: Some(entry), wish, observation, testimony })
    }

    /// The document that told of what the event brought, if one did. It comes second in the event's run.
    fn testimony(&self, event: &v1::Event) -> Result<Option<v1::TestimonyTaken>, PastError> {
        let Some(Fact::TagMoved(moved)) = &event.fact else { return Ok(None) };
        let (v1::MoveCause::Testimony, Some(run)) = (moved.cause(), &event.run) else { return Ok(None) };
        let taken = self.told_one(run.first_sequence + 1)?;
        Ok(if let Some(Fact::TestimonyTaken(told)) = taken.fact { Some(told) } else { None })
    }

    /// What was seen in a registry, if the event took its image from there.
    fn observation(&self, event: &v1::Event) -> Result<Option<v1::Observation>, PastError> {
        let Some(Fact::TagMoved(moved)) = &event.fact else { return Ok(None) };
        let imported = match moved.cause() {
            v1::MoveCause::Import | v1::MoveCause::ScheduledImport => true,
            v1::MoveCause::Unspecified
            | v1::MoveCause::Tag
            | v1::MoveCause::Alias
            | v1::MoveCause::Rollback
            | v1::MoveCause::Testimony => false,
        };
        let item = moved.item.as_ref().filter(|_| imported && moved.copied_from_sequence == 0);
        let Some(item) = item else { return Ok(None) };
        let finished = self.end_of_import(event)?;
        Ok(Some(v1::Observation {
            checked_at: finished.and_then(|finished| finished.checked_at),
            source: moved.source.clone(),
            digest: item.image.clone(),
            index: item.index.clone(),
        }))
    }

    /// The end of the import that an event belongs to, which comes last in its run.
    fn end_of_import(&self, event: &v1::Event) -> Result<Option<v1::ImportFinished>, PastError> {
        let Some(run) = &event.run else { return Ok(None) };
        let last = run.first_sequence + u64::from(run.length);
        let rest: Vec<u64> = (event.sequence + 1..last).collect();
        let finished = self.told(&rest)?.into_iter().find_map(|event| {
            if let Some(Fact::ImportFinished(finished)) = event.fact { Some(finished) } else { None }
        });
        Ok(finished)
    }
}

/// What a history item stands for.
fn name(item: &v1::HistoryItem) -> (String, String) {
    (item.docker_image_reference.clone(), item.image.clone())
}
