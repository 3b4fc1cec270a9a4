//! Has a tag moved? One HEAD, within a budget for each host.

use std::time::{Duration, Instant};

use tagtrail_domain::{Digest, FailureKind, ImageReference};
use tagtrail_importer::{Config, ImageRequest, ImportMode, Importer, Probe, RegistryConfig, Wait};

use crate::fake::{self, Asked, Fake, OCI_INDEX, Reply};
use crate::faults::importer;
use crate::{NOW, request};

/// [`fake::good`], with the header that names a manifest's digest, as registries send it.
fn named(asked: &Asked) -> Reply {
    let reply = fake::good(asked);
    if asked.target.contains("/manifests/") {
        reply.header("Docker-Content-Digest", fake::sha(fake::manifest().as_bytes()))
    } else {
        reply
    }
}

/// Answers what is asked of manifests by HEAD with something else, everything else properly.
fn heads(reply: impl Fn() -> Reply + Send + Sync + 'static) -> impl Fn(&Asked) -> Reply + Send + Sync {
    move |asked| if asked.method == "HEAD" { reply() } else { fake::good(asked) }
}

fn wish(fake: &Fake) -> ImageRequest {
    request(&format!("{}/o/a:1", fake.host), ImportMode::Legacy)
}

async fn probe(importer: &Importer, wish: &ImageRequest) -> Probe {
    importer.probe(wish, importer.turn(&wish.reference).expect("a turn")).await
}

fn digest(text: &str) -> Probe {
    Probe::Digest(Digest::parse(text).expect(text))
}

fn heads_seen(fake: &Fake) -> Vec<Asked> {
    fake.asked().into_iter().filter(|asked| asked.method == "HEAD").collect()
}

#[tokio::test]
async fn a_head_tells_what_a_get_would_fetch() {
    let fake = Fake::start(named).await;
    let importer = importer(&fake.host);
    let found = probe(&importer, &wish(&fake)).await;
    assert_eq!(found, digest(&fake::sha(fake::manifest().as_bytes())));
    let fetched = importer.image(&wish(&fake), NOW).await.expect("imported");
    assert_eq!(found, Probe::Digest(fetched.image.digest));
    assert_eq!(fetched.index, None);

    let asked: Vec<_> = fake.asked().into_iter().filter(|a| a.target == "/v2/o/a/manifests/1").collect();
    let [head, get] = asked.as_slice() else { panic!("one HEAD, one GET: {asked:?}") };
    assert_eq!(head.raw.replace("HEAD", "GET"), get.raw, "the same question otherwise");
    assert_eq!(fake.count("/v2/"), 4, "one ping, HEAD, manifest, configuration: {:?}", fake.asked());
}

#[tokio::test]
async fn an_image_chosen_from_an_index_is_known_by_the_index() {
    let fake = Fake::start(|asked| match asked.target.as_str() {
        "/v2/o/a/manifests/1" => {
            let index = fake::index_of(&fake::manifest());
            Reply::ok(index.clone())
                .header("Content-Type", OCI_INDEX)
                .header("Docker-Content-Digest", fake::sha(index.as_bytes()))
        }
        _ => fake::good(asked),
    })
    .await;
    let importer = importer(&fake.host);
    let fetched = importer.image(&wish(&fake), NOW).await.expect("imported");
    assert_eq!(fetched.image.digest.as_str(), fake::sha(fake::manifest().as_bytes()));
    let index = fetched.index.expect("chosen from an index");
    assert_eq!(probe(&importer, &wish(&fake)).await, Probe::Digest(index.clone()));

    let whole = ImageRequest { mode: ImportMode::PreserveOriginal, ..wish(&fake) };
    let fetched = importer.image(&whole, NOW).await.expect("imported");
    assert_eq!((fetched.image.digest, fetched.index), (index, None));
}

