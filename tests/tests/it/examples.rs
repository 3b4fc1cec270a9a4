//! The programs in `examples/` do what they promise, against a real server and a real broker, both of which are treated badly.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use async_nats::jetstream;
use tagtrail_tests::binary;
use tagtrail_tests::broker::{self, Broker};
use tagtrail_tests::port::Port;
use tagtrail_tests::process::Process;
use tagtrail_tests::server::{Options, Server};
use tagtrail_tests::wait;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Longer than anything takes that happens at all: reconnects, a stream filled again.
const SOON: Duration = Duration::from_secs(60);

/// A program that follows the events, its state file, and all it has printed over all its starts.
struct Example {
    program: PathBuf,
    arguments: Vec<String>,
    process: Option<Process>,
    files: TempDir,
}

impl Example {
    /// `examples/<name>`: a script of Python, or a program in Rust without an ending.
    fn new(name: &str, arguments: &[&str]) -> Example {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name);
        let (program, script) = match name.ends_with(".py") {
            true => (binary::python(), Some(script.display().to_string())),
            false => (binary::example(name), None),
        };
        let files = tempfile::tempdir().expect("a directory");
        let state = ["--state".to_owned(), files.path().join("state.json").display().to_string()];
        let arguments =
            script.into_iter().chain(arguments.iter().map(|text| (*text).to_owned())).chain(state).collect();
        Example { program, arguments, process: None, files }
    }

    fn start(&mut self) {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        self.process = Some(Process::start(&mut command, &self.files.path().join("log")).expect("it starts"));
    }

    /// Kills it in the middle of whatever it does.
    fn kill(&mut self) {
        self.process = None;
    }

    fn state(&self) -> PathBuf {
        self.files.path().join("state.json")
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.files.path().join("log")).unwrap_or_default()
    }

    /// The events it has handled: each line that begins with a number.
    fn events(&self) -> Vec<(u64, String)> {
        let event = |line: &str| {
            let (sequence, rest) = line.split_once(' ')?;
            Some((sequence.parse().ok()?, rest.trim_end().to_owned()))
        };
        self.said().lines().filter_map(event).collect()
    }

    /// Waits until it has handled an event.
    fn wait_for(&self, sequence: u64) {
        let come =
            wait::until(SOON, || self.events().iter().any(|(seen, _)| *seen == sequence).then_some(()));
        assert!(come.is_some(), "event {sequence} does not come:\n{}", self.said());
    }

    fn wait_to_say(&self, words: &str) {
        let said = wait::until(SOON, || self.said().contains(words).then_some(()));
        assert!(said.is_some(), "it does not say \"{words}\":\n{}", self.said());
    }
}

fn server(broker: &Broker, config: &str) -> Server {
    let config = format!("[nats]\nurl = \"{}\"\n{config}", broker.url());
    Server::start(Options { config, ..Options::default() }).expect("a server")
}

fn run(server: &Server, arguments: &[&str]) {
    let printed = server.client().run(arguments).expect("tagtrail runs");
    assert_eq!(printed.rc, 0, "{arguments:?}: {}", printed.stderr);
}

/// Writes one event more, and gives its sequence.
fn write(server: &Server) -> u64 {
    let next = server.client().head().expect("a head") + 1;
    run(server, &["create", "imagestream", &format!("app-{next}")]);
    next
}

fn write_some(server: &Server) -> u64 {
    (0..6).for_each(|_| _ = write(server));
    write(server)
}

/// Everything that can happen to a subscriber, one after the other, with events in between and meanwhile.
fn a_subscriber_sees_all_in_order_once(name: &str) {
    let mut broker = Broker::start(broker::Options::default()).expect("a broker");
    let server = server(&broker, "");
    let mut subscriber = Example::new(name, &["tagtrail.events.>", "--server", &broker.url()]);
    write_some(&server);
    subscriber.start();
    subscriber.wait_for(write_some(&server));

    // The subscriber dies, and the world goes on.
    subscriber.kill();
    let missed = write_some(&server);
    subscriber.start();
    subscriber.wait_for(missed);

    // The broker dies.
    broker.kill().expect("it dies");
    let waiting = write_some(&server);
    broker.restart().expect("it comes back");
    subscriber.wait_for(waiting);

    // Both do.
    broker.kill().expect("it dies");
    subscriber.kill();
    let waiting = write_some(&server);
    subscriber.start();
    broker.restart().expect("it comes back");
    subscriber.wait_for(waiting);

    // The broker says nothing for a while.
    broker.pause().expect("it stops");
    let waiting = write_some(&server);
    std::thread::sleep(Duration::from_secs(1));
    broker.resume().expect("it goes on");
    subscriber.wait_for(waiting);

    // The broker loses everything, and is filled again.
    broker.kill().expect("it dies");
    broker.wipe().expect("its data is gone");
    let waiting = write_some(&server);
    broker.restart().expect("it comes back");
    subscriber.wait_for(waiting);

    // Only the stream is lost, under everybody's feet.
    Runtime::new().expect("a runtime").block_on(async {
        let context = jetstream::new(async_nats::connect(broker.url()).await.expect("a connection"));
        context.delete_stream("TAGTRAIL").await.expect("it is deleted");
    });
    let last = write_some(&server);
    subscriber.wait_for(last);

    let seen: Vec<u64> = subscriber.events().into_iter().map(|(sequence, _)| sequence).collect();
    let mut once = seen.clone();
    once.dedup();
    assert_eq!(once, (1..=last).collect::<Vec<_>>(), "{}", subscriber.said());
    // An event that was handled, and not yet written down when the program was killed, comes once more.
    assert!(seen.len() - once.len() <= 2, "{}", subscriber.said());
    assert!(!subscriber.said().contains("missing"), "{}", subscriber.said());
}

