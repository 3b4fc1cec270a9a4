//! Facts: what has happened, in the past tense. They carry all that `apply` needs and all that is needed to tell
//! in ten years what they were about; who, when and why ride in the [`Recorded`] envelope that the shell adds.

use crate::digest::Digest;
use crate::image::{Failure, Platform};
use crate::names::{StreamKey, TagName};
use crate::state::{HistoryItem, HoldTerms};
use crate::tag::{Entries, TagSpec};
use crate::time::Timestamp;

/// A fact about one stream, and the stream's generation after it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// Which life of the stream's name it happened in.
    pub stream_uid: String,
    /// The stream's generation afterwards.
    pub generation: i64,
    /// What happened.
    pub fact: Fact,
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fact {
    /// The stream came into being.
    StreamCreated {
        /// Whether unqualified image names may resolve to its tags.
        lookup_local: bool,
        /// Labels.
        labels: Entries,
        /// Annotations.
        annotations: Entries,
    },
    /// The stream was deleted with all of its tags.
    StreamDeleted {
        /// The tags it had, sorted; at most the first 400.
        tags: Vec<TagName>,
    },
    /// Labels or annotations changed. The maps are what the stream has afterwards.
    StreamMetadataSet {
        /// All labels.
        labels: Entries,
        /// All annotations.
        annotations: Entries,
    },
    /// Local lookup was turned on or off.
    LookupPolicySet {
        /// On or off.
        local: bool,
    },
    /// What a tag shall follow was set or changed.
    TagSet {
        /// The tag.
        tag: TagName,
        /// What it shall follow from now on.
        spec: TagSpec,
    },
    /// A tag was deleted, spec and history.
    TagDeleted {
        /// The tag.
        tag: TagName,
        /// Whether it had a spec.
        had_spec: bool,
        /// What it pointed to.
        last: Option<HistoryItem>,
    },
    /// A tag points to another image, or its newest history item was renewed.
    TagMoved(Box<TagMoved>),
    /// An import failed. History is not touched.
    ImportFailed {
        /// The tag that was to be imported.
        tag: TagName,
        /// Where from, as it was typed.
        source: String,
        /// What was wrong.
        failure: Failure,
        /// The generation that the failure stands for.
        generation: i64,
        /// Since when it was so, as a document told. `None`: since it was recorded.
        told_since: Option<Timestamp>,
    },
    /// A failure that was shown on a tag no longer holds.
    FailureCleared {
        /// The tag.
        tag: TagName,
    },
    /// An image became known.
    ImageRecorded(Box<ImageRecorded>),
    /// An import that changed something came to its end.
    ImportFinished(Box<ImportFinished>),
    /// The import of a whole repository failed before its tags were known. Nothing that is true of the stream changes.
    RepositoryImportFailed {
        /// The repository, as it was typed.
        repository: String,
        /// What was wrong.
        failure: Failure,
    },
    /// A tag is held: until it is released, nothing moves it but a rollback.
    TagHeld {
        /// The tag.
        tag: TagName,
        /// Who, why, and until when.
        terms: HoldTerms,
    },
    /// A tag is held no longer.
    TagReleased {
        /// The tag.
        tag: TagName,
        /// Whether its time was up. False: somebody released it.
        expired: bool,
    },
    /// Something would have moved a held tag.
    MoveWithheld(Box<MoveWithheld>),
    /// A deleted tag is back, as it was.
    TagRestored(Box<TagRestored>),
    /// The stream is here because a document told of it: what comes in one run with this was told, not observed.
    TestimonyTaken(Box<TestimonyTaken>),
    /// The log goes on under a new id. It is about no stream, and stands under [`StreamKey::of_log`].
    LogContinued(Box<LogContinued>),
}

impl Fact {
    /// The one tag it is about, if it is about one.
    #[must_use]
    pub fn tag(&self) -> Option<&TagName> {
        match self {
            Self::TagSet { tag, .. }
            | Self::TagDeleted { tag, .. }
            | Self::ImportFailed { tag, .. }
            | Self::FailureCleared { tag }
            | Self::TagHeld { tag, .. }
            | Self::TagReleased { tag, .. } => Some(tag),
            Self::TagMoved(moved) => Some(&moved.tag),
            Self::MoveWithheld(withheld) => Some(&withheld.tag),
            Self::TagRestored(restored) => Some(&restored.tag),
            Self::StreamCreated { .. }
            | Self::StreamDeleted { .. }
            | Self::StreamMetadataSet { .. }
            | Self::LookupPolicySet { .. }
            | Self::ImageRecorded(_)
            | Self::ImportFinished(_)
            | Self::RepositoryImportFailed { .. }
            | Self::TestimonyTaken(_)
            | Self::LogContinued(_) => None,
        }
    }
}

/// A tag points to another image, or its newest history item was renewed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TagMoved {
    /// The tag.
    pub tag: TagName,
    /// What it points to now.
    pub item: HistoryItem,
    /// What happened to the history as OpenShift shows it.
    pub change: HistoryChange,
    /// What it pointed to before.
    pub previous: Option<HistoryItem>,
    /// Sequence of the event that had set the previous item. 0: there was none.
    pub replaces_sequence: u64,
    /// What moved it.
    pub cause: MoveCause,
    /// Where the tag takes its image from, as it was typed. Empty: its spec names no source.
    pub source: String,
    /// Sequence of the event that had set the item which was taken over, from another tag or from this tag's own past.
    /// 0: it came from a registry, or was made for a reference tag.
    pub copied_from: u64,
}

