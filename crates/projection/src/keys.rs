//! Where each row of the read model stands. All rows share one tree, so that one batch changes them all or none.
//!
//! | table            | key after the table's byte                  | value                                    |
//! |------------------|---------------------------------------------|------------------------------------------|
//! | `META`           |                                             | version, log id, position                |
//! | `STREAM`         | namespace, name                             | the stream without its tags              |
//! | `TAG`            | namespace, name, tag                        | what the tag follows and points to       |
//! | `HISTORY`        | namespace, name, tag, number (u64)          | one history item                         |
//! | `STREAM_IMAGE`   | namespace, name, digest or nothing, tag     | number of the newest item that has it    |
//! | `STREAM_EVENT`   | namespace, name, sequence (u64)             | nothing                                  |
//! | `IMAGE`          | digest                                      | the image's facts                        |
//! | `REQUEST`        | request id                                  | the run it made, the request's digest    |
//! | `PENDING`        | namespace, name                             | nothing: a tag waits for an import       |
//! | `CHECKED`        | namespace, name                             | nothing: a tag is checked again          |
//! | `TAG_EVENT`      | namespace, name, tag, sequence (u64)        | nothing                                  |
//! | `SPAN`           | digest, namespace, name, tag, since (u64)   | until: the tag pointed to it from event to event. A span that lasts stands under the largest number, with its beginning |
//! | `INDEX`          | digest of an image, digest of an index      | nothing: the index holds the image       |
//! | `EXPIRING`       | namespace, name                             | nothing: a hold ends by itself           |
//!
//! Texts end with a zero byte, which none of them can hold; numbers are big-endian, so that they sort.

use tagtrail_domain::{Digest, Namespace, StreamKey, StreamName, TagName};

pub(crate) const META: u8 = 0;
pub(crate) const STREAM: u8 = 1;
pub(crate) const TAG: u8 = 2;
pub(crate) const HISTORY: u8 = 3;
pub(crate) const STREAM_IMAGE: u8 = 4;
pub(crate) const STREAM_EVENT: u8 = 5;
pub(crate) const IMAGE: u8 = 6;
pub(crate) const REQUEST: u8 = 7;
pub(crate) const PENDING: u8 = 8;
pub(crate) const CHECKED: u8 = 9;
pub(crate) const TAG_EVENT: u8 = 10;
pub(crate) const SPAN: u8 = 11;
pub(crate) const INDEX: u8 = 12;
pub(crate) const EXPIRING: u8 = 13;

/// Where a span stands that lasts.
pub(crate) const LASTS: u64 = u64::MAX;

pub(crate) fn table(table: u8) -> Vec<u8> {
    vec![table]
}

/// The rows of a table in a namespace.
pub(crate) fn namespace(table: u8, namespace: &str) -> Vec<u8> {
    let mut key = vec![table];
    text(&mut key, namespace);
    key
}

/// The row of a stream in a table, which is also where its rows begin.
pub(crate) fn stream(table: u8, stream: &StreamKey) -> Vec<u8> {
    let mut key = namespace(table, stream.namespace.as_str());
    text(&mut key, stream.name.as_str());
    key
}

/// The row of a tag in a table, which is also where its rows begin.
pub(crate) fn tag(table: u8, key: &StreamKey, tag: &TagName) -> Vec<u8> {
    let mut key = stream(table, key);
    text(&mut key, tag.as_str());
    key
}

pub(crate) fn history(key: &StreamKey, tag_name: &TagName, number: u64) -> Vec<u8> {
    let mut key = tag(HISTORY, key, tag_name);
    key.extend(number.to_be_bytes());
    key
}

pub(crate) fn stream_image(key: &StreamKey, image: Option<&Digest>, tag: &TagName) -> Vec<u8> {
    let mut key = stream(STREAM_IMAGE, key);
    text(&mut key, image.map_or("", Digest::as_str));
    text(&mut key, tag.as_str());
    key
}

pub(crate) fn stream_event(key: &StreamKey, sequence: u64) -> Vec<u8> {
    let mut key = stream(STREAM_EVENT, key);
    key.extend(sequence.to_be_bytes());
    key
}

pub(crate) fn tag_event(key: &StreamKey, tag_name: &TagName, sequence: u64) -> Vec<u8> {
    let mut key = tag(TAG_EVENT, key, tag_name);
    key.extend(sequence.to_be_bytes());
    key
}

pub(crate) fn span(digest: &Digest, stream: &StreamKey, tag: &TagName, since: u64) -> Vec<u8> {
    let mut key = vec![SPAN];
    for part in [digest.as_str(), stream.namespace.as_str(), stream.name.as_str(), tag.as_str()] {
        text(&mut key, part);
    }
    key.extend(since.to_be_bytes());
    key
}

/// Where the spans of an image begin, in a namespace, or in a stream of it.
pub(crate) fn spans(image: &Digest, namespace: Option<&Namespace>, stream: Option<&StreamName>) -> Vec<u8> {
    let mut key = vec![SPAN];
    text(&mut key, image.as_str());
    if let Some(namespace) = namespace {
        text(&mut key, namespace.as_str());
    }
    if let Some(stream) = stream {
        text(&mut key, stream.as_str());
    }
    key
}

pub(crate) fn index(image: &Digest, index: &Digest) -> Vec<u8> {
    let mut key = vec![INDEX];
    text(&mut key, image.as_str());
    text(&mut key, index.as_str());
    key
}

pub(crate) fn image(digest: &Digest) -> Vec<u8> {
    let mut key = vec![IMAGE];
    text(&mut key, digest.as_str());
    key
}

pub(crate) fn request(id: &str) -> Vec<u8> {
    let mut key = vec![REQUEST];
    text(&mut key, id);
    key
}

/// The texts after the table's byte.
pub(crate) fn texts(key: &[u8]) -> impl Iterator<Item = &str> {
    key[1..].split(|byte| *byte == 0).map(|text| std::str::from_utf8(text).expect("keys are made of texts"))
}

/// The number at the end of a key.
pub(crate) fn number(key: &[u8]) -> u64 {
    let bytes = key.last_chunk::<8>().expect("this key ends with a number");
    u64::from_be_bytes(*bytes)
}

fn text(key: &mut Vec<u8>, text: &str) {
    key.extend(text.as_bytes());
    key.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_sorts_and_reads_back() {
        let stream_key = StreamKey::parse("test", "app").expect("valid");
        let tag_name = TagName::parse("v1").expect("valid");
        let key = history(&stream_key, &tag_name, 258);
        assert!(key.starts_with(&tag(HISTORY, &stream_key, &tag_name)));
        assert!(history(&stream_key, &tag_name, 255) < key);
        assert_eq!(number(&key), 258);
        let key = tag(TAG, &stream_key, &tag_name);
        assert_eq!(texts(&key).take(3).collect::<Vec<_>>(), ["test", "app", "v1"]);
    }

    #[test]
    fn no_stream_is_the_start_of_another() {
        let long = StreamKey::parse("test", "app-2").expect("valid");
        let short = StreamKey::parse("test", "app").expect("valid");
        assert!(!stream(TAG, &long).starts_with(&stream(TAG, &short)));
    }
}
