//! Whoever follows the log hears of everything, in order and once, whatever happens to the server or to themselves.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tagtrail_api::v1::event::Fact;
use tagtrail_api::v1::event_service_client::EventServiceClient;
use tagtrail_api::v1::image_stream_service_client::ImageStreamServiceClient;
use tagtrail_api::v1::watch_request::Begin;
use tagtrail_api::v1::watch_response::Answer;
use tagtrail_api::v1::*;
use tagtrail_tests::server::{Options, Server};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

use crate::storm::{connect, storm};

/// Of a client that takes its time: what was sent ahead is little.
const SMALL_WINDOW: u32 = 64 << 10;
/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

fn start() -> (Runtime, Server) {
    (Runtime::new().expect("a runtime"), Server::start(Options::default()).expect("a server"))
}

async fn watch(channel: &Channel, request: WatchRequest) -> Streaming<WatchResponse> {
    let watching = EventServiceClient::new(channel.clone()).watch(request).await;
    watching.unwrap_or_else(|status| panic!("{status}")).into_inner()
}

fn after(sequence: u64) -> WatchRequest {
    WatchRequest { begin: Some(Begin::AfterSequence(sequence)), bookmark_seconds: 1, ..Default::default() }
}

fn snapshot() -> WatchRequest {
    WatchRequest { begin: Some(Begin::Snapshot(true)), bookmark_seconds: 1, ..Default::default() }
}

async fn next(answers: &mut Streaming<WatchResponse>) -> Result<Answer, Status> {
    let answer = tokio::time::timeout(LONG, answers.message()).await.expect("there is always an answer");
    let answer = answer.transpose().expect("a watch does not end without a word");
    answer.map(|answer| answer.answer.expect("every answer tells something"))
}

/// The events up to a sequence, which come in order and once.
async fn follow(answers: &mut Streaming<WatchResponse>, mut position: u64, until: u64) -> Vec<Event> {
    let mut events = Vec::new();
    while position < until {
        match next(answers).await.unwrap_or_else(|status| panic!("after {position}: {status}")) {
            Answer::Event(event) => {
                assert_eq!(event.sequence, position + 1);
                position = event.sequence;
                events.push(event);
            }
            Answer::Bookmark(bookmark) => assert_eq!(bookmark.sequence, position, "events were left out"),
            Answer::Stream(stream) => panic!("{stream:?}"),
        }
    }
    events
}

/// The whole log.
async fn log(channel: &Channel) -> Vec<Event> {
    let (mut client, mut events) = (EventServiceClient::new(channel.clone()), Vec::<Event>::new());
    loop {
        let from_sequence = events.len() as u64 + 1;
        let request = ReadEventsRequest { from_sequence, ..Default::default() };
        let page = client.read_events(request).await.expect("the log can be read").into_inner();
        events.extend(page.events);
        if page.next_sequence > page.head {
            return events;
        }
    }
}

async fn list(channel: &Channel) -> BTreeMap<String, ImageStream> {
    let mut client = ImageStreamServiceClient::new(channel.clone());
    let page = client.list_image_streams(ListImageStreamsRequest::default()).await.expect("a list");
    page.into_inner().streams.into_iter().map(|stream| (stream.name.clone(), stream)).collect()
}

/// Makes an event of so many bytes.
async fn write(channel: &Channel, stream: &str, value: u64, bytes: usize) {
    let mut client = ImageStreamServiceClient::new(channel.clone());
    let (namespace, name) = ("large".to_owned(), stream.to_owned());
    let create = CreateImageStreamRequest {
        namespace: namespace.clone(),
        name: name.clone(),
        ..CreateImageStreamRequest::default()
    };
    client.create_image_stream(create).await.ok(); // It may be there.
    let text = format!("{value:0bytes$}");
    let request = UpdateMetadataRequest {
        namespace,
        name,
        set_annotations: BTreeMap::from([("filling".to_owned(), text)]),
        overwrite: true,
        ..UpdateMetadataRequest::default()
    };
    client.update_metadata(request).await.expect("it is written");
}

/// Where a watch ended and how: the position to resume from is told in words and in the details.
fn end(status: &Status, code: Code, reason: &str) -> u64 {
    assert_eq!(status.code(), code, "{status}");
    let info = status.get_details_error_info().expect("a refusal has details");
    assert_eq!(info.reason, reason);
    let after = info.metadata.get("after_sequence").expect("a position to resume from");
    assert!(status.message().contains(&format!("after_sequence {after}")), "{}", status.message());
    after.parse().expect("a number")
}

/// What a stream's events come to, as far as somebody needs it who knows nothing of the server.
#[derive(Default, PartialEq, Eq, Debug)]
struct Seen {
    revision: u64,
    tags: BTreeMap<String, String>,
}

