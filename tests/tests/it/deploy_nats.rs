//! The configurations in `deploy/nats` do what they say: real servers run them, with other ports and directories.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::{pull, push};
use async_nats::jetstream::{self, stream};
use async_nats::{Client, ConnectOptions, Event};
use serde_json::Value;
use tagtrail_tests::broker::{self, greeting};
use tagtrail_tests::port::Port;
use tagtrail_tests::process::Process;
use tagtrail_tests::server::{Options, Server};
use tagtrail_tests::wait;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::block_in_place;
use tokio::time::{sleep, timeout};
use tokio_stream::StreamExt as _;

const PASSWORD: &str = "of-tagtrail";
const SUBSCRIBER_PASSWORD: &str = "of-subscribers";
const NODE_PASSWORD: &str = "of-nodes";
const READY_WITHIN: Duration = Duration::from_secs(20);

/// A server with one of our files.
struct Node {
    command: Command,
    clients: Port,
    http: Port,
    files: TempDir,
    process: Option<Process>,
}

impl Node {
    /// A server that was not started yet. `three-node.conf` wants a name, and the ports of all nodes.
    fn new(file: &str, environment: &[(&str, String)], arguments: &[String]) -> Node {
        let (clients, http) = (Port::reserve().expect("a port"), Port::reserve().expect("a port"));
        let files = tempfile::tempdir().expect("a directory");
        let mut command = Command::new(broker::program().expect("a nats-server"));
        command.arg("--config").arg(copy_for(files.path()).join(file));
        command.args(["--addr", "127.0.0.1", "--port", &clients.number().to_string()]);
        command.args(["--http_port", &http.number().to_string()]);
        command.args(arguments).env("NATS_TAGTRAIL_PASSWORD", PASSWORD);
        command.env("NATS_SUBSCRIBER_PASSWORD", SUBSCRIBER_PASSWORD);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        Node { command, clients, http, files, process: None }
    }

    fn start(&mut self) {
        let mut process =
            Process::start(&mut self.command, &self.files.path().join("log")).expect("a process");
        let ready = wait::until(READY_WITHIN, || match greeting(self.clients.number()) {
            Ok(_) => Some(true),
            Err(_) => process.ended().map(|_| false),
        });
        assert_eq!(ready, Some(true), "{}", process.last_words());
        self.process = Some(process);
    }

    fn kill(&mut self) {
        self.process = None;
    }

    fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.clients.number())
    }

    async fn connect(&self, user: &str, password: &str) -> Client {
        let options = ConnectOptions::with_user_and_password(user.into(), password.into());
        options.connect(self.url()).await.unwrap_or_else(|error| panic!("{user} does not come in: {error}"))
    }

    /// What the monitoring port says at `path`.
    fn http(&self, path: &str) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.http.number())).expect("a monitoring port");
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        serde_json::from_str(body).expect("JSON")
    }
}

/// Our files, but for the one thing that no flag says otherwise: where the data is.
fn copy_for(files: &Path) -> PathBuf {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/nats");
    let copies = files.join("conf");
    fs::create_dir(&copies).expect("a directory");
    for name in ["single.conf", "three-node.conf", "common.conf"] {
        let text = fs::read_to_string(ours.join(name)).expect("a file of ours");
        let data = files.join("data").display().to_string();
        fs::write(copies.join(name), text.replace("/var/lib/nats", &data)).expect("its copy");
    }
    copies
}

fn single() -> Node {
    let mut node = Node::new("single.conf", &[], &[]);
    node.start();
    node
}

/// The stream as the publisher makes it.
fn events(replicas: usize) -> stream::Config {
    stream::Config {
        name: "TAGTRAIL".into(),
        subjects: vec!["tagtrail.events.>".into()],
        storage: stream::StorageType::File,
        num_replicas: replicas,
        deny_delete: true,
        deny_purge: true,
        ..stream::Config::default()
    }
}

