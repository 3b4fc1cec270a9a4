//! Credentials, end to end: those of a namespace and those of the server open what they are for, and nobody else ever sees
//! one of them.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tagtrail_tests::client::{Client, Printed};
use tagtrail_tests::faulty::digest;
use tagtrail_tests::host::{Answer, Host, Request};
use tagtrail_tests::process::free_port;
use tagtrail_tests::registry::{Access, Registry, Storage, USER};
use tagtrail_tests::server::{Options, Server};
use tagtrail_tests::wait;

const SOON: Duration = Duration::from_secs(20);

/// A registry that asks for a password, with the standard content.
fn guarded() -> Registry {
    let storage = Storage::shared().expect("content");
    Registry::serve(&storage, free_port().expect("a port"), Access::Password).expect("a registry")
}

fn run(client: &Client, words: &[&str]) -> Printed {
    client.run(words).expect("tagtrail runs")
}

/// Runs what has to succeed, and gives what it printed.
fn done(client: &Client, words: &[&str]) -> String {
    let printed = run(client, words);
    assert_eq!(printed.rc, 0, "{words:?}: {printed:?}");
    printed.stdout
}

/// Hands over a login for a registry.
fn create_secret(client: &Client, name: &str, registry: &str, (user, password): (&str, &str)) {
    let flags = [
        format!("--docker-server={registry}"),
        format!("--docker-username={user}"),
        format!("--docker-password={password}"),
    ];
    let words = ["create", "secret", "docker-registry", name, &flags[0], &flags[1], &flags[2]];
    assert_eq!(done(client, &words), format!("secret/{name} created\n"));
}

/// Imports `team/private` now, into a stream that nobody has used, and gives what was printed on standard error.
fn import(client: &Client, registry: &Registry) -> Result<(), String> {
    let stream = format!("s{}", client.head().expect("status"));
    let from = format!("--from={}/team/private:latest", registry.host());
    let printed = run(client, &["import-image", &stream, &from, "--confirm", "--insecure"]);
    if printed.rc == 0 { Ok(()) } else { Err(printed.stderr) }
}

/// What an import says that nobody lets in.
fn refused(registry: &Registry) -> Result<(), String> {
    let image = format!("{}/team/private:latest", registry.host());
    Err(format!(
        "error: tag latest failed: you may not have access to the container image \"{image}\"\nerror: imported completed with errors\n"
    ))
}

#[test]
fn a_pull_secret_opens_a_registry_for_its_namespace() {
    let registry = guarded();
    let mut server = Server::start(Options::default()).expect("a server");
    let client = server.client();
    let other = Client { namespace: "other".into(), ..client.clone() };
    assert_eq!(import(&client, &registry), refused(&registry), "nobody has a password");

    create_secret(&client, "reg", &registry.host(), (USER.0, "wrong"));
    assert_eq!(import(&client, &registry), refused(&registry), "the password is wrong");
    assert_eq!(done(&client, &["delete", "secret", "reg"]), "secret \"reg\" deleted from test namespace\n");

    create_secret(&client, "reg", &registry.host(), USER);
    assert_eq!(import(&client, &registry), Ok(()), "at once");
    assert_eq!(import(&other, &registry), refused(&registry), "it is not of that namespace");

    // Acknowledged means durable, here too. A restart is on other ports.
    server.kill().expect("killed");
    server.restart().expect("started again");
    let client = server.client();
    let other = Client { namespace: "other".into(), ..client.clone() };
    assert_eq!(import(&client, &registry), Ok(()));
    assert_eq!(import(&other, &registry), refused(&registry));
    assert_eq!(done(&client, &["get", "secret", "reg", "-o", "name"]), "secret/reg\n");

    done(&client, &["delete", "secret", "reg"]);
    assert_eq!(import(&client, &registry), refused(&registry), "gone is gone, at once");
    server.kill().expect("killed");
    server.restart().expect("started again");
    assert_eq!(import(&server.client(), &registry), refused(&registry), "and stays gone");
}

