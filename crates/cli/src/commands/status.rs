//! `tagtrail status`: how the server is.

use serde_json::{Map, Value};
use tagtrail_api::v1::{AuditStatus, GetStatusRequest, GetStatusResponse, PublisherStatus};

use crate::context::Context;
use crate::failure::Failure;
use crate::print::age::{Now, rfc3339};
use crate::print::sections::Sections;
use crate::print::{tabs, yaml};

/// Say how the server is.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// json or yaml
    #[arg(short, long, value_name = "FORMAT", value_parser = ["json", "yaml"])]
    output: Option<String>,
}

/// Says how the server is.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let client = context.client()?;
    let answer = client.admin().get_status(GetStatusRequest {}).await;
    let status = answer.map_err(|status| client.refusal(&status))?.into_inner();
    let text = match args.output.as_deref() {
        None => in_words(&status, Now::by_the_clock()),
        Some("yaml") => yaml::document(&in_json(&status)),
        Some(_) => {
            let text = serde_json::to_string_pretty(&in_json(&status)).expect("keys are text");
            text + "\n"
        }
    };
    context.print(&text)
}

fn in_words(status: &GetStatusResponse, now: Now) -> String {
    let mut text = Sections::default();
    text.pair("Version", &status.version);
    text.pair("Log ID", &status.log_id);
    text.pair(
        "Uptime",
        &humantime::format_duration(std::time::Duration::from_secs(status.uptime_seconds)).to_string(),
    );
    text.pair("Head", &status.head.to_string());
    text.pair("Projected", &status.projected.to_string());
    if let Some(published) = status.published {
        text.pair("Published", &published.to_string());
    }
    if let Some(publisher) = &status.publisher {
        text.pair(
            "Publishing To",
            &format!("stream {}, {}.events.>", publisher.stream, publisher.subject_prefix),
        );
        text.pair("Publishing", &publishing(publisher));
    }
    if let Some(audit) = &status.audit {
        text.pair("Signed", &signed(audit, status.head));
        text.pair("Log Key", &audit.verifier_key);
    }
    text.pair("Last Event", &status.last_event_at.as_ref().map(|at| now.ago(Some(at))).unwrap_or_default());
    text.pair("Pending Imports", &status.pending_imports.to_string());
    text.pair("Findings", &status.findings.join("\n"));
    tabs::elastic(&text.0)
}

/// One line: what is wrong, or by how much it is behind.
fn publishing(publisher: &PublisherStatus) -> String {
    let lag = match publisher.lag_ms {
        0 => String::new(),
        ms => {
            let lag = std::time::Duration::from_secs(ms.div_ceil(1_000));
            format!(" (behind by {})", humantime::format_duration(lag))
        }
    };
    match (publisher.problem.as_str(), publisher.connected) {
        ("", true) => format!("connected{lag}"),
        ("", false) => format!("not connected{lag}"),
        (problem, _) => format!("{problem}{lag}"),
    }
}

/// One line: what is wrong, or up to where the log is signed.
fn signed(audit: &AuditStatus, head: u64) -> String {
    match (audit.problem.as_str(), audit.signed) {
        ("", signed) if signed == head => format!("all {head} events"),
        ("", signed) => format!("up to {signed}"),
        (problem, _) => problem.to_owned(),
    }
}

fn in_json(status: &GetStatusResponse) -> Value {
    let mut object = Map::new();
    object.insert("head".into(), status.head.into());
    object.insert("projected".into(), status.projected.into());
    if let Some(published) = status.published {
        object.insert("published".into(), published.into());
    }
    if let Some(publisher) = &status.publisher {
        let mut publishing = Map::new();
        publishing.insert("stream".into(), publisher.stream.clone().into());
        publishing.insert("subjectPrefix".into(), publisher.subject_prefix.clone().into());
        publishing.insert("connected".into(), publisher.connected.into());
        publishing.insert("problem".into(), publisher.problem.clone().into());
        publishing.insert("lagMs".into(), publisher.lag_ms.into());
        object.insert("publisher".into(), publishing.into());
    }
    if let Some(audit) = &status.audit {
        let mut signing = Map::new();
        signing.insert("origin".into(), audit.origin.clone().into());
        signing.insert("verifierKey".into(), audit.verifier_key.clone().into());
        signing.insert("signed".into(), audit.signed.into());
        signing.insert("problem".into(), audit.problem.clone().into());
        object.insert("audit".into(), signing.into());
    }
    object.insert("logId".into(), status.log_id.clone().into());
    object.insert("version".into(), status.version.clone().into());
    object.insert("uptimeSeconds".into(), status.uptime_seconds.into());
    object.insert("findings".into(), status.findings.clone().into());
    object.insert("pendingImports".into(), status.pending_imports.into());
    if let Some(at) = &status.last_event_at {
        object.insert("lastEventAt".into(), rfc3339(at).into());
    }
    object.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_tells_the_positions() {
        let status = GetStatusResponse {
            head: 12,
            projected: 12,
            log_id: "0b1c".into(),
            version: "0.1.0".into(),
            uptime_seconds: 3,
            ..GetStatusResponse::default()
        };
        let keys: Vec<String> = in_json(&status).as_object().expect("an object").keys().cloned().collect();
        assert_eq!(
            keys,
            ["head", "projected", "logId", "version", "uptimeSeconds", "findings", "pendingImports"]
        );
        let published = GetStatusResponse { published: Some(11), ..status.clone() };
        assert_eq!(in_json(&published)["published"], 11);
        assert!(in_words(&status, Now::by_the_clock()).contains("Uptime:\t\t\t3s\n"));
        let audit = |up_to, problem: &str| AuditStatus {
            signed: up_to,
            problem: problem.into(),
            ..Default::default()
        };
        assert_eq!(signed(&audit(12, ""), 12), "all 12 events");
        assert_eq!(signed(&audit(9, ""), 12), "up to 9");
        assert_eq!(signed(&audit(9, "the key is gone"), 12), "the key is gone");
        let check = |connected, problem: &str, lag_ms, line: &str| {
            let publisher =
                PublisherStatus { connected, problem: problem.into(), lag_ms, ..Default::default() };
            assert_eq!(publishing(&publisher), line);
            let status = GetStatusResponse { publisher: Some(publisher), ..status.clone() };
            assert_eq!(in_json(&status)["publisher"]["lagMs"], lag_ms);
        };
        check(true, "", 0, "connected");
        check(true, "", 61_001, "connected (behind by 1m 2s)");
        check(false, "", 900, "not connected (behind by 1s)");
        check(true, "the stream S is somebody else's", 0, "the stream S is somebody else's");
    }
}
