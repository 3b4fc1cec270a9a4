//! All services on a log in memory, written by the real writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use tagtrail_api::v1::image_service_server::ImageService as _;
use tagtrail_api::v1::image_stream_service_server::ImageStreamService as _;
use tagtrail_api::v1::moment::When;
use tagtrail_api::v1::tag_service_server::TagService as _;
use tagtrail_domain::command::{Import, ImportOrigin, ImportTarget, ImportedImage};
use tagtrail_domain::event::{Actor, Event, Recorded, Run};
use tagtrail_domain::image::Image;
use tagtrail_domain::tag::{ImportMode, ImportPolicy, ReferencePolicy};
use tagtrail_domain::{Command, Digest, Fact, Failure, FailureKind, Platform, Timestamp};
use tagtrail_event_log::blobs::BlobStore;
use tagtrail_event_log::{LogId, MemoryLog};
use tagtrail_projection::View;
use tokio::sync::watch;
use tonic::Code;

use super::*;
use crate::audit::Audit;
use crate::config::{Config, Overrides};
use crate::grpc::Lots;
use crate::images::Images;
use crate::importing::Importing;
use crate::outside::Outside;
use crate::past::Wanted;
use crate::secrets::Secrets;
use crate::watch::Watches;
use crate::work::Work;
use crate::writer::{Commits, Origin, Rules, Writer};