impl Seen {
    fn listed(stream: &ImageStream) -> Seen {
        let newest = |status: &TagStatus| {
            let item = status.items.first()?;
            Some((status.tag.clone(), item.docker_image_reference.clone()))
        };
        Seen { revision: stream.revision, tags: stream.statuses.iter().filter_map(newest).collect() }
    }
}

fn fold(seen: &mut BTreeMap<String, Seen>, event: Event) {
    match event.fact.expect("a fact") {
        Fact::StreamDeleted(_) => {
            seen.remove(&event.stream);
            return;
        }
        Fact::TagMoved(moved) => {
            let item = moved.item.expect("an item");
            let stream = seen.entry(event.stream.clone()).or_default();
            stream.tags.insert(moved.tag, item.docker_image_reference);
        }
        Fact::TagDeleted(deleted) => {
            seen.entry(event.stream.clone()).or_default().tags.remove(&deleted.tag);
        }
        _ => {}
    }
    let stream = seen.entry(event.stream).or_default();
    assert!(stream.revision == 0 || stream.revision + 1 == event.revision, "a gap, or a repeat");
    stream.revision = event.revision;
}

/// Takes a snapshot and the events after it, until the writing has ended; gives what they come to, and of when it was.
async fn events_after_a_snapshot(
    channel: Channel,
    mut ended: watch::Receiver<Option<u64>>,
) -> (BTreeMap<String, Seen>, u64) {
    let mut answers = watch(&channel, snapshot()).await;
    let mut seen = BTreeMap::new();
    let begun = loop {
        match next(&mut answers).await.expect("an answer") {
            Answer::Stream(told) => {
                assert_eq!(told.change(), StreamChange::Listed);
                let stream = told.stream.expect("a stream");
                assert!(seen.insert(stream.name.clone(), Seen::listed(&stream)).is_none(), "listed twice");
            }
            Answer::Bookmark(bookmark) => break bookmark,
            Answer::Event(event) => panic!("an event in the snapshot: {event:?}"),
        }
    };
    assert!(begun.snapshot_end);
    let (mut position, mut until) = (begun.sequence, None);
    while until.is_none_or(|until| position < until) {
        until = until.or(*ended.borrow_and_update());
        match next(&mut answers).await.expect("an answer") {
            Answer::Event(event) => {
                assert_eq!(event.sequence, position + 1);
                position = event.sequence;
                fold(&mut seen, event);
            }
            Answer::Bookmark(bookmark) => assert_eq!(bookmark.sequence, position),
            Answer::Stream(stream) => panic!("listed after the snapshot: {stream:?}"),
        }
    }
    (seen, begun.sequence)
}

/// The same with streams instead of events.
async fn streams_after_a_snapshot(
    channel: Channel,
    mut ended: watch::Receiver<Option<u64>>,
) -> BTreeMap<String, ImageStream> {
    let mut answers = watch(&channel, WatchRequest { streams: true, ..snapshot() }).await;
    let (mut streams, mut position, mut until) = (BTreeMap::new(), 0, None);
    while until.is_none_or(|until| position < until) {
        until = until.or(*ended.borrow_and_update());
        match next(&mut answers).await.expect("an answer") {
            Answer::Stream(told) => {
                let change = told.change();
                if change != StreamChange::Listed {
                    assert!(told.sequence > position, "{} after {position}", told.sequence);
                }
                position = told.sequence;
                let stream = told.stream.expect("a stream");
                let name = stream.name.clone();
                let before = match change {
                    StreamChange::Deleted => streams.remove(&name),
                    _ => streams.insert(name.clone(), stream),
                };
                let new = matches!(change, StreamChange::Listed | StreamChange::Added);
                assert_eq!(before.is_none(), new, "{change:?} {name}");
            }
            Answer::Bookmark(bookmark) => position = bookmark.sequence,
            Answer::Event(event) => panic!("{event:?}"),
        }
    }
    streams
}

#[test]
fn a_snapshot_and_what_follows_are_the_whole() {
    let (runtime, server) = start();
    runtime.block_on(async {
        storm(&server, "before", 5).await;
        let (ends, ended) = watch::channel(None);
        let (mut of_events, mut of_streams) = (JoinSet::new(), JoinSet::new());
        let watchers = async {
            for _ in 0..8 {
                of_events.spawn(events_after_a_snapshot(connect(&server).await, ended.clone()));
                of_streams.spawn(streams_after_a_snapshot(connect(&server).await, ended.clone()));
                tokio::time::sleep(Duration::from_millis(60)).await;
            }
        };
        tokio::join!(watchers, storm(&server, "during", 60));
        let channel = connect(&server).await;
        let (head, listed) = (log(&channel).await.len() as u64, list(&channel).await);
        ends.send_replace(Some(head));
        let seen: BTreeMap<_, _> =
            listed.iter().map(|(name, stream)| (name.clone(), Seen::listed(stream))).collect();
        let mut overtaken = 0;
        for (folded, begun) in of_events.join_all().await {
            assert_eq!(folded, seen, "from {begun} on");
            overtaken += u32::from(begun < head);
        }
        assert!(overtaken > 4, "only {overtaken} began during the storm");
        for streams in of_streams.join_all().await {
            assert_eq!(streams, listed);
        }
    });
}

