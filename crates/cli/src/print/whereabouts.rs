//! Tags that point to an image, or did: the rows of `tagtrail where`.

use serde_json::{Value, json};
use tagtrail_api::v1::Whereabouts;

use crate::print::age::{exact, rfc3339};
use crate::print::history::short;

/// The headers.
pub(crate) fn headers() -> Vec<String> {
    ["NAMESPACE", "TAG", "SEQUENCE", "SINCE", "UNTIL", "IMAGE"].map(str::to_owned).into()
}

/// The cells under [`headers`].
pub(crate) fn cells(tag: &Whereabouts) -> Vec<String> {
    let time = |at: Option<&prost_types::Timestamp>| at.map_or_else(|| "<unknown>".into(), rfc3339);
    let until = if tag.until_sequence == 0 { "<now>".into() } else { time(tag.until.as_ref()) };
    let image = match tag.index.as_str() {
        "" => short(&tag.digest),
        index => format!("{} in {}", short(&tag.digest), short(index)),
    };
    vec![
        tag.namespace.clone(),
        format!("{}:{}", tag.stream, tag.tag),
        tag.since_sequence.to_string(),
        time(tag.since.as_ref()),
        until,
        image,
    ]
}

/// The same for programs.
pub(crate) fn in_json(tag: &Whereabouts) -> Value {
    let is_there = tag.until_sequence == 0;
    json!({
        "namespace": tag.namespace,
        "stream": tag.stream,
        "tag": tag.tag,
        "digest": tag.digest,
        "index": (!tag.index.is_empty()).then_some(&tag.index),
        "sinceSequence": tag.since_sequence,
        "since": tag.since.as_ref().map(exact),
        "untilSequence": (!is_there).then_some(tag.until_sequence),
        "until": tag.until.as_ref().map(exact),
        "current": is_there,
    })
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;
    use crate::print::history::tests::digest;

    #[test]
    fn a_row_tells_since_when_and_until_when() {
        let time = |seconds| Some(Timestamp { seconds, nanos: 0 });
        let check = |until_sequence, index: &str, want: &str| {
            let tag = Whereabouts {
                namespace: "prod".into(),
                stream: "app".into(),
                tag: "live".into(),
                digest: digest("aa"),
                index: index.into(),
                since_sequence: 7,
                since: time(1),
                until_sequence,
                until: if until_sequence == 0 { None } else { time(2) },
            };
            assert_eq!(cells(&tag).join(" "), format!("prod app:live 7 1970-01-01T00:00:01Z {want}"));
            assert_eq!(in_json(&tag)["current"], until_sequence == 0);
            assert_eq!(in_json(&tag)["until"].is_null(), until_sequence == 0);
        };
        check(0, "", "<now> sha256:aa000000…");
        check(9, "", "1970-01-01T00:00:02Z sha256:aa000000…");
        check(9, &digest("cc"), "1970-01-01T00:00:02Z sha256:aa000000… in sha256:cc000000…");
    }
}
