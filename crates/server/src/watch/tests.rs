//! Watchers of a log in memory, written by the real writer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use futures_util::FutureExt as _;

use tagtrail_api::v1;
use tagtrail_api::v1::watch_request::Begin as Asked;
use tagtrail_api::v1::watch_response::Answer;
use tagtrail_domain::command::{SetTag, UpdateMetadata};
use tagtrail_domain::tag::{Entries, ImportPolicy, ReferencePolicy, SourceKind, TagSource};
use tagtrail_domain::{Command, Model, Position, StreamKey, StreamState, TagName, World as _};
use tagtrail_event_log::{Log, LogId, MemoryLog, codec};
use tagtrail_projection::View;
use tagtrail_projection::labels::Selector;

use super::*;
use crate::convert::{Shown, history_limit};
use crate::outside::Outside;
use crate::work::Work;
use crate::writer::{Commits, Origin, Rules, Write, Writer};

/// How long an answer may lie ready.
const PATIENCE: Duration = Duration::from_secs(30);

struct Bench {
    past: Past,
    writer: Writer,
    watches: Watches,
    stop: watch::Sender<bool>,
    _thread: JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new(patience: Duration) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let log = Arc::new(MemoryLog::new(LogId::from_bytes([3; 16])));
        let (view, _) = View::open(&dir.path().join("view"), &*log).expect("opens");
        let past = Past { log, view: Arc::new(view) };
        let (stop, stopped) = watch::channel(false);
        let watches = Watches::new(past.clone(), Repository::default(), stopped, patience);
        let work = Arc::new(Work::new(crate::config::Intervals::default(), || 0.5));
        let (writer, queue) = Writer::new(4_096);
        let (alive, _) = watch::channel(true);
        let commits = Commits { log: past.log.clone(), view: past.view.clone(), tail: watches.tail(), work };
        let rules = Rules { internal_registry: None, tags_per_stream: 10_000 };
        let thread = queue.start(commits, Outside::real(), rules, alive);
        Self { past, writer, watches, stop, _thread: thread.expect("a thread"), _dir: dir }
    }

    /// Watches as they are after a restart: nothing is in memory.
    fn restarted(&self) -> Watches {
        let stopped = self.stop.subscribe();
        let watches = Watches::new(self.past.clone(), Repository::default(), stopped, PATIENCE);
        watches.tail.begin(self.past.view.position());
        watches
    }

    async fn write(&self, stream: &str, command: Command) {
        let write = Write::one(key(stream), command, Origin::default());
        // A refusal is an answer too.
        self.writer.write(write).await.ok();
    }

    /// Writes of every kind, some of them while nobody waits for the ones before.
    async fn storm(&self, writes: u64) {
        let mut number = 7_u64;
        let mut next = |below: u64| {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (number >> 33) % below
        };
        for _ in 0..writes / 8 {
            let round = (0..8).map(|_| (format!("s{}", next(3)), command(&mut next))).collect::<Vec<_>>();
            let round = round.into_iter().map(|(stream, command)| async move {
                self.write(&stream, command).await;
            });
            futures_util::future::join_all(round).await;
        }
    }
}

fn command(next: &mut impl FnMut(u64) -> u64) -> Command {
    let labels = |tier: u64| Entries::from([("tier".to_owned(), format!("t{tier}"))]);
    match next(10) {
        0 => Command::DeleteStream,
        1 => Command::CreateStream {
            lookup_local: false,
            labels: labels(next(2)),
            annotations: Entries::new(),
        },
        2 => Command::UpdateMetadata(UpdateMetadata {
            set_labels: labels(next(2)),
            overwrite: true,
            ..UpdateMetadata::default()
        }),
        3 => Command::DeleteTag { tag: format!("v{}", next(3)), expect: None },
        _ => {
            let image = format!("registry.example/app:{}", next(1_000));
            point(&format!("v{}", next(3)), SourceKind::DockerImage, &image)
        }
    }
}

/// Points a tag at an image, or lets it follow another tag.
fn point(tag: &str, kind: SourceKind, name: &str) -> Command {
    let alias = kind == SourceKind::ImageStreamTag;
    Command::SetTag(SetTag {
        tag: TagName::parse(tag).expect("a tag"),
        source: Some(TagSource { kind, namespace: None, name: name.into() }),
        alias,
        reference: !alias,
        import_policy: ImportPolicy::default(),
        reference_policy: ReferencePolicy::Source,
        annotations: Entries::new(),
        create: false,
        expect: None,
    })
}

fn key(name: &str) -> StreamKey {
    StreamKey::parse("test", name).expect("valid")
}