async fn publish(context: &jetstream::Context, subject: &str) -> u64 {
    let sent = context.publish(subject.to_owned(), "{}".into()).await.expect("it is sent");
    sent.await.expect("it is acknowledged").sequence
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_server_syncs_before_it_acknowledges() {
    let node = single();
    let config = &node.http("/varz")["jetstream"]["config"];
    assert!(
        config["store_dir"].as_str().is_some_and(|dir| Path::new(dir).starts_with(node.files.path())),
        "{config}"
    );
    assert_eq!(config["sync_always"], true, "{config}");
    assert_eq!(node.http("/healthz?js-enabled-only=true")["status"], "ok");
}

#[test]
fn a_server_without_passwords_does_not_start() {
    let mut node = Node::new("single.conf", &[], &[]);
    node.command.env_remove("NATS_SUBSCRIBER_PASSWORD");
    let output = node.command.output().expect("nats-server");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("NATS_SUBSCRIBER_PASSWORD"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_do_not_come_in() {
    let node = single();
    assert!(async_nats::connect(node.url()).await.is_err(), "without a name");
    let wrong = ConnectOptions::with_user_and_password("tagtrail".into(), SUBSCRIBER_PASSWORD.into());
    assert!(wrong.connect(node.url()).await.is_err(), "with another's password");
}

#[tokio::test(flavor = "multi_thread")]
async fn tagtrail_writes_and_subscribers_read() {
    let node = single();
    let config = format!(
        "[nats]\nurl = \"{}\"\nuser = \"tagtrail\"\npassword = \"{PASSWORD}\"\nbucket = \"tags\"\n",
        node.url()
    );
    let server = block_in_place(|| Server::start(Options { config: config.clone(), ..Options::default() }));
    let mut server = server.expect("a server");
    let tag = ["tag", "--source=docker", "--reference", "registry.example/python:1", "python:3.6"];
    let head = block_in_place(|| written(&server, &tag));

    let subscriber = jetstream::new(node.connect("subscriber", SUBSCRIBER_PASSWORD).await);
    let stream = subscriber.get_stream("TAGTRAIL").await.expect("the stream is seen");
    let durable = pull::Config { durable_name: Some("deployer".into()), ..pull::Config::default() };
    let consumer = stream.create_consumer(durable).await.expect("a durable consumer is made");
    let mut messages = consumer.messages().await.expect("messages");
    let mut next = async || {
        let next = timeout(READY_WITHIN, messages.next()).await.expect("in time");
        next.expect("one").expect("a message")
    };
    let message = next().await;
    assert_eq!(message.subject.as_str(), "tagtrail.events.test.python.-.stream-created");
    message.double_ack().await.expect("it is acknowledged");
    let ordered = pull::OrderedConfig::default();
    let consumer = stream.create_consumer(ordered).await.expect("an ordered consumer is made");
    let mut again = consumer.messages().await.expect("messages");
    let first = timeout(READY_WITHIN, again.next()).await.expect("in time").expect("one").expect("a message");
    assert_eq!(first.subject, message.subject);

    let bucket = subscriber.get_key_value("tags").await.expect("the bucket is seen");
    let begun = Instant::now();
    let value = loop {
        match bucket.get("test.python.3=2E6").await.expect("it is read") {
            Some(value) => break value,
            None => assert!(begun.elapsed() < READY_WITHIN, "the bucket is not kept: {}", server.log()),
        }
        sleep(Duration::from_millis(20)).await;
    };
    assert!(String::from_utf8_lossy(&value).contains("registry.example/python:1"), "{value:?}");

    // What JetStream would send on somebody's behalf does not become an event.
    let circle = push::Config { deliver_subject: "tagtrail.events.x".into(), ..push::Config::default() };
    let refusal = stream.create_consumer(circle).await.expect_err("a circle").to_string();
    assert!(refusal.contains("cycle"), "{refusal}");

    // All that is needed to go on, too: to read where the stream ends, and to bring it in line with other settings.
    block_in_place(|| {
        server.terminate().expect("it ends");
        server.configure(config + "duplicate_window = \"30s\"\n").expect("a file");
        server.restart().expect("it starts again");
        let more = written(&server, &["tag", "-d", "python:3.6"]);
        assert!(more > head, "nothing was written");
    });
    assert!(!server.log().contains("Violation"), "{}", server.log());
}

/// Runs a command, waits until everything is published, and gives the head.
fn written(server: &Server, command: &[&str]) -> u64 {
    let printed = server.client().run(command).expect("tagtrail runs");
    assert_eq!(printed.rc, 0, "{}", printed.stderr);
    let status = || server.client().json(&["status", "-o", "json"]).expect("a status");
    let published = wait::until(READY_WITHIN, || {
        let status = status();
        (status["published"].is_u64() && status["published"] == status["head"]).then_some(())
    });
    assert!(published.is_some(), "{}\n{}", status(), server.log());
    server.client().head().expect("a head")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_publish_what() {
    let node = single();
    //                                                   tagtrail subscriber
    let table = [
        ("tagtrail.events.shop.app.v1.tag-moved", true, false),
        ("$KV.tags.shop.app.v1", true, false),
        ("$KV.other.shop.app.v1", false, false),
        ("$JS.API.STREAM.CREATE.TAGTRAIL", true, false),
        ("$JS.API.STREAM.CREATE.MINE", false, false),
        ("$JS.API.STREAM.UPDATE.TAGTRAIL", true, false),
        ("$JS.API.STREAM.DELETE.TAGTRAIL", false, false),
        ("$JS.API.STREAM.PURGE.TAGTRAIL", false, false),
        ("$JS.API.STREAM.MSG.DELETE.TAGTRAIL", false, false),
        ("$JS.API.STREAM.MSG.GET.TAGTRAIL", true, true),
        ("$JS.API.STREAM.DELETE.KV_tags", false, false),
        ("$JS.API.STREAM.PURGE.KV_tags", false, false),
        ("$JS.API.CONSUMER.CREATE.TAGTRAIL.mine", false, true),
        ("$JS.API.CONSUMER.CREATE.KV_tags.mine", false, false),
        ("$JS.API.CONSUMER.MSG.NEXT.TAGTRAIL.mine", false, true),
        ("_INBOX.somebody", false, false),
    ];
    for (user, password, column) in [("tagtrail", PASSWORD, 0), ("subscriber", SUBSCRIBER_PASSWORD, 1)] {
        let subjects = table.map(|(subject, ..)| subject);
        let refused = refused(&node, user, password, &subjects).await;
        for (subject, tagtrail, subscriber) in table {
            let allowed = [tagtrail, subscriber][column];
            assert_eq!(!refused.contains(&subject), allowed, "{user} at {subject}");
        }
    }
}

/// Which of the subjects a user may not publish to.
async fn refused<'a>(node: &Node, user: &str, password: &str, subjects: &[&'a str]) -> Vec<&'a str> {
    let (events, mut seen) = mpsc::unbounded_channel();
    let client = ConnectOptions::with_user_and_password(user.into(), password.into())
        .event_callback(move |event| {
            let events = events.clone();
            async move {
                if let Event::ServerError(error) = event {
                    events.send(error.to_string()).expect("the test listens");
                }
            }
        })
        .connect(node.url())
        .await
        .expect("a connection");
    // The server answers in order, and only what it refuses. The last one is refused to everybody.
    let end = "refused.to.all";
    for subject in subjects.iter().copied().chain([end]) {
        client.publish(subject.to_owned(), "".into()).await.expect("it is sent");
    }
    let mut said = Vec::new();
    while !said.iter().any(|line: &String| line.contains(end)) {
        said.push(timeout(READY_WITHIN, seen.recv()).await.expect("in time").expect("a refusal"));
    }
    // Some clients lower what the server says.
    let told = |subject: &&str| {
        said.iter().any(|line| line.to_lowercase().contains(&format!("\"{}\"", subject.to_lowercase())))
    };
    subjects.iter().copied().filter(told).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_go_on_without_one_of_them() {
    let routes: Vec<Port> = (0..3).map(|_| Port::reserve().expect("a port")).collect();
    let urls: Vec<_> = routes
        .iter()
        .map(|port| format!("nats://node:{NODE_PASSWORD}@127.0.0.1:{}", port.number()))
        .collect();
    let mut nodes: Vec<Node> = ["a", "b", "c"]
        .into_iter()
        .zip(&urls)
        .map(|(name, url)| {
            let environment = [
                ("NATS_NODE", name.to_owned()),
                ("NATS_NODE_PASSWORD", NODE_PASSWORD.to_owned()),
                ("NATS_ROUTES", format!("{urls:?}")),
            ];
            Node::new("three-node.conf", &environment, &["--cluster".into(), url.clone()])
        })
        .collect();
    nodes.iter_mut().for_each(Node::start);

    let urls: Vec<_> = nodes.iter().map(Node::url).collect();
    let options = ConnectOptions::with_user_and_password("tagtrail".into(), PASSWORD.into());
    let client = options.connect(urls).await.expect("a connection");
    // While nobody leads, nobody answers: ask again soon.
    let tagtrail =
        jetstream::context::ContextBuilder::new().timeout(Duration::from_millis(500)).build(client);
    // The three first have to choose who leads.
    let start = Instant::now();
    while let Err(error) = tagtrail.create_stream(events(3)).await {
        assert!(start.elapsed() < READY_WITHIN, "no stream of three copies: {error}");
        sleep(Duration::from_millis(100)).await;
    }
    let subject = "tagtrail.events.shop.app.v1.tag-moved";
    assert_eq!(publish(&tagtrail, subject).await, 1);
    for node in &nodes {
        assert_eq!(node.http("/varz")["jetstream"]["config"]["sync_always"], true);
    }

    // Whoever leads: one of three is not missed, whichever it is.
    for node in &mut nodes {
        node.kill();
        let start = Instant::now();
        loop {
            let sent = tagtrail.publish(subject, "{}".into()).await.expect("it is sent");
            match sent.await {
                Ok(_) => break,
                Err(error) => assert!(start.elapsed() < READY_WITHIN, "two of three do not go on: {error}"),
            }
            sleep(Duration::from_millis(100)).await;
        }
        node.start();
        wait_for_copies(&tagtrail).await;
    }
}

/// Waits until all copies of the stream hold all of it.
async fn wait_for_copies(context: &jetstream::Context) {
    let start = Instant::now();
    loop {
        let cluster = match context.get_stream("TAGTRAIL").await {
            Ok(stream) => stream.cached_info().cluster.clone(),
            Err(_) => None,
        };
        if cluster.as_ref().is_some_and(|cluster| {
            cluster.replicas.len() == 2 && cluster.replicas.iter().all(|peer| peer.current && !peer.offline)
        }) {
            return;
        }
        assert!(start.elapsed() < READY_WITHIN, "a node that came back does not catch up: {cluster:?}");
        sleep(Duration::from_millis(100)).await;
    }
}