#[test]
fn imports_in_the_background_and_checks_use_it_too() {
    let registry = guarded();
    let config = "[import]\nscheduled_interval = \"1s\"\nfirst_retry = \"1s\"\n".into();
    let server = Server::start(Options { config, ..Options::default() }).expect("a server");
    let client = server.client();
    let from = format!("{}/team/private:latest", registry.host());
    let tagged =
        run(&client, &["tag", "--source=docker", &from, "app:v1", "--scheduled", "--insecure", "--wait"]);
    assert_eq!(tagged.rc, 1, "nobody has a password: {tagged:?}");
    let described = done(&client, &["describe", "is/app"]);
    assert!(described.contains("! error: Import failed (Unauthorized)"), "{described}");

    create_secret(&client, "reg", &registry.host(), USER);
    let scheduled = || client.json(&["get", "schedule", "app:v1", "-o", "json"]).expect("JSON");
    let unchanged = || (scheduled()["status"]["result"] == "unchanged").then_some(());
    let answered = wait::until(SOON, unchanged);
    assert!(answered.is_some(), "it is found when it is tried again: {}", scheduled());
    let heads = || registry.asked().expect("a log").iter().filter(|asked| asked.method == "HEAD").count();
    let before = heads();
    let looked = wait::until(SOON, || (heads() > before + 2).then_some(()));
    assert!(looked.is_some() && unchanged().is_some(), "a HEAD is let in: {}", scheduled());
}

/// All of them are tried: those of the namespace first, the more specific first, then the server's own.
#[test]
fn several_logins_are_tried_in_order() {
    let registry = guarded();
    let host = registry.host();
    let server = Server::start(Options::default()).expect("a server");
    let client = server.client();
    let repository = format!("{host}/team/private");
    create_secret(&client, "wrong", &repository, (USER.0, "wrong"));
    create_secret(&client, "also-wrong", &host, ("nobody", "wrong"));
    assert_eq!(import(&client, &registry), refused(&registry));
    create_secret(&client, "right", &host, USER);
    assert_eq!(import(&client, &registry), Ok(()), "the third opens");
    done(&client, &["delete", "secret", "right"]);

    let own = json!({ "auths": { &host: { "auth": BASE64.encode(format!("{}:{}", USER.0, USER.1)) } } });
    fs::write(server.docker_config().join("config.json"), own.to_string()).expect("written");
    assert_eq!(import(&client, &registry), Ok(()), "the server's own opens");
}