struct Bench {
    services: Services,
    clock: Arc<AtomicI64>,
    _stop: watch::Sender<bool>,
    _thread: JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        rustls::crypto::ring::default_provider().install_default().ok();
        let dir = tempfile::tempdir().expect("a directory");
        let overrides = Overrides { data_dir: Some(dir.path().to_owned()), ..Overrides::default() };
        let config = Config::load(None, overrides, std::iter::empty()).expect("a configuration");
        let log = Arc::new(MemoryLog::new(LogId::from_bytes([3; 16])));
        let view = Arc::new(View::open(&dir.path().join("view"), &*log).expect("opens").0);
        let blobs = Arc::new(BlobStore::open(dir.path()).expect("opens"));
        let secrets = Arc::new(Secrets::open(dir.path()).expect("opens").0);
        let clock = Arc::new(AtomicI64::new(0));
        let time = clock.clone();
        let outside = Outside::of(
            move || Timestamp::new(time.load(Ordering::SeqCst), 0),
            || *uuid::Uuid::new_v4().as_bytes(),
        );
        let importer =
            tagtrail_importer::Importer::new(tagtrail_importer::Config::default()).expect("an importer");
        let (stop, stopped) = watch::channel(false);
        let past = Past { log: log.clone(), view: view.clone() };
        let watches =
            Watches::new(past, config.repository.clone(), stopped.clone(), config.limits.watcher_patience);
        let work = Arc::new(Work::new(config.import.intervals, || 0.5));
        let (writer, queue) = Writer::new(config.limits.waiting_writes);
        let (alive, _) = watch::channel(true);
        let commits =
            Commits { log: log.clone(), view: view.clone(), tail: watches.tail(), work: work.clone() };
        let thread = queue.start(commits, outside.clone(), Rules::of(&config), alive).expect("a thread");
        let importing = Importing::new(importer, blobs.clone(), secrets.clone(), outside.clone(), 10);
        let mut config = Config { data_dir: dir.path().to_owned(), ..config };
        config.audit.checkpoint_copy = None;
        let audit = Audit::open(&config, log.clone(), Default::default(), || [7; 32]).expect("opens").audit;
        let places = Lots::new(&config.limits);
        let services = Services {
            audit,
            http_port: 0,
            config: Arc::new(config),
            log,
            images: Images { view: view.clone(), blobs },
            view,
            importing,
            secrets,
            work,
            publishing: None,
            writer,
            watches,
            outside,
            started: Instant::now(),
            stopped,
            findings: Arc::default(),
            rebuilding: Arc::default(),
            places,
        };
        Self { services, clock, _stop: stop, _thread: thread, _dir: dir }
    }

    fn head(&self) -> u64 {
        self.services.view.position()
    }

    /// What a script says, a line for each command; a refusal is an answer too.
    async fn play(&self, script: &str) {
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            self.command(line).await.unwrap_or_else(|refusal| panic!("{line}: {}", refusal.message()));
        }
    }

    /// One command, a second after the one before.
    async fn command(&self, line: &str) -> Result<(), Status> {
        self.clock.fetch_add(1, Ordering::SeqCst);
        let (line, by) = line.split_once(" by ").unwrap_or((line, ""));
        let words: Vec<&str> = line.split_whitespace().collect();
        let write = Some(v1::WriteOptions { actor: by.to_owned(), ..Default::default() });
        let (namespace, name, tag) = names(words.get(1).copied().unwrap_or_default());
        let source = |kind: v1::SourceKind, text: &str| {
            let (namespace, name, tag) = names(text);
            let separator = if kind == v1::SourceKind::ImageStreamImage { "@" } else { ":" };
            Some(v1::TagSource { kind: kind.into(), namespace, name: format!("{name}{separator}{tag}") })
        };
        let services = &self.services;
        match *words.as_slice() {
            ["import", _, image] => self.import(&namespace, &name, &tag, image, by).await?,
            ["reference", _, to] => {
                let source = Some(v1::TagSource {
                    kind: v1::SourceKind::DockerImage.into(),
                    namespace: String::new(),
                    name: to.to_owned(),
                });
                let request = v1::SetTagRequest {
                    namespace,
                    name,
                    tag,
                    source,
                    reference: true,
                    write,
                    ..Default::default()
                };
                services.set_tag(Request::new(request)).await.map(drop)?;
            }
            ["tag", _, from] | ["alias", _, from] => {
                let source = source(v1::SourceKind::ImageStreamTag, from);
                let alias = words[0] == "alias";
                let request =
                    v1::SetTagRequest { namespace, name, tag, source, alias, write, ..Default::default() };
                services.set_tag(Request::new(request)).await.map(drop)?;
            }
            ["promote", ref pairs @ ..] => {
                let promotion = |pair: &[&str]| {
                    let (namespace, name, tag) = names(pair[0]);
                    let source = source(v1::SourceKind::ImageStreamTag, pair[1]);
                    v1::Promotion { namespace, name, tag, source, expected_image: String::new() }
                };
                let promotions = pairs.chunks(2).map(promotion).collect();
                let request = v1::PromoteRequest { promotions, write, ..Default::default() };
                services.promote(Request::new(request)).await.map(drop)?;
            }
            ["rollback", _] => {
                let request = v1::RollbackRequest { namespace, name, tag, write, ..Default::default() };
                services.rollback(Request::new(request)).await.map(drop)?;
            }
            ["hold", _] => {
                let request = v1::HoldRequest { namespace, name, tag, write, ..Default::default() };
                services.hold(Request::new(request)).await.map(drop)?;
            }
            ["release", _] => {
                let request = v1::ReleaseRequest { namespace, name, tag, write };
                services.release(Request::new(request)).await.map(drop)?;
            }
            ["restore", _] => {
                let request = v1::RestoreRequest { namespace, name, tag, write, ..Default::default() };
                services.restore(Request::new(request)).await.map(drop)?;
            }
            ["delete", _] if tag.is_empty() => {
                let request = v1::DeleteImageStreamRequest { namespace, name, write };
                services.delete_image_stream(Request::new(request)).await.map(drop)?;
            }
            ["delete", _] => {
                let request = v1::DeleteTagRequest { namespace, name, tag, write, ..Default::default() };
                services.delete_tag(Request::new(request)).await.map(drop)?;
            }
            ["label", _, value] => {
                let set_labels = [("tier".to_owned(), value.to_owned())].into();
                let request = v1::UpdateMetadataRequest {
                    namespace,
                    name,
                    set_labels,
                    overwrite: true,
                    write,
                    ..Default::default()
                };
                services.update_metadata(Request::new(request)).await.map(drop)?;
            }
            _ => panic!("{line} is no command of a test"),
        }
        Ok(())
    }

    /// What a registry answers to an import: an image by its letter, an index as `i(ab)`, nothing as `-`.
    async fn import(
        &self,
        namespace: &str,
        name: &str,
        tag: &str,
        image: &str,
        by: &str,
    ) -> Result<(), Status> {
        let key = stream_of(namespace, name);
        let state = self.services.view.stream(&key);
        let life = state.life.as_ref();
        let tag = tag_of(tag);
        let planned = life.and_then(|stream| stream.tags.get(&tag)?.spec.clone());
        let outcome = match image.split_once('(') {
            _ if image == "-" => Err(Failure {
                kind: FailureKind::NotFound,
                reason: "NotFound".into(),
                message: "there is none".into(),
            }),
            Some((index, children)) => Ok(ImportedImage {
                image: picture(index, false),
                children: children
                    .trim_end_matches(')')
                    .chars()
                    .map(|c| picture(&c.to_string(), true))
                    .collect(),
                index: None,
            }),
            None => Ok(ImportedImage { image: picture(image, true), children: Vec::new(), index: None }),
        };
        let target = ImportTarget {
            tag: tag.clone(),
            from: format!("registry.example/{name}:{tag}"),
            policy: ImportPolicy { mode: ImportMode::PreserveOriginal, ..ImportPolicy::default() },
            reference_policy: ReferencePolicy::Source,
            from_repository: false,
            planned,
            outcome,
        };
        let command = Command::Import(Import {
            targets: vec![target],
            repository: String::new(),
            repository_failure: None,
            additional_tags: 0,
            create_stream: true,
            origin: ImportOrigin::Request,
            planned_uid: life.map(|stream| stream.uid.clone()),
        });
        let actor = Actor { name: by.to_owned(), authenticated: false };
        let origin = Origin { name: "import", actor, ..Origin::default() };
        self.services.write(&key, command, origin).await.map(drop)
    }

    /// Everything that is listed, on pages of this size.
    async fn entries(&self, request: v1::ListEntriesRequest) -> Result<Vec<v1::HistoryEntry>, Status> {
        let (mut entries, mut request) = (Vec::new(), request);
        loop {
            let page = self.services.list_entries(Request::new(request.clone())).await?.into_inner();
            if request.page_size > 0 {
                assert!(page.entries.len() <= request.page_size as usize);
            }
            entries.extend(page.entries);
            if page.next_page_token.is_empty() {
                return Ok(entries);
            }
            request.page_token = page.next_page_token;
        }
    }

    async fn whereabouts(&self, request: v1::WhereRequest) -> Result<Vec<v1::Whereabouts>, Status> {
        let (mut tags, mut request) = (Vec::new(), request);
        loop {
            let page = self.services.r#where(Request::new(request.clone())).await?.into_inner();
            tags.extend(page.tags);
            if page.next_page_token.is_empty() {
                return Ok(tags);
            }
            request.page_token = page.next_page_token;
        }
    }
}

