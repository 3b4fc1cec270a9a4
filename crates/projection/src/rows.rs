//! What stands in the rows: bincode, in the shape that version [`VERSION`] of the read model gives them. Domain
//! types are never serialized themselves, so a change there cannot silently change what is stored here.

use std::collections::BTreeMap;

use bincode::config::Configuration;
use serde::{Deserialize, Serialize};
use tagtrail_domain::event::ImageRecorded;
use tagtrail_domain::state::{Current, Hold, HoldTerms};
use tagtrail_domain::tag::{
    ImportCondition, ImportMode, ImportPolicy, ReferencePolicy, SourceKind, TagSource, TagSpec,
};
use tagtrail_domain::{
    Digest, Failure, FailureKind, HistoryItem, Interval, Namespace, Platform, Stream, TagState, Timestamp,
};

/// The version of keys and rows. A read model of any other version is thrown away and rebuilt.
pub(crate) const VERSION: u32 = 7;

/// The encoding of bincode 1, which other implementations read as well.
const ENCODING: Configuration<bincode::config::LittleEndian, bincode::config::Fixint> =
    bincode::config::legacy();

pub(crate) fn encode<T: Serialize>(row: &T) -> Vec<u8> {
    bincode::serde::encode_to_vec(row, ENCODING).expect("rows are plain data, which always encodes")
}

