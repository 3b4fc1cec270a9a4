//! Holding tags, and releasing them.

use super::Draft;
use crate::command::Expectation;
use crate::event::Fact;
use crate::names::TagName;
use crate::refusal::Refusal;
use crate::state::HoldTerms;

pub(super) fn hold(
    draft: &mut Draft<'_>,
    tag: &TagName,
    terms: &HoldTerms,
    expect: Option<&Expectation>,
) -> Result<(), Refusal> {
    draft.expect_image(tag.as_str(), expect)?;
    let (state, _) = draft.pointing(tag)?;
    let is_so = state.hold.as_ref().is_some_and(|hold| hold.terms == *terms);
    check(draft, terms)?;
    if !is_so {
        draft.happen(Fact::TagHeld { tag: tag.clone(), terms: terms.clone() });
    }
    Ok(())
}

/// A hold that is over already would be none.
pub(super) fn check(draft: &Draft<'_>, terms: &HoldTerms) -> Result<(), Refusal> {
    match terms.expires_at {
        Some(at) if at <= draft.context.now => Err(Refusal::Malformed(
            "the hold would end before it begins; give a time that is yet to come".into(),
        )),
        _ => Ok(()),
    }
}

pub(super) fn release(draft: &mut Draft<'_>, tag: &TagName, expired: bool) -> Result<(), Refusal> {
    let now = draft.context.now;
    let state = draft.state.tag(tag);
    let hold = state.and_then(|state| state.hold.as_ref());
    if expired {
        // Meanwhile it may have been released, deleted, or held for longer.
        if hold.and_then(|hold| hold.terms.expires_at).is_none_or(|at| at > now) {
            return Ok(());
        }
    } else if state.is_none() {
        return Err(Refusal::no_tag(draft.key, tag.as_str(), draft.life().is_some()));
    } else if hold.is_none() {
        return Err(Refusal::Usage(format!("\"{}:{tag}\" is not held", draft.key.name)));
    }
    draft.happen(Fact::TagReleased { tag: tag.clone(), expired });
    draft.catch_up(tag);
    Ok(())
}
