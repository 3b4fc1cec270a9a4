//! What differs between two moments of image streams: which tags came, went and moved.

use std::collections::BTreeSet;

use tagtrail_domain::state::Current;
use tagtrail_domain::tag::TagSpec;
use tagtrail_domain::{Stream, TagName, TagState};

/// What a tag came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is only in the second.
    Added,
    /// It is only in the first.
    Removed,
    /// It is in both, and points to something else.
    Moved,
    /// It is in both and points to the same, but follows something else, or in another way.
    Changed,
}

/// How a tag differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagDiff<'s> {
    /// The tag.
    pub tag: &'s TagName,
    /// What it came to.
    pub change: Change,
    /// What it was. `None`: it was not there.
    pub from: Option<&'s TagState>,
    /// What it is. `None`: it is not there.
    pub to: Option<&'s TagState>,
}

/// What differs between two streams, or two moments of one, sorted by tag. A stream that does not live has no tags.
#[must_use]
pub fn tags<'s>(from: Option<&'s Stream>, to: Option<&'s Stream>) -> Vec<TagDiff<'s>> {
    let names: BTreeSet<&TagName> = [from, to].into_iter().flatten().flat_map(|s| s.tags.keys()).collect();
    let diff = |tag| {
        let state = |stream: Option<&'s Stream>| stream?.tags.get(tag).map(AsRef::as_ref);
        let (from, to) = (state(from), state(to));
        change(from, to).map(|change| TagDiff { tag, change, from, to })
    };
    names.into_iter().filter_map(diff).collect()
}

fn change(from: Option<&TagState>, to: Option<&TagState>) -> Option<Change> {
    let (from, to) = match (from, to) {
        (None, None) => return None,
        (None, Some(_)) => return Some(Change::Added),
        (Some(_), None) => return Some(Change::Removed),
        (Some(from), Some(to)) => (from, to),
    };
    let points_to_same = match (&from.current, &to.current) {
        (None, None) => true,
        (Some(Current { item: from, .. }), Some(Current { item: to, .. })) => from.is_same(to),
        (None, Some(_)) | (Some(_), None) => false,
    };
    match (points_to_same, wish(from) == wish(to)) {
        (false, _) => Some(Change::Moved),
        (true, false) => Some(Change::Changed),
        (true, true) => None,
    }
}

/// What a tag follows, and how. When that was set says nothing about what it is.
fn wish(state: &TagState) -> Option<TagSpec> {
    state.spec.as_ref().map(|spec| TagSpec { generation: 0, ..spec.clone() })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tagtrail_domain::tag::{SourceKind, TagSource};
    use tagtrail_domain::{HistoryItem, Timestamp};

    use super::*;

    /// `tag=reference<source`, separated by blanks: a tag, what it points to, and what it follows; each may be missing.
    fn stream(text: &str) -> Stream {
        let tags = text.split_whitespace().enumerate().map(|(number, text)| {
            let generation = i64::try_from(number).expect("few tags");
            let (text, source) =
                text.split_once('<').map_or((text, None), |(text, source)| (text, Some(source)));
            let (tag, reference) = text.split_once('=').map_or((text, None), |(tag, to)| (tag, Some(to)));
            let spec = source.map(|name| TagSpec {
                source: Some(TagSource { kind: SourceKind::DockerImage, namespace: None, name: name.into() }),
                generation,
                ..TagSpec::default()
            });
            let current = reference.map(|reference| Current {
                item: HistoryItem {
                    created: Timestamp::new(generation, 0),
                    reference: reference.into(),
                    image: None,
                    generation,
                    media_type: String::new(),
                    platform: None,
                    index: None,
                },
                sequence: generation.unsigned_abs(),
            });
            let state = TagState { spec, current, ..TagState::default() };
            (TagName::parse(tag).expect("a tag"), Arc::new(state))
        });
        Stream {
            uid: String::new(),
            created: Timestamp::default(),
            generation: 1,
            lookup_local: false,
            labels: Default::default(),
            annotations: Default::default(),
            checked_at: None,
            tags: tags.collect(),
        }
    }

    fn check(from: Option<&str>, to: Option<&str>, expected: &str) {
        let (from, to) = (from.map(stream), to.map(stream));
        let words: Vec<String> = tags(from.as_ref(), to.as_ref())
            .iter()
            .map(|diff| format!("{} {:?}", diff.tag, diff.change).to_lowercase())
            .collect();
        assert_eq!(words.join(", "), expected);
    }

    #[test]
    fn what_differs_between_two_moments() {
        check(Some("a=1"), Some("a=1"), "");
        check(Some("a=1"), Some("b=9 a=1"), "b added"); // `a` has another number now, which is no difference.
        check(Some("a=1 b=1"), Some("b=1"), "a removed");
        check(Some("a=1"), Some("a=2"), "a moved");
        check(Some("a<x"), Some("a=2<x"), "a moved"); // It pointed to nothing.
        check(Some("a=1<x"), Some("a=1<y"), "a changed");
        check(Some("a=1<x"), Some("a=1"), "a changed");
        check(Some("a=1<x"), Some("a=2<y"), "a moved"); // That says more than that it follows something else.
        check(Some("a=1 b<y c=1"), Some("d=1 c=2 b<z"), "a removed, b changed, c moved, d added");
    }

    #[test]
    fn a_stream_that_does_not_live_has_no_tags() {
        check(None, Some("a=1"), "a added");
        check(Some("a=1"), None, "a removed");
        check(None, None, "");
    }
}
