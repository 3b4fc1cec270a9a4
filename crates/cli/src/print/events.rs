//! Events of the log as lines: for people, and as JSON in protobuf's own mapping for programs.

use tagtrail_api::v1::{Event, HistoryChange, HistoryItem, event::Fact};

use crate::print::age::rfc3339;

/// One event for people: `12  test/app  tag  developer  v1 -> sha256:…`.
pub(crate) fn line(event: &Event) -> String {
    let when = event.recorded_at.as_ref().map(rfc3339).unwrap_or_default();
    let who = event.actor.as_ref().map_or("", |actor| &actor.name);
    let what = event.fact.as_ref().map(in_words).unwrap_or_default();
    let why = if event.reason.is_empty() {
        String::new()
    } else {
        format!("  ({})", event.reason.replace('\n', " "))
    };
    let Event { sequence, namespace, stream, .. } = event;
    format!("{sequence}  {when}  {namespace}/{stream}  {who}  {what}{why}\n")
}

/// One event as JSON, on one line.
pub(crate) fn json_line(event: &Event) -> String {
    format!("{}\n", tagtrail_api::json::event(event))
}

fn in_words(fact: &Fact) -> String {
    let reference = |item: Option<&HistoryItem>| {
        item.map_or_else(|| "nothing".into(), |i| i.docker_image_reference.clone())
    };
    match fact {
        Fact::StreamCreated(_) => "created".into(),
        Fact::StreamDeleted(_) => "deleted".into(),
        Fact::StreamMetadataSet(_) => "labels or annotations set".into(),
        Fact::LookupPolicySet(set) => format!("local lookup {}", if set.local { "on" } else { "off" }),
        Fact::TagSet(set) => {
            let source = set.spec.as_ref().and_then(|spec| spec.source.as_ref());
            format!("{} follows {}", set.tag, source.map_or("nothing", |source| &source.name))
        }
        Fact::TagDeleted(deleted) => format!("{} deleted", deleted.tag),
        Fact::TagMoved(moved) if moved.change() == HistoryChange::Renewed => {
            format!("{} still is {}", moved.tag, reference(moved.item.as_ref()))
        }
        Fact::TagMoved(moved) => {
            let was = moved
                .previous
                .as_ref()
                .map(|item| format!(" (was {})", reference(Some(item))))
                .unwrap_or_default();
            format!("{} -> {}{was}", moved.tag, reference(moved.item.as_ref()))
        }
        Fact::ImportFailed(failed) => {
            let failure = failed.failure.as_ref().map_or("", |failure| &failure.message);
            format!("{} import failed: {failure}", failed.tag)
        }
        Fact::FailureCleared(cleared) => format!("{} failure cleared", cleared.tag),
        Fact::ImageRecorded(image) => format!("image {}", image.docker_image_reference),
        Fact::ImportFinished(finished) => match finished.outcomes.as_slice() {
            [outcome] => format!("import of {} finished", outcome.tag),
            outcomes => format!("import of {} tags finished", outcomes.len()),
        },
        Fact::RepositoryImportFailed(failed) => {
            let failure = failed.failure.as_ref().map_or("", |failure| &failure.message);
            format!("import of all of {} failed: {failure}", failed.repository)
        }
        Fact::TagHeld(held) => {
            let until =
                held.expires_at.as_ref().map(|at| format!(" until {}", rfc3339(at))).unwrap_or_default();
            format!("{} held{until}", held.tag)
        }
        Fact::TagReleased(released) if released.expired => {
            format!("{} released, its time is up", released.tag)
        }
        Fact::TagReleased(released) => format!("{} released", released.tag),
        Fact::MoveWithheld(withheld) => {
            format!("{} is held, would move to {}", withheld.tag, reference(withheld.item.as_ref()))
        }
        Fact::TagRestored(restored) => {
            format!("{} restored -> {}", restored.tag, reference(restored.items.first()))
        }
        Fact::TestimonyTaken(told) => {
            let place = match (told.namespace.as_str(), told.name.as_str()) {
                ("", name) => name.to_owned(),
                (namespace, name) => format!("{namespace}/{name}"),
            };
            format!("told of by {} ({}), as {place}", told.document, told.document_digest)
        }
        Fact::LogContinued(continued) => {
            format!(
                "the log goes on under a new id after {}, it was {}",
                continued.head, continued.old_log_id
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tagtrail_api::v1::{
        Actor, Failure, LogContinued, MoveCause, MoveWithheld, RepositoryImportFailed, TagHeld, TagMoved,
        TagReleased, TagRestored, TestimonyTaken,
    };

    use super::*;

    #[test]
    fn an_event_is_a_line() {
        let moved = TagMoved {
            tag: "v1".into(),
            item: Some(HistoryItem { docker_image_reference: "a@sha256:1".into(), ..HistoryItem::default() }),
            change: HistoryChange::Added.into(),
            cause: MoveCause::Import.into(),
            ..TagMoved::default()
        };
        let event = Event {
            sequence: 7,
            namespace: "test".into(),
            stream: "app".into(),
            recorded_at: Some(prost_types::Timestamp { seconds: 0, nanos: 0 }),
            actor: Some(Actor { name: "developer".into(), authenticated: false }),
            reason: "because".into(),
            fact: Some(Fact::TagMoved(moved)),
            ..Event::default()
        };
        assert_eq!(
            line(&event),
            "7  1970-01-01T00:00:00Z  test/app  developer  v1 -> a@sha256:1  (because)\n"
        );
        let value: Value = serde_json::from_str(&json_line(&event)).expect("JSON");
        assert_eq!(value["tagMoved"]["item"]["dockerImageReference"], "a@sha256:1");
        assert_eq!(value["tagMoved"]["cause"], "MOVE_CAUSE_IMPORT");
        assert_eq!(value["actor"]["name"], "developer");
    }

    #[test]
    fn holds_and_what_they_withhold_are_told() {
        let item = |digest: &str| HistoryItem {
            docker_image_reference: format!("a@{digest}"),
            ..HistoryItem::default()
        };
        let check = |fact: Fact, want: &str| assert_eq!(in_words(&fact), want);
        let held = TagHeld { tag: "v1".into(), ..TagHeld::default() };
        check(Fact::TagHeld(held.clone()), "v1 held");
        let expires_at = Some(prost_types::Timestamp::default());
        check(Fact::TagHeld(TagHeld { expires_at, ..held }), "v1 held until 1970-01-01T00:00:00Z");
        check(Fact::TagReleased(TagReleased { tag: "v1".into(), expired: false }), "v1 released");
        let expired = TagReleased { tag: "v1".into(), expired: true };
        check(Fact::TagReleased(expired), "v1 released, its time is up");
        let withheld = MoveWithheld { tag: "v1".into(), item: Some(item("sha256:1")), ..Default::default() };
        check(Fact::MoveWithheld(withheld), "v1 is held, would move to a@sha256:1");
        let restored = TagRestored { tag: "v1".into(), items: vec![item("sha256:1")], ..Default::default() };
        check(Fact::TagRestored(restored), "v1 restored -> a@sha256:1");
        let empty = TagRestored { tag: "v1".into(), ..Default::default() };
        check(Fact::TagRestored(empty), "v1 restored -> nothing");
    }

    #[test]
    fn what_was_told_and_the_log_itself() {
        let told = TestimonyTaken {
            document: "old.yaml".into(),
            document_digest: "sha256:1".into(),
            namespace: "shop".into(),
            name: "app".into(),
            ..TestimonyTaken::default()
        };
        let want = "told of by old.yaml (sha256:1), as shop/app";
        assert_eq!(in_words(&Fact::TestimonyTaken(told)), want);
        let continued = LogContinued { old_log_id: "0011".into(), head: 41, ..LogContinued::default() };
        let want = "the log goes on under a new id after 41, it was 0011";
        assert_eq!(in_words(&Fact::LogContinued(continued)), want);
    }

    #[test]
    fn a_repository_is_named() {
        let failed = Fact::RepositoryImportFailed(RepositoryImportFailed {
            repository: "quay.io/acme/app".into(),
            failure: Some(Failure { message: "no such host".into(), ..Failure::default() }),
        });
        assert_eq!(in_words(&failed), "import of all of quay.io/acme/app failed: no such host");
    }
}
