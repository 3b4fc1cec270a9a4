//! What is true of an image stream at one moment: the state that commands are decided on.
//!
//! A tag's older history is not in it. No decision needs it but one (finding an image again), which asks the
//! [`World`](crate::decide::World). So a decision costs the same after ten moves and after ten thousand.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::digest::Digest;
use crate::image::Platform;
use crate::names::TagName;
use crate::tag::{Entries, ImportCondition, TagSpec};
use crate::time::Timestamp;

/// One entry of a tag's history (OpenShift's TagEvent).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistoryItem {
    /// When the image came to this tag, or to the tag that it was copied from.
    pub created: Timestamp,
    /// Pull spec of the image, at its digest unless the tag is a reference.
    pub reference: String,
    /// The image. `None` for a reference tag.
    pub image: Option<Digest>,
    /// The stream's generation when it was recorded.
    pub generation: i64,
    /// Media type of the image's manifest. Empty for a reference tag.
    pub media_type: String,
    /// What the image runs on. `None` for an image index and for a reference tag.
    pub platform: Option<Platform>,
    /// The image index that this image was chosen from. `None`: the manifest itself was named. Where an image came from
    /// is no part of what it is: the same image out of another index is the same item.
    pub index: Option<Digest>,
}

impl HistoryItem {
    /// Whether it stands for the same image by the same reference.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.reference == other.reference && self.image == other.image
    }

    /// Whether its image is known by a document's word only: nobody here has seen a manifest of it.
    #[must_use]
    pub fn is_only_told(&self) -> bool {
        self.image.is_some() && self.media_type.is_empty()
    }
}

/// The newest entry of a tag's history, and the event that set it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Current {
    /// The entry.
    pub item: HistoryItem,
    /// Sequence of the event that set it, in place or on top.
    pub sequence: u64,
}

/// What is true of one tag.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct TagState {
    /// What it shall follow. `None`: there is history only.
    pub spec: Option<TagSpec>,
    /// Sequence of the event that set the spec. 0: there is none.
    pub spec_sequence: u64,
    /// What it points to. `None`: nothing yet.
    pub current: Option<Current>,
    /// How many entries its history has, as OpenShift shows it.
    pub history_length: u64,
    /// The failure that holds at present.
    pub condition: Option<ImportCondition>,
    /// What keeps it where it is. Only a tag that points to something is held.
    pub hold: Option<Hold>,
}

/// Who holds a tag, why, and until when.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct HoldTerms {
    /// Who, as they said.
    pub held_by: String,
    /// Why.
    pub reason: String,
    /// When it is to be released without anybody asking. `None`: never. It is held until the event that releases it.
    pub expires_at: Option<Timestamp>,
}

/// What keeps a tag where it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hold {
    /// Who, why, and until when.
    pub terms: HoldTerms,
    /// Since when.
    pub since: Timestamp,
    /// Sequence of the event that put it on the tag.
    pub sequence: u64,
    /// What the tag would point to if it were not held. `None`: what it points to.
    pub withheld: Option<HistoryItem>,
}

impl TagState {
    /// The generation that history and failures account for (spec §2.2, observed generation).
    #[must_use]
    pub fn observed_generation(&self) -> i64 {
        let item = self.current.as_ref().map_or(0, |c| c.item.generation);
        let condition = self.condition.as_ref().map_or(0, |c| c.generation);
        item.max(condition)
    }

    /// Whether an import was asked for that has not been answered (spec §2.2, *needs import*). A held tag waits for
    /// nothing: the wish is open again when it is released.
    #[must_use]
    pub fn needs_import(&self) -> bool {
        let wished = self
            .spec
            .as_ref()
            .is_some_and(|s| s.is_importable() && s.generation > self.observed_generation());
        wished && self.hold.is_none()
    }

    /// Whether OpenShift would list the tag in `status.tags`.
    #[must_use]
    pub fn has_status(&self) -> bool {
        self.current.is_some() || self.condition.is_some()
    }
}

/// A living image stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stream {
    /// Which life of the name this is.
    pub uid: String,
    /// When it was created.
    pub created: Timestamp,
    /// How often its spec has changed, from 1 (spec §2.2).
    pub generation: i64,
    /// Whether unqualified image names may resolve to its tags.
    pub lookup_local: bool,
    /// Labels.
    pub labels: Entries,
    /// Annotations, without the time of the last import: see `checked_at`.
    pub annotations: Entries,
    /// When an import last changed something (annotation `openshift.io/image.dockerRepositoryCheck`).
    pub checked_at: Option<Timestamp>,
    /// Its tags, with spec or history or both. Shared, so that a copy of a stream with many tags costs little.
    pub tags: BTreeMap<TagName, Arc<TagState>>,
}

/// What is true of the name of an image stream, living or not.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct StreamState {
    /// How many events the name has had. It goes on after a deletion.
    pub revision: u64,
    /// Sequence of the newest of them. 0: none.
    pub sequence: u64,
    /// The stream, if there is one now.
    pub life: Option<Stream>,
}

impl StreamState {
    /// A tag of the stream, if there are both.
    #[must_use]
    pub fn tag(&self, tag: &TagName) -> Option<&TagState> {
        self.life.as_ref()?.tags.get(tag).map(AsRef::as_ref)
    }

    /// What a tag points to.
    #[must_use]
    pub fn points_to(&self, tag: &TagName) -> Option<&Current> {
        self.tag(tag)?.current.as_ref()
    }
}

/// The annotation that shows [`Stream::checked_at`].
pub const CHECK_ANNOTATION: &str = "openshift.io/image.dockerRepositoryCheck";
/// The annotation that lets the whole stream be imported insecurely when it says `true` (spec §1.1).
pub const INSECURE_ANNOTATION: &str = "openshift.io/image.insecureRepository";
