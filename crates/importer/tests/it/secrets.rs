//! Credentials: found, tried in order, sent to their own host, and shown to nobody.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tagtrail_domain::{Failure, FailureKind};
use tagtrail_importer::{Config, Fetched, ImportMode, Importer, Probe, PullSecret, PullSecrets};

use crate::fake::{self, Asked, Fake, Reply};
use crate::{NOW, request};

const PASSWORD: &str = "canary-of-a-password";

fn basic(user: &str, password: &str) -> String {
    BASE64.encode(format!("{user}:{password}"))
}

/// An importer that finds this `config.json`.
fn importer(directory: &Path, docker_config: &str) -> Importer {
    std::fs::write(directory.join("config.json"), docker_config).expect("written");
    Importer::new(Config {
        allow_private_networks: true,
        docker_config_dir: Some(directory.to_owned()),
        ..Config::default()
    })
    .expect("a good configuration")
}

async fn fetch(fake: &Fake, docker_config: &str) -> Result<Fetched, Failure> {
    let directory = tempfile::tempdir().expect("a directory");
    let importer = importer(directory.path(), docker_config);
    let mut wish = request(&format!("{}/o/a:1", fake.host), ImportMode::Legacy);
    wish.insecure = true;
    importer.image(&wish, NOW).await
}

