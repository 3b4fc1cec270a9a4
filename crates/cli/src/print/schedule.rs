//! Tags that are checked again without anybody asking: `get schedule`. OpenShift tells nothing of these.

use prost_types::Timestamp as Moment;
use serde_json::{Map, Value, json};
use tagtrail_api::v1::{CheckResult, FailureKind, ScheduledTag};
use tagtrail_domain::Interval;

use crate::print::age::{Now, rfc3339};
use crate::print::sections::Sections;
use crate::print::tabs;

/// The columns after the name.
pub(crate) fn headers(wide: bool) -> &'static [&'static str] {
    const ALL: &[&str] =
        &["SOURCE", "EVERY", "LAST CHECK", "RESULT", "NEXT CHECK", "LATE BECAUSE", "MESSAGE"];
    if wide { ALL } else { &ALL[..ALL.len() - 1] }
}

/// The cells under [`headers`].
pub(crate) fn cells(tag: &ScheduledTag, wide: bool, now: Now) -> Vec<String> {
    let last = tag.last_check_at.as_ref().map_or("<none>".into(), |at| now.ago(Some(at)));
    let mut cells =
        vec![tag.source.clone(), every(tag), last, result(tag), next(tag, now), tag.late_because.clone()];
    cells.extend(wide.then(|| tag.failure.as_ref().map(|f| f.message.clone()).unwrap_or_default()));
    cells
}

/// What `describe` says.
pub(crate) fn in_words(tag: &ScheduledTag, now: Now) -> String {
    let failure = tag.failure.as_ref().map(|failure| failure.message.as_str()).unwrap_or_default();
    let last = tag.last_check_at.as_ref().map(|at| now.ago(Some(at))).unwrap_or_default();
    let mut text = Sections::default();
    text.pair("Name", &format!("{}:{}", tag.stream, tag.tag));
    text.pair("Namespace", &tag.namespace);
    text.pair("Source", &tag.source);
    text.pair("Every", &every(tag));
    text.pair("Last Check", &last);
    text.pair("Result", &result(tag));
    text.pair("Moved To", &tag.moved_to);
    text.pair("Message", failure);
    text.pair("Next Check", &next(tag, now));
    text.pair("Late Because", &tag.late_because);
    tabs::elastic(&text.0)
}

/// The tag as an object of its own, after the fashion of the API's.
pub(crate) fn in_json(tag: &ScheduledTag) -> Value {
    let mut spec = Map::new();
    spec.insert("source".into(), tag.source.clone().into());
    spec.insert("scheduled".into(), tag.scheduled.into());
    if tag.scheduled {
        spec.insert("interval".into(), every(tag).into());
    }
    let mut status = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        status.extend(value.map(|value| (key.to_owned(), value)));
    };
    let time = |at: &Moment| Value::from(rfc3339(at));
    let text = |text: &str| (!text.is_empty()).then(|| Value::from(text));
    put("lastCheckTime", tag.last_check_at.as_ref().map(time));
    put("result", text(word(tag.last_result())));
    put("movedTo", text(&tag.moved_to));
    if let Some(failure) = &tag.failure {
        put("failure", Some(kind(failure.kind()).into()));
        put("reason", text(&failure.reason));
        put("message", text(&failure.message));
    }
    put("failures", Some(tag.failures.into()));
    put("nextCheckTime", tag.next_check_at.as_ref().map(time));
    put("underWay", tag.next_check_at.is_none().then_some(true.into()));
    put("lateSeconds", (tag.late_seconds > 0).then(|| tag.late_seconds.into()));
    put("lateBecause", text(&tag.late_because));
    json!({
        "apiVersion": "tagtrail/v1",
        "kind": "ScheduledTag",
        "metadata": { "name": format!("{}:{}", tag.stream, tag.tag), "namespace": tag.namespace },
        "spec": spec,
        "status": status,
    })
}

fn every(tag: &ScheduledTag) -> String {
    if tag.scheduled { brief(tag.interval_seconds) } else { "until it works".into() }
}

fn result(tag: &ScheduledTag) -> String {
    let word = word(tag.last_result());
    match &tag.failure {
        _ if word.is_empty() => "<none>".into(),
        Some(failure) if failure.kind() != FailureKind::Unspecified => {
            let times = if tag.failures > 1 { format!(" {} times", tag.failures) } else { String::new() };
            format!("{word}{times} ({})", kind(failure.kind()))
        }
        _ => word.into(),
    }
}

