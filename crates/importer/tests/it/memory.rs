//! Whatever a registry sends, the importer's memory stays within bounds. Measured as the highest resident set of a
//! process that does nothing else, the fake registry included.

use std::process::Command;

use tagtrail_domain::{FailureKind, ImageReference};
use tagtrail_importer::{Config, ImportMode, Importer, PullSecrets};

use crate::fake::{self, Asked, Fake, OCI_INDEX, Reply};
use crate::{NOW, request};

/// More than any answer may cost, buffers and the registry's own side included; far less than any of them sends.
const BOUND_KIB: u64 = 64 << 10;

/// The most memory this process has ever had, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// The measure belongs to the process: so this test starts itself again, alone.
#[test]
fn a_gigabyte_costs_no_more_than_what_is_kept_of_it() {
    const INNER: &str = "TAGTRAIL_TEST_MEMORY";
    if std::env::var_os(INNER).is_none() {
        let output = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "memory::a_gigabyte_costs_no_more_than_what_is_kept_of_it"])
            .env(INNER, "1")
            .output()
            .expect("this program runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(measure());
}

async fn measure() {
    let good = Fake::start(fake::good).await;
    image(&good, ImportMode::Legacy).await; // Whatever is made once, is made now.
    let before = peak();
    let check = |what: &str| {
        let grown = peak() - before;
        assert!(grown < BOUND_KIB, "{what}: {grown} KiB");
    };

    for chunked in [false, true] {
        let huge = move || Reply::gigabyte(200, chunked);
        let manifest = sent(at("/manifests/", huge)).await;
        assert!(manifest.ends_with("the manifest is larger than 4194304 bytes"), "{manifest}");
        check("a manifest");
        let config = sent(at("/blobs/", huge)).await;
        assert!(config.ends_with("the configuration is larger than 8388608 bytes"), "{config}");
        check("a configuration");
        let list = tags(at("/tags/list", huge)).await;
        assert!(list.ends_with("the tag list is larger than 8388608 bytes"), "{list}");
        check("a tag list");
        let ping = sent(move |_: &Asked| huge()).await;
        assert!(ping.ends_with("the answer is larger than 65536 bytes"), "{ping}");
        check("a ping");
        for status in [403, 500] {
            let error = sent(at("/manifests/", move || Reply::gigabyte(status, chunked))).await;
            assert!(error.len() < 10_000, "{status}: {error}");
            check("an error");
        }
        let tokens = Fake::start(move |_| huge()).await;
        let realm = format!("Bearer realm=\"http://{}/token\",service=\"s\"", tokens.host);
        let token =
            sent(move |_: &Asked| Reply::new(401, "").header("WWW-Authenticate", realm.clone())).await;
        assert!(token.ends_with("the token is larger than 65536 bytes"), "{token}");
        check("a token");
    }

    // Few bytes of JSON may become many of memory.
    let list = |start: &str, element: &str, bytes: usize, end: &str| {
        format!("{start}{element}{}{end}", format!(",{element}").repeat(bytes / (element.len() + 1)))
    };
    let index = list(r#"{"manifests":["#, "{}", 4_000_000, "]}");
    let found =
        sent(at("/manifests/", move || Reply::ok(index.clone()).header("Content-Type", OCI_INDEX))).await;
    assert!(found.ends_with("the index has more than 200 entries"), "{found}");
    check("an index of a million entries");
    let nothings = list(r#"{"tags":["#, "\"\"", 8_000_000, "]}");
    let found = tags(at("/tags/list", move || Reply::ok(nothings.clone()))).await;
    assert!(found.ends_with("the repository has more than 100000 tags"), "{found}");
    check("a list of millions of tags");
    let config = list(r#"{"os":"linux","x":["#, "0", 8_000_000, "]}");
    let manifest = fake::manifest_of(&config);
    let odd = Fake::start(move |asked| match asked.target.as_str() {
        target if target.contains("/manifests/") => Reply::ok(manifest.clone()),
        target if target.contains("/blobs/") => Reply::ok(config.clone()),
        _ => fake::good(asked),
    })
    .await;
    assert_eq!(image(&odd, ImportMode::Legacy).await, "an image", "odd, but it is one");
    check("a configuration of millions of zeros");

    // Each part of an index may be large, but not all of them together.
    let part = |n: usize| format!("{}{}", fake::manifest(), " ".repeat(4_000_000 + n));
    let digests: Vec<_> = (0..8).map(|n| fake::sha(part(n).as_bytes())).collect();
    let entries: Vec<_> = digests.iter().map(|digest| format!(r#"{{"digest":"{digest}"}}"#)).collect();
    let index = format!(r#"{{"mediaType":"{OCI_INDEX}","manifests":[{}]}}"#, entries.join(","));
    let parts = Fake::start(move |asked| {
        let wanted = digests.iter().position(|digest| asked.target.ends_with(digest));
        match (asked.target.as_str(), wanted) {
            ("/v2/o/a/manifests/1", _) => Reply::ok(index.clone()),
            (_, Some(n)) => Reply::ok(part(n)),
            _ => fake::good(asked),
        }
    })
    .await;
    let found = image(&parts, ImportMode::PreserveOriginal).await;
    let limit = "the manifests and configurations together are larger than 16777216 bytes";
    assert!(found.ends_with(limit), "{found}");
    check("many large parts");

    // The measure itself: it would have seen more.
    let seen = vec![1_u8; usize::try_from(2 * BOUND_KIB).expect("small") << 10];
    assert!(std::hint::black_box(peak()) - before > BOUND_KIB, "{}", seen.len());
}

/// Answers one path with something else, everything else properly.
fn at(
    path: &'static str,
    reply: impl Fn() -> Reply + Send + Sync + 'static,
) -> impl Fn(&Asked) -> Reply + Send + Sync {
    move |asked| if asked.target.contains(path) { reply() } else { fake::good(asked) }
}

fn importer() -> Importer {
    Importer::new(Config { allow_private_networks: true, ..Config::default() }).expect("good")
}

async fn sent(handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> String {
    let fake = Fake::start(handler).await;
    let told = image(&fake, ImportMode::Legacy).await;
    assert_ne!(told, "an image");
    told
}

/// What becomes of an image: the failure's message, or `an image`.
async fn image(fake: &Fake, mode: ImportMode) -> String {
    let mut wish = request(&format!("{}/o/a:1", fake.host), mode);
    wish.insecure = true;
    match importer().image(&wish, NOW).await {
        Ok(_) => "an image".to_owned(),
        Err(failure) => {
            assert_ne!(failure.kind, FailureKind::Unreachable, "{}", failure.message);
            failure.message
        }
    }
}

async fn tags(handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> String {
    let fake = Fake::start(handler).await;
    let repository = ImageReference::parse(&format!("{}/o/a", fake.host)).expect("valid");
    importer().tags(&repository, true, &PullSecrets::default()).await.expect_err("too much").message
}
