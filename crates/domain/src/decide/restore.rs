//! Bringing back what was deleted, as it was.

use super::Draft;
use crate::command::{Restore, RestoredTag};
use crate::event::{Fact, TagRestored};
use crate::limits;
use crate::refusal::{Refusal, resource};
use crate::state::HistoryItem;

pub(super) fn decide(draft: &mut Draft<'_>, wish: &Restore) -> Result<(), Refusal> {
    let key = draft.key;
    if wish.whole {
        draft.refuse_existing()?;
    }
    let tags: Vec<&RestoredTag> = wish.tags.iter().filter(|tag| was_something(tag)).collect();
    if let (false, true, Some(RestoredTag { tag, .. })) = (wish.whole, tags.is_empty(), wish.tags.first()) {
        return Err(Refusal::Usage(format!(
            "\"{}:{tag}\" followed nothing and pointed to nothing, so there is nothing to bring back",
            key.name
        )));
    }
    let there = |tag: &RestoredTag| draft.life().is_some_and(|stream| stream.tags.contains_key(&tag.tag));
    if let Some(RestoredTag { tag, .. }) = tags.iter().find(|tag| there(tag)) {
        return Err(Refusal::AlreadyExists { resource: resource::TAG, name: format!("{}:{tag}", key.name) });
    }
    draft.check_room(tags.iter().map(|tag| &tag.tag))?;
    if draft.life().is_none() {
        draft.create_stream(wish.lookup_local, wish.labels.clone(), wish.annotations.clone());
    } else {
        draft.change_spec();
    }
    for tag in &tags {
        let restored = as_it_was(draft, tag, wish.as_of);
        draft.happen(Fact::TagRestored(Box::new(restored)));
    }
    // Only now are all of them there: what is followed may have moved on meanwhile.
    for RestoredTag { tag, .. } in &tags {
        super::tag::refuse_circle_at(draft, tag)?;
        draft.catch_up(tag);
    }
    draft.follow_aliases(tags.iter().map(|tag| tag.tag.clone()).collect());
    Ok(())
}

/// A tag may have had nothing but a failure, which does not come back.
fn was_something(tag: &RestoredTag) -> bool {
    tag.spec.is_some() || !tag.items.is_empty()
}

/// Its generations are those of the stream as it is now. What it waited for, it waits for again.
fn as_it_was(draft: &Draft<'_>, tag: &RestoredTag, as_of: u64) -> TagRestored {
    let wished = tag.spec.as_ref().map_or(0, |spec| spec.generation);
    let answered = tag.items.first().is_some_and(|item| item.generation >= wished);
    let newest = if answered { draft.generation } else { draft.generation - 1 };
    let mut items: Vec<HistoryItem> =
        tag.items.iter().take(limits::ITEMS_PER_RESTORED_TAG).cloned().collect();
    if let Some(item) = items.first_mut() {
        item.generation = newest;
    }
    let spec = tag.spec.clone().map(|mut spec| {
        spec.generation = draft.generation;
        spec
    });
    let over = |expires_at| expires_at <= draft.context.now;
    let hold = tag.hold.clone().filter(|terms| !terms.expires_at.is_some_and(over));
    TagRestored { tag: tag.tag.clone(), spec, items, hold, as_of }
}
