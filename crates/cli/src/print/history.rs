//! What ever happened to tags: the rows of `tagtrail history`, and its entries as JSON.

use serde_json::{Map, Value};
use tagtrail_api::v1::{HistoryEntry, HistoryItem};

use crate::print::age::{exact, rfc3339};
use crate::print::{schedule, tabs};

/// Which columns there are.
#[derive(Clone, Copy, Default)]
pub(crate) struct Layout {
    /// The namespace.
    pub(crate) namespaces: bool,
    /// The stream.
    pub(crate) streams: bool,
    /// What is left out otherwise; and digests are whole, and times exact.
    pub(crate) wide: bool,
}

/// What stands where there is nothing.
const NOTHING: &str = "<none>";

impl Layout {
    /// The headers.
    pub(crate) fn headers(self) -> Vec<String> {
        let mut headers = vec!["SEQUENCE", "TIME"];
        headers.extend(self.namespaces.then_some("NAMESPACE"));
        headers.extend(self.streams.then_some("STREAM"));
        headers.extend(["TAG", "FROM", "TO", "WHAT", "WHO", "WHY"]);
        if self.wide {
            headers.extend(["SOURCE", "AUTHENTICATED", "CAUSED BY", "REQUEST ID"]);
        }
        headers.into_iter().map(str::to_owned).collect()
    }

    /// The cells of an entry.
    pub(crate) fn cells(self, entry: &HistoryEntry) -> Vec<String> {
        let image = |item: Option<&HistoryItem>| {
            let name = item.map_or(NOTHING, pointed_to);
            if self.wide { name.to_owned() } else { short(name) }
        };
        let actor = entry.actor.clone().unwrap_or_default();
        let at = entry.recorded_at.as_ref().filter(|_| self.wide).map_or_else(|| time(entry), exact);
        let mut cells = vec![entry.sequence.to_string(), at];
        cells.extend(self.namespaces.then(|| entry.namespace.clone()));
        cells.extend(self.streams.then(|| entry.stream.clone()));
        let no_tag = if entry.kind == "log-continued" { NOTHING } else { "<all>" };
        cells.push(if entry.tag.is_empty() { no_tag.into() } else { entry.tag.clone() });
        cells.extend([image(entry.from.as_ref()), image(entry.to.as_ref()), what(entry)]);
        let who = match &entry.asked_by {
            Some(asked_by) => format!("{} for {}", actor.name, asked_by.name),
            None => or_nothing(&actor.name),
        };
        cells.extend([who, or_nothing(&entry.reason)]);
        if self.wide {
            let caused_by = if entry.caused_by == 0 { String::new() } else { entry.caused_by.to_string() };
            let authenticated = actor.authenticated.to_string();
            cells.extend([or_nothing(&entry.source), authenticated, or_nothing(&caused_by)]);
            cells.push(or_nothing(&entry.request_id));
        }
        cells.iter().map(|cell| tabs::one_line(cell)).collect()
    }
}

/// What happened, in a few words: `scheduled-import`, `withheld (alias of app:dev)`.
pub(crate) fn what(entry: &HistoryEntry) -> String {
    let cause = match entry.cause.as_str() {
        "alias" if !entry.followed_tag.is_empty() => format!("alias of {}", entry.followed_tag),
        cause => cause.to_owned(),
    };
    // It was recorded when it was told; this is when it was.
    let told = entry.to.as_ref().and_then(|item| item.created.as_ref());
    match entry.kind.as_str() {
        "tag-moved" if cause == "testimony" => match told {
            Some(created) => format!("testimony ({})", rfc3339(created)),
            None => cause,
        },
        "tag-moved" if !cause.is_empty() => cause,
        "tag-confirmed" if !cause.is_empty() => format!("{cause}, unchanged"),
        "move-withheld" if cause.is_empty() => "withheld".into(),
        // What TO shows has not come: that is said first.
        "move-withheld" => format!("withheld ({cause})"),
        "import-failed" if cause == "testimony" => {
            let why = entry.failure.as_ref().map(|failure| failure.message.as_str()).unwrap_or_default();
            format!("testimony of a failed import: {why}")
        }
        "import-failed" => {
            let cause = if cause.is_empty() { "import" } else { &cause };
            let why = entry.failure.as_ref().map(|failure| failure.message.as_str()).unwrap_or_default();
            format!("{cause} failed: {why}")
        }
        "tag-held" => match &entry.expires_at {
            Some(until) => format!("hold until {}", rfc3339(until)),
            None => "hold".into(),
        },
        "tag-released" if cause == "expiry" => "release, for its time was up".into(),
        "tag-released" => "release".into(),
        "tag-deleted" => "delete".into(),
        "stream-deleted" => "delete the image stream".into(),
        "tag-restored" => "restore".into(),
        "testimony-taken" => format!("told by {}", entry.source),
        "log-continued" => format!("the log goes on under a new id, it was {}", entry.source),
        kind if cause.is_empty() => kind.to_owned(),
        kind => format!("{kind} by {cause}"),
    }
}