/// A filter of subjects is all that somebody has to know who deploys one tag.
fn a_subscriber_filters(name: &str) {
    let broker = Broker::start(broker::Options::default()).expect("a broker");
    let server = server(&broker, "");
    let subjects = "tagtrail.events.test.*.3=2E6.tag-moved";
    let mut subscriber = Example::new(name, &[subjects, "--server", &broker.url()]);
    for tag in ["python:3.6", "python:3.7", "pypy:3.6"] {
        run(&server, &["tag", "--source=docker", "--reference", "registry.example/python:1", tag]);
    }
    subscriber.start();
    let all = server.client().head().expect("a head");
    let moved = |events: &[(u64, String)]| events.iter().map(|(_, rest)| rest.clone()).collect::<Vec<_>>();
    let come = wait::until(SOON, || (subscriber.events().len() == 2).then_some(()));
    assert!(come.is_some(), "{}", subscriber.said());
    assert_eq!(moved(&subscriber.events()), ["tag-moved test/python:3.6", "tag-moved test/pypy:3.6"]);
    // It knows how far the stream has come, although most of it was not for it: else it would be told of a gap one day.
    let place = || {
        let state: serde_json::Value =
            serde_json::from_slice(&std::fs::read(subscriber.state()).ok()?).expect("JSON");
        (state["place"] == all).then_some(())
    };
    assert!(wait::until(SOON, place).is_some(), "{}", subscriber.said());
}

/// What the stream no longer has cannot come, and nobody is to believe that it did not happen.
fn a_subscriber_says_what_it_missed(name: &str) {
    let broker = Broker::start(broker::Options::default()).expect("a broker");
    let server = server(&broker, "max_age = \"1s\"\nduplicate_window = \"1s\"\n");
    write_some(&server);
    let gone = async || {
        let context = jetstream::new(async_nats::connect(broker.url()).await.expect("a connection"));
        let state = context.get_stream("TAGTRAIL").await.ok()?.cached_info().state.clone();
        (state.messages == 0 && state.last_sequence == 7).then_some(())
    };
    let runtime = Runtime::new().expect("a runtime");
    assert!(wait::until(SOON, || runtime.block_on(gone())).is_some(), "the stream does not age");
    let mut subscriber = Example::new(name, &["tagtrail.events.>", "--server", &broker.url()]);
    subscriber.start();
    subscriber.wait_to_say("events from 1 on are missing (7 messages of the stream are gone unread)");
    subscriber.wait_for(write(&server));
    subscriber.wait_to_say("events from 1 on are missing (the next one in the stream is 8)");
}

/// A stream that is made again may count otherwise: this one first holds events 1 to 7, and then 5 to 10.
fn a_subscriber_does_not_trust_a_streams_count(name: &str) {
    let broker = Broker::start(broker::Options::default()).expect("a broker");
    let mut subscriber =
        Example::new(name, &["again.events.>", "--server", &broker.url(), "--stream", "AGAIN"]);
    let runtime = Runtime::new().expect("a runtime");
    let again = async |events: RangeInclusive<u64>| {
        let context = jetstream::new(async_nats::connect(broker.url()).await.expect("a connection"));
        let _ = context.delete_stream("AGAIN").await; // There is none at first.
        let config = jetstream::stream::Config {
            name: "AGAIN".into(),
            subjects: vec!["again.events.>".into()],
            ..Default::default()
        };
        context.create_stream(config).await.expect("a stream");
        for sequence in events {
            let mut headers = async_nats::HeaderMap::new();
            headers.insert("ce-source", "/tagtrail/logs/1");
            headers.insert("ce-sequence", format!("{sequence:020}"));
            headers.insert("ce-type", "tagtrail.v1.stream-created");
            headers.insert("ce-subject", "test/app");
            let payload = format!("{{\"sequence\":{sequence}}}");
            let subject = "again.events.test.app.-.stream-created";
            let sent =
                context.publish_with_headers(subject, headers, payload.into()).await.expect("it is sent");
            sent.await.expect("it is stored");
        }
    };
    runtime.block_on(again(1..=7));
    subscriber.start();
    subscriber.wait_for(7);
    runtime.block_on(again(5..=10));
    subscriber.wait_for(10);
    let seen: Vec<u64> = subscriber.events().into_iter().map(|(sequence, _)| sequence).collect();
    assert_eq!(seen, (1..=10).collect::<Vec<_>>(), "{}", subscriber.said());
}

