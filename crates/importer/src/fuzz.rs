//! What reads registries' answers and credentials, for the fuzz target: each parser under its name, with what has to hold of what
//! it understood. It says whether it understood anything.

use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};

use crate::credentials::{DockerConfig, parse_helper};
use crate::manifest::{self, Descriptor, Manifest};
use crate::pull_secrets::PullSecret;
use crate::{auth, client, fetch, go_json, limits};

/// A parser under its name.
pub type Parser = (&'static str, fn(&[u8]) -> bool);

/// Every parser of what registries and credential files hold.
pub const PARSERS: [Parser; 10] = [
    ("manifest", manifest),
    ("image-config", image_config),
    ("tag-list", tag_list),
    ("json-error", json_error),
    ("token", token),
    ("challenge", challenge),
    ("retry-after", retry_after),
    ("docker-config", docker_config),
    ("pull-secret", pull_secret),
    ("credential-helper", |bytes| parse_helper(bytes).is_some()),
];

/// Whatever header comes with it, a manifest has no more than it may.
fn manifest(bytes: &[u8]) -> bool {
    let types = [None, Some(manifest::DOCKER_LIST), Some(manifest::OCI_MANIFEST)];
    let parsed = types.map(|header| manifest::parse(bytes, header.map(HeaderValue::from_static).as_ref()));
    let understood = parsed.iter().any(Result::is_ok);
    for manifest in parsed.into_iter().flatten() {
        match manifest {
            Manifest::Image { media_type, layers, .. } => {
                assert!(media_type.len() <= limits::MEDIA_TYPE_BYTES && layers.len() <= limits::LAYERS);
            }
            Manifest::Index { entries, .. } => {
                assert!(entries.len() <= limits::INDEX_ENTRIES);
                let chosen = manifest::choose(&entries, None, None);
                assert_eq!(chosen.is_some(), !entries.is_empty());
            }
        }
    }
    understood
}

fn image_config(bytes: &[u8]) -> bool {
    let digest = manifest::digest_of(bytes, None);
    let size = i64::try_from(bytes.len()).expect("inputs are small");
    let config = Descriptor { digest: digest.clone(), size };
    let image = manifest::image(digest, String::new(), String::new(), &config, Vec::new(), bytes);
    let Ok(image) = image else { return false };
    let platform = [image.platform.os, image.platform.architecture, image.platform.variant];
    assert!(platform.iter().all(|name| name.len() <= limits::PLATFORM_BYTES));
    true
}

/// What is taken for a tag is one.
fn tag_list(bytes: &[u8]) -> bool {
    let Ok(tags) = fetch::parse_tags(bytes) else { return false };
    assert!(tags.iter().all(|tag| tagtrail_domain::TagName::parse(tag).is_ok()), "{tags:?}");
    true
}

/// Ours complains of what serde complains of, but for what JSON leaves open: numbers beyond all measure, halves of surrogate
/// pairs, bytes that are no text, and how deep is too deep.
fn json_error(bytes: &[u8]) -> bool {
    let ours = go_json::syntax_error(bytes);
    go_json::quote(bytes);
    match serde_json::from_slice::<serde::de::IgnoredAny>(bytes) {
        Ok(_) => {
            assert_eq!(ours, None);
            true
        }
        Err(_) => false,
    }
}

fn token(bytes: &[u8]) -> bool {
    let Ok((token, ttl)) = auth::parse_token(bytes) else { return false };
    assert!(!token.expose().is_empty() && ttl <= Duration::from_secs(3_600));
    true
}

fn challenge(bytes: &[u8]) -> bool {
    let Some(headers) = header(reqwest::header::WWW_AUTHENTICATE, bytes) else { return false };
    auth::Challenge::of(&headers) != auth::Challenge::Open
}

fn retry_after(bytes: &[u8]) -> bool {
    let Some(headers) = header(RETRY_AFTER, bytes) else { return false };
    let wait = client::retry_after(&headers, SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    assert!(wait.is_none_or(|wait| wait <= limits::LONGEST_HOLD));
    wait.is_some()
}

fn header(name: reqwest::header::HeaderName, bytes: &[u8]) -> Option<HeaderMap> {
    let value = HeaderValue::from_bytes(bytes).ok()?;
    Some([(name, value)].into_iter().collect())
}

fn docker_config(bytes: &[u8]) -> bool {
    let Ok(config) = DockerConfig::parse(bytes) else { return false };
    for host in ["quay.io", "registry.example:5000", "127.0.0.1:5000", "docker.io", ""] {
        config.helper(host);
        config.matching(host, "team/app");
    }
    true
}

fn pull_secret(bytes: &[u8]) -> bool {
    let Ok(secret) = PullSecret::parse(bytes) else { return false };
    // Passwords are not shown.
    assert!(!format!("{secret:?}").contains("hunter2"));
    true
}
