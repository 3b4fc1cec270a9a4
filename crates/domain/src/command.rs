//! Wishes, in the imperative. What they need from outside (time, ids, what a registry answered) comes with them.

use crate::digest::Digest;
use crate::event::TestimonyTaken;
use crate::image::{Failure, Image};
use crate::names::TagName;
use crate::state::{Current, HistoryItem, HoldTerms};
use crate::tag::{Entries, ImportPolicy, ReferencePolicy, TagSource, TagSpec};
use crate::time::Timestamp;

/// What the shell knows and the domain must be told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Context {
    /// When the events of this command will be recorded.
    pub now: Timestamp,
    /// The sequence that the first event of this command will have.
    pub next_sequence: u64,
    /// Fresh ids, for streams that are created: as many as there are streams in what is wished.
    pub fresh_uids: Vec<String>,
    /// The revision that the stream must have. 0: it must not exist. `None`: any.
    pub expected_revision: Option<u64>,
    /// Host of the internal registry, for references that shall follow the stream they are copied to (spec §2.3).
    pub internal_registry: Option<String>,
    /// Most tags that a stream may get. Never more than [`limits::TAGS_PER_STREAM`](crate::limits::TAGS_PER_STREAM).
    pub tags_per_stream: usize,
}

/// A wish about one image stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Create an empty stream.
    CreateStream {
        /// Whether unqualified image names may resolve to its tags.
        lookup_local: bool,
        /// Its labels.
        labels: Entries,
        /// Its annotations.
        annotations: Entries,
    },
    /// Delete the stream with all of its tags.
    DeleteStream,
    /// Turn local lookup on or off.
    SetLookupPolicy {
        /// On or off.
        local: bool,
    },
    /// Change annotations and labels.
    UpdateMetadata(UpdateMetadata),
    /// Point a tag at something, creating tag and stream as needed.
    SetTag(SetTag),
    /// Delete a tag, spec and history.
    DeleteTag {
        /// The tag as typed. A text that is no tag is a tag that does not exist.
        tag: String,
        /// What it must point to.
        expect: Option<Expectation>,
    },
    /// Take a tag back to what it has pointed to, and hold it there.
    Rollback(Rollback),
    /// Hold a tag where it is.
    Hold {
        /// The tag.
        tag: TagName,
        /// Who, why, and until when.
        terms: HoldTerms,
        /// What it must point to.
        expect: Option<Expectation>,
    },
    /// Release a tag.
    Release {
        /// The tag.
        tag: TagName,
        /// Because its time is up: nothing is done if it is not.
        expired: bool,
    },
    /// Bring back what was deleted.
    Restore(Restore),
    /// Take over what registries answered.
    Import(Import),
    /// Take over an image stream as a document tells of it. It must not be there.
    TakeTestimony(Box<Testimony>),
}

/// Change annotations and labels of a stream, or annotations of one of its tags.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct UpdateMetadata {
    /// The tag, where a tag's annotations are meant.
    pub tag: Option<TagName>,
    /// Annotations to set.
    pub set_annotations: Entries,
    /// Annotations to remove.
    pub remove_annotations: Vec<String>,
    /// Labels to set.
    pub set_labels: Entries,
    /// Labels to remove.
    pub remove_labels: Vec<String>,
    /// Whether a key that has another value may be changed.
    pub overwrite: bool,
}

/// Point a tag at something (`oc tag`, `oc create imagestreamtag`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetTag {
    /// The tag.
    pub tag: TagName,
    /// What to point it at. `None`: a tag without source.
    pub source: Option<TagSource>,
    /// With an image stream tag as the source: follow it, instead of copying what it points to now.
    pub alias: bool,
    /// Only point at the source, never import it.
    pub reference: bool,
    /// How to import.
    pub import_policy: ImportPolicy,
    /// How consumers shall pull.
    pub reference_policy: ReferencePolicy,
    /// Annotations of the tag. The ones it had are dropped.
    pub annotations: Entries,
    /// Refuse if the tag has a spec already.
    pub create: bool,
    /// What the tag must point to now.
    pub expect: Option<Expectation>,
}

/// What a tag must point to, for a wish to be carried out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expectation {
    /// Nothing: it is not there, or has no history.
    Nothing,
    /// This image.
    Image(Digest),
}

