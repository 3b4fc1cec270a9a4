//! An event as one thing that happened to a tag, or to a stream with all of its tags.

use tagtrail_api::kind::Kind;
use tagtrail_api::v1;
use tagtrail_api::v1::event::Fact;

use crate::grpc::Writes;

/// What an event does not say itself: what its tag pointed to, which an event before it had set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Open {
    /// Nothing: it says all.
    Nothing,
    /// What the tag pointed to before.
    From,
    /// What the tag pointed to before and afterwards, which is the same.
    Both,
}

/// What a tag points to from an event on.
#[derive(Debug, PartialEq)]
pub(super) struct Pointing<'e> {
    /// The tag. `None`: every tag of the stream.
    pub(super) tag: Option<&'e str>,
    /// The item. `None`: nothing.
    pub(super) item: Option<&'e v1::HistoryItem>,
}

/// What a tag points to from this event on, if it is one that sets that.
pub(super) fn pointing(event: &v1::Event) -> Option<Pointing<'_>> {
    match event.fact.as_ref()? {
        Fact::TagMoved(moved) => Some(Pointing { tag: Some(&moved.tag), item: moved.item.as_ref() }),
        Fact::TagRestored(restored) => {
            Some(Pointing { tag: Some(&restored.tag), item: restored.items.first() })
        }
        Fact::TagDeleted(deleted) => Some(Pointing { tag: Some(&deleted.tag), item: None }),
        Fact::StreamDeleted(_) => Some(Pointing { tag: None, item: None }),
        Fact::StreamCreated(_)
        | Fact::StreamMetadataSet(_)
        | Fact::LookupPolicySet(_)
        | Fact::TagSet(_)
        | Fact::ImportFailed(_)
        | Fact::FailureCleared(_)
        | Fact::ImageRecorded(_)
        | Fact::ImportFinished(_)
        | Fact::RepositoryImportFailed(_)
        | Fact::TagHeld(_)
        | Fact::TagReleased(_)
        | Fact::MoveWithheld(_)
        | Fact::TestimonyTaken(_)
        | Fact::LogContinued(_) => None,
    }
}

/// The items that an event brings to a tag, newest first.
pub(super) fn brings(event: &v1::Event) -> &[v1::HistoryItem] {
    match &event.fact {
        Some(Fact::TagMoved(moved)) => moved.item.as_slice(),
        Some(Fact::TagRestored(restored)) => &restored.items,
        Some(
            Fact::StreamCreated(_)
            | Fact::StreamDeleted(_)
            | Fact::StreamMetadataSet(_)
            | Fact::LookupPolicySet(_)
            | Fact::TagSet(_)
            | Fact::TagDeleted(_)
            | Fact::ImportFailed(_)
            | Fact::FailureCleared(_)
            | Fact::ImageRecorded(_)
            | Fact::ImportFinished(_)
            | Fact::RepositoryImportFailed(_)
            | Fact::TagHeld(_)
            | Fact::TagReleased(_)
            | Fact::MoveWithheld(_)
            | Fact::TestimonyTaken(_)
            | Fact::LogContinued(_),
        )
        | None => &[],
    }
}