/// From anywhere, also from within a command; from now; and what is left out is told by bookmarks.
#[test]
fn a_watch_begins_where_it_is_asked_to() {
    let (runtime, server) = start();
    runtime.block_on(async {
        storm(&server, "storm", 6).await;
        let channel = connect(&server).await;
        let log = log(&channel).await;
        let head = log.len() as u64;
        let within = log.iter().find(|event| {
            let run = event.run.as_ref().expect("a run");
            event.sequence < run.first_sequence + u64::from(run.length) - 1
        });
        let within = within.expect("a storm has commands of several events").sequence;
        for from in [0, 1, within, head / 2, head] {
            let mut answers = watch(&channel, after(from)).await;
            let events = follow(&mut answers, from, head).await;
            assert_eq!(events, log[usize::try_from(from).expect("few")..], "after {from}");
        }

        let mut now = watch(&channel, WatchRequest::default()).await;
        let first = next(&mut now).await.expect("an answer");
        assert_eq!(first, Answer::Bookmark(Bookmark { sequence: head, snapshot_end: false }));
        let elsewhere = WatchRequest { namespace: "elsewhere".into(), ..after(0) };
        let mut elsewhere = watch(&channel, elsewhere).await;
        write(&channel, "app", 1, 1).await;
        assert!(matches!(next(&mut now).await, Ok(Answer::Event(event)) if event.sequence == head + 1));
        loop {
            match next(&mut elsewhere).await.expect("an answer") {
                Answer::Bookmark(bookmark) if bookmark.sequence == head + 2 => break,
                Answer::Bookmark(_) => {}
                other => panic!("{other:?}"),
            }
        }

        let mut client = EventServiceClient::new(channel.clone());
        let beyond = client.watch(after(head + 3)).await.expect_err("there is no such event");
        assert_eq!(beyond.code(), Code::OutOfRange);
        let request = WatchRequest { kinds: vec!["moved".into()], ..Default::default() };
        let unknown = client.watch(request).await.expect_err("there is no such kind");
        assert_eq!(unknown.code(), Code::InvalidArgument);
        assert!(unknown.message().starts_with("there is no kind \"moved\""), "{}", unknown.message());
    });
}

/// Whoever keeps the position misses nothing, however often the server dies.
#[test]
fn a_watch_goes_on_after_a_kill() {
    let (runtime, mut server) = start();
    let mut seen: Vec<Event> = Vec::new();
    for round in 0..6 {
        runtime.block_on(async {
            let channel = connect(&server).await;
            let mut answers = watch(&channel, after(seen.len() as u64)).await;
            let name = format!("round-{round}");
            let writing = storm(&server, &name, 4);
            let watching = async {
                let until = seen.len() as u64 + 30;
                follow(&mut answers, seen.len() as u64, until).await
            };
            let ((), events) = tokio::join!(writing, watching);
            seen.extend(events);
        });
        server.kill().expect("it can be killed");
        server.restart().expect("it starts");
    }
    runtime.block_on(async {
        let channel = connect(&server).await;
        let log = log(&channel).await;
        let mut answers = watch(&channel, after(seen.len() as u64)).await;
        seen.extend(follow(&mut answers, seen.len() as u64, log.len() as u64).await);
        assert_eq!(seen, log);
    });
}

