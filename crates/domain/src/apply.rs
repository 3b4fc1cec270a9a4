//! How a fact changes the state. The same function serves decisions, the read model, restart and audit.

use std::sync::Arc;

use crate::event::{Event, Fact, HistoryChange};
use crate::names::TagName;
use crate::state::{Current, HistoryItem, Hold, HoldTerms, Stream, StreamState, TagState};
use crate::tag::ImportCondition;
use crate::time::Timestamp;

/// Where and when an event stands in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// Its sequence.
    pub sequence: u64,
    /// When it was recorded.
    pub recorded_at: Timestamp,
}

/// Gives the state of a stream's name after an event. The event has happened, so this cannot fail.
///
/// # Panics
/// If an event of a stream, other than its creation, is applied to a stream that does not exist. No log that `decide` wrote holds
/// such an event: the log is damaged, and to go on would be to make things up.
#[must_use]
pub fn apply(mut state: StreamState, event: &Event, at: Position) -> StreamState {
    state.revision += 1;
    state.sequence = at.sequence;
    if let Fact::LogContinued(_) = event.fact {
        return state; // It is about the log. No stream lives there.
    }
    if let Fact::StreamDeleted { .. } = event.fact {
        state.life = None;
        return state;
    }
    if let Fact::StreamCreated { lookup_local, labels, annotations } = &event.fact {
        state.life = Some(Stream {
            uid: event.stream_uid.clone(),
            created: at.recorded_at,
            generation: event.generation,
            lookup_local: *lookup_local,
            labels: labels.clone(),
            annotations: annotations.clone(),
            checked_at: None,
            tags: Default::default(),
        });
        return state;
    }
    let stream = state.life.as_mut().expect("an event other than a creation happens to a living stream");
    stream.generation = event.generation;
    change(stream, &event.fact, at);
    state
}

fn change(stream: &mut Stream, fact: &Fact, at: Position) {
    match fact {
        Fact::StreamCreated { .. } | Fact::StreamDeleted { .. } | Fact::LogContinued(_) => {
            unreachable!("apply has dealt with these")
        }
        Fact::StreamMetadataSet { labels, annotations } => {
            stream.labels.clone_from(labels);
            stream.annotations.clone_from(annotations);
        }
        Fact::LookupPolicySet { local } => stream.lookup_local = *local,
        Fact::TagSet { tag, spec } => {
            let tag = tag_mut(stream, tag);
            tag.spec = Some(spec.clone());
            tag.spec_sequence = at.sequence;
        }
        Fact::TagDeleted { tag, .. } => {
            stream.tags.remove(tag);
        }
        Fact::TagMoved(moved) => {
            let tag = tag_mut(stream, &moved.tag);
            tag.current = Some(Current { item: moved.item.clone(), sequence: at.sequence });
            // A tag that got an image has no failure any more, whichever way it got it (spec §2.6).
            tag.condition = None;
            // A held tag that was taken to what was withheld is where it would be.
            if let Some(hold) = &mut tag.hold {
                hold.withheld.take_if(|withheld| withheld.is_same(&moved.item));
            }
            match moved.change {
                HistoryChange::Added => tag.history_length += 1,
                HistoryChange::Replaced | HistoryChange::Renewed => {}
            }
        }
        Fact::ImportFailed { tag, failure, generation, source: _, told_since } => {
            tag_mut(stream, tag).condition = Some(ImportCondition {
                failure: failure.clone(),
                generation: *generation,
                since: told_since.unwrap_or(at.recorded_at),
            });
        }
        Fact::FailureCleared { tag } => {
            if stream.tags.contains_key(tag) {
                tag_mut(stream, tag).condition = None;
            }
        }
        Fact::TagHeld { tag, terms } => {
            let tag = tag_mut(stream, tag);
            // Held anew, on other terms: what was withheld still is.
            let withheld = tag.hold.take().and_then(|hold| hold.withheld);
            tag.hold = Some(hold(terms, at, withheld));
        }
        Fact::TagReleased { tag, expired: _ } => tag_mut(stream, tag).hold = None,
        Fact::MoveWithheld(withheld) => {
            let tag = tag_mut(stream, &withheld.tag);
            let stays = tag.current.as_ref().is_some_and(|current| current.item.is_same(&withheld.item));
            if let Some(hold) = &mut tag.hold {
                hold.withheld = (!stays).then(|| withheld.item.clone());
            }
        }
        Fact::TagRestored(restored) => {
            let current =
                restored.items.first().map(|item| Current { item: item.clone(), sequence: at.sequence });
            *tag_mut(stream, &restored.tag) = TagState {
                spec: restored.spec.clone(),
                spec_sequence: if restored.spec.is_some() { at.sequence } else { 0 },
                current,
                history_length: restored.items.len() as u64,
                condition: None,
                hold: restored.hold.as_ref().map(|terms| hold(terms, at, None)),
            };
        }
        Fact::ImageRecorded(_) | Fact::RepositoryImportFailed { .. } => {}
        Fact::TestimonyTaken(told) => {
            stream.created = told.created.unwrap_or(stream.created);
            stream.checked_at = told.checked_at.or(stream.checked_at);
        }
        Fact::ImportFinished(import) => stream.checked_at = Some(import.checked_at),
    }
}

fn hold(terms: &HoldTerms, at: Position, withheld: Option<HistoryItem>) -> Hold {
    Hold { terms: terms.clone(), since: at.recorded_at, sequence: at.sequence, withheld }
}

/// A tag to be changed, made if there is none.
fn tag_mut<'s>(stream: &'s mut Stream, tag: &TagName) -> &'s mut TagState {
    Arc::make_mut(stream.tags.entry(tag.clone()).or_default())
}