/// An event as an entry, and what is still to be filled in. `of_tag`: the tag whose history it belongs to, which matters
/// where all tags of a stream went.
pub(super) fn entry(event: v1::Event, kind: Kind, of_tag: Option<&str>) -> (v1::HistoryEntry, Open) {
    let command = event.command;
    let mut entry = v1::HistoryEntry {
        sequence: event.sequence,
        recorded_at: event.recorded_at,
        namespace: event.namespace,
        stream: event.stream,
        kind: kind.as_str().to_owned(),
        actor: event.actor,
        reason: event.reason,
        request_id: event.request_id,
        caused_by: event.caused_by,
        ..v1::HistoryEntry::default()
    };
    let mut open = Open::Nothing;
    match event.fact {
        Some(Fact::TagMoved(moved)) => {
            entry.cause = cause(moved.cause(), &command);
            entry.tag = moved.tag;
            entry.from = moved.previous;
            entry.to = moved.item;
            entry.followed_tag = moved.followed_tag;
            entry.source = moved.source;
            entry.copied_from_sequence = moved.copied_from_sequence;
        }
        Some(Fact::MoveWithheld(withheld)) => {
            entry.cause = cause(withheld.cause(), &command);
            entry.tag = withheld.tag;
            entry.to = withheld.item;
            entry.followed_tag = withheld.followed_tag;
            entry.source = withheld.source;
            entry.copied_from_sequence = withheld.copied_from_sequence;
            open = Open::From;
        }
        Some(Fact::TagDeleted(deleted)) => {
            entry.cause = "delete".into();
            entry.tag = deleted.tag;
            entry.from = deleted.last;
        }
        Some(Fact::StreamDeleted(_)) => {
            entry.cause = "delete".into();
            if let Some(tag) = of_tag {
                entry.tag = tag.to_owned();
                open = Open::From;
            }
        }
        Some(Fact::TagRestored(restored)) => {
            entry.cause = "restore".into();
            entry.tag = restored.tag;
            entry.to = restored.items.into_iter().next();
            entry.source = restored.spec.and_then(|spec| spec.source).unwrap_or_default().name;
            entry.copied_from_sequence = restored.as_of_sequence;
            entry.expires_at = restored.hold.and_then(|hold| hold.expires_at);
        }
        Some(Fact::TagHeld(held)) => {
            entry.cause = if command == "rollback" { command } else { "hold".into() };
            entry.tag = held.tag;
            entry.expires_at = held.expires_at;
            open = Open::Both;
        }
        Some(Fact::TagReleased(released)) => {
            entry.cause = if released.expired { "expiry" } else { "release" }.into();
            entry.tag = released.tag;
            open = Open::Both;
        }
        Some(Fact::ImportFailed(failed)) => {
            entry.cause = if command == TESTIMONY { "testimony".into() } else { command };
            entry.tag = failed.tag;
            entry.source = failed.source;
            entry.failure = failed.failure;
        }
        Some(Fact::RepositoryImportFailed(failed)) => {
            entry.cause = command;
            entry.source = failed.repository;
            entry.failure = failed.failure;
        }
        Some(Fact::TagSet(set)) => {
            entry.cause = command;
            entry.tag = set.tag;
            entry.source = set.spec.and_then(|spec| spec.source).unwrap_or_default().name;
        }
        Some(Fact::FailureCleared(cleared)) => {
            entry.cause = command;
            entry.tag = cleared.tag;
        }
        Some(Fact::TestimonyTaken(told)) => {
            entry.cause = "testimony".into();
            entry.source = told.document;
        }
        Some(Fact::LogContinued(continued)) => entry.source = continued.old_log_id,
        Some(
            Fact::StreamCreated(_)
            | Fact::StreamMetadataSet(_)
            | Fact::LookupPolicySet(_)
            | Fact::ImageRecorded(_)
            | Fact::ImportFinished(_),
        )
        | None => entry.cause = command,
    }
    (entry, open)
}

/// The command that takes over what a document tells.
const TESTIMONY: &str = <v1::TakeTestimonyRequest as Writes>::NAME;

/// What moved a tag, in one word.
fn cause(cause: v1::MoveCause, command: &str) -> String {
    match cause {
        v1::MoveCause::Import => "import",
        v1::MoveCause::ScheduledImport => "scheduled-import",
        v1::MoveCause::Tag if command == "promote" => "promote",
        v1::MoveCause::Tag => "tag",
        v1::MoveCause::Alias => "alias",
        v1::MoveCause::Rollback => "rollback",
        v1::MoveCause::Testimony => "testimony",
        v1::MoveCause::Unspecified => command,
    }
    .to_owned()
}
