//! Subjects: `<prefix>.events.<namespace>.<stream>.<tag>.<kind>`.
//!
//! A part may hold characters that NATS reads as its own, above all the dot of `3.6`. Each byte that is not a letter, a
//! digit, `_` or `-` is written as `=` and two hexadecimal digits in capital letters: `3=2E6`. No name holds a `=`, so no two
//! names become the same part. The same parts make the keys of the bucket, which allow little more.

use std::fmt::Write as _;

use tagtrail_api::kind::{Kind, NO_TAG};

/// Which part of the subject space is for events; others may follow beside it.
const EVENTS: &str = "events";

/// One part.
pub(crate) fn part(text: &str) -> String {
    let mut part = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => part.push(byte.into()),
            _ => write!(part, "={byte:02X}").expect("text takes everything"),
        }
    }
    part
}

/// The subject of an event.
pub(crate) fn of_event(prefix: &str, namespace: &str, stream: &str, tag: Option<&str>, kind: Kind) -> String {
    format!("{prefix}.{EVENTS}.{}", key(namespace, stream, tag.unwrap_or(NO_TAG))) + "." + kind.as_str()
}

/// Every event's subject.
pub(crate) fn of_all_events(prefix: &str) -> String {
    format!("{prefix}.{EVENTS}.>")
}

/// A tag's key in the bucket.
pub(crate) fn key(namespace: &str, stream: &str, tag: &str) -> String {
    format!("{}.{}.{}", part(namespace), part(stream), part(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_has_the_same_number_of_parts_whatever_the_names() {
        let check = |tag: Option<&str>, kind, subject: &str| {
            assert_eq!(of_event("tagtrail", "test", "python", tag, kind), subject);
        };
        check(Some("3.6"), Kind::TagMoved, "tagtrail.events.test.python.3=2E6.tag-moved");
        check(Some("v1_rc-2"), Kind::TagSet, "tagtrail.events.test.python.v1_rc-2.tag-set");
        check(None, Kind::StreamDeleted, "tagtrail.events.test.python.-.stream-deleted");
        assert_eq!(key("test", "my.app", "1.0"), "test.my=2Eapp.1=2E0");
    }

    /// Different names never meet, and what NATS reads as its own is never left in.
    #[test]
    fn parts_can_be_read_back() {
        let texts = ["3.6", "3=2E6", "*", ">", "a b", "é", "-", "_", "a.b.c", "", "=", "$"];
        for text in texts {
            let part = part(text);
            assert!(!part.contains(['.', '*', '>', ' ', '$']), "{part}");
            let mut bytes = Vec::new();
            let mut rest = part.as_bytes();
            while let [byte, after @ ..] = rest {
                if *byte == b'=' {
                    let digits = std::str::from_utf8(&after[..2]).expect("digits");
                    bytes.push(u8::from_str_radix(digits, 16).expect("digits"));
                    rest = &after[2..];
                } else {
                    bytes.push(*byte);
                    rest = after;
                }
            }
            assert_eq!(String::from_utf8(bytes).as_deref(), Ok(text));
        }
    }
}
