//! The registries the other tests stand on.

use serde_json::Value;
use tagtrail_tests::process::free_port;
use tagtrail_tests::registry::{Access, Registry, Storage};

#[test]
fn a_registry_has_the_standard_content() {
    let (registry, _storage) = Registry::start().expect("a registry starts");
    let known: Value =
        serde_json::from_slice(&registry.fill(&["digests"]).expect("python3").stdout).expect("JSON");
    let known = known["team/app:dev"].as_str().expect("a digest").to_owned();
    let retagged = registry.fill(&["retag", "team/app:dev", "again"]).expect("python3");
    assert!(retagged.status.success(), "{retagged:?}");
    assert_eq!(String::from_utf8_lossy(&retagged.stdout).trim(), known);
}

/// The content is a copy: what one test deletes, another still finds.
#[test]
fn a_registrys_content_is_its_own() {
    let (one, _storage) = Registry::start().expect("a registry starts");
    let (other, _storage) = Registry::start().expect("a registry starts");
    let deleted = one.fill(&["delete", "team/gone:1"]).expect("python3");
    assert_eq!(String::from_utf8_lossy(&deleted.stdout).trim(), "202");
    let kept = other.fill(&["retag", "team/gone:1", "kept"]).expect("python3");
    assert!(kept.status.success(), "{kept:?}");
}

#[test]
fn a_registry_can_ask_for_a_password() {
    let storage = Storage::shared().expect("content");
    let port = free_port().expect("a port");
    let registry = Registry::serve(&storage, port, Access::Password).expect("it answers 401 and is ready");
    let refused = registry.fill(&["retag", "team/private:latest", "again"]).expect("python3");
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("401"), "{refused:?}");
}