/// Something would have moved a held tag. It points to what it pointed to before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MoveWithheld {
    /// The tag.
    pub tag: TagName,
    /// What it would point to now.
    pub item: HistoryItem,
    /// What would have moved it.
    pub cause: MoveCause,
    /// Where the tag takes its image from, as it was typed. Empty: its spec names no source.
    pub source: String,
    /// As in [`TagMoved`].
    pub copied_from: u64,
}

/// A deleted tag is back, as it was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TagRestored {
    /// The tag.
    pub tag: TagName,
    /// What it follows. `None`: there is history only.
    pub spec: Option<TagSpec>,
    /// Its history as OpenShift shows it, newest first; at most the newest 50 items.
    pub items: Vec<HistoryItem>,
    /// The hold that it had.
    pub hold: Option<HoldTerms>,
    /// It is as it was right after this event.
    pub as_of: u64,
}

/// What happened to a tag's history as OpenShift shows it (spec §2.6).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum HistoryChange {
    /// A new item was put on top.
    Added,
    /// The newest item got another image or another reference in place.
    Replaced,
    /// The newest item got another generation only.
    Renewed,
}

/// What moved a tag.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum MoveCause {
    /// Somebody asked for an import.
    Import,
    /// A scheduled check found it.
    ScheduledImport,
    /// Somebody set the tag to an image that was known already.
    Tag,
    /// The tag follows this tag, which moved.
    Alias(TagName),
    /// Somebody took the tag back to what it had pointed to.
    Rollback,
    /// A document told that the tag had pointed there. When, the item says; nobody here has seen it.
    Testimony,
}

/// An image stream was taken over from elsewhere, as a document told of it. Second in its run, after the creation; the tags
/// and their histories follow. Of what was not told the texts are empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TestimonyTaken {
    /// Name of the document, as it was given.
    pub document: String,
    /// Digest of the document's bytes.
    pub document_digest: Digest,
    /// The stream's namespace there.
    pub namespace: String,
    /// The stream's name there.
    pub name: String,
    /// The stream's uid there.
    pub uid: String,
    /// The stream's resource version there.
    pub resource_version: String,
    /// When the stream was created there. It counts as created then.
    pub created: Option<Timestamp>,
    /// When an import had last changed something there.
    pub checked_at: Option<Timestamp>,
    /// How many history items the document told of that were left out, the oldest of their tags.
    pub items_left_out: u32,
}

/// The log goes on under a new id: it was found behind what others had seen of it, and somebody accepted that. No command
/// makes this event; the server writes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogContinued {
    /// The id that it had, 32 hexadecimal digits.
    pub old_log_id: String,
    /// The origin that its checkpoints had named.
    pub old_origin: String,
    /// The last checkpoint of the old log that is known, as its text; at most [`limits::CHECKPOINT_BYTES`]. Empty: none is
    /// known.
    ///
    /// [`limits::CHECKPOINT_BYTES`]: crate::limits::CHECKPOINT_BYTES
    pub old_checkpoint: String,
    /// The newest sequence that the log had when it went on under the new id.
    pub head: u64,
}

/// An image became known. Its bytes were in the blob store, synced, before the event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImageRecorded {
    /// Its name.
    pub digest: Digest,
    /// Where it was first imported from, at its digest.
    pub reference: String,
    /// Media type of the manifest.
    pub media_type: String,
    /// Digest of the configuration. `None` for an image index.
    pub config: Option<Digest>,
    /// Bytes of the configuration and of all distinct layers.
    pub size: i64,
    /// What it runs on. `None` for an image index.
    pub platform: Option<Platform>,
    /// When the image says it was built.
    pub built_at: Option<Timestamp>,
    /// The images of an image index that was kept whole, in its order; at most the first 250.
    pub manifests: Vec<Digest>,
}

/// An import that changed something came to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImportFinished {
    /// When the registry was asked.
    pub checked_at: Timestamp,
    /// What became of each tag, in the order asked for; at most the first 250. The moves and failures themselves are
    /// events of their own.
    pub outcomes: Vec<ImportOutcome>,
    /// Whether a schedule asked for it.
    pub scheduled: bool,
    /// The repository, where a whole one was imported. Otherwise empty.
    pub repository: String,
    /// How many tags of the repository were left out because of the limit.
    pub additional_tags: u32,
}

/// What became of one tag in an import.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImportOutcome {
    /// The tag.
    pub tag: TagName,
    /// The image it got, or OpenShift's word for the failure.
    pub result: Result<Digest, String>,
}

/// Who did something.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Actor {
    /// Name, as claimed or as authenticated.
    pub name: String,
    /// Whether the name was proven.
    pub authenticated: bool,
}

/// The run of events that one command made. It is stored whole or not at all.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Run {
    /// Sequence of its first event.
    pub first_sequence: u64,
    /// How many events it has.
    pub length: u32,
}

/// An event in its envelope: exactly what the log keeps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recorded {
    /// Position in the whole log, from 1.
    pub sequence: u64,
    /// Position among the events of the stream's name, from 1.
    pub revision: u64,
    /// When it was recorded. Never earlier than the event before it.
    pub recorded_at: Timestamp,
    /// The run it belongs to.
    pub run: Run,
    /// The stream it is about.
    pub stream: StreamKey,
    /// Who asked for it.
    pub actor: Actor,
    /// Why, in the words of who asked.
    pub reason: String,
    /// The command that made it, such as `tag` or `import`.
    pub command: String,
    /// The caller's id of the request. Empty: none.
    pub request_id: String,
    /// SHA-256 of the request. Empty without a request id.
    pub request_digest: Vec<u8>,
    /// Sequence of the event that asked for it. 0: none.
    pub caused_by: u64,
    /// W3C trace context of the request that made it. Empty: none.
    pub traceparent: String,
    /// What happened.
    pub event: Event,
}
