//! What operators can measure, in Prometheus' format at `/metrics`.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tagtrail_domain::Failure;

/// What is counted since the start, in the words of `/metrics`.
const COUNTERS: &[(&str, &str)] = &[
    ("tagtrail_commands_total", "Commands by name and outcome: written, unchanged, refused."),
    ("tagtrail_events_total", "Events made durable."),
    ("tagtrail_commits_total", "Group commits."),
    ("tagtrail_imports_total", "Images asked for, by outcome: ok or the kind of failure."),
    ("tagtrail_nats_reconnects_total", "Connections to NATS after the first one."),
    (
        "tagtrail_checks_total",
        "Checks by outcome: unchanged, moved, failed, put_off by the registry, ours (not taken for a reason of our own), dropped.",
    ),
    ("tagtrail_refused_total", "What a limit of docs/limits.md turned away, by limit."),
    ("tagtrail_pages_cut_total", "Pages that were asked for larger than they may be."),
    ("tagtrail_watchers_cut_off_total", "Watches that were ended because the watcher was too slow."),
];
/// What is so at the moment.
const GAUGES: &[(&str, &str)] = &[
    ("tagtrail_head_sequence", "The newest durable sequence."),
    ("tagtrail_signed_sequence", "Up to where the newest checkpoint covers the log."),
    (
        "tagtrail_read_only",
        "Whether the log is only read, because it is not the one that was signed: 1 or 0.",
    ),
    ("tagtrail_signing_failed", "Whether the newest events could not be signed: 1 or 0."),
    ("tagtrail_pending_imports", "Streams that are imported or wait for it."),
    ("tagtrail_checked_tags", "Tags on the schedule, and failed ones that are tried again."),
    ("tagtrail_published_sequence", "Up to where events were published to NATS."),
    ("tagtrail_publish_lag_events", "Events that are not published yet."),
    ("tagtrail_publish_lag_seconds", "How long the oldest of them has been waiting."),
    ("tagtrail_bucket_sequence", "Up to where the bucket is kept up. 0 until it is known."),
    ("tagtrail_nats_connected", "Whether there is a connection to NATS: 1 or 0."),
    (
        "tagtrail_publisher_refused",
        "Whether somebody has to change something before publishing goes on: 1 or 0.",
    ),
    ("tagtrail_checks_late_seconds", "By how much the check that is due first is late."),
    ("tagtrail_watchers", "Watches that are open."),
    ("tagtrail_requests", "Requests that are being answered."),
];
/// Under these names `tagtrail_refused_total` counts.
pub(crate) const LIMITS: [&str; 12] = [
    "backups",
    "client_requests_per_second",
    "concurrent_imports",
    "concurrent_requests",
    "connections",
    "deadline",
    "name_bytes",
    "request_bytes",
    "tags_per_stream",
    "text_bytes",
    "waiting_writes",
    "watches",
];
/// What is spread.
const HISTOGRAMS: &[(&str, &str)] = &[
    ("tagtrail_commit_seconds", "How long one group commit took, from append to visible."),
    ("tagtrail_commit_commands", "How many commands shared one group commit."),
    ("tagtrail_import_seconds", "How long one image took."),
    ("tagtrail_check_seconds", "How long one check took."),
];

/// Starts to measure. Gives the text for `/metrics`. `None`: something else in this process measures already.
pub(crate) fn install() -> Option<PrometheusHandle> {
    let handle = PrometheusBuilder::new().install_recorder().ok()?;
    for (name, help) in COUNTERS {
        describe_counter!(*name, *help);
    }
    for (name, help) in GAUGES {
        describe_gauge!(*name, *help);
    }
    for (name, help) in HISTOGRAMS {
        describe_histogram!(*name, *help);
    }
    // A rate is that of a number which was there before.
    for limit in LIMITS {
        counter!("tagtrail_refused_total", "limit" => limit).increment(0);
    }
    counter!("tagtrail_pages_cut_total").increment(0);
    Some(handle)
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

pub(crate) fn checked(outcome: &'static str, took: Duration) {
    counter!("tagtrail_checks_total", "outcome" => outcome).increment(1);
    histogram!("tagtrail_check_seconds").record(took);
}

pub(crate) fn reconnected() {
    counter!("tagtrail_nats_reconnects_total").increment(1);
}

/// How publishing is. Told when somebody asks.
pub(crate) fn publishing(published: u64, (events, lag): (u64, Duration), connected: bool, refused: bool) {
    gauge!("tagtrail_published_sequence").set(published as f64);
    gauge!("tagtrail_publish_lag_events").set(events as f64);
    gauge!("tagtrail_publish_lag_seconds").set(lag.as_secs_f64());
    gauge!("tagtrail_nats_connected").set(f64::from(u8::from(connected)));
    gauge!("tagtrail_publisher_refused").set(f64::from(u8::from(refused)));
}

/// Whether the log is only read, and whether its newest events could not be signed.
pub(crate) fn audit(read_only: bool, signing_failed: bool) {
    gauge!("tagtrail_read_only").set(f64::from(u8::from(read_only)));
    gauge!("tagtrail_signing_failed").set(f64::from(u8::from(signing_failed)));
}

/// Up to where the bucket is kept up.
pub(crate) fn bucket(sequence: u64) {
    gauge!("tagtrail_bucket_sequence").set(sequence as f64);
}

/// What is checked again. Told when somebody asks: what is late gets later while nothing happens.
pub(crate) fn schedule((tags, late): (usize, Duration)) {
    gauge!("tagtrail_checked_tags").set(tags as f64);
    gauge!("tagtrail_checks_late_seconds").set(late.as_secs_f64());
}

/// So many more, or fewer, are watching.
pub(crate) fn watchers(more: f64) {
    gauge!("tagtrail_watchers").increment(more);
}

pub(crate) fn watcher_cut_off() {
    counter!("tagtrail_watchers_cut_off_total").increment(1);
}

/// A limit has turned something away.
pub(crate) fn refused(limit: &'static str) {
    debug_assert!(LIMITS.contains(&limit), "{limit} is in the list");
    counter!("tagtrail_refused_total", "limit" => limit).increment(1);
}

/// A page was asked for larger than it may be.
pub(crate) fn page_cut() {
    counter!("tagtrail_pages_cut_total").increment(1);
}

/// So many more, or fewer, requests are being answered.
pub(crate) fn requests(more: f64) {
    gauge!("tagtrail_requests").increment(more);
}

/// A checkpoint over so many events.
pub(crate) fn signed(size: u64) {
    gauge!("tagtrail_signed_sequence").set(size as f64);
}