/// A thousand, and a slow one, while others write: each hears of everything, and the server does not grow with them.
#[test]
fn a_thousand_watchers_hear_everything() {
    const WATCHERS: usize = 1_000;
    const CONNECTIONS: usize = 8;
    let (runtime, server) = start();
    runtime.block_on(async {
        let mut channels = Vec::new();
        for _ in 0..CONNECTIONS {
            channels.push(connect(&server).await);
        }
        let channel = connect(&server).await;
        write(&channel, "app", 0, 1).await;
        let before = server.memory().expect("it runs");
        let (ends, ended) = watch::channel(None);
        let mut watchers = JoinSet::new();
        for number in 0..=WATCHERS {
            let mut answers = watch(&channels[number % CONNECTIONS], after(0)).await;
            let mut ended = ended.clone();
            watchers.spawn(async move {
                let (mut position, mut until) = (0, None);
                while until.is_none_or(|until| position < until) {
                    until = until.or(*ended.borrow_and_update());
                    match next(&mut answers).await.unwrap_or_else(|status| panic!("{status}")) {
                        Answer::Event(event) => {
                            assert_eq!(event.sequence, position + 1);
                            position = event.sequence;
                        }
                        Answer::Bookmark(bookmark) => assert_eq!(bookmark.sequence, position),
                        Answer::Stream(stream) => panic!("{stream:?}"),
                    }
                    if number == WATCHERS {
                        tokio::time::sleep(Duration::from_millis(5)).await; // The slow one.
                    }
                }
                position
            });
        }
        assert_eq!(server.metric("tagtrail_watchers").expect("a gauge"), WATCHERS as f64 + 1.0);
        storm(&server, "storm", 8).await;
        write(&channel, "app", 1, 20_000).await;
        let head = log(&channel).await.len() as u64;
        ends.send_replace(Some(head));
        let positions = watchers.join_all().await;
        assert_eq!(positions.len(), WATCHERS + 1);
        assert!(positions.iter().all(|position| *position == head));
        let grown = server.memory().expect("it runs").saturating_sub(before) >> 20;
        assert!(grown < 100, "{WATCHERS} watchers took {grown} MiB");
    });
}

/// Watchers that never take anything hold what fits into their windows and a page, not the log; and nobody else waits.
#[test]
fn watchers_that_stop_cost_little_and_hold_up_nobody() {
    const STOPPED: usize = 100;
    let (runtime, mut server) = start();
    let mut stopped = Vec::new();
    let head = runtime.block_on(async {
        let channel = connect(&server).await;
        for value in 0..400 {
            write(&channel, "app", value, 23_000).await;
        }
        let endpoint = Endpoint::from_shared(server.url()).expect("a URL");
        let endpoint = endpoint.initial_stream_window_size(SMALL_WINDOW);
        let stopping = endpoint.connect().await.expect("it takes connections");
        let before = server.memory().expect("it runs");
        for _ in 0..STOPPED {
            stopped.push(watch(&stopping, after(0)).await);
        }
        let mut answers = watch(&channel, after(0)).await;
        let (mut position, head) = (0, log(&channel).await.len() as u64);
        for until in [head / 2, head] {
            follow(&mut answers, position, until).await;
            position = until;
        }
        for value in 0..50 {
            write(&channel, "app", value, 23_000).await;
        }
        let head = log(&channel).await.len() as u64;
        follow(&mut answers, position, head).await;
        let grown = server.memory().expect("it runs").saturating_sub(before) >> 20;
        // All that waits for them is a hundred times ten mebibytes.
        assert!(grown < 100, "{STOPPED} stopped watchers took {grown} MiB");
        head
    });

    // And they do not hold up the end. One that listens hears of it, with the position.
    let mut waiting = runtime.block_on(async { watch(&connect(&server).await, after(head)).await });
    let begun = Instant::now();
    server.terminate().expect("it ends when asked to");
    assert!(begun.elapsed() < Duration::from_secs(8), "it took {:?} to end", begun.elapsed());
    runtime.block_on(async {
        let status = loop {
            match next(&mut waiting).await {
                Ok(Answer::Bookmark(_)) => {}
                Ok(other) => panic!("{other:?}"),
                Err(status) => break status,
            }
        };
        assert_eq!(end(&status, Code::Unavailable, "UNAVAILABLE"), head);
    });
}

/// Half a minute is what the contract gives a watcher.
#[test]
fn a_slow_watcher_is_cut_off_where_it_can_resume() {
    let (runtime, server) = start();
    runtime.block_on(async {
        let channel = connect(&server).await;
        for value in 0..40 {
            write(&channel, "app", value, 23_000).await;
        }
        let head = log(&channel).await.len() as u64;
        let endpoint = Endpoint::from_shared(server.url()).expect("a URL");
        let slow = endpoint.initial_stream_window_size(SMALL_WINDOW).connect().await.expect("a connection");
        let mut answers = watch(&slow, after(0)).await;
        tokio::time::sleep(Duration::from_secs(32)).await;
        let mut position = 0;
        let status = loop {
            match next(&mut answers).await {
                Ok(Answer::Event(event)) => position = event.sequence,
                Ok(other) => panic!("{other:?}"),
                Err(status) => break status,
            }
        };
        assert_eq!(end(&status, Code::ResourceExhausted, "SLOW_WATCHER"), position);
        assert!(position < head, "it was not cut off before all was sent");
        assert_eq!(server.metric("tagtrail_watchers_cut_off_total").expect("a counter"), 1.0);
        follow(&mut watch(&slow, after(position)).await, position, head).await;
    });
}
