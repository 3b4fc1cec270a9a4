//! Secrets: handed over, listed, deleted, and never given back.

use tagtrail_tests::server::{Options, Server};

use super::*;

const CONFIG: &str = r#"{"auths":{"quay.io":{"username":"u","password":"canary"}}}"#;

fn secret(namespace: &str, name: &str, config: &str) -> CreateSecretRequest {
    CreateSecretRequest {
        namespace: namespace.into(),
        name: name.into(),
        docker_config_json: config.into(),
        dry_run: false,
    }
}

#[test]
fn what_is_no_secret_is_refused_without_a_word_of_it() {
    let server = Server::start(Options::default()).expect("a server");
    let api = Api::of(&server);
    let refused = |request: CreateSecretRequest, code: Code, words: &str| {
        api.refused(async { api.secrets().create_secret(request).await }, code, words);
    };
    let invalid = Code::InvalidArgument;
    refused(
        secret(HERE, "Up", CONFIG),
        invalid,
        "metadata.name: Invalid value: \"Up\": a lowercase RFC 1123",
    );
    refused(secret(HERE, "../../etc/x", CONFIG), invalid, "a lowercase RFC 1123 subdomain");
    refused(secret("../x", "a", CONFIG), invalid, "\"../x\" is not a namespace");
    refused(secret("", "a", CONFIG), invalid, "is not a namespace");
    let contents = "data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\": ";
    refused(secret(HERE, "a", "canary"), invalid, &format!("{contents}it is not a Docker configuration"));
    refused(secret(HERE, "a", "{}"), invalid, &format!("{contents}it holds no credentials"));
    let large = format!("{CONFIG}{}", " ".repeat(64 << 10));
    refused(
        secret(HERE, "a", &large),
        invalid,
        &format!("{contents}it has 65594 bytes; at most 65536 are kept"),
    );

    let create = || async { api.secrets().create_secret(secret(HERE, "a", CONFIG)).await };
    assert!(api.ok(create()).secret.is_some_and(|secret| secret.name == "a" && secret.created_at.is_some()));
    api.refused(create(), Code::AlreadyExists, "secrets \"a\" already exists");
    let delete = |name: &str, dry_run| {
        let request = DeleteSecretRequest { namespace: HERE.into(), name: name.into(), dry_run };
        async { api.secrets().delete_secret(request).await }
    };
    api.refused(delete("b", false), Code::NotFound, "secrets \"b\" not found");
    api.refused(delete("../test/a", false), Code::NotFound, "secrets \"../test/a\" not found");
    api.ok(delete("a", true));
    api.ok(delete("a", false));
    api.refused(delete("a", false), Code::NotFound, "secrets \"a\" not found");
    assert!(!server.log().contains("canary"), "{}", server.log());
}

#[test]
fn secrets_are_listed_in_pages() {
    let server = Server::start(Options::default()).expect("a server");
    let api = Api::of(&server);
    for (namespace, name) in [("b", "y"), ("a", "z"), ("b", "x"), ("ab", "x")] {
        api.ok(async { api.secrets().create_secret(secret(namespace, name, CONFIG)).await });
    }
    let page = |namespace: &str, page_token: &str| {
        let request =
            ListSecretsRequest { namespace: namespace.into(), page_size: 1, page_token: page_token.into() };
        async { api.secrets().list_secrets(request).await }
    };
    let check = |namespace: &str, expected: &[&str]| {
        let (mut found, mut token) = (Vec::new(), String::new());
        loop {
            let answer = api.ok(page(namespace, &token));
            found.extend(answer.secrets.iter().map(|s| format!("{}/{}", s.namespace, s.name)));
            token = answer.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(found, expected, "{namespace}");
    };
    check("", &["a/z", "ab/x", "b/x", "b/y"]);
    check("b", &["b/x", "b/y"]);
    check("none", &[]);
    api.refused(page("", "nonsense"), Code::InvalidArgument, "\"nonsense\" is not a page token");
    api.refused(page("No", ""), Code::InvalidArgument, "\"No\" is not a namespace");
}