/// `namespace/stream:tag`, of which namespace and tag may be missing.
fn names(text: &str) -> (String, String, String) {
    let (namespace, rest) = text.split_once('/').unwrap_or(("test", text));
    let (name, tag) = rest.split_once(':').unwrap_or((rest, ""));
    (namespace.to_owned(), name.to_owned(), tag.to_owned())
}

/// The digest that stands for a letter.
fn digest(letter: &str) -> Digest {
    let number = letter.bytes().next().expect("a letter");
    Digest::parse(&format!("sha256:{}", format!("{number:02x}").repeat(32))).expect("a digest")
}

fn picture(letter: &str, plain: bool) -> Image {
    let digest = digest(letter);
    Image {
        reference: format!("registry.example/app@{digest}"),
        media_type: "manifest".into(),
        config: plain.then(|| digest.clone()),
        size: 1,
        platform: Platform::default(),
        built_at: None,
        layers: Vec::new(),
        manifests: Vec::new(),
        digest,
    }
}

/// The letter that a digest stands for; the reference of a reference tag.
fn letter(item: &Option<v1::HistoryItem>) -> String {
    let Some(item) = item else { return "nothing".to_owned() };
    match item.image.get(7..9) {
        Some(digits) => char::from(u8::from_str_radix(digits, 16).expect("digits")).to_string(),
        None => item.docker_image_reference.clone(),
    }
}

fn after(sequence: u64) -> Option<v1::Moment> {
    Some(v1::Moment { when: Some(When::Sequence(sequence)) })
}

fn time(seconds: i64) -> Option<v1::Moment> {
    Some(v1::Moment { when: Some(When::Time(prost_types::Timestamp { seconds, nanos: 0 })) })
}

/// `sequence kind stream:tag from -> to cause actor`.
fn in_words(entry: &v1::HistoryEntry) -> String {
    let by = entry.actor.as_ref().map(|actor| format!(" by {}", actor.name)).unwrap_or_default();
    let tag = if entry.tag.is_empty() { String::new() } else { format!(":{}", entry.tag) };
    let (from, to) = (letter(&entry.from), letter(&entry.to));
    let v1::HistoryEntry { sequence, kind, stream, cause, .. } = entry;
    let told = format!("{sequence} {kind} {stream}{tag} {from} -> {to}, {cause}{by}");
    told.trim_end_matches(" by ").to_owned()
}

fn request(of: &str) -> v1::ListEntriesRequest {
    let (namespace, name, tag) = names(of);
    v1::ListEntriesRequest { namespace, name, tag, ..Default::default() }
}

/// A life of a tag, its death with its stream, and the next one.
const STORY: &str = "
    import web:prod a by anna
    import web:prod b by anna
    alias web:stable web:prod by ben
    hold web:prod by eve
    import web:prod c by anna
    release web:prod by eve
    import web:prod - by anna
    rollback web:prod by eve
    delete web by ben
    restore web:prod by eve
    delete web:prod by ben
";

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_has_one_history_over_all_of_its_lives() {
    let bench = Bench::new();
    bench.play(STORY).await;
    let told: Vec<String> =
        bench.entries(request("web:prod")).await.expect("a history").iter().map(in_words).collect();
    let expected = [
        "27 tag-deleted web:prod a -> nothing, delete by ben",
        "26 tag-restored web:prod nothing -> a, restore by eve",
        "24 stream-deleted web:prod a -> nothing, delete by ben",
        "22 tag-held web:prod a -> a, rollback by eve",
        "21 tag-moved web:prod b -> a, rollback by eve",
        "19 import-failed web:prod nothing -> nothing, import by anna",
        "17 tag-released web:prod b -> b, release by eve",
        "15 move-withheld web:prod b -> c, import by anna",
        "13 tag-held web:prod b -> b, hold by eve",
        "8 tag-moved web:prod a -> b, import by anna",
        "4 tag-moved web:prod nothing -> a, import by anna",
    ];
    assert_eq!(told, expected);
}