/// When it happened, to the second.
pub(crate) fn time(entry: &HistoryEntry) -> String {
    entry.recorded_at.as_ref().map(rfc3339).unwrap_or_default()
}

/// What a tag points to: the digest of an image, or the reference of a reference tag.
pub(crate) fn pointed_to(item: &HistoryItem) -> &str {
    if item.image.is_empty() { &item.docker_image_reference } else { &item.image }
}

/// Shortens a digest to what tells it from others at a glance: `sha256:1e42ab0c…`. Anything else stays as it is.
pub(crate) fn short(name: &str) -> String {
    const DIGITS: usize = 8;
    match name.split_once(':') {
        Some((algorithm @ ("sha256" | "sha384" | "sha512"), hex)) if hex.len() > DIGITS && hex.is_ascii() => {
            format!("{algorithm}:{}…", &hex[..DIGITS])
        }
        _ => name.to_owned(),
    }
}

/// An entry for programs.
pub(crate) fn in_json(entry: &HistoryEntry) -> Value {
    let text = |text: &str| Value::from((!text.is_empty()).then_some(text));
    let image = |item: Option<&HistoryItem>| item.map_or(Value::Null, |item| pointed_to(item).into());
    let reference =
        |item: Option<&HistoryItem>| item.map_or(Value::Null, |item| text(&item.docker_image_reference));
    let actor = entry.actor.clone().unwrap_or_default();
    let always = [
        ("sequence", entry.sequence.into()),
        ("time", entry.recorded_at.as_ref().map(exact).into()),
        ("namespace", entry.namespace.as_str().into()),
        ("stream", entry.stream.as_str().into()),
        ("kind", entry.kind.as_str().into()),
        ("tag", text(&entry.tag)),
        ("from", image(entry.from.as_ref())),
        ("to", image(entry.to.as_ref())),
        ("fromReference", reference(entry.from.as_ref())),
        ("toReference", reference(entry.to.as_ref())),
        ("actor", actor.name.into()),
        ("authenticated", actor.authenticated.into()),
        ("reason", entry.reason.as_str().into()),
        ("requestId", entry.request_id.as_str().into()),
        ("cause", entry.cause.as_str().into()),
    ];
    let failure = entry.failure.as_ref().map(|failure| {
        let keys = ["kind", "reason", "message"].map(str::to_owned);
        let values = [schedule::kind(failure.kind()), &failure.reason, &failure.message].map(Value::from);
        Value::from(keys.into_iter().zip(values).collect::<Map<_, _>>())
    });
    let sequence = |sequence: u64| if sequence == 0 { Value::Null } else { sequence.into() };
    let sometimes = [
        ("followedTag", text(&entry.followed_tag)),
        ("source", text(&entry.source)),
        ("failure", failure.unwrap_or_default()),
        ("copiedFromSequence", sequence(entry.copied_from_sequence)),
        ("causedBy", sequence(entry.caused_by)),
        ("askedBy", entry.asked_by.as_ref().map(|actor| actor.name.as_str()).into()),
        ("expiresAt", entry.expires_at.as_ref().map(exact).into()),
    ];
    let there = sometimes.into_iter().filter(|(_, value)| !value.is_null());
    always.into_iter().chain(there).map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>().into()
}

fn or_nothing(text: &str) -> String {
    if text.is_empty() { NOTHING.into() } else { text.to_owned() }
}

#[cfg(test)]
pub(crate) mod tests {
    use prost_types::Timestamp;
    use tagtrail_api::v1::{Actor, Failure, FailureKind};

    use super::*;

    /// A digest that begins with these digits.
    pub(crate) fn digest(begin: &str) -> String {
        format!("sha256:{begin:0<64}")
    }

    pub(crate) fn item(begin: &str) -> Option<HistoryItem> {
        let image = digest(begin);
        let docker_image_reference = format!("quay.io/a/b@{image}");
        Some(HistoryItem { image, docker_image_reference, ..HistoryItem::default() })
    }

    pub(crate) fn moved() -> HistoryEntry {
        HistoryEntry {
            sequence: 7,
            recorded_at: Some(Timestamp { seconds: 1, nanos: 250_000_000 }),
            namespace: "test".into(),
            stream: "app".into(),
            tag: "prod".into(),
            kind: "tag-moved".into(),
            from: item("aa"),
            to: item("bb"),
            cause: "import".into(),
            actor: Some(Actor { name: "ana".into(), authenticated: false }),
            ..HistoryEntry::default()
        }
    }

