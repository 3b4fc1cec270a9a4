//! What registries do wrong, and what becomes of it: one clear sentence, in bounded time and memory.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tagtrail_domain::{Failure, FailureKind, ImageReference};
use tagtrail_importer::{Config, Fetched, ImportMode, Importer, PullSecrets, RegistryConfig, Timeouts};

use crate::fake::{self, Asked, Fake, OCI_INDEX, Reply};
use crate::{NOW, request};

/// An importer in a hurry, which may use plain HTTP with this host.
pub(crate) fn importer(host: &str) -> Importer {
    Importer::new(Config {
        registries: vec![RegistryConfig {
            host: host.into(),
            insecure: true,
            private_network: true,
            ..RegistryConfig::default()
        }],
        timeouts: Timeouts {
            connect: Duration::from_secs(5),
            read: Duration::from_millis(400),
            request: Duration::from_secs(1),
            image: Duration::from_secs(10),
            retry_delay: Duration::from_millis(20),
        },
        ..Config::default()
    })
    .expect("a good configuration")
}

async fn fetch(fake: &Fake, place: &str) -> Result<Fetched, Failure> {
    let reference = format!("{}/o/a{place}", fake.host);
    importer(&fake.host).image(&request(&reference, ImportMode::Legacy), NOW).await
}

async fn fails(
    handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    place: &str,
    kind: FailureKind,
    tail: &str,
) {
    let fake = Fake::start(handler).await;
    let failure = fetch(&fake, place).await.expect_err(tail);
    let message = failure.message.replace(&fake.host, "HOST");
    assert!(message.ends_with(tail), "{message}\nshould end in\n{tail}");
    assert_eq!(failure.kind, kind, "{message}");
}

/// Answers one path with something else, everything else properly.
fn but(
    path: &'static str,
    reply: impl Fn() -> Reply + Send + Sync + 'static,
) -> impl Fn(&Asked) -> Reply + Send + Sync {
    move |asked| if asked.target.contains(path) { reply() } else { fake::good(asked) }
}

#[tokio::test]
async fn a_proper_answer_is_an_image() {
    let fake = Fake::start(fake::good).await;
    let fetched = fetch(&fake, ":1").await.expect("imported");
    assert_eq!(fetched.image.digest.as_str(), fake::sha(fake::manifest().as_bytes()));
    assert_eq!(fake.count("/v2/"), 3, "ping, manifest, configuration: {:?}", fake.asked());
}