/// Which of the events of the story, and of another stream, are listed. Pages of one and of three say the same.
#[tokio::test(flavor = "multi_thread")]
async fn entries_are_filtered_and_paged() {
    type Change = fn(&mut v1::ListEntriesRequest);

    async fn check(bench: &Bench, of: &str, change: Change, expected: &[u64]) {
        for page_size in [0, 1, 3] {
            let mut request = v1::ListEntriesRequest { page_size, ..request(of) };
            change(&mut request);
            let entries = bench.entries(request).await.expect("a history");
            let told: Vec<u64> = entries.iter().map(|entry| entry.sequence).collect();
            assert_eq!(told, expected, "{of}, on pages of {page_size}");
        }
    }

    async fn refused(bench: &Bench, of: &str, change: Change, code: Code, text: &str) {
        let mut request = request(of);
        change(&mut request);
        let refusal = bench.entries(request).await.expect_err(text);
        assert_eq!((refusal.code(), refusal.message().contains(text)), (code, true), "{}", refusal.message());
    }

    let bench = Bench::new();
    bench.play(STORY).await;
    bench.play("import other/db:prod b by anna").await;
    let bench = &bench;

    let all = [30, 27, 26, 24, 23, 22, 21, 19, 17, 15, 13, 11, 8, 4];
    check(bench, "web", |_| {}, &all[1..]).await;
    check(bench, "web:prod", |_| {}, &[27, 26, 24, 22, 21, 19, 17, 15, 13, 8, 4]).await;
    check(bench, "web:stable", |_| {}, &[24, 23, 11]).await;
    check(bench, "web:prod", |r| r.actor = "ben".into(), &[27, 24]).await;
    check(bench, "web:prod", |r| r.kinds = vec!["tag-moved".into()], &[21, 8, 4]).await;
    check(bench, "web", |r| r.kinds = vec!["stream-created".into()], &[25, 1]).await;
    check(bench, "web:prod", |r| r.since = after(19), &[27, 26, 24, 22, 21]).await;
    check(bench, "web:prod", |r| r.until = after(13), &[13, 8, 4]).await;
    check(bench, "web:prod", |r| (r.since, r.until) = (time(2), time(7)), &[19, 17, 15, 13]).await;

    // From or to an image; what was withheld led nowhere.
    check(bench, "web:prod", |r| r.digest = digest("a").to_string(), &[27, 26, 24, 22, 21, 8, 4]).await;
    check(bench, "web:prod", |r| r.digest = "626262".into(), &[21, 17, 15, 13, 8]).await;
    check(bench, "web:prod", |r| r.digest = digest("c").to_string(), &[]).await;
    // Over all streams the same.
    let everywhere: Change =
        |r| (r.digest, r.namespace, r.name) = ("626262".into(), String::new(), String::new());
    check(bench, "web", everywhere, &[30, 23, 21, 17, 15, 13, 11, 8]).await;
    let other: Change = |r| (r.namespace, r.name) = ("other".into(), String::new());
    check(bench, "web", other, &[30]).await;
    let nowhere: Change = |r| (r.namespace, r.name) = ("nowhere".into(), String::new());
    check(bench, "web", nowhere, &[]).await;

    refused(bench, "gone", |_| {}, Code::NotFound, "\"gone\" not found").await;
    refused(bench, "web:gone", |_| {}, Code::NotFound, "\"web:gone\" not found").await;
    refused(bench, "web", |r| r.kinds = vec!["moved".into()], Code::InvalidArgument, "the kinds are").await;
    refused(bench, "web", |r| r.digest = "626".into(), Code::InvalidArgument, "at least 6 digits").await;
    refused(bench, "web", |r| r.page_token = "x".into(), Code::InvalidArgument, "not a page token").await;
    refused(bench, "web", |r| r.namespace.clear(), Code::InvalidArgument, "needs its namespace").await;
    let of_no_tag: Change = |r| r.kinds = vec!["image-recorded".into()];
    refused(bench, "web:prod", of_no_tag, Code::InvalidArgument, "are about no tag").await;
    refused(bench, "web", |r| r.since = after(99), Code::OutOfRange, "the log ends at sequence 31").await;
}