    #[test]
    fn a_row_tells_who_did_what_and_why() {
        let check = |layout: Layout, entry: &HistoryEntry, want: &str| {
            assert_eq!(layout.cells(entry).join(" | "), want);
            assert_eq!(layout.headers().len(), layout.cells(entry).len());
        };
        let (some, all) = (Layout::default(), Layout { namespaces: true, streams: true, wide: true });
        let begin = "7 | 1970-01-01T00:00:01Z";
        check(
            some,
            &moved(),
            &format!("{begin} | prod | sha256:aa000000… | sha256:bb000000… | import | ana | <none>"),
        );
        let wide = HistoryEntry {
            reason: "because\nof that".into(),
            source: "quay.io/a/b:1".into(),
            caused_by: 5,
            request_id: "r1".into(),
            ..moved()
        };
        let (aa, bb) = (digest("aa"), digest("bb"));
        check(
            all,
            &wide,
            &format!(
                "7 | 1970-01-01T00:00:01.250Z | test | app | prod | {aa} | {bb} | import | ana | because... | quay.io/a/b:1 | false | 5 | r1"
            ),
        );
        let gone = HistoryEntry {
            tag: String::new(),
            kind: "stream-deleted".into(),
            cause: "delete".into(),
            from: None,
            to: None,
            ..moved()
        };
        check(
            some,
            &gone,
            &format!("{begin} | <all> | <none> | <none> | delete the image stream | ana | <none>"),
        );
        let reference =
            HistoryItem { docker_image_reference: "quay.io/a/b:1".into(), ..HistoryItem::default() };
        let pointed = HistoryEntry { from: None, to: Some(reference), ..moved() };
        check(some, &pointed, &format!("{begin} | prod | <none> | quay.io/a/b:1 | import | ana | <none>"));
    }

    fn told_item() -> HistoryItem {
        HistoryItem { created: Some(Timestamp::default()), ..HistoryItem::default() }
    }

    #[test]
    fn what_happened_is_told_in_a_few_words() {
        let check = |kind: &str, cause: &str, want: &str| {
            let entry = HistoryEntry {
                kind: kind.into(),
                cause: cause.into(),
                followed_tag: "dev".into(),
                failure: Some(Failure { message: "no such host".into(), ..Failure::default() }),
                expires_at: Some(Timestamp::default()),
                ..HistoryEntry::default()
            };
            assert_eq!(what(&entry), want);
        };
        check("tag-moved", "tag", "tag");
        check("tag-moved", "scheduled-import", "scheduled-import");
        check("tag-moved", "alias", "alias of dev");
        check("tag-moved", "promote", "promote");
        check("tag-confirmed", "import", "import, unchanged");
        check("move-withheld", "alias", "withheld (alias of dev)");
        check("move-withheld", "", "withheld");
        check("import-failed", "scheduled-import", "scheduled-import failed: no such host");
        check("import-failed", "", "import failed: no such host");
        check("tag-held", "hold", "hold until 1970-01-01T00:00:00Z");
        check("tag-released", "release", "release");
        check("tag-released", "expiry", "release, for its time was up");
        check("tag-restored", "restore", "restore");
        check("tag-moved", "testimony", "testimony");
        check("import-failed", "testimony", "testimony of a failed import: no such host");
        check("testimony-taken", "testimony", "told by ");
        let told = HistoryEntry { to: Some(told_item()), cause: "testimony".into(), ..moved() };
        assert_eq!(what(&told), "testimony (1970-01-01T00:00:00Z)");
        check("log-continued", "", "the log goes on under a new id, it was ");
        check("tag-set", "", "tag-set");
        check("tag-set", "tag", "tag-set by tag");
    }

    #[test]
    fn an_entry_has_the_keys_that_scripts_know() {
        let keys = |entry: &HistoryEntry| -> Vec<String> {
            in_json(entry).as_object().expect("an object").keys().cloned().collect()
        };
        let always = [
            "sequence",
            "time",
            "namespace",
            "stream",
            "kind",
            "tag",
            "from",
            "to",
            "fromReference",
            "toReference",
            "actor",
            "authenticated",
            "reason",
            "requestId",
            "cause",
        ];
        assert_eq!(keys(&HistoryEntry::default()), always);
        assert_eq!(keys(&moved()), always);
        let value = in_json(&moved());
        assert_eq!(value["time"], "1970-01-01T00:00:01.250Z");
        assert_eq!((&value["from"], &value["to"]), (&digest("aa").into(), &digest("bb").into()));
        assert_eq!(value["actor"], "ana");
        assert_eq!(in_json(&HistoryEntry { from: None, ..moved() })["from"], Value::Null);
        let failure = Failure {
            kind: FailureKind::Unreachable.into(),
            reason: "InternalError".into(),
            message: "no such host".into(),
        };
        let all = HistoryEntry {
            followed_tag: "dev".into(),
            source: "app:dev".into(),
            failure: Some(failure),
            copied_from_sequence: 3,
            caused_by: 5,
            expires_at: Some(Timestamp::default()),
            ..moved()
        };
        let sometimes = ["followedTag", "source", "failure", "copiedFromSequence", "causedBy", "expiresAt"];
        assert_eq!(keys(&all)[always.len()..], sometimes);
        let failure = serde_json::json!({ "kind": "unreachable", "reason": "InternalError", "message": "no such host" });
        assert_eq!(in_json(&all)["failure"], failure);
    }
}
