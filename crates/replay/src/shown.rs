//! Streams as their events made them: to print, and to compare with what a server shows.
//!
//! What a server puts into its answers is put together here a second time, from the events alone.

use std::collections::{BTreeMap, BTreeSet};

use tagtrail_api::v1;
use tagtrail_domain::state::CHECK_ANNOTATION;
use tagtrail_domain::{HistoryItem, Model, StreamKey, StreamState, TagName, TagState, World as _};
use tagtrail_event_log::codec::to_proto;
use tagtrail_projection::describe;

use crate::wrong::Wrong;

/// A living stream put into words, with its whole history. `None`: it does not live.
#[must_use]
pub fn description(model: &Model, key: &StreamKey) -> Option<v1::ImageStreamDescription> {
    let state = model.stream(key);
    let stream = state.life.as_ref()?;
    let items = |tag: &TagName| -> Vec<v1::HistoryItem> {
        model.history(key, tag).iter().rev().map(|current| to_proto::history_item(&current.item)).collect()
    };
    let block = |block: describe::Block<'_>| v1::TagDescription {
        tag: block.tag.to_string(),
        aliases: block.aliases.iter().map(ToString::to_string).collect(),
        spec: block.state.spec.as_ref().map(to_proto::tag_spec),
        importing: block.importing,
        import_failure: block.state.condition.as_ref().map(to_proto::import_condition),
        items: items(&block.tag),
        history_length: block.state.history_length,
        hold: block.state.hold.as_ref().map(to_proto::hold),
    };
    let all = stream.tags.keys().flat_map(|tag| model.history(key, tag));
    let images: BTreeSet<_> = all.map(|current| &current.item.image).collect();
    Some(v1::ImageStreamDescription {
        stream: shown(key, &state),
        unique_images: images.len() as u64,
        tag_count: stream.tags.len() as u64,
        tags: describe::blocks(key, stream).into_iter().map(block).collect(),
    })
}

/// A living stream with the whole history of each tag, as the API has it. `None`: it does not live.
#[must_use]
pub fn whole(model: &Model, key: &StreamKey) -> Option<v1::ImageStream> {
    let mut stream = shown(key, &model.stream(key))?;
    for status in &mut stream.statuses {
        let tag = TagName::parse(&status.tag).expect("it was a tag's name");
        let items = model.history(key, &tag).iter().rev();
        status.items = items.map(|current| to_proto::history_item(&current.item)).collect();
    }
    Some(stream)
}

/// A living stream with what each tag points to. `None`: it does not live.
#[must_use]
pub fn shown(key: &StreamKey, state: &StreamState) -> Option<v1::ImageStream> {
    let stream = state.life.as_ref()?;
    let mut annotations = stream.annotations.clone();
    if let Some(at) = stream.checked_at {
        // To the second, as Kubernetes writes times.
        let at = prost_types::Timestamp { seconds: at.seconds, nanos: 0 };
        annotations.insert(CHECK_ANNOTATION.into(), at.to_string());
    }
    let tag = |(tag, state): (&TagName, &TagState)| {
        let spec = state.spec.as_ref()?;
        Some(v1::Tag { name: tag.to_string(), spec: Some(to_proto::tag_spec(spec)) })
    };
    let status = |(tag, state): (&TagName, &TagState)| {
        let newest = |item: &HistoryItem| to_proto::history_item(item);
        state.has_status().then(|| v1::TagStatus {
            tag: tag.to_string(),
            items: state.current.iter().map(|current| newest(&current.item)).collect(),
            history_length: state.history_length,
            import_failure: state.condition.as_ref().map(to_proto::import_condition),
            hold: state.hold.as_ref().map(to_proto::hold),
        })
    };
    let tags = || stream.tags.iter().map(|(tag, state)| (tag, &**state));
    Some(v1::ImageStream {
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
        uid: stream.uid.clone(),
        revision: state.revision,
        resource_version: state.sequence,
        generation: stream.generation,
        created: Some(to_proto::timestamp(stream.created)),
        labels: stream.labels.clone(),
        annotations,
        lookup_local: stream.lookup_local,
        repository: String::new(),
        public_repository: String::new(),
        tags: tags().filter_map(tag).collect(),
        statuses: tags().filter_map(status).collect(),
    })
}