#[test]
fn a_damaged_secret_is_told_of_and_not_fatal() {
    let registry = guarded();
    let mut server = Server::start(Options::default()).expect("a server");
    create_secret(&server.client(), "reg", &registry.host(), USER);
    create_secret(&server.client(), "half", "quay.io", USER);
    server.kill().expect("killed");
    fs::write(server.data().join("secrets/test/half"), r#"{"auths":{"canary"#).expect("written");
    server.restart().expect("started again");
    let client = server.client();
    assert_eq!(import(&client, &registry), Ok(()), "the others are used");
    let status = done(&client, &["status"]);
    assert!(status.contains("secrets/test/half is damaged and not used"), "{status}");
    assert!(server.log().contains("secrets/test/half is damaged and not used"));
    assert!(!server.log().contains("canary") && !status.contains("canary"));
    done(&client, &["delete", "secret", "half"]);
    server.kill().expect("killed");
    server.restart().expect("started again");
    assert!(!done(&server.client(), &["status"]).contains("damaged"));
}

/// What must not be seen, and what it looks like in other clothes.
struct Canary {
    user: &'static str,
    password: &'static str,
}

/// With letters that look different in a URL, in JSON and in base64. Long enough that none is found by chance.
const CANARIES: [Canary; 3] = [
    Canary { user: "of-the-secret", password: "canary/of the+\"namespace~" },
    Canary { user: "of-the-file", password: "canary/of the+\"server~own" },
    Canary { user: "of-the-helper", password: "canary/of the+\"helper~program" },
];
/// What a token service gives for them.
const TOKEN: &str = "canary-of-a-token-service";

impl Canary {
    fn forms(&self) -> Vec<String> {
        let Canary { user, password } = self;
        let percent = |keep: &str, space: &str| {
            password.bytes().fold(String::new(), |mut text, byte| {
                match char::from(byte) {
                    ' ' => text += space,
                    c if c.is_ascii_alphanumeric() || keep.contains(c) => text.push(c),
                    _ => write!(text, "%{byte:02X}").expect("a text takes everything"),
                }
                text
            })
        };
        let encoded = |text: &str| BASE64.encode(text).trim_end_matches('=').to_owned();
        let json = serde_json::to_string(password).expect("a text");
        // Base64 of what it is a part of: the ends are shared with what stands around.
        let header = encoded(&format!("Basic {}", BASE64.encode(format!("{user}:{password}"))));
        vec![
            (*password).to_owned(),
            json.trim_matches('"').to_owned(),
            percent("", "+"),
            percent("", "%20"),
            percent("-._~", "%20"),
            percent("", "%20").to_lowercase(),
            encoded(password),
            encoded(&format!("{user}:{password}")),
            header[12..header.len() - 4].to_owned(),
        ]
    }
}

/// Every form of every canary that is in a text.
fn sung(text: &[u8]) -> Vec<String> {
    let mut forms: Vec<String> = CANARIES.iter().flat_map(Canary::forms).collect();
    forms.push(TOKEN.into());
    forms.push(BASE64.encode(TOKEN).trim_end_matches('=').to_owned());
    forms.retain(|form| text.windows(form.len()).any(|part| part == form.as_bytes()));
    forms
}

/// A registry that repeats what it is sent, or leads elsewhere, once it has been shown a credential.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Parrot {
    /// For comparison: one that gives the image.
    Honest,
    /// As the message of an error.
    Error,
    /// The same in base64.
    ErrorInBase64,
    /// The same as it would stand in a URL.
    ErrorInUrl,
    /// As a page of text.
    Text,
    /// As an address that leads nowhere.
    Location,
    /// As a media type.
    MediaType,
    /// In place of a manifest's digest.
    Digest,
    /// The manifest is elsewhere.
    ManifestElsewhere,
    /// The configuration is elsewhere.
    BlobElsewhere,
    /// The tag list goes on elsewhere.
    ListElsewhere,
    /// A token service that repeats what it is sent.
    TokenEcho,
    /// A token service that is elsewhere after all.
    TokenElsewhere,
    /// A token service that gives a token, for a registry that repeats it.
    Token,
}

const PARROTS: [Parrot; 14] = [
    Parrot::Honest,
    Parrot::Error,
    Parrot::ErrorInBase64,
    Parrot::ErrorInUrl,
    Parrot::Text,
    Parrot::Location,
    Parrot::MediaType,
    Parrot::Digest,
    Parrot::ManifestElsewhere,
    Parrot::BlobElsewhere,
    Parrot::ListElsewhere,
    Parrot::TokenEcho,
    Parrot::TokenElsewhere,
    Parrot::Token,
];