/// `None`: the bytes are not such a row. The read model is damaged and has to be rebuilt.
pub(crate) fn decode<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Option<T> {
    match bincode::serde::decode_from_slice(bytes, ENCODING) {
        Ok((row, read)) if read == bytes.len() => Some(row),
        _ => None,
    }
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct MetaRow {
    pub(crate) version: u32,
    pub(crate) log_id: String,
    /// Everything up to here is in the rows.
    pub(crate) position: u64,
    /// Checksum of the stored bytes of the event at `position`, to notice another log under the same id.
    pub(crate) checksum: u32,
    /// When that event was recorded.
    pub(crate) recorded_at: TimeRow,
    /// Not while rows are being written that lead further.
    pub(crate) whole: bool,
}

impl MetaRow {
    /// Whether it is of the same event of the same log.
    pub(crate) fn is_at(&self, other: &Self) -> bool {
        (self.position, self.checksum) == (other.position, other.checksum) && self.log_id == other.log_id
    }
}

#[derive(Serialize, Deserialize, Clone, Copy)]
pub(crate) struct TimeRow(i64, u32);

impl From<Timestamp> for TimeRow {
    fn from(at: Timestamp) -> Self {
        Self(at.seconds, at.nanos)
    }
}

impl From<TimeRow> for Timestamp {
    fn from(row: TimeRow) -> Self {
        Self::new(row.0, row.1)
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct StreamRow {
    pub(crate) revision: u64,
    pub(crate) sequence: u64,
    pub(crate) life: Option<LifeRow>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct LifeRow {
    uid: String,
    created: TimeRow,
    generation: i64,
    lookup_local: bool,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    checked_at: Option<TimeRow>,
}

impl From<&Stream> for LifeRow {
    fn from(stream: &Stream) -> Self {
        Self {
            uid: stream.uid.clone(),
            created: stream.created.into(),
            generation: stream.generation,
            lookup_local: stream.lookup_local,
            labels: stream.labels.clone(),
            annotations: stream.annotations.clone(),
            checked_at: stream.checked_at.map(Into::into),
        }
    }
}

impl LifeRow {
    /// The stream, its tags left out: they are rows of their own.
    pub(crate) fn into_stream(self) -> Stream {
        Stream {
            uid: self.uid,
            created: self.created.into(),
            generation: self.generation,
            lookup_local: self.lookup_local,
            labels: self.labels,
            annotations: self.annotations,
            checked_at: self.checked_at.map(Into::into),
            tags: BTreeMap::new(),
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct TagRow {
    spec: Option<SpecRow>,
    spec_sequence: u64,
    current: Option<HistoryRow>,
    history_length: u64,
    condition: Option<ConditionRow>,
    hold: Option<HoldRow>,
}

impl From<&TagState> for TagRow {
    fn from(tag: &TagState) -> Self {
        Self {
            spec: tag.spec.as_ref().map(Into::into),
            spec_sequence: tag.spec_sequence,
            current: tag.current.as_ref().map(Into::into),
            history_length: tag.history_length,
            condition: tag.condition.as_ref().map(Into::into),
            hold: tag.hold.as_ref().map(Into::into),
        }
    }
}

impl TagRow {
    pub(crate) fn into_state(self) -> Option<TagState> {
        Some(TagState {
            spec: transpose(self.spec.map(SpecRow::into_spec))?,
            spec_sequence: self.spec_sequence,
            current: transpose(self.current.map(HistoryRow::into_current))?,
            history_length: self.history_length,
            condition: transpose(self.condition.map(ConditionRow::into_condition))?,
            hold: transpose(self.hold.map(HoldRow::into_hold))?,
        })
    }
}

/// A part that is there must be readable; a part that is not there is fine.
#[allow(clippy::option_option)] // Outer: readable. Inner: there.
fn transpose<T>(part: Option<Option<T>>) -> Option<Option<T>> {
    match part {
        Some(None) => None,
        Some(Some(part)) => Some(Some(part)),
        None => Some(None),
    }
}

#[derive(Serialize, Deserialize)]
struct SpecRow {
    source: Option<(u8, Option<String>, String)>,
    reference: bool,
    generation: i64,
    insecure: bool,
    scheduled: bool,
    preserve_original: bool,
    interval_seconds: Option<u32>,
    local: bool,
    annotations: BTreeMap<String, String>,
}

const SOURCE_KINDS: [SourceKind; 3] =
    [SourceKind::DockerImage, SourceKind::ImageStreamTag, SourceKind::ImageStreamImage];

impl From<&TagSpec> for SpecRow {
    fn from(spec: &TagSpec) -> Self {
        let source = spec.source.as_ref().map(|source| {
            let kind = SOURCE_KINDS.iter().position(|kind| *kind == source.kind).unwrap_or(usize::MAX);
            let namespace = source.namespace.as_ref().map(ToString::to_string);
            (u8::try_from(kind).expect("the table of kinds is complete"), namespace, source.name.clone())
        });
        Self {
            source,
            reference: spec.reference,
            generation: spec.generation,
            insecure: spec.import_policy.insecure,
            scheduled: spec.import_policy.scheduled,
            preserve_original: spec.import_policy.mode == ImportMode::PreserveOriginal,
            interval_seconds: spec.import_policy.interval.map(Interval::seconds),
            local: spec.reference_policy == ReferencePolicy::Local,
            annotations: spec.annotations.clone(),
        }
    }
}

impl SpecRow {
    fn into_spec(self) -> Option<TagSpec> {
        let source = match self.source {
            None => None,
            Some((kind, namespace, name)) => Some(TagSource {
                kind: *SOURCE_KINDS.get(usize::from(kind))?,
                namespace: transpose(namespace.map(|text| Namespace::parse(&text).ok()))?,
                name,
            }),
        };
        Some(TagSpec {
            source,
            reference: self.reference,
            generation: self.generation,
            import_policy: ImportPolicy {
                insecure: self.insecure,
                scheduled: self.scheduled,
                mode: if self.preserve_original { ImportMode::PreserveOriginal } else { ImportMode::Legacy },
                interval: transpose(self.interval_seconds.map(|s| Interval::from_seconds(s).ok()))?,
            },
            reference_policy: if self.local { ReferencePolicy::Local } else { ReferencePolicy::Source },
            annotations: self.annotations,
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct HistoryRow {
    created: TimeRow,
    reference: String,
    image: Option<String>,
    generation: i64,
    media_type: String,
    platform: Option<PlatformRow>,
    index: Option<String>,
    sequence: u64,
    /// Number of the next older item of the tag with the same image, so that nobody has to look for it.
    pub(crate) older: Option<u64>,
}

impl From<&Current> for HistoryRow {
    fn from(current: &Current) -> Self {
        let item = &current.item;
        Self {
            created: item.created.into(),
            reference: item.reference.clone(),
            image: item.image.as_ref().map(ToString::to_string),
            generation: item.generation,
            media_type: item.media_type.clone(),
            platform: item.platform.as_ref().map(Into::into),
            index: item.index.as_ref().map(ToString::to_string),
            sequence: current.sequence,
            older: None,
        }
    }
}

impl HistoryRow {
    pub(crate) fn into_current(self) -> Option<Current> {
        let item = HistoryItem {
            created: self.created.into(),
            reference: self.reference,
            image: transpose(self.image.map(|text| Digest::parse(&text).ok()))?,
            generation: self.generation,
            media_type: self.media_type,
            platform: self.platform.map(Into::into),
            index: transpose(self.index.map(|text| Digest::parse(&text).ok()))?,
        };
        Some(Current { item, sequence: self.sequence })
    }
}

#[derive(Serialize, Deserialize)]
struct HoldRow {
    held_by: String,
    reason: String,
    expires_at: Option<TimeRow>,
    since: TimeRow,
    sequence: u64,
    withheld: Option<HistoryRow>,
}

impl From<&Hold> for HoldRow {
    fn from(hold: &Hold) -> Self {
        // No event has put it into a history.
        let withheld = hold.withheld.clone().map(|item| Current { item, sequence: 0 });
        Self {
            held_by: hold.terms.held_by.clone(),
            reason: hold.terms.reason.clone(),
            expires_at: hold.terms.expires_at.map(Into::into),
            since: hold.since.into(),
            sequence: hold.sequence,
            withheld: withheld.as_ref().map(Into::into),
        }
    }
}

impl HoldRow {
    fn into_hold(self) -> Option<Hold> {
        let expires_at = self.expires_at.map(Into::into);
        Some(Hold {
            terms: HoldTerms { held_by: self.held_by, reason: self.reason, expires_at },
            since: self.since.into(),
            sequence: self.sequence,
            withheld: transpose(self.withheld.map(HistoryRow::into_current))?.map(|current| current.item),
        })
    }
}

#[derive(Serialize, Deserialize)]
struct PlatformRow(String, String, String);

impl From<&Platform> for PlatformRow {
    fn from(platform: &Platform) -> Self {
        Self(platform.os.clone(), platform.architecture.clone(), platform.variant.clone())
    }
}

impl From<PlatformRow> for Platform {
    fn from(row: PlatformRow) -> Self {
        Self { os: row.0, architecture: row.1, variant: row.2 }
    }
}

#[derive(Serialize, Deserialize)]
struct ConditionRow {
    kind: u8,
    reason: String,
    message: String,
    generation: i64,
    since: TimeRow,
}

const FAILURE_KINDS: [FailureKind; 9] = [
    FailureKind::NotFound,
    FailureKind::Unauthorized,
    FailureKind::Denied,
    FailureKind::RateLimited,
    FailureKind::Unreachable,
    FailureKind::BadAnswer,
    FailureKind::InvalidReference,
    FailureKind::Forbidden,
    FailureKind::Unsupported,
];

impl From<&ImportCondition> for ConditionRow {
    fn from(condition: &ImportCondition) -> Self {
        let kind =
            FAILURE_KINDS.iter().position(|kind| *kind == condition.failure.kind).unwrap_or(usize::MAX);
        Self {
            kind: u8::try_from(kind).expect("the table of kinds is complete"),
            reason: condition.failure.reason.clone(),
            message: condition.failure.message.clone(),
            generation: condition.generation,
            since: condition.since.into(),
        }
    }
}

impl ConditionRow {
    fn into_condition(self) -> Option<ImportCondition> {
        let kind = *FAILURE_KINDS.get(usize::from(self.kind))?;
        Some(ImportCondition {
            failure: Failure { kind, reason: self.reason, message: self.message },
            generation: self.generation,
            since: self.since.into(),
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct ImageRow {
    reference: String,
    media_type: String,
    config: Option<String>,
    size: i64,
    platform: Option<PlatformRow>,
    built_at: Option<TimeRow>,
    manifests: Vec<String>,
    pub(crate) recorded_at: TimeRow,
    pub(crate) sequence: u64,
}

impl ImageRow {
    pub(crate) fn new(image: &ImageRecorded, recorded_at: Timestamp, sequence: u64) -> Self {
        Self {
            reference: image.reference.clone(),
            media_type: image.media_type.clone(),
            config: image.config.as_ref().map(ToString::to_string),
            size: image.size,
            platform: image.platform.as_ref().map(Into::into),
            built_at: image.built_at.map(Into::into),
            manifests: image.manifests.iter().map(ToString::to_string).collect(),
            recorded_at: recorded_at.into(),
            sequence,
        }
    }

    pub(crate) fn into_image(self, digest: Digest) -> Option<ImageRecorded> {
        Some(ImageRecorded {
            digest,
            reference: self.reference,
            media_type: self.media_type,
            config: transpose(self.config.map(|text| Digest::parse(&text).ok()))?,
            size: self.size,
            platform: self.platform.map(Into::into),
            built_at: self.built_at.map(Into::into),
            manifests: self.manifests.iter().map(|text| Digest::parse(text).ok()).collect::<Option<_>>()?,
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct RequestRow {
    pub(crate) first_sequence: u64,
    pub(crate) length: u32,
    pub(crate) digest: Vec<u8>,
}