fn next(tag: &ScheduledTag, now: Now) -> String {
    let Some(at) = &tag.next_check_at else { return "under way".into() };
    if tag.late_seconds > 0 {
        return format!("{} late", brief(tag.late_seconds));
    }
    match u32::try_from(at.seconds - now.0.timestamp()) {
        Ok(seconds) if seconds > 0 => format!("in {}", brief(seconds)),
        _ => "now".into(),
    }
}

/// `15m`, `1h30m`: as an interval is typed.
fn brief(seconds: u32) -> String {
    Interval::from_seconds(seconds).map_or_else(|_| format!("{seconds}s"), |interval| interval.to_string())
}

fn word(result: CheckResult) -> &'static str {
    match result {
        CheckResult::Unspecified => "",
        CheckResult::Unchanged => "unchanged",
        CheckResult::Moved => "moved",
        CheckResult::Failed => "failed",
        CheckResult::PutOff => "put off",
        CheckResult::NotTaken => "not taken",
    }
}

/// A kind of failure, in a word or two.
pub(crate) fn kind(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Unspecified => "unknown",
        FailureKind::NotFound => "not found",
        FailureKind::Unauthorized => "unauthorized",
        FailureKind::Denied => "denied",
        FailureKind::RateLimited => "rate limited",
        FailureKind::Unreachable => "unreachable",
        FailureKind::BadAnswer => "bad answer",
        FailureKind::InvalidReference => "invalid reference",
        FailureKind::Forbidden => "forbidden",
        FailureKind::Unsupported => "unsupported",
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use tagtrail_api::v1::Failure;

    use super::*;

    fn moment(seconds: i64) -> Option<Moment> {
        Some(Moment { seconds, nanos: 0 })
    }

    fn check(tag: ScheduledTag, expected: &str) {
        let now = Now(DateTime::from_timestamp(1_000, 0).expect("a time"));
        assert_eq!(cells(&tag, true, now).join(" | "), expected);
    }

    #[test]
    fn a_row_tells_what_was_found_and_what_comes_next() {
        let tag = |interval_seconds| ScheduledTag {
            source: "quay.io/a".into(),
            scheduled: true,
            interval_seconds,
            next_check_at: moment(1_090),
            ..ScheduledTag::default()
        };
        check(tag(900), "quay.io/a | 15m | <none> | <none> | in 1m30s |  | ");
        check(
            ScheduledTag {
                last_check_at: moment(995),
                last_result: CheckResult::Unchanged.into(),
                next_check_at: None,
                ..tag(5_400)
            },
            "quay.io/a | 1h30m | 5 seconds ago | unchanged | under way |  | ",
        );
        check(
            ScheduledTag { next_check_at: moment(1_000), ..tag(2_592_000) },
            "quay.io/a | 30d | <none> | <none> | now |  | ",
        );
        check(
            ScheduledTag { next_check_at: moment(130_605), ..tag(129_600) },
            "quay.io/a | 1d12h | <none> | <none> | in 1d12h5s |  | ",
        );
        let failure = |kind: FailureKind| {
            Some(Failure { kind: kind.into(), reason: "InternalError".into(), message: "why".into() })
        };
        check(
            ScheduledTag {
                scheduled: false,
                last_check_at: moment(999),
                last_result: CheckResult::Failed.into(),
                failure: failure(FailureKind::NotFound),
                failures: 3,
                ..tag(3_600)
            },
            "quay.io/a | until it works | 1 second ago | failed 3 times (not found) | in 1m30s |  | why",
        );
        check(
            ScheduledTag {
                last_check_at: moment(999),
                last_result: CheckResult::PutOff.into(),
                failure: failure(FailureKind::RateLimited),
                failures: 1,
                next_check_at: moment(940),
                late_seconds: 60,
                late_because: "quay.io has asked to be left alone for another 5m".into(),
                ..tag(30)
            },
            "quay.io/a | 30s | 1 second ago | put off (rate limited) | 1m late | quay.io has asked to be left alone for another 5m | why",
        );
    }

    #[test]
    fn json_has_what_is_known_and_nothing_else() {
        let tag = ScheduledTag { stream: "app".into(), tag: "v1".into(), ..ScheduledTag::default() };
        let expected = json!({
            "apiVersion": "tagtrail/v1",
            "kind": "ScheduledTag",
            "metadata": { "name": "app:v1", "namespace": "" },
            "spec": { "source": "", "scheduled": false },
            "status": { "failures": 0, "underWay": true },
        });
        assert_eq!(in_json(&tag), expected);
    }
}
