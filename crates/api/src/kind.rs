//! What an event is about, in one word: for subjects, headers and filters.
//!
//! The fact of an [`Event`] says the same in more detail. Kinds are fewer, and named for what somebody who follows the
//! log cares about.

use std::fmt;
use std::str::FromStr;

use crate::v1::event::Fact;
use crate::v1::{Event, HistoryChange};

/// Stands for the tag where an event is about a stream as a whole. No tag can have this name.
pub const NO_TAG: &str = "-";

/// The kind of an event.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// An image stream came into being.
    StreamCreated,
    /// An image stream was deleted, with all of its tags.
    StreamDeleted,
    /// Labels, annotations or the lookup policy of a stream changed.
    StreamChanged,
    /// What a tag shall follow was set or changed.
    TagSet,
    /// A tag points to another image, or to the same one by another reference.
    TagMoved,
    /// A tag was imported again, and points to what it pointed to before.
    TagConfirmed,
    /// A tag was deleted.
    TagDeleted,
    /// A tag is held: nothing moves it but a rollback.
    TagHeld,
    /// A tag is held no longer.
    TagReleased,
    /// A deleted tag is back.
    TagRestored,
    /// Something would have moved a held tag.
    MoveWithheld,
    /// An import of a tag, or of a whole repository, failed.
    ImportFailed,
    /// The failure of a tag no longer holds.
    ImportRecovered,
    /// An import that changed something came to its end.
    ImportFinished,
    /// An image became known.
    ImageRecorded,
    /// An image stream was taken over from elsewhere, as a document told of it.
    TestimonyTaken,
    /// The log goes on under a new id.
    LogContinued,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::StreamCreated,
        Self::StreamDeleted,
        Self::StreamChanged,
        Self::TagSet,
        Self::TagMoved,
        Self::TagConfirmed,
        Self::TagDeleted,
        Self::TagHeld,
        Self::TagReleased,
        Self::TagRestored,
        Self::MoveWithheld,
        Self::ImportFailed,
        Self::ImportRecovered,
        Self::ImportFinished,
        Self::ImageRecorded,
        Self::TestimonyTaken,
        Self::LogContinued,
    ];

    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StreamCreated => "stream-created",
            Self::StreamDeleted => "stream-deleted",
            Self::StreamChanged => "stream-changed",
            Self::TagSet => "tag-set",
            Self::TagMoved => "tag-moved",
            Self::TagConfirmed => "tag-confirmed",
            Self::TagDeleted => "tag-deleted",
            Self::TagHeld => "tag-held",
            Self::TagReleased => "tag-released",
            Self::TagRestored => "tag-restored",
            Self::MoveWithheld => "move-withheld",
            Self::ImportFailed => "import-failed",
            Self::ImportRecovered => "import-recovered",
            Self::ImportFinished => "import-finished",
            Self::ImageRecorded => "image-recorded",
            Self::TestimonyTaken => "testimony-taken",
            Self::LogContinued => "log-continued",
        }
    }

    /// Whether there are events of this kind that are about one tag.
    #[must_use]
    pub const fn names_a_tag(self) -> bool {
        match self {
            Self::TagSet
            | Self::TagMoved
            | Self::TagConfirmed
            | Self::TagDeleted
            | Self::TagHeld
            | Self::TagReleased
            | Self::TagRestored
            | Self::MoveWithheld
            | Self::ImportFailed
            | Self::ImportRecovered => true,
            Self::StreamCreated
            | Self::StreamDeleted
            | Self::StreamChanged
            | Self::ImportFinished
            | Self::ImageRecorded
            | Self::TestimonyTaken
            | Self::LogContinued => false,
        }
    }

    /// The kind of an event. `None`: its fact is one that only a newer version knows.
    #[must_use]
    pub fn of(event: &Event) -> Option<Self> {
        Some(match event.fact.as_ref()? {
            Fact::StreamCreated(_) => Self::StreamCreated,
            Fact::StreamDeleted(_) => Self::StreamDeleted,
            Fact::StreamMetadataSet(_) | Fact::LookupPolicySet(_) => Self::StreamChanged,
            Fact::TagSet(_) => Self::TagSet,
            Fact::TagDeleted(_) => Self::TagDeleted,
            Fact::TagMoved(moved) if moved.change() == HistoryChange::Renewed => Self::TagConfirmed,
            Fact::TagMoved(_) => Self::TagMoved,
            Fact::ImportFailed(_) | Fact::RepositoryImportFailed(_) => Self::ImportFailed,
            Fact::FailureCleared(_) => Self::ImportRecovered,
            Fact::ImportFinished(_) => Self::ImportFinished,
            Fact::ImageRecorded(_) => Self::ImageRecorded,
            Fact::TagHeld(_) => Self::TagHeld,
            Fact::TagReleased(_) => Self::TagReleased,
            Fact::MoveWithheld(_) => Self::MoveWithheld,
            Fact::TagRestored(_) => Self::TagRestored,
            Fact::TestimonyTaken(_) => Self::TestimonyTaken,
            Fact::LogContinued(_) => Self::LogContinued,
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is no kind.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownKind(String);

impl fmt::Display for UnknownKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = Kind::ALL.map(Kind::as_str).join(", ");
        write!(f, "there is no kind \"{}\"; the kinds are {kinds}", self.0)
    }
}

impl std::error::Error for UnknownKind {}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

/// The one tag that an event is about. `None`: it is about the stream, or about several.
#[must_use]
pub fn tag(event: &Event) -> Option<&str> {
    match event.fact.as_ref()? {
        Fact::TagSet(set) => Some(&set.tag),
        Fact::TagDeleted(deleted) => Some(&deleted.tag),
        Fact::TagMoved(moved) => Some(&moved.tag),
        Fact::ImportFailed(failed) => Some(&failed.tag),
        Fact::FailureCleared(cleared) => Some(&cleared.tag),
        Fact::TagHeld(held) => Some(&held.tag),
        Fact::TagReleased(released) => Some(&released.tag),
        Fact::MoveWithheld(withheld) => Some(&withheld.tag),
        Fact::TagRestored(restored) => Some(&restored.tag),
        Fact::StreamCreated(_)
        | Fact::StreamDeleted(_)
        | Fact::StreamMetadataSet(_)
        | Fact::LookupPolicySet(_)
        | Fact::ImageRecorded(_)
        | Fact::ImportFinished(_)
        | Fact::RepositoryImportFailed(_)
        | Fact::TestimonyTaken(_)
        | Fact::LogContinued(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_its_word() {
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        let told = "moved".parse::<Kind>().expect_err("no kind").to_string();
        assert!(told.starts_with("there is no kind \"moved\"; the kinds are stream-created, "), "{told}");
    }
}