/// Serves the image to those with this `Authorization`, and repeats to all others what they sent.
fn guarded(challenge: String, key: String) -> impl Fn(&Asked) -> Reply + Send + Sync {
    move |asked| {
        if asked.authorization == key {
            return fake::good(asked);
        }
        let echo =
            format!(r#"{{"errors":[{{"code":"UNAUTHORIZED","message":"not {}"}}]}}"#, asked.authorization);
        Reply::new(401, echo).header("WWW-Authenticate", challenge.clone())
    }
}

#[tokio::test]
async fn credentials_are_tried_in_order() {
    let key = format!("Basic {}", basic("right", PASSWORD));
    let fake = Fake::start(guarded("Basic realm=\"x\"".into(), key)).await;
    let host = fake.host.clone();
    let auth = |user: &str| format!(r#"{{"auth":"{}"}}"#, basic(user, PASSWORD));
    let config = format!(r#"{{"auths":{{"{host}/o":{},"{host}":{}}}}}"#, auth("wrong"), auth("right"));
    fetch(&fake, &config).await.expect("the second one opens");
    let tried: Vec<_> = fake.asked().into_iter().filter(|a| a.target.contains("/manifests/")).collect();
    assert_eq!(tried.len(), 2);

    let refused = fetch(&fake, "{}").await.expect_err("nobody");
    assert_eq!(refused.reason, "Unauthorized");
    assert_eq!(refused.message, format!("you may not have access to the container image \"{host}/o/a:1\""));
    fetch(&fake, &format!(r#"{{"auths":{{"{host}":{}}}}}"#, auth("wrong"))).await.expect_err("wrong");
}

#[tokio::test]
async fn a_public_image_opens_without_credentials_when_they_are_wrong() {
    // A token service that knows nobody, but lets everybody in.
    let tokens = Fake::start(|asked| {
        if asked.authorization.is_empty() {
            Reply::ok(r#"{"token":"for-all"}"#)
        } else {
            Reply::new(401, r#"{"details":"incorrect username or password"}"#)
        }
    })
    .await;
    let challenge = format!("Bearer realm=\"http://{}/token\",service=\"s\"", tokens.host);
    let fake = Fake::start(guarded(challenge.clone(), "Bearer for-all".into())).await;
    let config = format!(r#"{{"auths":{{"{}":{{"auth":"{}"}}}}}}"#, fake.host, basic("u", PASSWORD));
    fetch(&fake, &config).await.expect("public");

    // If that does not help either, the first complaint is the one that is told.
    let closed = Fake::start(guarded(challenge, "Bearer nobody has this".into())).await;
    let config = config.replace(&fake.host, &closed.host);
    let failure = fetch(&closed, &config).await.expect_err("closed");
    assert_eq!(
        failure.message,
        format!("incorrect username or password for image \"{}/o/a:1\"", closed.host)
    );
}

#[tokio::test]
async fn tokens_are_fetched_for_the_repository_and_kept() {
    let tokens = Fake::start(|_| Reply::ok(r#"{"access_token":"t0ken-canary","expires_in":300}"#)).await;
    let challenge = format!("Bearer realm=\"http://{}/token?x=y\",service=\"the service\"", tokens.host);
    let fake = Fake::start(guarded(challenge, "Bearer t0ken-canary".into())).await;
    let directory = tempfile::tempdir().expect("a directory");
    let config = format!(r#"{{"auths":{{"{}":{{"auth":"{}"}}}}}}"#, fake.host, basic("u", PASSWORD));
    let importer = importer(directory.path(), &config);
    let mut wish = request(&format!("{}/o/a:1", fake.host), ImportMode::Legacy);
    wish.insecure = true;
    for _ in 0..3 {
        importer.image(&wish, NOW).await.expect("imported");
    }
    let asked = tokens.asked();
    assert_eq!(asked.len(), 1, "one token serves them all");
    assert_eq!(asked[0].target, "/token?x=y&service=the+service&scope=repository%3Ao%2Fa%3Apull");
    assert_eq!(asked[0].authorization, format!("Basic {}", basic("u", PASSWORD)));
    // The registry has seen the token and never the password.
    let raw: String = fake.asked().iter().map(|a| a.raw.as_str()).collect();
    assert!(!raw.contains(&basic("u", PASSWORD)) && raw.contains("t0ken-canary"));
}

#[tokio::test]
async fn a_token_that_has_run_out_is_fetched_anew() {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let tokens = Fake::start(move |_| {
        let n = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Reply::ok(format!(r#"{{"token":"t{n}","expires_in":300}}"#))
    })
    .await;
    let challenge = format!("Bearer realm=\"http://{}/token\",service=\"s\"", tokens.host);
    let valid = std::sync::Arc::new(std::sync::Mutex::new("Bearer t0"));
    let now = std::sync::Arc::clone(&valid);
    let fake = Fake::start(move |asked| {
        let key = (*now.lock().expect("no test panicked here")).to_owned();
        guarded(challenge.clone(), key)(asked)
    })
    .await;
    let importer = Importer::new(Config { allow_private_networks: true, ..Config::default() }).expect("good");
    let mut wish = request(&format!("{}/o/a:1", fake.host), ImportMode::Legacy);
    wish.insecure = true;
    importer.image(&wish, NOW).await.expect("with t0");
    *valid.lock().expect("no test panicked here") = "Bearer t1";
    importer.image(&wish, NOW).await.expect("with t1");
    assert_eq!(tokens.asked().len(), 2);
}

#[tokio::test]
async fn an_identity_token_is_posted() {
    let tokens = Fake::start(|asked| {
        let expected = "service=s&scope=repository%3Ao%2Fa%3Apull&grant_type=refresh_token&client_id=tagtrail&\
                        refresh_token=canary-identity";
        if asked.raw.starts_with("POST /token ") && asked.raw.ends_with(expected) {
            Reply::ok(r#"{"access_token":"good"}"#)
        } else {
            Reply::new(401, asked.raw.clone())
        }
    })
    .await;
    let challenge = format!("Bearer realm=\"http://{}/token\",service=\"s\"", tokens.host);
    let fake = Fake::start(guarded(challenge, "Bearer good".into())).await;
    let config = format!(r#"{{"auths":{{"{}":{{"identitytoken":"canary-identity"}}}}}}"#, fake.host);
    fetch(&fake, &config).await.expect("imported");
}

/// The pull secrets of a namespace that has one login for a host.
fn secrets(host: &str, user: &str, password: &str) -> PullSecrets {
    let config = format!(r#"{{"auths":{{"{host}":{{"auth":"{}"}}}}}}"#, basic(user, password));
    [Arc::new(PullSecret::parse(config.as_bytes()).expect("a pull secret"))].into_iter().collect()
}

#[tokio::test]
async fn a_namespaces_secrets_are_tried_before_the_servers_own() {
    let right = |asked: &Asked| asked.authorization == format!("Basic {}", basic("own", PASSWORD));
    let fake = Fake::start(move |asked| {
        let answer = if right(asked) { fake::good(asked) } else { Reply::new(401, "") };
        answer.header("WWW-Authenticate", "Basic realm=\"x\"")
    })
    .await;
    let host = fake.host.clone();
    let directory = tempfile::tempdir().expect("a directory");
    let own = format!(r#"{{"auths":{{"{host}/o":{{"auth":"{}"}}}}}}"#, basic("own", PASSWORD));
    let importer = importer(directory.path(), &own);
    let mut wish = request(&format!("{host}/o/a:1"), ImportMode::Legacy);
    (wish.insecure, wish.secrets) = (true, secrets(&host, "theirs", PASSWORD));
    importer.image(&wish, NOW).await.expect("the server's own opens");
    let tried: Vec<_> = fake.asked().into_iter().filter(|a| a.target.contains("/manifests/")).collect();
    let tried: Vec<_> = tried.iter().map(|asked| asked.authorization.clone()).collect();
    let expected = ["theirs", "own"].map(|user| format!("Basic {}", basic(user, PASSWORD)));
    // Although the server's own is for a longer path.
    assert_eq!(tried, expected);
    assert!(!format!("{wish:?}").contains(PASSWORD), "{wish:?}");
}

/// A token is worth what the credential behind it is worth, and no other namespace gets any of that.
#[tokio::test]
async fn a_token_serves_only_who_has_the_credential_behind_it() {
    let right = format!("Basic {}", basic("ours", PASSWORD));
    let tokens = Fake::start(move |asked| {
        let token = if asked.authorization == right { "good" } else { "good-for-nothing" };
        Reply::ok(format!(r#"{{"token":"{token}","expires_in":300}}"#))
    })
    .await;
    let challenge = format!("Bearer realm=\"http://{}/token\",service=\"s\"", tokens.host);
    let registry = guarded(challenge, "Bearer good".into());
    let digest = format!("sha256:{}", "0".repeat(64));
    let fake = Fake::start(move |asked| registry(asked).header("Docker-Content-Digest", &*digest)).await;
    let config = Config { allow_private_networks: true, requests_per_second: 1_000.0, ..Config::default() };
    let importer = Importer::new(config).expect("good");
    let ours = secrets(&fake.host, "ours", PASSWORD);
    let theirs = secrets(&fake.host, "theirs", PASSWORD);
    let mut wish = request(&format!("{}/o/a:1", fake.host), ImportMode::Legacy);
    wish.insecure = true;
    for _ in 0..2 {
        for (secrets, opens) in [(&ours, true), (&theirs, false), (&PullSecrets::default(), false)] {
            wish.secrets = secrets.clone();
            assert_eq!(importer.image(&wish, NOW).await.is_ok(), opens, "{:?}", tokens.asked());
            let named = importer.probe(&wish, importer.turn(&wish.reference).expect("a turn")).await;
            assert_eq!(matches!(named, Probe::Digest(_)), opens, "{named:?}");
        }
    }
}

/// Everything that is logged on this thread, at every level, until the guard is dropped.
fn log() -> (Arc<Mutex<Vec<u8>>>, tracing::subscriber::DefaultGuard) {
    struct Pen(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Pen {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no test panicked here").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let page = Arc::<Mutex<Vec<u8>>>::default();
    let pen = Arc::clone(&page);
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || Pen(Arc::clone(&pen)))
        .finish();
    (page, tracing::subscriber::set_default(subscriber))
}

/// Everything that must not be seen: the secrets, and what they look like in other clothes.
fn canaries() -> Vec<String> {
    let basic = basic("u", PASSWORD);
    let headers = [format!("Basic {basic}"), "Bearer canary-of-a-token".to_owned()];
    // The first and last characters of base64 may be shared with the scheme's.
    let wrapped = headers.map(|header| {
        let text = BASE64.encode(header);
        text[12..text.len() - 8].to_owned()
    });
    let mut canaries =
        vec![PASSWORD.to_owned(), basic.trim_end_matches('=').to_owned(), "canary-of-a-token".into()];
    canaries.extend(wrapped);
    canaries
}

/// Plants secrets, provokes every answer that could repeat them, and looks for them everywhere.
#[tokio::test]
async fn canaries_do_not_sing() {
    let (page, _guard) = log();
    let elsewhere = Fake::start(|asked| Reply::new(404, asked.raw.clone())).await;
    let canaries = canaries();

    // A token service that repeats what it is sent, and one that redirects elsewhere.
    let echo = Fake::start(|asked| Reply::new(403, asked.raw.clone())).await;
    let away = format!("http://{}/token", elsewhere.host);
    let redirect = Fake::start(move |_| Reply::new(307, "").header("Location", away.clone())).await;
    let generous = Fake::start(|_| Reply::ok(r#"{"token":"canary-of-a-token"}"#)).await;
    let bearer = |realm: &Fake| format!("Bearer realm=\"http://{}/token\",service=\"s\"", realm.host);
    let challenges = ["Basic realm=\"x\"".to_owned(), bearer(&echo), bearer(&redirect), bearer(&generous)];

    let blob = format!("http://{}/blob", elsewhere.host);
    for challenge in &challenges {
        for parrot in parrots() {
            let (challenge, blob) = (challenge.clone(), blob.clone());
            let fake = Fake::start(move |asked| match asked.authorization.as_str() {
                "" => Reply::new(401, "").header("WWW-Authenticate", challenge.clone()),
                _ => parrot(asked, &blob),
            })
            .await;
            let auth = basic("u", PASSWORD);
            let directory = tempfile::tempdir().expect("a directory");
            let config = format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, fake.host);
            let importer = importer(directory.path(), &config);
            let mut wish = request(&format!("{}/o/a:1", fake.host), ImportMode::Legacy);
            wish.insecure = true;

            let image = importer.image(&wish, NOW).await.expect_err("every answer is bad");
            let tags = importer.tags(&wish.reference, true, &PullSecrets::default()).await;
            let probe = importer.probe(&wish, importer.turn(&wish.reference).expect("a turn")).await;
            let shown = format!("{image:?} {tags:?} {probe:?}");
            for canary in &canaries {
                assert!(!shown.contains(canary), "{canary} in {shown}");
            }
        }
    }
    let elsewhere = elsewhere.asked();
    assert!(elsewhere.iter().any(|asked| asked.method == "HEAD"), "redirects were followed");
    for asked in elsewhere {
        for canary in &canaries {
            assert!(!asked.raw.contains(canary), "{canary} went elsewhere: {}", asked.raw);
        }
        assert_eq!(asked.authorization, "");
    }
    let log = String::from_utf8_lossy(&page.lock().expect("no test panicked here")).into_owned();
    assert!(log.contains("registry answers"), "something was logged");
    for canary in &canaries {
        assert!(!log.contains(canary), "{canary} in the log");
    }
}

type Parrot = fn(&Asked, &str) -> Reply;

/// Registries that repeat what they are sent: as JSON, as text, as an address, in other encodings, as a media type, as
/// a digest, as a tag; and two that lead elsewhere.
fn parrots() -> [Parrot; 11] {
    fn denied(message: &str) -> Reply {
        let message = serde_json::to_string(message).expect("text");
        Reply::new(403, format!(r#"{{"errors":[{{"code":"DENIED","message":{message}}}]}}"#))
    }
    [
        |asked, _| denied(&asked.raw),
        |asked, _| Reply::new(400, asked.raw.clone()),
        |asked, _| {
            let (_, secret) = asked.authorization.split_once(' ').unwrap_or_default();
            Reply::new(302, "").header("Location", format!("gopher://x/{secret}"))
        },
        |asked, _| denied(&BASE64.encode(&asked.authorization)),
        |asked, _| {
            denied(&url::form_urlencoded::byte_serialize(asked.authorization.as_bytes()).collect::<String>())
        },
        |asked, _| Reply::new(400, BASE64.encode(&asked.raw)),
        |asked, _| Reply::ok("{}").header("Content-Type", asked.authorization.clone()),
        |asked, _| Reply::ok(format!(r#"{{"config":{{"digest":"{}"}}}}"#, asked.authorization)),
        |asked, _| Reply::ok(format!(r#"{{"tags":"{}","config":5}}"#, asked.authorization)),
        |_, blob| Reply::new(307, "").header("Location", blob),
        |_, blob| Reply::ok(r#"{"tags":["a"]}"#).header("Link", format!("<{blob}>; rel=\"next\"")),
    ]
}

/// Credential helpers are programs on the `PATH`, which belongs to the process: so this test starts itself
/// again with another one.
#[tokio::test]
async fn a_credential_helper_is_asked() {
    const INNER: &str = "TAGTRAIL_TEST_HELPER";
    if std::env::var_os(INNER).is_none() {
        let directory = tempfile::tempdir().expect("a directory");
        let helper = directory.path().join("docker-credential-test");
        let script = format!(
            "#!/bin/sh\nread -r server\n[ \"$1\" = get ] || exit 1\ncase $server in 127.*) ;; *) echo credentials \
             not found in native keychain; exit 1;; esac\necho '{{\"Username\":\"u\",\"Secret\":\"{PASSWORD}\"}}'\n"
        );
        std::fs::write(&helper, script).expect("written");
        let chmod = Command::new("chmod").arg("755").arg(&helper).status().expect("chmod runs");
        assert!(chmod.success());
        let path = format!("{}:{}", directory.path().display(), std::env::var("PATH").unwrap_or_default());
        let output = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "secrets::a_credential_helper_is_asked"])
            .env("PATH", path)
            .env(INNER, "1")
            .output()
            .expect("this program runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    let key = format!("Basic {}", basic("u", PASSWORD));
    let fake = Fake::start(guarded("Basic realm=\"x\"".into(), key)).await;
    fetch(&fake, r#"{"credsStore":"test"}"#).await.expect("the store opens");
    let own = format!(r#"{{"credsStore":"missing","credHelpers":{{"{}":"test"}}}}"#, fake.host);
    fetch(&fake, &own).await.expect("the host's own helper opens");
    let failure = fetch(&fake, r#"{"credsStore":"missing"}"#).await.expect_err("no such helper");
    assert_eq!(failure.kind, FailureKind::Unauthorized);
}