/// The answer of a registry, and of the token service that is part of it under `/token`.
fn answer(parrot: Parrot, request: &Request, elsewhere: &str) -> Answer {
    let denied = |text: &str| {
        Answer::new(403, json!({ "errors": [{ "code": "DENIED", "message": text }] }).to_string())
    };
    let away = |what: &str| Answer::redirect(format!("http://{elsewhere}/{what}"));
    if request.target.starts_with("/token") {
        return match parrot {
            Parrot::TokenEcho => Answer::new(403, request.raw.clone()),
            Parrot::TokenElsewhere => away("token"),
            _ => Answer::new(200, json!({ "token": TOKEN }).to_string()),
        };
    }
    if request.authorization.is_empty() {
        let host = request.raw.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
        let challenge = match parrot {
            Parrot::TokenEcho | Parrot::TokenElsewhere | Parrot::Token => {
                format!("Bearer realm=\"http://{host}/token\",service=\"s\"")
            }
            _ => "Basic realm=\"x\"".into(),
        };
        return Answer::new(401, "").header("WWW-Authenticate", challenge);
    }
    let (_, credential) = request.authorization.split_once(' ').unwrap_or_default();
    match parrot {
        Parrot::Error | Parrot::Token => denied(&request.raw),
        Parrot::ErrorInBase64 => denied(&BASE64.encode(&request.authorization)),
        Parrot::ErrorInUrl => denied(&request.authorization.replace('=', "%3D")),
        Parrot::Text => Answer::new(400, request.raw.clone()),
        Parrot::Location => Answer::redirect(format!("gopher://x/{credential}")),
        Parrot::MediaType => Answer::new(200, "{}").header("Content-Type", request.authorization.clone()),
        Parrot::Digest => Answer::new(200, json!({ "config": { "digest": credential } }).to_string()),
        Parrot::ListElsewhere if request.target.ends_with("/tags/list") => {
            let next = format!("<http://{elsewhere}/list>; rel=\"next\"");
            Answer::new(200, r#"{"tags":["v1"]}"#).header("Link", next)
        }
        Parrot::Honest if request.target.ends_with("/tags/list") => Answer::new(200, r#"{"tags":["v1"]}"#),
        Parrot::Honest if request.target.contains("/blobs/") => Answer::new(200, "{}"),
        Parrot::Honest | Parrot::BlobElsewhere if request.target.contains("/manifests/") => {
            let kind = "application/vnd.oci.image.manifest.v1+json";
            let config = json!({ "digest": digest(b"{}"), "size": 2, "mediaType": "application/vnd.oci.image.config.v1+json" });
            let manifest = json!({ "schemaVersion": 2, "mediaType": kind, "config": config, "layers": [] });
            Answer::new(200, manifest.to_string()).header("Content-Type", kind)
        }
        _ => away("away"),
    }
}

/// A program that gives a password, in a directory of its own.
fn credential_helper(canary: &Canary) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let program = directory.path().join("docker-credential-canary");
    let output = json!({ "Username": canary.user, "Secret": canary.password }).to_string();
    fs::write(directory.path().join("answer"), output).expect("written");
    let script = format!("#!/bin/sh\ncat '{}'\n", directory.path().join("answer").display());
    fs::write(&program, script).expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("made a program");
    directory
}

/// Plants a canary wherever a credential can be, gives it to registries that do their worst with it, and looks for it in
/// everything that anybody can see.
#[test]
fn canaries_do_not_sing() {
    let [of_secret, of_file, of_helper] = &CANARIES;
    let helper = credential_helper(of_helper);
    let path = format!("{}:{}", helper.path().display(), std::env::var("PATH").unwrap_or_default());
    let env = vec![("PATH".into(), path), ("RUST_LOG".into(), "trace".into())];
    let config = "[import]\nscheduled_interval = \"1s\"\nfirst_retry = \"1s\"\n".into();
    let mut server = Server::start(Options { config, env, ..Options::default() }).expect("a server");
    let client = server.client();
    let elsewhere = Host::start(|request| Answer::new(404, request.raw.clone())).expect("a host");

    // A registry for each parrot, and for each place where its password is.
    let (mut registries, mut auths, mut helpers) = (Vec::new(), json!({}), json!({}));
    for parrot in PARROTS {
        for (place, canary) in CANARIES.iter().enumerate() {
            let away = elsewhere.host();
            let registry = Host::start(move |request| answer(parrot, request, &away)).expect("a host");
            let host = registry.host();
            match place {
                0 => create_secret(
                    &client,
                    &format!("s{}", registry.port()),
                    &host,
                    (canary.user, canary.password),
                ),
                1 => {
                    let auth = BASE64.encode(format!("{}:{}", of_file.user, of_file.password));
                    auths[&host] = json!({ "auth": auth });
                }
                _ => helpers[&host] = json!("canary"),
            }
            registries.push((parrot, canary, registry));
        }
    }
    let config = json!({ "auths": auths, "credHelpers": helpers }).to_string();
    fs::write(server.docker_config().join("config.json"), config).expect("written");

    let mut seen = String::new();
    let mut see = |words: &[&str]| {
        let printed = run(&client, words);
        seen += &(printed.stdout + &printed.stderr);
    };
    for (number, (_, _, registry)) in registries.iter().enumerate() {
        let (host, stream) = (registry.host(), format!("app{number}"));
        see(&[
            "import-image",
            &format!("{stream}:v1"),
            &format!("--from={host}/o/a:v1"),
            "--insecure",
            "--confirm",
        ]);
        let from = format!("--from={host}/o/a");
        see(&["import-image", &format!("{stream}-all"), &from, "--all", "--insecure", "--confirm"]);
        see(&["import-image", &format!("{stream}-dry:v1"), &from, "--insecure", "--confirm", "--dry-run"]);
        let (from, tag) = (format!("{host}/o/a:v1"), format!("{stream}:v2"));
        see(&["tag", "--source=docker", &from, &tag, "--scheduled", "--insecure", "--wait"]);
        see(&["describe", "is", &stream]);
    }
    // And mistakes of those who hand them over.
    let password = format!("--docker-pasword={}", of_secret.password);
    see(&["create", "secret", "docker-registry", "typo", &password]);
    let file = helper.path().join("answer");
    see(&["create", "secret", "docker-registry", "no-config", &format!("--from-file={}", file.display())]);
    fs::write(&file, json!({ "auths": { "quay.io": of_helper.password } }).to_string()).expect("written");
    see(&["create", "secret", "docker-registry", "no-entry", &format!("--from-file={}", file.display())]);
    for words in
        ["get secrets -o json", "get secrets -A -o yaml", "describe secrets", "get secrets", "status"]
    {
        see(&words.split(' ').collect::<Vec<_>>());
    }
    for words in
        ["get is,istag,itag -o yaml", "get schedule -o json", "get schedule -o wide", "describe schedule"]
    {
        see(&words.split(' ').collect::<Vec<_>>());
    }
    see(&["events", "-A", "-o", "json"]);
    see(&["events", "-A"]);
    let metrics = server.metrics().expect("metrics");
    server.terminate().expect("ended");
    let log = server.log();

    // The canaries were there to be repeated, and were: each of its registries has seen each of them.
    for (parrot, canary, registry) in &registries {
        let basic = BASE64.encode(format!("{}:{}", canary.user, canary.password));
        let shown = registry.asked().iter().any(|request| request.authorization.ends_with(&basic));
        assert!(shown, "{parrot:?} of {} was not shown its password: {:?}", canary.user, registry.asked());
    }
    for what in ["away", "token"] {
        let followed =
            elsewhere.asked().iter().any(|request| request.target.starts_with(&format!("/{what}")));
        assert!(followed, "a redirection to /{what} was followed");
    }
    assert!(log.contains("TRACE") && metrics.contains("tagtrail_"));
    assert!(!sung(fs::read(helper.path().join("answer")).expect("a file").as_slice()).is_empty());

    for request in elsewhere.asked() {
        assert_eq!(sung(request.raw.as_bytes()), [""; 0], "elsewhere was sent {}", request.raw);
        assert_eq!(request.authorization, "", "elsewhere");
    }
    for (place, text) in [("what commands print", &seen), ("the server's log", &log), ("/metrics", &metrics)]
    {
        for line in text.lines() {
            assert_eq!(sung(line.as_bytes()), [""; 0], "{place}: {line}");
        }
    }
    assert!(seen.contains("[secret]"), "something was taken out");
    let data = server.data();
    let (mut files, mut kept) = (Vec::new(), Vec::new());
    files_below(&data, &mut files);
    for file in &files {
        let bytes = fs::read(file).expect("a file");
        if file.starts_with(data.join("secrets")) {
            kept.extend(sung(&bytes));
        } else {
            assert_eq!(sung(&bytes), [""; 0], "{}", file.display());
        }
    }
    let blobs = files.iter().filter(|file| file.starts_with(data.join("blobs"))).count();
    assert!(!kept.is_empty() && blobs >= 2, "a canary would have been found: {files:?}");
}

fn files_below(directory: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files_below(&path, files) } else { files.push(path) }
    }
}

/// The API has no way to read a value back: not even the shape of an answer has room for one.
#[test]
fn a_value_is_written_and_never_read() {
    let server = Server::start(Options::default()).expect("a server");
    let client = server.client();
    create_secret(&client, "reg", "quay.io", USER);
    let secret = client.json(&["get", "secret", "reg", "-o", "json"]).expect("JSON");
    let keys: Vec<&String> = secret.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["apiVersion", "kind", "metadata", "type"]);
    assert_eq!(secret["type"], Value::from("kubernetes.io/dockerconfigjson"));
    assert_eq!(client.head().expect("status"), 0, "the log does not know of it");
}