fn wish(request: v1::WatchRequest) -> Wish {
    let mut wish = Wish::parse(request).expect("a wish");
    wish.bookmarks = Duration::from_millis(20);
    wish
}

fn after(sequence: u64) -> v1::WatchRequest {
    v1::WatchRequest { begin: Some(Asked::AfterSequence(sequence)), ..Default::default() }
}

/// All a watcher is handed until nothing happens any more at a position; and what it hears then.
async fn all_up_to(mut watcher: Watcher, position: u64) -> (Vec<Answer>, v1::Bookmark) {
    let mut answers = Vec::new();
    loop {
        match watcher.next().await.expect("an answer").answer.expect("one with content") {
            Answer::Bookmark(bookmark) if bookmark.snapshot_end || bookmark.sequence < position => {}
            Answer::Bookmark(bookmark) => return (answers, bookmark),
            answer => answers.push(answer),
        }
    }
}

/// What the log says of all streams after each command, by the domain alone. The stream it was about, and where it ended.
fn moments(log: &dyn Log) -> Vec<(StreamKey, u64, Model)> {
    let (mut model, mut moments) = (Model::default(), Vec::new());
    for stored in log.read(1, usize::MAX, usize::MAX).expect("memory reads") {
        let recorded = codec::decode(&stored.payload).expect("an event");
        let at = Position { sequence: recorded.sequence, recorded_at: recorded.recorded_at };
        model.apply(&recorded.stream, &recorded.event, at);
        if stored.last_of_run {
            moments.push((recorded.stream, recorded.sequence, model.clone()));
        }
    }
    moments
}

/// What has to be told of the streams after a sequence.
fn expected(
    moments: &[(StreamKey, u64, Model)],
    selector: &str,
    limit: u32,
    from: u64,
) -> Vec<v1::WatchedStream> {
    let selector = Selector::parse(selector).expect("a selector");
    let matches =
        |state: &StreamState| state.life.as_ref().is_some_and(|stream| selector.matches(&stream.labels));
    let (repository, nothing) = (Repository::default(), Model::default());
    let befores = std::iter::once(&nothing).chain(moments.iter().map(|(_, _, model)| model));
    let mut told = Vec::new();
    for ((key, sequence, model), before) in moments.iter().zip(befores) {
        let show = |look: &Model| {
            let limit = history_limit(limit);
            Shown { look, repository: &repository }.stream(key, &look.stream(key), limit)
        };
        let change = match (matches(&before.stream(key)), matches(&model.stream(key))) {
            (false, false) => None,
            (false, true) => Some((v1::StreamChange::Added, show(model))),
            (true, true) => Some((v1::StreamChange::Modified, show(model))),
            (true, false) => Some((v1::StreamChange::Deleted, show(before))),
        };
        if let Some((change, stream)) = change.filter(|_| *sequence > from) {
            told.push(v1::WatchedStream { change: change.into(), stream, sequence: *sequence });
        }
    }
    told
}

fn events(log: &dyn Log) -> Vec<Answer> {
    let stored = log.read(1, usize::MAX, usize::MAX).expect("memory reads");
    let event = |stored: &tagtrail_event_log::Stored| prost::Message::decode(stored.payload.clone());
    stored.iter().map(|stored| Answer::Event(event(stored).expect("an event"))).collect()
}