/// The second events of a command stand for its end; times are those at which events were recorded.
#[tokio::test(flavor = "multi_thread")]
async fn a_moment_ends_a_command() {
    let bench = Bench::new();
    bench.clock.store(10, Ordering::SeqCst);
    bench.play("import web:prod a\n import web:prod b\n label web x").await; // At 11, 12 and 13: 5, 4 and 1 events.
    bench.clock.store(20, Ordering::SeqCst);
    let past = bench.services.past();
    let check = |asked: Option<v1::Moment>, expected: Result<(u64, Option<i64>), &str>| {
        let moment = past.moment(&asked.expect("a moment"), bench.services.outside.now());
        match moment {
            Ok(at) => assert_eq!(Ok((at.sequence, at.time.map(|time| time.seconds))), expected, "{asked:?}"),
            Err(error) => {
                let why = expected.expect_err("refused");
                assert!(error.to_string().contains(why), "{asked:?}: {error}");
            }
        }
    };
    check(after(0), Ok((0, None)));
    check(after(1), Ok((5, Some(11))));
    check(after(5), Ok((5, Some(11))));
    check(after(6), Ok((9, Some(12))));
    check(after(10), Ok((10, Some(13))));
    check(after(11), Err("the log ends at sequence 10; 11 lies beyond it"));
    check(time(10), Ok((0, Some(10))));
    check(time(11), Ok((5, Some(11))));
    check(time(12), Ok((9, Some(12))));
    check(time(20), Ok((10, Some(20))));
    check(time(21), Err("1970-01-01T00:00:21Z is yet to come"));
    check(Some(v1::Moment { when: None }), Err("needs a sequence or a time"));
    let nanos = prost_types::Timestamp { seconds: 0, nanos: -1 };
    check(Some(v1::Moment { when: Some(When::Time(nanos)) }), Err("nanoseconds"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_where_a_tag_points_to_it() {
    async fn check(bench: &Bench, digest: &str, change: fn(&mut v1::WhereRequest), expected: &[&str]) {
        for page_size in [0, 1, 2] {
            let mut request = v1::WhereRequest { digest: digest.into(), page_size, ..Default::default() };
            change(&mut request);
            let tags = bench.whereabouts(request).await.expect("an answer");
            let told: Vec<String> = tags
                .iter()
                .map(|tag| {
                    let v1::Whereabouts {
                        namespace, stream, tag: name, since_sequence, until_sequence, ..
                    } = tag;
                    let through = match tag.index.get(7..9) {
                        Some(_) => {
                            let item = v1::HistoryItem { image: tag.index.clone(), ..Default::default() };
                            format!(" through {}", letter(&Some(item)))
                        }
                        None => String::new(),
                    };
                    assert_eq!((tag.since.is_some(), tag.until.is_some()), (true, *until_sequence > 0));
                    format!("{namespace}/{stream}:{name}{through} {since_sequence}-{until_sequence}")
                })
                .collect();
            assert_eq!(told, expected, "{digest}, on pages of {page_size}");
        }
    }

    let bench = Bench::new();
    bench
        .play(
            "import web:prod a
            import web:prod b
            import web:test i(ax)
            import web:prod a
            import db:prod i(ax)
            delete db
            import other/api:v1 a",
        )
        .await;
    let whole = digest("a").to_string();
    let all = [
        "other/api:v1 25-0",
        "test/db:prod through i 20-22",
        "test/web:prod 4-8",
        "test/web:prod 16-0",
        "test/web:test through i 13-0",
    ];
    check(&bench, &whole, |_| {}, &all).await;
    check(&bench, "616161", |_| {}, &all).await;
    check(&bench, &whole, |r| r.namespace = "other".into(), &all[..1]).await;
    check(&bench, &whole, |r| r.namespace = "nowhere".into(), &[]).await;
    check(&bench, &whole, |r| r.at = after(5), &["test/web:prod 4-0"]).await;
    check(&bench, &whole, |r| r.at = after(9), &["test/web:prod 4-8"]).await;
    let then = ["test/db:prod through i 20-0", all[2], all[3], all[4]];
    check(&bench, &whole, |r| r.at = after(21), &then).await;
    check(
        &bench,
        &digest("x").to_string(),
        |_| {},
        &["test/db:prod through i 20-22", "test/web:test through i 13-0"],
    )
    .await;
    check(&bench, &digest("i").to_string(), |_| {}, &["test/db:prod 20-22", "test/web:test 13-0"]).await;
    check(&bench, "999999", |_| {}, &[]).await;
    let short = v1::WhereRequest { digest: "61616".into(), ..Default::default() };
    assert_eq!(bench.whereabouts(short).await.expect_err("too short").code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn why_leads_back_to_a_registry() {
    async fn check(bench: &Bench, of: &str, at: Option<v1::Moment>, expected: &[&str]) {
        let (namespace, name, tag) = names(of);
        let request = v1::WhyRequest { namespace, name, tag, at };
        let why = bench.services.why(Request::new(request)).await.expect("an answer").into_inner();
        let last = why.causes.len() - 1;
        let told: Vec<String> = why
            .causes
            .iter()
            .enumerate()
            .map(|(number, cause)| {
                let entry = cause.entry.as_ref().expect("an entry");
                assert!(cause.observation.is_none() || number == last);
                let seen = cause.observation.as_ref().map(|seen| {
                    let at = seen.checked_at.map_or(0, |at| at.seconds);
                    format!(", seen in {} at {at}", seen.source)
                });
                in_words(entry) + &seen.unwrap_or_default()
            })
            .collect();
        assert_eq!(told, expected, "{of}");
    }

    let bench = Bench::new();
    bench
        .play(
            "import up:1 a by anna
            alias web:stable web:prod by ben
            tag web:prod up:1 by ben
            import up:1 b by anna
            promote web:prod up:1 by eve
            rollback web:prod by eve
            delete web:prod by ben
            restore web:prod by eve
            reference web:fixed registry.example/app:1 by ben",
        )
        .await;
    let seen = "4 tag-moved up:1 nothing -> a, import by anna, seen in registry.example/up:1 at 1";
    let copied = "9 tag-moved web:prod nothing -> a, tag by ben";
    check(&bench, "web:prod", after(10), &[copied, seen]).await;
    check(
        &bench,
        "web:stable",
        after(10),
        &["10 tag-moved web:stable nothing -> a, alias by ben", copied, seen],
    )
    .await;
    let back = "18 tag-moved web:prod b -> a, rollback by eve";
    let restored = "22 tag-restored web:prod nothing -> a, restore by eve";
    check(&bench, "web:prod", None, &[restored, back, copied, seen]).await;
    check(
        &bench,
        "web:stable",
        after(17),
        &[
            "17 tag-moved web:stable a -> b, alias by eve",
            "16 tag-moved web:prod a -> b, promote by eve",
            "13 tag-moved up:1 a -> b, import by anna, seen in registry.example/up:1 at 4",
        ],
    )
    .await;
    check(
        &bench,
        "web:fixed",
        None,
        &["25 tag-moved web:fixed nothing -> registry.example/app:1, tag by ben"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_between_two_moments() {
    let bench = Bench::new();
    bench
        .play("import web:a a\n import web:b b\n import web:a c\n delete web:b\n delete web\n import db:a c")
        .await;
    let check = async |from: Option<v1::Moment>, to: Option<v1::Moment>, to_name: &str, expected: &str| {
        let request = v1::DiffStreamsRequest {
            namespace: "test".into(),
            name: "web".into(),
            from,
            to,
            to_namespace: String::new(),
            to_name: to_name.into(),
        };
        let told = match bench.services.diff_streams(Request::new(request)).await {
            Ok(answer) => {
                let tags = answer.into_inner().tags.into_iter();
                let words = |diff: v1::TagDiff| {
                    format!("{} {} -> {}", diff.tag, letter(&diff.from), letter(&diff.to))
                };
                tags.map(words).collect::<Vec<_>>().join(", ")
            }
            Err(refusal) => refusal.message().to_owned(),
        };
        assert_eq!(told, expected);
    };
    check(after(5), after(9), "", "b nothing -> b").await;
    check(after(5), after(13), "", "a a -> c, b nothing -> b").await;
    check(after(13), after(5), "", "a c -> a, b b -> nothing").await;
    check(after(13), None, "", "a c -> nothing, b b -> nothing").await;
    check(after(13), None, "db", "a c -> c, b b -> nothing").await; // It follows another source.
    check(None, None, "", "imagestreams.image.openshift.io \"web\" not found").await;
}

/// What every read gave right after each command.
#[derive(PartialEq, Debug)]
struct Shown {
    list: Vec<v1::ImageStream>,
    described: Vec<Result<v1::ImageStreamDescription, String>>,
    tags: Vec<Result<(v1::ImageStreamTag, Vec<v1::HistoryItem>), String>>,
    images: Vec<Option<String>>,
}

impl Bench {
    async fn shown(&self, at: Option<v1::Moment>) -> Shown {
        let services = &self.services;
        let mut shown =
            Shown { list: Vec::new(), described: Vec::new(), tags: Vec::new(), images: Vec::new() };
        let mut request = v1::ListImageStreamsRequest { page_size: 2, at, ..Default::default() };
        loop {
            let page = services.list_image_streams(Request::new(request.clone())).await.expect("a page");
            let page = page.into_inner();
            assert_eq!(page.at.map(|at| at.sequence), at.map(|_| sequence_of(at)));
            shown.list.extend(page.streams);
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        for name in ["s0", "s1", "s2"] {
            let (namespace, name) = ("test".to_owned(), name.to_owned());
            let request = v1::DescribeImageStreamRequest { namespace, name, history_limit: 0, at };
            let described = services.describe_image_stream(Request::new(request.clone())).await;
            shown.described.push(match described {
                Ok(answer) => Ok(answer.into_inner().description.expect("one")),
                Err(refusal) => Err(refusal.message().to_owned()),
            });
            let (namespace, name) = (request.namespace, request.name);
            for letter in ["a", "b"] {
                let id = digest(letter).to_string();
                let (namespace, name) = (namespace.clone(), name.clone());
                let request = v1::GetImageStreamImageRequest { namespace, name, id, at };
                let image = services.get_image_stream_image(Request::new(request)).await;
                // Its bytes are not there: it is found, or it is not.
                shown.images.push(
                    image.err().filter(|error| error.code() != Code::DataLoss).map(|e| e.message().into()),
                );
            }
            for tag in ["t0", "t1", "t2"] {
                let (namespace, name, tag) = (namespace.clone(), name.clone(), tag.to_owned());
                let of_tag =
                    v1::ListHistoryRequest { namespace, name, tag, at, page_size: 2, ..Default::default() };
                shown.tags.push(self.tag_shown(of_tag).await.map_err(|refusal| refusal.message().to_owned()));
            }
        }
        shown
    }

    async fn tag_shown(
        &self,
        mut of_tag: v1::ListHistoryRequest,
    ) -> Result<(v1::ImageStreamTag, Vec<v1::HistoryItem>), Status> {
        let key = stream_of(&of_tag.namespace, &of_tag.name);
        let at = self.services.at(of_tag.at.as_ref())?;
        let tag = {
            let tag = tag_of(&of_tag.tag);
            let wanted = Wanted::Of { tag: &tag, before: u64::MAX, limit: 5 };
            let shown = self.services.shown_at(&key, at, wanted)?;
            shown.tag(&key, &shown.look.stream(&key), &tag, 5)
        };
        let mut items = Vec::new();
        loop {
            let page = self.services.list_history(Request::new(of_tag.clone())).await?.into_inner();
            items.extend(page.items);
            if page.next_page_token.is_empty() {
                return Ok((tag.expect("what has a history is there"), items));
            }
            of_tag.page_token = page.next_page_token;
        }
    }
}

fn sequence_of(at: Option<v1::Moment>) -> u64 {
    match at.and_then(|at| at.when) {
        Some(When::Sequence(sequence)) => sequence,
        Some(When::Time(_)) | None => 0,
    }
}

/// Commands of every kind on few names, drawn from a seed.
fn storm(seed: u64, commands: usize) -> Vec<String> {
    let mut number = seed;
    let mut next = |below: u64| {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (number >> 33) % below
    };
    let mut line = || {
        let stream = format!("s{}", next(3));
        let tag = format!("{stream}:t{}", next(3));
        let image = ["a", "b", "c", "d", "i(ab)", "-"][usize::try_from(next(6)).expect("small")];
        let other = format!("s{}:t{}", next(3), next(3));
        match next(24) {
            0 => format!("delete {stream}"),
            1 => format!("restore {stream}"),
            2 | 3 => format!("delete {tag}"),
            4 | 5 => format!("restore {tag}"),
            6 => format!("hold {tag}"),
            7 | 8 => format!("release {tag}"),
            9 | 10 => format!("rollback {tag}"),
            11 => format!("label {stream} {image}"),
            12 => format!("alias {tag} {stream}:t{}", next(3)),
            13 => format!("tag {tag} {other}"),
            14 => format!("promote {tag} {other} s{}:t{} {other}", next(3), next(3)),
            15 => format!("reference {tag} registry.example/app:{}", next(3)),
            _ => format!("import {tag} {image}"),
        }
    };
    (0..commands).map(|_| line()).collect()
}

/// For every command: what each read gave right after it, it gives for ever, deleted streams and tags included.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_shown_is_shown_for_ever() {
    let bench = Bench::new();
    let mut seen = vec![(0, bench.shown(None).await)];
    for line in storm(7, 160) {
        // A refusal is an answer too.
        bench.command(&line).await.ok();
        if bench.head() > seen.last().map_or(0, |(sequence, _)| *sequence) {
            seen.push((bench.head(), bench.shown(None).await));
        }
    }
    assert!(seen.len() > 80, "few commands were carried out: {}", seen.len());
    for (sequence, shown) in &seen {
        assert_eq!(bench.shown(after(*sequence)).await, *shown, "at {sequence}");
    }
}

/// A stream is kept as it is now and then; what it was is told from there, and is the same as from its first event on.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_kept_is_what_the_events_say() {
    let bench = Bench::new();
    for line in storm(5, 900) {
        bench.command(&line).await.ok();
    }
    let past = bench.services.past();
    let mut kept = std::collections::BTreeSet::new();
    for name in ["s0", "s1", "s2"] {
        let key = stream_of("test", name);
        for sequence in (0..bench.head()).step_by(7) {
            let told = past.state_until(&key, Arc::default(), 1, sequence + 1).expect("memory reads");
            assert_eq!(past.state_at(&key, sequence).expect("memory reads"), told, "{name} at {sequence}");
            kept.extend(past.view.snapshot(&key, sequence).map(|kept| kept.sequence));
        }
    }
    assert!(kept.len() >= 3, "few were kept: {kept:?}");
}

/// What the log says of images, told by the plainest means: each event that sets what a tag points to.
#[tokio::test(flavor = "multi_thread")]
async fn whereabouts_and_entries_are_what_the_log_says() {
    let bench = Bench::new();
    for line in storm(11, 300) {
        bench.command(&line).await.ok();
    }
    let sequences: Vec<u64> = (1..=bench.head()).collect();
    let events = bench.services.past().told(&sequences).expect("memory reads");
    let image = digest("a").to_string();
    let (mut points, mut spans) = (std::collections::BTreeMap::new(), Vec::new());
    for event in &events {
        let Some(pointing) = entry::pointing(event) else { continue };
        let now = pointing.item.map(|item| item.image.clone()).filter(|image| !image.is_empty());
        let known: Vec<(String, String)> = points.keys().cloned().collect();
        let is_meant = |(stream, tag): &(String, String)| {
            *stream == event.stream && pointing.tag.is_none_or(|meant| meant == tag)
        };
        let named = pointing.tag.map(|tag| (event.stream.clone(), tag.to_owned()));
        let meant: std::collections::BTreeSet<_> = known.into_iter().filter(is_meant).chain(named).collect();
        for name in meant {
            let (before, since) =
                points.insert(name.clone(), (now.clone(), event.sequence)).unwrap_or((None, 0));
            if before == now {
                points.insert(name, (now.clone(), since));
            } else if before.as_ref() == Some(&image) {
                spans.push((name, since, event.sequence));
            }
        }
    }
    let lasting = points.into_iter().filter(|(_, (now, _))| now.as_ref() == Some(&image));
    spans.extend(lasting.map(|(name, (_, since))| (name, since, 0)));
    spans.sort_by_key(|(name, since, until)| (name.clone(), if *until == 0 { u64::MAX } else { *since }));
    let found =
        bench.whereabouts(v1::WhereRequest { digest: image.clone(), page_size: 4, ..Default::default() });
    let found = found.await.expect("an answer").into_iter().filter(|tag| tag.index.is_empty());
    let found: Vec<_> =
        found.map(|tag| ((tag.stream, tag.tag), tag.since_sequence, tag.until_sequence)).collect();
    assert_eq!(found, spans);
    assert!(spans.len() > 10, "few were found: {}", spans.len());

    // Each tag's entries, put together, are those of all streams; and so with the image.
    for digest in [String::new(), image] {
        let mut of_tags = std::collections::BTreeSet::new();
        for (stream, tag) in (0..3).flat_map(|stream| (0..3).map(move |tag| (stream, tag))) {
            let of_tag = v1::ListEntriesRequest {
                digest: digest.clone(),
                page_size: 7,
                ..request(&format!("s{stream}:t{tag}"))
            };
            let entries = bench.entries(of_tag).await.expect("all names were used");
            assert!(entries.is_sorted_by(|one, next| one.sequence > next.sequence));
            of_tags.extend(entries.into_iter().map(|entry| entry.sequence));
        }
        let everywhere =
            v1::ListEntriesRequest { digest: digest.clone(), page_size: 9, ..Default::default() };
        let everywhere: Vec<u64> =
            bench.entries(everywhere).await.expect("a history").iter().map(|entry| entry.sequence).collect();
        assert!(everywhere.iter().rev().eq(&of_tags), "{digest}: {everywhere:?} {of_tags:?}");
    }
}

/// The log goes on under a new id: it is listed with everything else that happened, and with nothing that a stream did.
#[tokio::test]
async fn the_log_tells_of_itself() {
    let bench = Bench::new();
    bench.play("import app:v1 a by ana").await;
    let head = bench.head();
    let log = &bench.services.log;
    let fact = Fact::LogContinued(Box::new(tagtrail_domain::event::LogContinued {
        old_log_id: "00112233445566778899aabbccddeeff".into(),
        old_origin: "example.com/log".into(),
        old_checkpoint: String::new(),
        head,
    }));
    let event = tagtrail_event_log::codec::encode(&Recorded {
        sequence: head + 1,
        revision: 1,
        recorded_at: Timestamp::new(9, 0),
        run: Run { first_sequence: head + 1, length: 1 },
        stream: StreamKey::of_log(),
        actor: Actor { name: "tagtrail".into(), authenticated: false },
        reason: "restored from Tuesday's copy".into(),
        command: "serve".into(),
        request_id: String::new(),
        request_digest: Vec::new(),
        caused_by: 0,
        traceparent: String::new(),
        event: Event { stream_uid: String::new(), generation: 0, fact },
    });
    log.append(head, &[vec![event]]).expect("memory takes everything");
    bench.services.view.catch_up(&**log, head + 1, &mut |_| {}).expect("catches up");

    let told = format!("{} log-continued log nothing -> nothing,  by tagtrail", head + 1);
    let all = bench.entries(v1::ListEntriesRequest::default()).await.expect("all of it");
    assert_eq!(in_words(&all[0]), told);
    assert_eq!(all[0].source, "00112233445566778899aabbccddeeff");
    let own = bench.entries(request("tagtrail-system/log")).await.expect("a name that had an event");
    assert_eq!(own.iter().map(in_words).collect::<Vec<_>>(), [told]);
    let of_stream = bench.entries(request("app")).await.expect("a stream");
    assert!(of_stream.iter().all(|entry| entry.stream == "app"));
    let there = v1::GetImageStreamRequest {
        namespace: "tagtrail-system".into(),
        name: "log".into(),
        ..v1::GetImageStreamRequest::default()
    };
    let missing = bench.services.get_image_stream(Request::new(there)).await.expect_err("no stream");
    assert_eq!(missing.code(), Code::NotFound);
}
