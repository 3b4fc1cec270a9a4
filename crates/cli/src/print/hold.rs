//! What keeps a tag where it is, in words.

use tagtrail_api::v1::Hold;

use crate::print::age::{Now, rfc3339};

/// What keeps a tag where it is, in one line: `by alice since 2 hours ago`. OpenShift has no holds, and no such line.
pub(crate) fn held(hold: &Hold, now: Now) -> String {
    let until = hold.expires_at.as_ref().map(|at| format!(" until {}", rfc3339(at))).unwrap_or_default();
    let why = match hold.reason.as_str() {
        "" => String::new(),
        reason => format!(": {}", reason.replace(['\n', '\t'], " ")),
    };
    // Alone it begins a line.
    let since = now.ago(hold.since.as_ref()).replace("Less than", "less than");
    format!("by {} since {since}{until}{why}", hold.held_by)
}