#[tokio::test]
async fn lies_are_found_out() {
    use FailureKind::{BadAnswer, NotFound, Unsupported};
    let other = format!("@sha256:{}", "0".repeat(64));
    let truth = fake::sha(fake::manifest().as_bytes());
    fails(
        fake::good,
        &other,
        BadAnswer,
        &format!(
            "content integrity error: the manifest retrieved with digest {} does not match the digest calculated \
             from the content {truth}",
            &other[1..]
        ),
    )
    .await;
    fails(
        but("/blobs/", || Reply::ok(fake::CONFIG.replace("amd64", "arm64"))),
        ":1",
        BadAnswer,
        &format!(
            "does not match the digest calculated from the content {}",
            fake::sha(fake::CONFIG.replace("amd64", "arm64").as_bytes())
        ),
    )
    .await;
    fails(
        but("/manifests/", || Reply::ok("<html>")),
        ":1",
        BadAnswer,
        "invalid character '<' looking for beginning of value",
    )
    .await;
    fails(
        but("/manifests/", || Reply::ok(&fake::manifest()[..50])),
        ":1",
        BadAnswer,
        "unexpected end of JSON input",
    )
    .await;
    fails(but("/manifests/", || Reply::ok("[".repeat(100_000))), ":1", BadAnswer, "exceeded max depth").await;
    fails(
        but("/manifests/", || Reply::ok(fake::manifest()).header("Content-Type", OCI_INDEX)),
        ":1",
        BadAnswer,
        "mediaType in manifest should be 'application/vnd.oci.image.index.v1+json' not \
         'application/vnd.oci.image.manifest.v1+json'",
    )
    .await;
    fails(
        but("/manifests/", || Reply::ok(r#"{"schemaVersion":1,"fsLayers":[]}"#)),
        ":1",
        Unsupported,
        "Internal error occurred: unsupported image manifest type: application/vnd.docker.distribution.manifest.v1+json \
         (Docker schema 1: push the image again with a current client)",
    )
    .await;
    fails(
        but("/manifests/", || Reply::ok(format!(r#"{{"mediaType":"{OCI_INDEX}","manifests":[]}}"#))),
        ":1",
        BadAnswer,
        "no manifests in manifest list",
    )
    .await;
    fails(but("/blobs/", || Reply::new(404, "")), ":1", NotFound, "HOST/o/a:1: unknown blob").await;
}

#[tokio::test]
async fn what_does_not_end_is_ended() {
    use FailureKind::{BadAnswer, Unreachable};
    fails(
        but("/manifests/", Reply::endless),
        ":1",
        BadAnswer,
        "Get \"http://HOST/v2/o/a/manifests/1\": the manifest is larger than 4194304 bytes",
    )
    .await;
    fails(but("/blobs/", Reply::endless), ":1", BadAnswer, "the configuration is larger than 8388608 bytes")
        .await;
    fails(
        but("/manifests/", || Reply::cut_short(fake::manifest())),
        ":1",
        Unreachable,
        "Get \"http://HOST/v2/o/a/manifests/1\": unexpected EOF",
    )
    .await;
    fails(
        but("/manifests/", Reply::silence),
        ":1",
        Unreachable,
        "Internal error occurred: HOST/o/a:1: Get \"http://HOST/v2/o/a/manifests/1\": context deadline exceeded \
         (Client.Timeout exceeded while awaiting headers)",
    )
    .await;
    let timeout = "context deadline exceeded (Client.Timeout or context cancellation while reading body)";
    fails(but("/manifests/", || Reply::drip(Duration::from_secs(60))), ":1", Unreachable, timeout).await;
    fails(but("/manifests/", || Reply::drip(Duration::from_millis(50))), ":1", Unreachable, timeout).await;
    fails(
        but("/manifests/", || Reply::new(302, "").header("Location", "/v2/o/a/manifests/1")),
        ":1",
        BadAnswer,
        "stopped after 5 redirects",
    )
    .await;
    fails(
        but("/manifests/", || Reply::new(302, "").header("Location", "ftp://x/y")),
        ":1",
        BadAnswer,
        "the registry redirects to what is not a web address",
    )
    .await;
}

#[tokio::test]
async fn lengths_that_lie_are_found_out() {
    use FailureKind::{BadAnswer, Unreachable};
    // Announced too short: what is left of it is no JSON, or not the configuration.
    fails(
        but("/manifests/", || Reply::claims(50, fake::manifest())),
        ":1",
        BadAnswer,
        "Internal error occurred: HOST/o/a:1: unexpected end of JSON input",
    )
    .await;
    fails(
        but("/blobs/", || Reply::claims(10, fake::CONFIG)),
        ":1",
        BadAnswer,
        &format!(
            "Internal error occurred: HOST/o/a:1: content integrity error: the blob retrieved with digest {} does not \
             match the digest calculated from the content {}",
            fake::sha(fake::CONFIG.as_bytes()),
            fake::sha(&fake::CONFIG.as_bytes()[..10])
        ),
    )
    .await;
    // Announced too long.
    fails(
        but("/blobs/", || Reply::cut_short(fake::CONFIG)),
        ":1",
        Unreachable,
        &format!(
            "Internal error occurred: HOST/o/a:1: Get \"http://HOST/v2/o/a/blobs/{}\": unexpected EOF",
            fake::sha(fake::CONFIG.as_bytes())
        ),
    )
    .await;
    // The manifest itself says another length.
    let size = format!("\"size\":{}", fake::CONFIG.len());
    fails(
        but("/manifests/", move || Reply::ok(fake::manifest().replace(&size, "\"size\":7"))),
        ":1",
        BadAnswer,
        &format!(
            "Internal error occurred: HOST/o/a:1: content integrity error: the configuration {} has {} bytes, but its \
             manifest says 7",
            fake::sha(fake::CONFIG.as_bytes()),
            fake::CONFIG.len()
        ),
    )
    .await;
}

#[tokio::test]
async fn an_index_holds_images_and_no_indexes() {
    let refused =
        "Internal error occurred: unsupported image manifest type: application/vnd.oci.image.index.v1+json";
    for mode in [ImportMode::Legacy, ImportMode::PreserveOriginal] {
        // An index that holds an index that holds an image.
        let fake = Fake::start(|asked| {
            let inner = fake::index_of(&fake::manifest());
            match asked.target.as_str() {
                "/v2/o/a/manifests/1" => Reply::ok(fake::index_of(&inner)),
                target if target.ends_with(&fake::sha(inner.as_bytes())) => Reply::ok(inner),
                _ => fake::good(asked),
            }
        })
        .await;
        let wish = request(&format!("{}/o/a:1", fake.host), mode);
        let failure = importer(&fake.host).image(&wish, NOW).await.expect_err("nested");
        assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Unsupported, refused));
        assert_eq!(fake.count("/manifests/"), 2, "it is not looked into");

        // No index can name its own digest, nor two each other's: the one that claims to is found out.
        let fake = Fake::start(but("/manifests/", || Reply::ok(fake::index_of("itself")))).await;
        let wish = request(&format!("{}/o/a:1", fake.host), mode);
        let failure = importer(&fake.host).image(&wish, NOW).await.expect_err("in itself");
        let integrity = format!(
            "content integrity error: the manifest retrieved with digest {} does not match the digest calculated from \
             the content {}",
            fake::sha(b"itself"),
            fake::sha(fake::index_of("itself").as_bytes())
        );
        assert!(failure.message.ends_with(&integrity), "{}", failure.message);
        assert_eq!((failure.kind, fake.count("/manifests/")), (FailureKind::BadAnswer, 2));
    }
}

#[tokio::test]
async fn what_is_not_asked_for_is_not_taken() {
    // We ask for no compression, so nothing is unpacked: not a bomb either.
    let gzip = b"\x1f\x8b\x08\x00\x00\x00\x00\x00";
    fails(
        but("/manifests/", || Reply::ok(*gzip).header("Content-Encoding", "gzip")),
        ":1",
        FailureKind::BadAnswer,
        "Internal error occurred: HOST/o/a:1: invalid character '\\x1f' looking for beginning of value",
    )
    .await;
    let fake = Fake::start(fake::good).await;
    fetch(&fake, ":1").await.expect("imported");
    assert!(fake.asked().iter().all(|asked| !asked.raw.to_ascii_lowercase().contains("accept-encoding")));
    // Nor are headers without end.
    for reply in [
        || Reply::ok("").header("X-Long", "x".repeat(8 << 20)),
        || (0..20_000).fold(Reply::ok(""), |reply, n| reply.header(&format!("X-{n}"), "x".repeat(200))),
    ] {
        fails(
            but("/manifests/", reply),
            ":1",
            FailureKind::BadAnswer,
            "Get \"http://HOST/v2/o/a/manifests/1\": malformed HTTP response (message head is too large)",
        )
        .await;
    }
}

#[tokio::test]
async fn two_hosts_that_redirect_to_each_other_are_left() {
    let other = std::sync::Arc::new(std::sync::OnceLock::<String>::new());
    let to = std::sync::Arc::clone(&other);
    let first = Fake::start(but("/manifests/", move || {
        Reply::new(307, "").header("Location", format!("http://{}/there", to.get().expect("it was started")))
    }))
    .await;
    let back = format!("http://{}/v2/o/a/manifests/1", first.host);
    let second = Fake::start(move |_| Reply::new(307, "").header("Location", back.clone())).await;
    other.set(second.host.clone()).expect("once");
    let importer = Importer::new(Config { allow_private_networks: true, ..Config::default() }).expect("good");
    let mut wish = request(&format!("{}/o/a:1", first.host), ImportMode::Legacy);
    wish.insecure = true;
    let failure = importer.image(&wish, NOW).await.expect_err("no end");
    assert!(failure.message.ends_with("stopped after 5 redirects"), "{}", failure.message);
    assert_eq!((first.count("/manifests/"), second.asked().len()), (3, 3));
}

#[tokio::test]
async fn what_is_no_registry_is_called_so() {
    fails(
        |_| Reply::new(404, "404 page not found\n"),
        ":1",
        FailureKind::BadAnswer,
        "Internal error occurred: HOST/o/a:1: endpoint \"http://HOST\" does not support v2 API (got 404 Not Found)",
    )
    .await;
    fails(
        but("/manifests/", || Reply::new(404, "nope")),
        ":1",
        FailureKind::BadAnswer,
        "error parsing HTTP 404 response body: invalid character 'o' in literal null (expecting 'u'): \"nope\"",
    )
    .await;
}

#[tokio::test]
async fn a_moments_trouble_is_sat_out() {
    // The manifest fails this often before it comes; how the registry says so; how often it is asked for.
    let check = async |failures: usize, reply: fn() -> Reply, asked: usize, good: bool| {
        let count = AtomicUsize::new(0);
        let fake = Fake::start(move |asked| {
            let manifest = asked.target.contains("/manifests/");
            if manifest && count.fetch_add(1, Ordering::SeqCst) < failures {
                reply()
            } else {
                fake::good(asked)
            }
        })
        .await;
        let result = fetch(&fake, ":1").await;
        assert_eq!(result.is_ok(), good, "{result:?}");
        assert_eq!(fake.count("/manifests/"), asked, "{result:?}");
    };
    check(2, || Reply::new(503, ""), 3, true).await;
    check(3, || Reply::new(502, ""), 3, false).await;
    check(1, || Reply::new(500, ""), 1, false).await; // Not a moment's trouble, says experience.
    check(2, || Reply::cut_short("{"), 3, true).await;
    check(1, || Reply::new(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#), 1, false).await;
    check(1, || Reply::new(429, "").header("Retry-After", "1"), 2, true).await;
    check(1, || Reply::new(429, "").header("Retry-After", "Wed, 21 Oct 2015 07:28:00 GMT"), 2, true).await;
    check(1, || Reply::new(429, ""), 1, false).await;
    check(1, || Reply::new(503, "").header("Retry-After", "600"), 1, false).await;

    // What stays is told.
    let told = async |reply: fn() -> Reply, kind, words: &str| {
        fails(
            but("/manifests/", reply),
            ":1",
            kind,
            &format!("Internal error occurred: HOST/o/a:1: {words}"),
        )
        .await;
    };
    use FailureKind::{BadAnswer, RateLimited};
    told(|| Reply::new(500, "x"), BadAnswer, "received unexpected HTTP status: 500 Internal Server Error")
        .await;
    told(|| Reply::new(502, ""), BadAnswer, "received unexpected HTTP status: 502 Bad Gateway").await;
    told(|| Reply::new(503, ""), BadAnswer, "received unexpected HTTP status: 503 Service Unavailable").await;
    let busy = || {
        Reply::new(429, r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#)
            .header("Retry-After", "600")
    };
    told(busy, RateLimited, "toomanyrequests: slow down").await;
}

#[tokio::test]
async fn a_registry_that_wants_to_be_left_alone_is_remembered() {
    let busy =
        r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}"#;
    let fake =
        Fake::start(but("/manifests/", move || Reply::new(429, busy).header("Retry-After", "600"))).await;
    let importer = importer(&fake.host);
    let wish = request(&format!("{}/o/a:1", fake.host), ImportMode::Legacy);
    assert!(importer.turn(&wish.reference).is_ok());
    let failure = importer.image(&wish, NOW).await.expect_err("busy");
    assert_eq!(failure.kind, FailureKind::RateLimited);
    assert!(failure.message.ends_with("o/a:1: toomanyrequests: You have reached your pull rate limit."));
    let hold = importer.turn(&wish.reference).expect_err("told to wait").time();
    assert!((590..=600).contains(&hold.as_secs()), "{hold:?}");
}

#[tokio::test]
async fn a_tag_list_has_an_end() {
    let tags = async |fake: &Fake| {
        let repository = ImageReference::parse(&format!("{}/o/a", fake.host)).expect("valid");
        importer(&fake.host)
            .tags(&repository, false, &PullSecrets::default())
            .await
            .map_err(|f| f.message.replace(&fake.host, "HOST"))
    };
    let page = |n: usize| (0..n).map(|i| format!("\"t{i}\"")).collect::<Vec<_>>().join(",");

    let fake = Fake::start(|asked| match asked.target.as_str() {
        "/v2/o/a/tags/list" => {
            Reply::ok(r#"{"tags":["b","a"]}"#).header("Link", "<list?last=a>; rel=\"next\"")
        }
        "/v2/o/a/tags/list?last=a" => Reply::ok(r#"{"tags":["a","","c","no tag/../x"]}"#),
        _ => fake::good(asked),
    })
    .await;
    assert_eq!(tags(&fake).await.expect("two pages"), ["b", "a", "latest", "c"]);

    let fake = Fake::start(but("tags/list", || Reply::ok(r#"{"name":"o/a","tags":null}"#))).await;
    assert!(tags(&fake).await.expect("no tags").is_empty());

    let ask = async |reply: Box<dyn Fn(&str) -> Reply + Send + Sync>| {
        let fake = Fake::start(move |asked| {
            if asked.target.contains("tags/list") { reply(&asked.target) } else { fake::good(asked) }
        })
        .await;
        tags(&fake).await.expect_err("no end")
    };
    let looping = ask(Box::new(|_| {
        Reply::ok(r#"{"tags":["a"]}"#).header("Link", "</v2/o/a/tags/list?n=1>; rel=\"next\"")
    }))
    .await;
    assert!(looping.ends_with("the tag list does not end"), "{looping}");

    let elsewhere =
        ask(Box::new(|_| Reply::ok(r#"{"tags":["a"]}"#).header("Link", "<http://127.0.0.1:1/x>; rel=next")))
            .await;
    assert!(elsewhere.ends_with("the tag list goes on at another host"), "{elsewhere}");

    let counter = AtomicUsize::new(0);
    let list = page(9_000);
    let endless = ask(Box::new(move |_| {
        let n = counter.fetch_add(1, Ordering::SeqCst);
        Reply::ok(format!("{{\"tags\":[{}]}}", list.replace("\"t", &format!("\"p{n}-"))))
            .header("Link", format!("<list?page={n}>; rel=\"next\""))
    }))
    .await;
    assert!(endless.ends_with("the repository has more than 100000 tags"), "{endless}");

    let huge = ask(Box::new(|_| Reply::endless())).await;
    assert!(huge.ends_with("the tag list is larger than 8388608 bytes"), "{huge}");
    let garbage = ask(Box::new(|_| Reply::ok("{\"tags\": 5}"))).await;
    assert!(garbage.contains("the tag list is not of the form it should have"), "{garbage}");
}

#[tokio::test]
async fn the_guard_stands_at_every_hop() {
    let inside = Fake::start(fake::good).await;
    let port = inside.host.rsplit(':').next().expect("a port").to_owned();
    // The registry itself is allowed; where it sends us is not, by address or by name.
    for target in [
        inside.host.clone(),
        format!("localhost:{port}"),
        format!("2130706433:{port}"),
        format!("[::ffff:7f00:1]:{port}"),
    ] {
        let sends = target.clone();
        let fake = Fake::start(but("/blobs/", move || {
            Reply::new(307, "").header("Location", format!("http://{sends}/v2/secret"))
        }))
        .await;
        let failure = fetch(&fake, ":1").await.expect_err("refused");
        assert_eq!(failure.kind, FailureKind::Forbidden, "{target}: {}", failure.message);
        assert_eq!(failure.reason, "Forbidden");
        assert!(failure.message.contains("is not a public address"), "{}", failure.message);

        let sends = target.clone();
        let fake = Fake::start(move |asked| match asked.target.as_str() {
            "/v2/" => Reply::ok("{}"),
            _ => Reply::new(302, "").header("Location", format!("http://{sends}/v2/o/a/manifests/1")),
        })
        .await;
        let failure = fetch(&fake, ":1").await.expect_err("refused");
        assert_eq!(failure.kind, FailureKind::Forbidden, "{target}: {}", failure.message);
        let here = importer(&fake.host);
        let wish = request(&format!("{}/o/a:1", fake.host), ImportMode::Legacy);
        let failure = here.tags(&wish.reference, false, &PullSecrets::default()).await.expect_err("refused");
        assert_eq!(failure.kind, FailureKind::Forbidden, "{target}: {}", failure.message);
        let turn = here.turn(&wish.reference).expect("a turn");
        assert_eq!(here.probe(&wish, turn).await, tagtrail_importer::Probe::Unknown);

        let realm = format!("Bearer realm=\"http://{target}/token\",service=\"s\"");
        let fake = Fake::start(move |_| Reply::new(401, "").header("WWW-Authenticate", realm.clone())).await;
        let failure = fetch(&fake, ":1").await.expect_err("refused");
        assert_eq!(failure.kind, FailureKind::Forbidden, "{target}: {}", failure.message);
    }
    // And a reference may not lead inside either.
    let importer = Importer::new(Config::default()).expect("good");
    for host in [inside.host.clone(), format!("localhost:{port}")] {
        let wish = request(&format!("{host}/o/a:1"), ImportMode::Legacy);
        let failure = importer.image(&wish, NOW).await.expect_err("refused");
        assert_eq!(failure.kind, FailureKind::Forbidden, "{}", failure.message);
    }
    assert!(inside.asked().is_empty(), "{:?}", inside.asked());
}

#[tokio::test]
async fn mirrors_are_asked_first_and_told_of_last() {
    let empty =
        Fake::start(but("/manifests/", || Reply::new(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#)))
            .await;
    let full = Fake::start(fake::good).await;
    let with_mirrors = |mirrors: Vec<String>, mirror_only| {
        let registry = RegistryConfig {
            host: full.host.clone(),
            mirrors,
            mirror_only,
            insecure: true,
            private_network: true,
            ..RegistryConfig::default()
        };
        Importer::new(Config { registries: vec![registry], ..Config::default() }).expect("good")
    };
    let reference = format!("{}/o/a:1", full.host);
    let wish = request(&reference, ImportMode::Legacy);
    let closed = crate::real_registry::free_port();
    let down = format!("127.0.0.1:{closed}");

    let fetched =
        with_mirrors(vec![down.clone(), empty.host.clone()], false).image(&wish, NOW).await.expect("found");
    assert!(fetched.image.reference.starts_with(&format!("{}/o/a@sha256:", full.host)));
    assert_eq!((empty.count("/manifests/"), full.count("/manifests/")), (1, 1));

    let failure = with_mirrors(vec![down.clone(), empty.host.clone()], true)
        .image(&wish, NOW)
        .await
        .expect_err("nowhere");
    assert_eq!(full.count("/manifests/"), 1, "the host itself is not asked");
    assert_eq!(
        failure.message,
        format!(
            "Internal error occurred: [{reference}: Get \"http://{down}/v2/\": dial tcp {down}: connect: connection \
             refused, dockerimage.image.openshift.io \"{reference}\" not found]"
        )
    );
}

#[tokio::test]
async fn a_host_that_does_not_exist_is_named() {
    let importer = Importer::new(Config::default()).expect("good");
    let started = Instant::now();
    let wish = request("registry.invalid/o/a:1", ImportMode::Legacy);
    let failure = importer.image(&wish, NOW).await.expect_err("no such host");
    // Without any name server the resolver cannot know that it does not exist.
    let expected = ["no such host", "Temporary failure in name resolution"];
    let told = |why: &&str| {
        failure.message
            == format!(
                "Internal error occurred: registry.invalid/o/a:1: Get \"https://registry.invalid/v2/\": dial tcp: \
                 lookup registry.invalid: {why}"
            )
    };
    assert!(expected.iter().any(told), "{}", failure.message);
    assert_eq!(failure.kind, FailureKind::Unreachable);
    assert!(started.elapsed() < Duration::from_secs(60));
}
