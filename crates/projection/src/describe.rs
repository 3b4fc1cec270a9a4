//! A stream put into words: which tags get a block of their own, in which order, and what stands behind them
//! (spec §4.6).

use std::collections::BTreeMap;

use tagtrail_domain::import_plan::alias_ends;
use tagtrail_domain::order::prioritize;
use tagtrail_domain::{Stream, StreamKey, TagName, TagState};

/// One block of a description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block<'s> {
    /// The tag.
    pub tag: TagName,
    /// Tags that follow it, in order of priority.
    pub aliases: Vec<TagName>,
    /// What is true of it.
    pub state: &'s TagState,
    /// Whether an import was asked for and not yet answered. As OpenShift has it: for whatever has a source, is no
    /// reference, and whose history is behind its wish.
    pub importing: bool,
}

/// The blocks of a description, in order of priority. An alias stands behind the tag it ends at, unless that has
/// neither spec nor history.
#[must_use]
pub fn blocks<'s>(key: &StreamKey, stream: &'s Stream) -> Vec<Block<'s>> {
    let mut aliases: BTreeMap<TagName, Vec<TagName>> = BTreeMap::new();
    let mut names: Vec<&TagName> = Vec::new();
    let ends = alias_ends(stream, key);
    for tag in stream.tags.keys() {
        match ends.get(tag) {
            Some(end) => aliases.entry((*end).clone()).or_default().push(tag.clone()),
            None => names.push(tag),
        }
    }
    sort(&mut names);
    let block = |tag: &TagName| {
        let state = &stream.tags[tag];
        let mut aliases = aliases.remove(tag).unwrap_or_default();
        sort(&mut aliases);
        let newest = state.current.as_ref().map_or(0, |c| c.item.generation);
        let observed = newest.max(state.condition.as_ref().map_or(0, |c| c.generation));
        let importing = state
            .spec
            .as_ref()
            .is_some_and(|spec| spec.source.is_some() && !spec.reference && spec.generation > observed);
        Block { tag: tag.clone(), aliases, state, importing }
    };
    names.into_iter().map(block).collect()
}

fn sort<T: std::borrow::Borrow<TagName>>(tags: &mut Vec<T>) {
    struct ByText<T>(T);
    impl<T: std::borrow::Borrow<TagName>> AsRef<str> for ByText<T> {
        fn as_ref(&self) -> &str {
            self.0.borrow().as_str()
        }
    }
    let mut wrapped: Vec<_> = tags.drain(..).map(ByText).collect();
    prioritize(&mut wrapped);
    tags.extend(wrapped.into_iter().map(|tag| tag.0));
}