#[tokio::test]
async fn what_a_head_does_not_tell_is_unknown() {
    let check = async |reply: fn() -> Reply| {
        let fake = Fake::start(heads(reply)).await;
        let found = probe(&importer(&fake.host), &wish(&fake)).await;
        assert_eq!(found, Probe::Unknown, "{:?}", fake.asked());
        assert_eq!(heads_seen(&fake).len(), 1, "nothing is tried twice: {:?}", fake.asked());
    };
    check(|| Reply::new(404, "")).await;
    check(|| Reply::new(401, "")).await;
    check(|| Reply::new(403, "")).await;
    check(|| Reply::new(405, "")).await;
    check(|| Reply::new(500, "")).await;
    check(|| Reply::new(503, "")).await;
    check(|| Reply::new(404, "").header("Retry-After", "5")).await;
    check(|| Reply::ok("")).await;
    check(|| Reply::ok("").header("Docker-Content-Digest", "")).await;
    check(|| Reply::ok("").header("Docker-Content-Digest", "sha256:short")).await;
    check(|| Reply::ok("").header("Docker-Content-Digest", format!("md5:{}", "0".repeat(32)))).await;
    check(|| Reply::ok("").header("Docker-Content-Digest", format!("sha256:{}", "A".repeat(64)))).await;
    check(|| Reply::new(302, "").header("Location", "ftp://x/y")).await;

    // Nor is it known where nobody answers, and where nobody is asked.
    let nobody = format!("127.0.0.1:{}", crate::real_registry::free_port());
    let wish = request(&format!("{nobody}/o/a:1"), ImportMode::Legacy);
    assert_eq!(probe(&importer(&nobody), &wish).await, Probe::Unknown);
    let blocked = RegistryConfig { host: nobody, blocked: true, ..RegistryConfig::default() };
    let blocked = Importer::new(Config { registries: vec![blocked], ..Config::default() }).expect("good");
    for _ in 0..100 {
        assert_eq!(probe(&blocked, &wish).await, Probe::Unknown, "and there is always a turn");
    }
}

#[tokio::test]
async fn a_busy_registry_says_when_to_come_back() {
    let check = async |retry_after: Option<String>, expected: std::ops::RangeInclusive<u64>| {
        let header = retry_after.clone();
        let fake = Fake::start(heads(move || {
            let busy = Reply::new(429, "");
            header.iter().fold(busy, |busy, value| busy.header("Retry-After", value))
        }))
        .await;
        let importer = importer(&fake.host);
        let Probe::Later(time, failure) = probe(&importer, &wish(&fake)).await else {
            panic!("{retry_after:?} is 429")
        };
        assert!(expected.contains(&time.as_secs()), "{retry_after:?}: {time:?}");
        assert_eq!((failure.kind, failure.reason.as_str()), (FailureKind::RateLimited, "InternalError"));
        let host = &fake.host;
        assert_eq!(
            failure.message,
            format!("Internal error occurred: {host}/o/a:1: toomanyrequests: too many requests")
        );
        assert_eq!(heads_seen(&fake).len(), 1);
        if *expected.start() > 1 {
            let wait = importer.turn(&wish(&fake).reference).expect_err("left alone").time();
            // A date is counted from two moments, a little apart.
            assert!(wait.abs_diff(time) < Duration::from_secs(5), "{wait:?} of {time:?}");
        }
    };
    let in_two_minutes = std::time::SystemTime::now() + Duration::from_secs(120);
    let date = chrono::DateTime::<chrono::Utc>::from(in_two_minutes).format("%a, %d %b %Y %H:%M:%S GMT");
    check(Some("600".into()), 600..=600).await;
    check(Some(date.to_string()), 110..=120).await;
    check(Some("Wed, 21 Oct 2015 07:28:00 GMT".into()), 1..=1).await;
    check(Some("0".into()), 1..=1).await;
    check(Some("99999999".into()), 3600..=3600).await;
    check(Some("soon".into()), 60..=60).await;
    check(None, 60..=60).await;
}

#[tokio::test]
async fn a_busy_token_service_is_a_busy_registry() {
    let busy = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#;
    let tokens = Fake::start(move |_| Reply::new(429, busy).header("Retry-After", "300")).await;
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"s\"", tokens.host);
    let fake = Fake::start(move |_| Reply::new(401, "").header("WWW-Authenticate", realm.clone())).await;
    let importer = Importer::new(Config { allow_private_networks: true, ..Config::default() }).expect("good");
    let wish = ImageRequest { insecure: true, ..wish(&fake) };
    let Probe::Later(time, failure) = probe(&importer, &wish).await else { panic!("429") };
    assert_eq!(time.as_secs(), 300);
    assert!(failure.message.ends_with("o/a:1: toomanyrequests: slow down"), "{}", failure.message);
    assert_eq!((tokens.asked().len(), heads_seen(&fake).len()), (1, 0));
    // And so for everything at this registry: each repository has a token of its own.
    let other = ImageReference::parse(&format!("{}/o/b:1", fake.host)).expect("good");
    let wait = importer.turn(&other).expect_err("left alone");
    assert!(matches!(wait, Wait::Asked(time) if time > Duration::from_secs(295)), "{wait:?}");
}