/// Take a tag back to what it has pointed to, and hold it there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rollback {
    /// The tag.
    pub tag: TagName,
    /// What it had pointed to, and the event that had brought it there.
    pub to: Current,
    /// Who holds it, why, and until when.
    pub terms: HoldTerms,
    /// What it must point to.
    pub expect: Option<Expectation>,
    /// Sequence of the event that had set what it points to, when this was planned. If the tag has moved meanwhile, "back"
    /// means something else. 0: does not matter.
    pub planned: u64,
}

/// Bring back what was deleted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Restore {
    /// What the stream was, for the case that it does not live.
    pub lookup_local: bool,
    /// Its labels.
    pub labels: Entries,
    /// Its annotations.
    pub annotations: Entries,
    /// Whether the stream itself is to come back: it must not be there.
    pub whole: bool,
    /// The tags that are to come back.
    pub tags: Vec<RestoredTag>,
    /// They are as they were right after this event.
    pub as_of: u64,
}

/// A tag that is to come back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RestoredTag {
    /// The tag.
    pub tag: TagName,
    /// What it followed.
    pub spec: Option<TagSpec>,
    /// Its history, newest first.
    pub items: Vec<HistoryItem>,
    /// The hold that it had.
    pub hold: Option<HoldTerms>,
}

/// Take over an image stream as a document tells of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Testimony {
    /// The document, and what it tells of the stream as it was there. How many items are left out is found by deciding.
    pub told: TestimonyTaken,
    /// The stream's generation. 0: it was not told.
    pub generation: i64,
    /// Whether unqualified image names may resolve to its tags.
    pub lookup_local: bool,
    /// Its labels.
    pub labels: Entries,
    /// Its annotations. Those that tell of the tool which wrote them are left out.
    pub annotations: Entries,
    /// Its tags.
    pub tags: Vec<ToldTag>,
    /// What the envelope of each event takes, in bytes, as the shell knows: all of them are one run, which is bounded.
    pub envelope_bytes: usize,
}

/// A tag as a document tells of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ToldTag {
    /// The tag.
    pub tag: TagName,
    /// What it follows. `None`: there is history only. A generation of 0 was not told.
    pub spec: Option<TagSpec>,
    /// Its history, newest first.
    pub items: Vec<HistoryItem>,
    /// The failure that holds.
    pub failure: Option<ToldFailure>,
}

/// A failed import as a document tells of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ToldFailure {
    /// What was wrong.
    pub failure: Failure,
    /// The generation that the failure stands for.
    pub generation: i64,
    /// Since when. `None`: it was not told.
    pub since: Option<Timestamp>,
}

/// Take over what registries answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Import {
    /// One entry for each image, those of a whole repository first.
    pub targets: Vec<ImportTarget>,
    /// The repository, where a whole one was imported. Otherwise empty.
    pub repository: String,
    /// Why the repository could not be imported at all: its tags are not known, so it has no targets.
    pub repository_failure: Option<Failure>,
    /// How many tags of the repository were left out because of the limit.
    pub additional_tags: u32,
    /// Create the stream if there is none.
    pub create_stream: bool,
    /// Who wants it: a person, or Tagtrail itself carrying out a wish of before.
    pub origin: ImportOrigin,
    /// Which life of the stream it was planned for. `None`: there was no stream.
    pub planned_uid: Option<String>,
}

/// Who wants an import.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ImportOrigin {
    /// A person, now. If the tag was set anew meanwhile, that is a conflict.
    Request,
    /// A tag that was set before. If it was set anew meanwhile, this answer is dropped.
    Background,
    /// The schedule. Otherwise as in the background.
    Schedule,
}

/// One image of an import.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImportTarget {
    /// The tag that gets it.
    pub tag: TagName,
    /// Where from, as it was typed.
    pub from: String,
    /// How it was imported, and how it shall be from now on.
    pub policy: ImportPolicy,
    /// How consumers shall pull, for a tag that this import creates.
    pub reference_policy: ReferencePolicy,
    /// Whether it belongs to the import of a whole repository: its failure then creates no tag.
    pub from_repository: bool,
    /// What the tag followed when the import was planned: the question that `outcome` answers. `None`: the tag had no
    /// spec.
    pub planned: Option<TagSpec>,
    /// What the registry answered.
    pub outcome: Result<ImportedImage, Failure>,
}

/// An image that a registry gave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImportedImage {
    /// The image.
    pub image: Image,
    /// The images of an index that was kept whole.
    pub children: Vec<Image>,
    /// The image index that the image was chosen from. `None`: the manifest itself was named.
    pub index: Option<Digest>,
}
