//! The table of all parsers. Those that are not public stand in the `fuzz` module of their crate.

use std::fs;
use std::sync::LazyLock;

use prost::Message as _;
use tagtrail_api::v1;
use tagtrail_domain::{Digest, ImageReference, Interval, Namespace, StreamKey, TagName};
use tagtrail_projection::labels::Selector;
use tagtrail_server::{Config, Overrides};
use tagtrail_transparency::proof;
use tagtrail_transparency::tile::{self, Tile};
use tagtrail_transparency::{Checkpoint, Hash, Note, Policy, Receipt, VerifierKey};
use tempfile::TempDir;

use crate::{Parser, requests};

pub(crate) fn all() -> Vec<Parser> {
    let here: [Parser; 15] = [
        ("reference", reference),
        ("name", name),
        ("digest", digest),
        ("interval", interval),
        ("selector", |bytes| text(bytes).is_some_and(|text| Selector::parse(text).is_ok())),
        ("checkpoint", |bytes| same(bytes, |text| text.parse::<Checkpoint>().ok())),
        ("note", note),
        ("verifier-key", verifier_key),
        ("receipt", receipt),
        ("policy", policy),
        ("tile", tile),
        ("proof", proof),
        ("event-json", event_json),
        ("config", config),
        ("request", requests::request),
    ];
    let kept = tagtrail_event_log::fuzz::PARSERS;
    let registries = tagtrail_importer::fuzz::PARSERS;
    let written = tagtrail_cli::fuzz::PARSERS;
    here.into_iter().chain(kept).chain(registries).chain(written).collect()
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// What was read is written as it was.
fn same<T: ToString>(bytes: &[u8], parse: impl Fn(&str) -> Option<T>) -> bool {
    let Some(text) = text(bytes) else { return false };
    let Some(value) = parse(text) else { return false };
    assert_eq!(value.to_string(), text);
    true
}

/// A reference is written so that it is read as the same, and with its defaults too.
fn reference(bytes: &[u8]) -> bool {
    let Some(Ok(reference)) = text(bytes).map(ImageReference::parse) else { return false };
    let again = ImageReference::parse(&reference.to_string());
    assert_eq!(again.as_ref(), Ok(&reference), "{reference}");
    let full = reference.with_defaults();
    assert!(
        full.tag.is_empty() || full.digest.is_none() || !reference.tag.is_empty(),
        "a digest needs no tag"
    );
    true
}

fn name(bytes: &[u8]) -> bool {
    let Some(text) = text(bytes) else { return false };
    let (namespace, name) = text.split_once('/').unwrap_or(("test", text));
    let key = StreamKey::parse(namespace, name);
    if let Ok(key) = &key {
        assert_eq!(key.to_string(), format!("{namespace}/{name}"));
    }
    key.is_ok() | Namespace::parse(text).is_ok() | same(bytes, |text| TagName::parse(text).ok())
}

fn digest(bytes: &[u8]) -> bool {
    same(bytes, |text| Digest::parse(text).ok())
}

fn interval(bytes: &[u8]) -> bool {
    let Some(Ok(interval)) = text(bytes).map(Interval::parse) else { return false };
    assert_eq!(Interval::parse(&interval.to_string()).as_ref(), Ok(&interval));
    true
}

/// Its hash may be in capital letters.
fn verifier_key(bytes: &[u8]) -> bool {
    let Some(Ok(key)) = text(bytes).map(str::parse::<VerifierKey>) else { return false };
    assert_eq!(key.to_string().parse::<VerifierKey>().as_ref(), Ok(&key));
    true
}

fn note(bytes: &[u8]) -> bool {
    let Ok(note) = Note::parse(bytes) else { return false };
    assert_eq!(note.to_string().as_bytes(), bytes);
    true
}

fn receipt(bytes: &[u8]) -> bool {
    let Ok(receipt) = Receipt::parse(bytes) else { return false };
    assert_eq!(Receipt::parse(receipt.to_string().as_bytes()).as_ref(), Ok(&receipt));
    true
}

fn policy(bytes: &[u8]) -> bool {
    let Ok(policy) = Policy::parse(bytes) else { return false };
    let again = Policy::parse(&policy.to_bytes()).expect("what was written can be read");
    assert_eq!(again.to_bytes(), policy.to_bytes());
    true
}

/// The name of a tile, and what a tile holds.
fn tile(bytes: &[u8]) -> bool {
    for width in [1, 2, 255, 256] {
        if let Ok(hashes) = tile::decode_hashes(bytes, width) {
            assert_eq!(tile::encode_hashes(&hashes), bytes);
        }
        tile::decode_entries(bytes, width).ok();
    }
    same(bytes, |text| text.parse::<Tile>().ok())
}

/// Two numbers and hashes: nothing is proved by chance.
fn proof(bytes: &[u8]) -> bool {
    let Some((numbers, rest)) = bytes.split_at_checked(16) else { return false };
    let number = |at: usize| u64::from_be_bytes(numbers[at..at + 8].try_into().expect("eight bytes"));
    let (from, to) = (number(0), number(8));
    let hashes: Vec<Hash> = rest
        .chunks_exact(Hash::BYTES)
        .map(|hash| Hash::from_bytes(hash.try_into().expect("as long as a hash")))
        .collect();
    let [one, other] = [[1; Hash::BYTES], [2; Hash::BYTES]].map(Hash::from_bytes);
    assert!(proof::verify_inclusion(&one, from, to, &hashes, &other).is_err());
    // The empty tree is the beginning of every tree.
    assert!(from == 0 || proof::verify_consistency(from, to, &hashes, &one, &other).is_err());
    from < to && hashes.len() <= proof::MAX_HASHES
}

/// Whatever an event is, its JSON is JSON.
fn event_json(bytes: &[u8]) -> bool {
    let Ok(event) = v1::Event::decode(bytes) else { return false };
    let json = tagtrail_api::json::event(&event);
    serde_json::from_str::<serde_json::Value>(&json).expect("JSON");
    true
}

fn config(bytes: &[u8]) -> bool {
    static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a folder"));
    let file = FOLDER.path().join("tagtrail.toml");
    fs::write(&file, bytes).expect("it can be written");
    Config::load(Some(&file), Overrides::default(), []).is_ok()
}