#[tokio::test]
async fn a_registry_that_is_down_may_say_until_when() {
    let fake = Fake::start(heads(|| Reply::new(503, "").header("Retry-After", "40"))).await;
    let importer = importer(&fake.host);
    let Probe::Later(time, failure) = probe(&importer, &wish(&fake)).await else {
        panic!("it said until when")
    };
    assert_eq!((time.as_secs(), failure.kind), (40, FailureKind::BadAnswer));
    assert!(importer.turn(&wish(&fake).reference).is_err(), "left alone");
}

#[tokio::test]
async fn mirrors_are_probed_in_order_and_left_alone_when_they_ask() {
    let (first, second) = (format!("sha256:{}", "1".repeat(64)), format!("sha256:{}", "2".repeat(64)));
    let names = |digest: &str| {
        let digest = digest.to_owned();
        heads(move || Reply::ok("").header("Docker-Content-Digest", digest.clone()))
    };
    let with_mirrors = |mirrors: &[&Fake], host: &Fake| {
        let registry = RegistryConfig {
            host: host.host.clone(),
            mirrors: mirrors.iter().map(|fake| fake.host.clone()).collect(),
            insecure: true,
            private_network: true,
            ..RegistryConfig::default()
        };
        Importer::new(Config { registries: vec![registry], ..Config::default() }).expect("good")
    };
    let (mirror, empty) =
        (Fake::start(names(&first)).await, Fake::start(heads(|| Reply::new(404, ""))).await);
    let host = Fake::start(names(&second)).await;
    assert_eq!(probe(&with_mirrors(&[&mirror], &host), &wish(&host)).await, digest(&first));
    assert_eq!(probe(&with_mirrors(&[&empty, &mirror], &host), &wish(&host)).await, digest(&first));
    assert_eq!(probe(&with_mirrors(&[&empty], &host), &wish(&host)).await, digest(&second));
    assert_eq!(heads_seen(&host).len(), 1);

    let busy = Fake::start(heads(|| Reply::new(429, "").header("Retry-After", "600"))).await;
    let importer = with_mirrors(&[&busy], &host);
    for _ in 0..3 {
        assert_eq!(probe(&importer, &wish(&host)).await, digest(&second), "one willing source is enough");
    }
    assert_eq!(heads_seen(&busy).len(), 1, "and the other is left alone");
    let importer = with_mirrors(&[&busy], &empty);
    assert!(matches!(probe(&importer, &wish(&empty)).await, Probe::Later(..)));
    assert!(importer.turn(&wish(&empty).reference).is_ok(), "the host itself may still be asked");
}

#[tokio::test]
async fn a_schedule_that_takes_turns_keeps_within_the_budget() {
    const RATE: f64 = 20.0;
    let fake = Fake::start(named).await;
    let importer = Importer::new(Config {
        registries: vec![RegistryConfig {
            host: fake.host.clone(),
            insecure: true,
            private_network: true,
            requests_per_second: Some(RATE),
            ..RegistryConfig::default()
        }],
        ..Config::default()
    })
    .expect("good");
    let wish = wish(&fake);
    let began = Instant::now();
    // People are not held up, but what they ask for is counted.
    for _ in 0..5 {
        importer.image(&wish, NOW).await.expect("imported");
    }
    while began.elapsed() < Duration::from_secs(2) {
        match importer.turn(&wish.reference) {
            Ok(turn) => assert!(matches!(importer.probe(&wish, turn).await, Probe::Digest(_))),
            Err(wait) => tokio::time::sleep(wait.time()).await,
        }
    }
    let allowed = RATE + RATE * began.elapsed().as_secs_f64();
    let asked = u32::try_from(fake.asked().len()).expect("few");
    assert!(f64::from(asked) <= allowed + 1.0, "{asked} of {allowed}");
    // A turn that did not pay for its HEAD would halve this.
    assert!(f64::from(asked) >= 0.7 * allowed, "{asked} of {allowed}");
    assert_eq!(fake.asked().iter().filter(|asked| asked.target == "/v2/").count(), 1);
}

#[tokio::test]
async fn a_budget_is_one_hosts_own() {
    let importer = Importer::new(Config { requests_per_second: 1.0, ..Config::default() }).expect("good");
    let turn = |reference: &str| importer.turn(&ImageReference::parse(reference).expect(reference)).is_ok();
    assert!(turn("quay.io/o/a:1"));
    assert!(!turn("quay.io/o/b:2") && !turn("quay.io:443/c/d"));
    assert!(turn("python") && !turn("index.docker.io/o/a"));
}