/// Who keeps up, who comes late, and who comes after a restart hear the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_and_log_tell_the_same_events() {
    let bench = Bench::new(PATIENCE);
    let live = tokio::spawn(all_up_to(bench.watches.watch(wish(after(0))), 200));
    bench.storm(400).await;
    let all = events(&*bench.past.log);
    let head = all.len() as u64;
    assert!(head > 200, "only {head} events");
    let (live, bookmark) = live.await.expect("no panic");
    assert_eq!(live[..], all[..live.len()]);
    assert!(bookmark.sequence >= 200 && live.len() as u64 == bookmark.sequence);
    for watches in [bench.watches.clone(), bench.restarted()] {
        for from in [0, 1, 17, head - 1, head] {
            let (told, bookmark) = all_up_to(watches.watch(wish(after(from))), head).await;
            assert_eq!(told, all[usize::try_from(from).expect("few")..], "after {from}");
            assert_eq!((bookmark.sequence, bookmark.snapshot_end), (head, false));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_told_as_they_were_after_each_command() {
    let bench = Bench::new(PATIENCE);
    let request = |selector: &str, history_limit, from| v1::WatchRequest {
        streams: true,
        label_selector: selector.into(),
        history_limit,
        ..after(from)
    };
    let cases: Vec<(&str, u32)> = ["", "tier=t1", "!tier"].iter().flat_map(|s| [(*s, 0), (*s, 1)]).collect();
    let watch = |(selector, limit): &(&str, u32)| {
        tokio::spawn(all_up_to(bench.watches.watch(wish(request(selector, *limit, 0))), 80))
    };
    let live: Vec<_> = cases.iter().map(watch).collect();
    bench.storm(160).await;
    let (head, moments) = (bench.past.log.head(), moments(&*bench.past.log));
    for ((selector, limit), live) in cases.into_iter().zip(live) {
        let all = expected(&moments, selector, limit, 0);
        assert!(all.len() > 10, "{selector}: only {}", all.len());
        let streams = |told: Vec<Answer>| -> Vec<v1::WatchedStream> {
            let stream = |answer| match answer {
                Answer::Stream(stream) => stream,
                other => panic!("{other:?}"),
            };
            told.into_iter().map(stream).collect()
        };
        let (live, _) = live.await.expect("no panic");
        let live = streams(live);
        assert_eq!(live[..], all[..live.len()], "live, \"{selector}\", {limit}");
        for (watches, place) in [(bench.watches.clone(), "memory"), (bench.restarted(), "log")] {
            // Also from within a command.
            for from in [0, 101] {
                let watcher = watches.watch(wish(request(selector, limit, from)));
                let (told, _) = all_up_to(watcher, head).await;
                let all = expected(&moments, selector, limit, from);
                assert_eq!(streams(told), all, "{place}, \"{selector}\", {limit}, after {from}");
            }
        }
    }
}

/// The list of a moment, taken while streams come and go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_is_of_one_moment() {
    let bench = Arc::new(Bench::new(PATIENCE));
    bench.storm(80).await;
    let (writing, enough) = (bench.clone(), Arc::new(AtomicBool::new(false)));
    let ends = enough.clone();
    let storm = tokio::spawn(async move {
        while !ends.load(Ordering::Relaxed) {
            writing.storm(80).await;
        }
    });
    let mut listings = Vec::new();
    for limit in [0, 1].into_iter().cycle().take(30) {
        let request = v1::WatchRequest {
            begin: Some(Asked::Snapshot(true)),
            history_limit: limit,
            ..Default::default()
        };
        let mut watcher = bench.watches.watch(wish(request));
        tokio::time::sleep(Duration::from_millis(3)).await; // So that the position is passed meanwhile.
        let mut listed = Vec::new();
        let end = loop {
            match watcher.next().await.expect("an answer").answer.expect("content") {
                Answer::Stream(stream) => listed.push(stream),
                Answer::Bookmark(bookmark) => break bookmark,
                Answer::Event(event) => panic!("an event before the end: {event:?}"),
            }
        };
        assert!(end.snapshot_end);
        listings.push((limit, end.sequence, listed));
    }
    enough.store(true, Ordering::Relaxed);
    storm.await.expect("no panic");
    let passed = listings.iter().filter(|(_, position, _)| *position < bench.past.log.head()).count();
    assert!(passed > 5, "only {passed} of them were overtaken");
    for (limit, position, listed) in listings {
        let repository = Repository::default();
        let mut want = Vec::new();
        for name in ["s0", "s1", "s2"] {
            let model = bench.past.stream_until(&key(name), position + 1).expect("it is read");
            let shown = Shown { look: &model, repository: &repository };
            let stream = shown.stream(&key(name), &model.stream(&key(name)), history_limit(limit));
            want.extend(stream.map(|stream| v1::WatchedStream {
                change: v1::StreamChange::Listed.into(),
                stream: Some(stream),
                sequence: position,
            }));
        }
        assert_eq!(listed, want, "at {position}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_leave_out_what_is_not_asked_for() {
    let bench = Bench::new(PATIENCE);
    bench.storm(200).await;
    let (head, all) = (bench.past.log.head(), events(&*bench.past.log));
    let event = |answer: &Answer| match answer {
        Answer::Event(event) => event.clone(),
        other => panic!("{other:?}"),
    };
    type Wanted = fn(&v1::Event) -> bool;
    let cases: [(v1::WatchRequest, Wanted); 5] = [
        (v1::WatchRequest { namespace: "test".into(), ..after(0) }, |_| true),
        (v1::WatchRequest { namespace: "other".into(), ..after(0) }, |_| false),
        (v1::WatchRequest { namespace: "test".into(), stream: "s1".into(), ..after(0) }, |event| {
            event.stream == "s1"
        }),
        (v1::WatchRequest { tag: "v1".into(), ..after(0) }, |event| {
            tagtrail_api::kind::tag(event) == Some("v1")
        }),
        (v1::WatchRequest { kinds: vec!["tag-set".into(), "stream-created".into()], ..after(0) }, |event| {
            use v1::event::Fact;
            matches!(event.fact, Some(Fact::TagSet(_) | Fact::StreamCreated(_)))
        }),
    ];
    for watches in [bench.watches.clone(), bench.restarted()] {
        for (request, wanted) in &cases {
            let (told, bookmark) = all_up_to(watches.watch(wish(request.clone())), head).await;
            let want: Vec<_> = all.iter().filter(|answer| wanted(&event(answer))).cloned().collect();
            assert_eq!(told, want, "{request:?}");
            assert_eq!(bookmark.sequence, head);
        }
    }
}

/// A tag that is followed by more others than a page holds: one command moves all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_larger_than_a_page_is_told_once() {
    let bench = Bench::new(PATIENCE);
    for image in 0..3 {
        bench
            .write("app", point("v0", SourceKind::DockerImage, &format!("registry.example/app:{image}")))
            .await;
        for alias in 0..100 {
            let follows = point(&format!("a{alias}"), SourceKind::ImageStreamTag, "app:v0");
            bench.write("app", follows).await;
        }
    }
    let head = bench.past.log.head();
    let is_meant = |event: &v1::Event| tagtrail_api::kind::tag(event) == Some("a99");
    let mut ends = Vec::new();
    for answer in events(&*bench.past.log) {
        let Answer::Event(event) = answer else { panic!("{answer:?}") };
        let run = event.run.expect("a run");
        ends.extend(is_meant(&event).then(|| run.first_sequence + u64::from(run.length) - 1));
    }
    ends.dedup();
    assert_eq!(ends.len(), 3, "it was set to follow, and moved twice");
    let requests = [
        v1::WatchRequest { tag: "a99".into(), ..after(0) },
        v1::WatchRequest { namespace: "test".into(), stream: "app".into(), tag: "a99".into(), ..after(0) },
    ];
    for watches in [bench.watches.clone(), bench.restarted()] {
        for (request, limit) in requests.iter().flat_map(|request| [(request, 0), (request, 1)]) {
            let request = v1::WatchRequest { streams: true, history_limit: limit, ..request.clone() };
            let (told, _) = all_up_to(watches.watch(wish(request)), head).await;
            let sequence = |answer: &Answer| match answer {
                Answer::Stream(stream) => stream.sequence,
                other => panic!("{other:?}"),
            };
            assert_eq!(told.iter().map(sequence).collect::<Vec<_>>(), ends);
        }
    }
}

/// The states of a stream of ten thousand tags take megabytes: whoever stops with a page of events in hand must not keep them.
#[tokio::test]
async fn only_who_is_told_of_streams_holds_their_states() {
    let bench = Bench::new(PATIENCE);
    for image in 0..20 {
        let image = format!("registry.example/app:{image}");
        bench.write("app", point("v1", SourceKind::DockerImage, &image)).await;
    }
    let held = |request: v1::WatchRequest| {
        let wish = wish(request);
        let mut sieve = reading::Sieve::new(&wish, 0);
        for told in bench.watches.tail.after(0, 64, 1 << 20).expect("it is all in memory") {
            sieve.look_at(told);
        }
        sieve.end().told
    };
    assert!(held(after(0)).iter().all(|told| told.change.is_none()));
    let streams = held(v1::WatchRequest { streams: true, ..after(0) });
    assert_eq!(streams.len(), 20, "one for each command");
    assert!(streams.iter().all(|told| told.states() > 0), "and what they hold is counted");
}

#[tokio::test]
async fn what_can_match_nothing_is_refused_in_a_sentence() {
    let check = |request: v1::WatchRequest, words: &str| {
        let refused = Wish::parse(request).err().unwrap_or_else(|| panic!("taken, not: {words}"));
        assert!(refused.contains(words), "says {refused}\nnot  {words}");
    };
    let request = v1::WatchRequest::default;
    check(v1::WatchRequest { stream: "app".into(), ..request() }, "a stream needs its namespace");
    check(v1::WatchRequest { namespace: "No".into(), ..request() }, "\"No\"");
    check(v1::WatchRequest { namespace: "a".into(), stream: "No".into(), ..request() }, "\"No\"");
    check(v1::WatchRequest { tag: "a/b".into(), ..request() }, "\"a/b\"");
    check(
        v1::WatchRequest { kinds: vec!["moved".into()], ..request() },
        "there is no kind \"moved\"; the kinds",
    );
    check(
        v1::WatchRequest { tag: "v1".into(), kinds: vec!["stream-created".into()], ..request() },
        "events of the kind stream-created are about no tag, so none is about \"v1\"",
    );
    check(v1::WatchRequest { label_selector: "a=b".into(), ..request() }, "a label selector goes with");
    check(
        v1::WatchRequest { streams: true, label_selector: "a in b".into(), ..request() },
        "unable to parse label selector",
    );
    check(v1::WatchRequest { bookmark_seconds: 3_601, ..request() }, "3600 seconds apart at most, not 3601");
}

/// From now on means: after what is acknowledged.
#[tokio::test]
async fn now_is_behind_what_was_acknowledged() {
    let bench = Bench::new(PATIENCE);
    let create =
        || Command::CreateStream { lookup_local: false, labels: Entries::new(), annotations: Entries::new() };
    bench.write("a", create()).await;
    let mut watcher = bench.watches.watch(wish(v1::WatchRequest::default()));
    let first = watcher.next().await.expect("an answer").answer;
    assert_eq!(first, Some(Answer::Bookmark(v1::Bookmark { sequence: 1, snapshot_end: false })));
    bench.write("b", create()).await;
    match watcher.next().await.expect("an answer").answer {
        Some(Answer::Event(event)) => assert_eq!((event.sequence, &*event.stream), (2, "b")),
        other => panic!("{other:?}"),
    }
}

/// Cut off is who lets an answer lie, with the position to resume from; and who has nothing to take is not.
#[tokio::test]
async fn a_watcher_that_stops_is_cut_off() {
    let patience = Duration::from_millis(200);
    let bench = Bench::new(patience);
    bench.storm(80).await;
    let mut slow = bench.watches.watch(Wish { bookmarks: PATIENCE, ..wish(after(0)) });
    let mut idle = bench.watches.watch(Wish { bookmarks: PATIENCE, ..wish(after(bench.past.log.head())) });
    for sequence in 1..=20 {
        // Slow and steady: behind all the time, and never for too long.
        tokio::time::sleep(patience / 10).await;
        let answer = slow.next().await.expect("it is not cut off").answer;
        assert!(matches!(answer, Some(Answer::Event(event)) if event.sequence == sequence));
    }
    let head = bench.past.log.head();
    let news = tokio::spawn(async move { idle.next().await.map(|answer| answer.answer) });
    tokio::time::sleep(2 * patience).await;
    let end = slow.next().await.expect_err("it has stopped");
    assert!(matches!(end, End::Slow { after: Some(20), .. }), "{end}");
    let status = crate::grpc::errors::watch_ended(&end);
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    assert!(status.message().ends_with("resume with after_sequence 20"), "{}", status.message());
    let info = tonic_types::StatusExt::get_details_error_info(&status).expect("details");
    assert_eq!((info.reason.as_str(), info.metadata["after_sequence"].as_str()), ("SLOW_WATCHER", "20"));

    bench.storm(8).await;
    let news = news.await.expect("no panic").expect("nothing was there to be taken before");
    assert!(matches!(news, Some(Answer::Event(event)) if event.sequence == head + 1));

    // It waited for news, as the transport lets it, and took none when there were some: nobody polls it meanwhile.
    let mut stopped = bench.watches.watch(wish(after(bench.past.log.head())));
    let mut next = Box::pin(stopped.next());
    assert!((&mut next).now_or_never().is_none());
    bench.storm(8).await;
    tokio::time::sleep(2 * patience).await;
    assert!(matches!(next.await, Err(End::Slow { .. })));
}

#[tokio::test]
async fn the_end_of_the_server_is_the_end_of_a_watch() {
    let bench = Bench::new(PATIENCE);
    bench.storm(16).await;
    let head = bench.past.log.head();
    let mut waiting = bench.watches.watch(Wish { bookmarks: PATIENCE, ..wish(after(head)) });
    let waiting = tokio::spawn(async move { waiting.next().await });
    let mut busy = bench.watches.watch(wish(after(0)));
    busy.next().await.expect("an event");
    let listing = v1::WatchRequest { begin: Some(Asked::Snapshot(true)), ..Default::default() };
    let mut listing = bench.watches.watch(wish(listing));
    tokio::task::yield_now().await;
    bench.stop.send_replace(true);
    let ends = [waiting.await.expect("no panic"), busy.next().await, listing.next().await];
    let after = ends.map(|end| match end {
        Err(End::Stopping { after }) => after,
        other => panic!("{other:?}"),
    });
    assert_eq!(after, [Some(head), Some(1), None]);
}
