//! What a watcher asks for, and which events that means.

use std::time::Duration;

use tagtrail_api::kind::{self, Kind, UnknownKind};
use tagtrail_api::v1;
use tagtrail_domain::{NameError, Namespace, Refusal, StreamKey, TagName};
use tagtrail_projection::labels::Selector;

use super::tail::Told;
use crate::convert::history_limit;

/// After how long without an answer a bookmark is due, if nobody says; and the longest time that can be said.
const BOOKMARK_SECONDS: u32 = 10;
const LONGEST_BOOKMARK_SECONDS: u32 = 3_600;

/// What a watcher asks for.
pub(crate) struct Wish {
    /// Where to begin.
    pub(crate) begin: Begin,
    /// Which events.
    pub(crate) filter: Filter,
    /// Whether image streams are told instead of events.
    pub(crate) streams: bool,
    /// Which image streams.
    pub(crate) selector: Selector,
    /// At most so many history items of each tag of a stream.
    pub(crate) history_limit: usize,
    /// After how long without an answer a bookmark is due.
    pub(crate) bookmarks: Duration,
}

/// Where a watch begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Begin {
    /// Behind an event.
    After(u64),
    /// With the streams there are.
    Snapshot,
    /// Now.
    Now,
}

/// Which events pass.
#[derive(Default)]
pub(crate) struct Filter {
    /// Only those of this namespace.
    pub(crate) namespace: Option<Namespace>,
    /// Only those of this stream.
    pub(crate) stream: Option<StreamKey>,
    tag: Option<TagName>,
    /// Empty: all.
    kinds: Vec<Kind>,
}

impl Wish {
    /// The one door in.
    ///
    /// # Errors
    /// A sentence, where it can never match anything.
    pub(crate) fn parse(request: v1::WatchRequest) -> Result<Self, String> {
        use v1::watch_request::Begin as Asked;

        let begin = match request.begin {
            Some(Asked::AfterSequence(sequence)) => Begin::After(sequence),
            Some(Asked::Snapshot(true)) => Begin::Snapshot,
            Some(Asked::Snapshot(false)) | None => Begin::Now,
        };
        let tells_streams = request.streams || begin == Begin::Snapshot;
        if !tells_streams && !request.label_selector.is_empty() {
            return Err("a label selector goes with `streams` or `snapshot`: events have no labels".into());
        }
        let seconds = match request.bookmark_seconds {
            0 => BOOKMARK_SECONDS,
            seconds if seconds > LONGEST_BOOKMARK_SECONDS => {
                return Err(format!(
                    "bookmarks can be {LONGEST_BOOKMARK_SECONDS} seconds apart at most, not {seconds}"
                ));
            }
            seconds => seconds,
        };
        Ok(Self {
            begin,
            filter: Filter::parse(&request)?,
            streams: request.streams,
            selector: Selector::parse(&request.label_selector).map_err(|error| error.to_string())?,
            history_limit: history_limit(request.history_limit),
            bookmarks: Duration::from_secs(seconds.into()),
        })
    }
}

impl Filter {
    fn parse(request: &v1::WatchRequest) -> Result<Self, String> {
        let v1::WatchRequest { namespace, stream, tag, kinds, .. } = request;
        if namespace.is_empty() && !stream.is_empty() {
            return Err("a stream needs its namespace".into());
        }
        let given = |text: &str| !text.is_empty();
        let stream = given(stream).then(|| StreamKey::parse(namespace, stream));
        let namespace = given(namespace).then(|| Namespace::parse(namespace));
        let tag = given(tag).then(|| TagName::parse(tag));
        let kinds: Result<Vec<Kind>, UnknownKind> = kinds.iter().map(|text| text.parse()).collect();
        let kinds = kinds.map_err(|error| error.to_string())?;
        if let Some(Ok(tag)) = &tag
            && !kinds.is_empty()
            && !kinds.iter().any(|kind| kind.names_a_tag())
        {
            let kinds = kinds.iter().map(Kind::to_string).collect::<Vec<_>>().join(", ");
            return Err(format!("events of the kind {kinds} are about no tag, so none is about \"{tag}\""));
        }
        Ok(Self {
            namespace: namespace.transpose().map_err(bad_name)?,
            stream: stream.transpose().map_err(bad_name)?,
            tag: tag.transpose().map_err(bad_name)?,
            kinds,
        })
    }

    /// Whether an event passes.
    pub(crate) fn passes(&self, told: &Told) -> bool {
        let event = &told.event;
        self.namespace.as_ref().is_none_or(|namespace| namespace.as_str() == event.namespace)
            && self.stream.as_ref().is_none_or(|key| key.name.as_str() == event.stream)
            && self.tag.as_ref().is_none_or(|tag| kind::tag(event) == Some(tag.as_str()))
            && (self.kinds.is_empty() || told.kind.is_some_and(|kind| self.kinds.contains(&kind)))
    }
}

fn bad_name(error: NameError) -> String {
    Refusal::bad_name(&error).to_string()
}