/// Compares all streams that a server shows, at a moment, with what the events up to there make of them. Of each tag it
/// need not show more than what it points to.
#[must_use]
pub fn differences(
    streams: &BTreeMap<StreamKey, StreamState>,
    server: Vec<v1::ImageStream>,
    at: u64,
) -> Vec<Wrong> {
    let differs = |stream: String, what: String| Wrong::ProjectionDiffers { stream, at, what };
    let mut wrong = Vec::new();
    let mut server: BTreeMap<(String, String), v1::ImageStream> =
        server.into_iter().map(|stream| ((stream.namespace.clone(), stream.name.clone()), stream)).collect();
    for (key, state) in streams {
        let there = server.remove(&(key.namespace.to_string(), key.name.to_string()));
        match (shown(key, state), there) {
            (None, None) => {}
            (Some(_), None) => wrong.push(differs(key.to_string(), "it is not shown at all".into())),
            (None, Some(_)) => {
                wrong.push(differs(key.to_string(), "it is shown, and there is no such stream then".into()));
            }
            (Some(due), Some(there)) => {
                wrong.extend(parts(&due, there).into_iter().map(|what| differs(key.to_string(), what)));
            }
        }
    }
    let unknown = server.into_keys().map(|(namespace, name)| {
        differs(format!("{namespace}/{name}"), "it is shown, and no event is of it".into())
    });
    wrong.extend(unknown);
    wrong
}

/// Which parts of a stream are shown otherwise.
fn parts(due: &v1::ImageStream, mut there: v1::ImageStream) -> Vec<String> {
    // By which address it is reached only the server knows.
    (there.repository, there.public_repository) = (String::new(), String::new());
    // Items below the newest one.
    there.statuses.iter_mut().for_each(|status| status.items.truncate(1));
    if *due == there {
        return Vec::new();
    }
    let mut parts = Vec::new();
    let mut part = |what: &str, due: String, there: String| {
        if due != there {
            parts.push(format!("{what}: {there}, and by its events {due}"));
        }
    };
    part("id", due.uid.clone(), there.uid.clone());
    part("revision", due.revision.to_string(), there.revision.to_string());
    part("newest event", due.resource_version.to_string(), there.resource_version.to_string());
    part("generation", due.generation.to_string(), there.generation.to_string());
    part("created", format!("{:?}", due.created), format!("{:?}", there.created));
    part("lookup policy", due.lookup_local.to_string(), there.lookup_local.to_string());
    part("labels", sorted(&due.labels), sorted(&there.labels));
    part("annotations", sorted(&due.annotations), sorted(&there.annotations));
    let tags =
        |of: &v1::ImageStream| of.tags.iter().map(|tag| tag.name.clone()).collect::<Vec<_>>().join(", ");
    part("tags with a spec", tags(due), tags(&there));
    let pointing =
        |of: &v1::ImageStream| of.statuses.iter().map(|tag| tag.tag.clone()).collect::<Vec<_>>().join(", ");
    part("tags with a history", pointing(due), pointing(&there));
    for (due, there) in due.tags.iter().zip(&there.tags) {
        part(&format!("spec of {}", due.name), format!("{:?}", due.spec), format!("{:?}", there.spec));
    }
    for (due, there) in due.statuses.iter().zip(&there.statuses) {
        let item = |status: &v1::TagStatus| {
            status.items.first().map_or("nothing".into(), |item| item.docker_image_reference.clone())
        };
        part(&format!("{} points to", due.tag), item(due), item(there));
        part(
            &format!("items of {}", due.tag),
            due.history_length.to_string(),
            there.history_length.to_string(),
        );
        part(&format!("hold of {}", due.tag), format!("{:?}", due.hold), format!("{:?}", there.hold));
        part(
            &format!("failure of {}", due.tag),
            format!("{:?}", due.import_failure),
            format!("{:?}", there.import_failure),
        );
        part(&format!("item of {}", due.tag), format!("{:?}", due.items), format!("{:?}", there.items));
    }
    if parts.is_empty() {
        parts.push("in a part that has no name here".into());
    }
    parts
}

/// Entries in order, whatever order their map has.
fn sorted<'e>(entries: impl IntoIterator<Item = (&'e String, &'e String)>) -> String {
    let entries: BTreeMap<_, _> = entries.into_iter().collect();
    format!("{entries:?}")
}
