//! What operators can measure, in Prometheus' format at `/metrics`.
//!
//! | metric                              | what it says                                                  |
//! |-------------------------------------|---------------------------------------------------------------|
//! | `tagtrail_commands_total`           | commands by name and outcome: `written`, `unchanged`, `refused` |
//! | `tagtrail_events_total`             | events made durable                                           |
//! | `tagtrail_commits_total`            | group commits                                                 |
//! | `tagtrail_commit_seconds`           | how long one took, from append to visible                     |
//! | `tagtrail_commit_commands`          | how many commands shared one                                  |
//! | `tagtrail_head_sequence`            | the newest durable sequence                                   |
//! | `tagtrail_imports_total`            | images asked for, by outcome: `ok` or the kind of failure     |
//! | `tagtrail_import_seconds`           | how long one image took                                       |
//! | `tagtrail_pending_imports`          | streams that are imported or wait for it                      |
//! | `tagtrail_checks_total`             | checks by outcome: `unchanged`, `moved`, `failed`, `put_off`, `ours`, `dropped` |
//! | `tagtrail_check_seconds`            | how long one took                                             |
//! | `tagtrail_checked_tags`             | tags on the schedule, and failed ones that are tried again    |
//! | `tagtrail_checks_late_seconds`      | by how much the check that is due first is late               |

use std::time::Duration;

use metrics::{counter, gauge, histogram};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tagtrail_domain::Failure;

use crate::work::Outcome;

/// Starts to measure. Gives the text for `/metrics`. `None`: something else in this process measures already.
pub(crate) fn install() -> Option<PrometheusHandle> {
    PrometheusBuilder::new().install_recorder().ok()
}

pub(crate) fn committed(commands: usize, events: usize, head: u64, took: Duration) {
    counter!("tagtrail_commits_total").increment(1);
    counter!("tagtrail_events_total").increment(events as u64);
    histogram!("tagtrail_commit_seconds").record(took);
    histogram!("tagtrail_commit_commands").record(commands as f64);
    self::head(head);
}

/// Where the log ends: at the start, and after each commit.
pub(crate) fn head(sequence: u64) {
    gauge!("tagtrail_head_sequence").set(sequence as f64);
}

pub(crate) fn decided(command: &'static str, outcome: Result<u32, ()>) {
    let outcome = match outcome {
        Ok(0) => "unchanged",
        Ok(_) => "written",
        Err(()) => "refused",
    };
    counter!("tagtrail_commands_total", "command" => command, "outcome" => outcome).increment(1);
}

pub(crate) fn imported(failure: Option<&Failure>, took: Duration) {
    let outcome = failure.map_or("ok".to_owned(), |failure| format!("{:?}", failure.kind).to_lowercase());
    counter!("tagtrail_imports_total", "outcome" => outcome).increment(1);
    histogram!("tagtrail_import_seconds").record(took);
}

pub(crate) fn pending(imports: usize) {
    gauge!("tagtrail_pending_imports").set(imports as f64);
}

pub(crate) fn checked(outcome: &Outcome, took: Duration) {
    let outcome = match outcome {
        Outcome::Unchanged => "unchanged",
        Outcome::Moved(_) => "moved",
        Outcome::Failed(_) => "failed",
        Outcome::PutOff(..) => "put_off",
        Outcome::Ours(_) => "ours",
        Outcome::Dropped => "dropped",
    };
    counter!("tagtrail_checks_total", "outcome" => outcome).increment(1);
    histogram!("tagtrail_check_seconds").record(took);
}

pub(crate) fn schedule((tags, late): (usize, Duration)) {
    gauge!("tagtrail_checked_tags").set(tags as f64);
    gauge!("tagtrail_checks_late_seconds").set(late.as_secs_f64());
}
