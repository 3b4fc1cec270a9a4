//! Taking a tag back. What it follows and its schedule stay as they are (OpenShift forgets both, spec §2.11), so it is held:
//! otherwise the next check would move it forward again.

use super::{Draft, hold};
use crate::command::Rollback;
use crate::event::{Fact, MoveCause};
use crate::refusal::Refusal;
use crate::state::HistoryItem;

pub(super) fn decide(draft: &mut Draft<'_>, wish: &Rollback) -> Result<(), Refusal> {
    let tag = &wish.tag;
    draft.expect_image(tag.as_str(), wish.expect.as_ref())?;
    hold::check(draft, &wish.terms)?;
    let (_, current) = draft.pointing(tag)?;
    let name = format!("{}:{tag}", draft.key.name);
    if wish.planned != 0 && wish.planned != current.sequence {
        return Err(Refusal::Conflict(format!(
            "Operation cannot be fulfilled on {} \"{name}\": the tag has moved meanwhile; look again and retry",
            crate::refusal::resource::TAGS
        )));
    }
    if current.item.is_same(&wish.to.item) {
        return Err(Refusal::Usage(format!(
            "\"{name}\" points to {} already; to keep it there, hold it",
            wish.to.item.reference
        )));
    }
    // Its spec stays, so the stream stays in its generation; the item answers whatever was wished before.
    let item =
        HistoryItem { created: draft.context.now, generation: draft.generation, ..wish.to.item.clone() };
    draft.add_item(tag, item, MoveCause::Rollback, wish.to.sequence);
    draft.happen(Fact::TagHeld { tag: tag.clone(), terms: wish.terms.clone() });
    draft.follow_aliases(vec![tag.clone()]);
    Ok(())
}
