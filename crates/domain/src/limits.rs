//! Every limit of the domain, with its reason.

use std::ops::RangeInclusive;

/// Longest `namespace/name` of an image stream, in bytes (spec §1.3).
pub const STREAM_KEY_BYTES: usize = 255;
/// Longest repository name in an image reference, in bytes (spec §1.2).
pub const REPOSITORY_NAME_BYTES: usize = 255;
/// Longest tag, in bytes (spec §1.2).
pub const TAG_BYTES: usize = 128;
/// Longest namespace, in bytes: a DNS label (RFC 1123).
pub const NAMESPACE_BYTES: usize = 63;
/// Longest reason ("why"), in bytes. It is kept for ever in one event of at most 60 KiB.
pub const REASON_BYTES: usize = 4096;
/// Longest actor name, in bytes.
pub const ACTOR_BYTES: usize = 256;
/// Longest request id, in bytes.
pub const REQUEST_ID_BYTES: usize = 128;
/// All annotations (or all labels) of one object together, in bytes. Both travel in one event of at most 60 KiB.
pub const ENTRIES_BYTES: usize = 24 * 1024;
/// What storing one annotation or label costs beside its key and value, in bytes.
pub const ENTRY_OVERHEAD_BYTES: usize = 12;
/// Longest label value, in bytes (Kubernetes' label syntax).
pub const LABEL_VALUE_BYTES: usize = 63;
/// Longest failure message that is kept, in bytes: a registry can send anything.
pub const FAILURE_MESSAGE_BYTES: usize = 4096;
/// Most tags that one import may ask for; its events are one indivisible run.
pub const TAGS_PER_COMMAND: usize = 1000;
/// Most tags that one stream may have. A command looks at all of them, and a description shows all of them.
pub const TAGS_PER_STREAM: usize = 10_000;
/// Most outcomes that the closing event of an import lists, within one event of at most 60 KiB.
pub const OUTCOMES_PER_IMPORT: usize = 250;
/// Most tags that the event of a stream's deletion names, within one event of at most 60 KiB. The others are in the events
/// before it.
pub const TAGS_PER_DELETION: usize = 400;
/// Most history items that come back with a deleted tag, within one event of at most 60 KiB beside its annotations. The
/// others are in the events before its deletion.
pub const ITEMS_PER_RESTORED_TAG: usize = 50;
/// Most images of an image index that the event of its recording names, within one event of at most 60 KiB.
pub const MANIFESTS_PER_INDEX: usize = 250;
/// How often a tag may be looked at, in seconds. Below a second there is no schedule but a storm; a tag that is looked
/// at less than once in thirty days is not looked after.
pub const INTERVAL_SECONDS: RangeInclusive<u32> = 1..=30 * 24 * 60 * 60;
/// Longest name of a document that tells of an image stream, in bytes. It stands in one event.
pub const DOCUMENT_NAME_BYTES: usize = 1024;
/// Longest reference, uid or other word that such a document may tell, in bytes. An event holds two history items.
pub const TOLD_WORD_BYTES: usize = 1024;
/// What the events of one testimony may take together, in bytes: a command is one indivisible run, of which the log takes
/// no more than 15 MiB at once. History items beyond it are left out, the oldest first.
pub const TESTIMONY_BYTES: usize = 12 << 20;
/// Highest generation that is taken over, so that counting on never overflows: what a JSON number holds exactly.
pub const TOLD_GENERATION: i64 = 1 << 53;
/// Longest text of a checkpoint that is kept in an event, in bytes.
pub const CHECKPOINT_BYTES: usize = 4096;