/// Sequences of one log say nothing about another.
fn a_subscriber_does_not_mix_logs(name: &str) {
    let broker = Broker::start(broker::Options::default()).expect("a broker");
    let server = server(&broker, "");
    write(&server);
    let mut subscriber = Example::new(name, &["tagtrail.events.>", "--server", &broker.url()]);
    let other = r#"{"log": "/tagtrail/logs/other", "sequence": 900, "stream": "", "place": 0}"#;
    std::fs::write(subscriber.state(), other).expect("a state file");
    subscriber.start();
    let ended = wait::until(SOON, || subscriber.process.as_mut()?.ended());
    assert_eq!(ended.and_then(|status| status.code()), Some(1), "{}", subscriber.said());
    subscriber.wait_to_say("delete the file to begin anew");
    assert!(subscriber.events().is_empty(), "{}", subscriber.said());
}

macro_rules! each_subscriber {
    ($($promise:ident),*) => {
        mod subscriber_py { $(#[test] fn $promise() { super::$promise("subscriber.py"); })* }
        mod subscriber_rs { $(#[test] fn $promise() { super::$promise("subscriber"); })* }
    };
}

each_subscriber!(
    a_subscriber_sees_all_in_order_once,
    a_subscriber_filters,
    a_subscriber_says_what_it_missed,
    a_subscriber_does_not_trust_a_streams_count,
    a_subscriber_does_not_mix_logs
);

/// Everything that can happen to a watcher over gRPC.
#[test]
fn a_watcher_sees_all_in_order_once() {
    let reserved = [Port::reserve().expect("a port"), Port::reserve().expect("a port")];
    let ports = Some((reserved[0].number(), reserved[1].number()));
    let mut server = Server::start(Options { ports, ..Options::default() }).expect("a server");
    let address = server.url().replace("http://", "");
    let mut watcher = Example::new("watch.py", &["--server", &address]);
    write_some(&server);
    watcher.start();
    watcher.wait_for(write_some(&server));

    // The watcher dies.
    watcher.kill();
    let missed = write_some(&server);
    watcher.start();
    watcher.wait_for(missed);

    // The server dies, or ends, and comes back.
    server.kill().expect("it dies");
    watcher.wait_to_say("UNAVAILABLE");
    server.restart().expect("it comes back");
    watcher.wait_for(write_some(&server));
    server.terminate().expect("it ends when asked to");
    server.restart().expect("it comes back");
    let last = write_some(&server);
    watcher.wait_for(last);

    let seen: Vec<u64> = watcher.events().into_iter().map(|(sequence, _)| sequence).collect();
    let mut once = seen.clone();
    once.dedup();
    assert_eq!(once, (1..=last).collect::<Vec<_>>(), "{}", watcher.said());
    // An event that was handled, and not yet written down when the program was killed, comes once more.
    assert!(seen.len() - once.len() <= 1, "{}", watcher.said());

    // Another log: sequences of the old one say nothing about it.
    drop(server);
    let server = Server::start(Options { ports, ..Options::default() }).expect("a server");
    write(&server);
    let ended = wait::until(SOON, || watcher.process.as_mut()?.ended());
    assert_eq!(ended.and_then(|status| status.code()), Some(1), "{}", watcher.said());
    watcher.wait_to_say("delete the file to begin anew");
}

/// What a watcher asks for is filtered by the server, and it still knows how far everything has come.
#[test]
fn a_watcher_filters() {
    let server = Server::start(Options::default()).expect("a server");
    let address = server.url().replace("http://", "");
    let filter = ["--server", &address, "--namespace", "test", "--tag", "3.6", "--kind", "tag-moved"];
    let mut watcher = Example::new("watch.py", &filter);
    for tag in ["python:3.6", "python:3.7", "pypy:3.6", "pypy:3.7"] {
        run(&server, &["tag", "--source=docker", "--reference", "registry.example/python:1", tag]);
    }
    watcher.start();
    let come = wait::until(SOON, || (watcher.events().len() == 2).then_some(()));
    assert!(come.is_some(), "{}", watcher.said());
    let moved: Vec<_> = watcher.events().into_iter().map(|(_, rest)| rest).collect();
    assert_eq!(moved, ["tag_moved test/python", "tag_moved test/pypy"]);
    let head = server.client().head().expect("a head");
    let at_head = || {
        let state: serde_json::Value =
            serde_json::from_slice(&std::fs::read(watcher.state()).ok()?).expect("JSON");
        (state["sequence"] == head).then_some(())
    };
    assert!(wait::until(SOON, at_head).is_some(), "a bookmark does not come: {}", watcher.said());
}
