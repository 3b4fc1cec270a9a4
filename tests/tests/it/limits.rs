//! Each limit of `docs/limits.md`: what a caller hears that comes up against it, and that it is counted.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request};
use tagtrail_api::v1::event_service_client::EventServiceClient;
use tagtrail_api::v1::image_stream_service_client::ImageStreamServiceClient;
use tagtrail_api::v1::*;
use tagtrail_tests::faulty::{Fault, Faulty};
use tagtrail_tests::server::{Options, Server};
use tagtrail_tests::wait;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::api::Api;

const GET_STATUS: &str = "/tagtrail.v1.AdminService/GetStatus";
const CREATE: &str = "/tagtrail.v1.ImageStreamService/CreateImageStream";

/// A server with these limits, and someone who calls it.
fn start(limits: &str) -> (Server, Api) {
    let config = format!("[limits]\n{limits}\n");
    let server = Server::start(Options { config, ..Options::default() }).expect("a server");
    let api = Api::of(&server);
    (server, api)
}

fn create(name: &str) -> CreateImageStreamRequest {
    CreateImageStreamRequest { namespace: "test".into(), name: name.into(), ..Default::default() }
}

fn point(name: &str, tag: &str) -> SetTagRequest {
    let source = TagSource {
        kind: SourceKind::DockerImage.into(),
        name: "registry.example/team/app:1".into(),
        ..TagSource::default()
    };
    SetTagRequest {
        namespace: "test".into(),
        name: name.into(),
        tag: tag.into(),
        source: Some(source),
        reference: true,
        ..Default::default()
    }
}

/// A tag whose import is waited for.
fn imported(name: &str, registry: &Faulty) -> SetTagRequest {
    let source = TagSource {
        kind: SourceKind::DockerImage.into(),
        name: format!("{}/team/app:v1", registry.host()),
        ..TagSource::default()
    };
    SetTagRequest {
        source: Some(source),
        reference: false,
        create: true,
        wait_ms: 60_000,
        import_policy: Some(ImportPolicy { insecure: true, ..ImportPolicy::default() }),
        ..point(name, "v1")
    }
}

/// How often a limit has turned something away.
pub(crate) fn refused(server: &Server, limit: &str) -> u64 {
    let metrics = server.metrics().expect("metrics");
    let name = format!("tagtrail_refused_total{{limit=\"{limit}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |n| n.parse().expect("a number"))
}

/// Turned away by a limit that says when to come back.
pub(crate) fn is_told_to_come_back(status: &Status, limit: &str) -> Result<Duration, String> {
    let details = status.get_error_details();
    let named = details.error_info().and_then(|info| info.metadata.get("limit"));
    match details.retry_info().and_then(|info| info.retry_delay) {
        Some(retry)
            if status.code() == Code::ResourceExhausted && named.is_some_and(|name| name == limit) =>
        {
            Ok(retry)
        }
        _ => Err(format!("{limit} is not what {:?} says: {}", status.code(), status.message())),
    }
}

#[track_caller]
fn turned_away<T: std::fmt::Debug>(answer: Result<T, Status>, limit: &str) -> Duration {
    is_told_to_come_back(&answer.expect_err(limit), limit).unwrap_or_else(|why| panic!("{why}"))
}

#[test]
fn sizes() {
    let (server, api) = start("request_bytes = 65536\ntags_per_stream = 2\npage_items = 2");
    let noted = |bytes| {
        let annotations = [("note".to_owned(), "x".repeat(bytes))].into();
        CreateImageStreamRequest { annotations, ..create("noted") }
    };
    let too_large = "the request is too large: found 70027 bytes, the limit is: 65536 bytes";
    api.refused(api.streams().create_image_stream(noted(70_000)), Code::ResourceExhausted, too_large);
    assert_eq!(refused(&server, "request_bytes"), 1);

    // What is no message at all was once answered as if the server were at fault.
    let (code, words) = api.run(raw::call(&server, CREATE, &[], Bytes::from_static(b"\0\0\0\0\x01\x0c")));
    assert_eq!(code, Code::InvalidArgument as i32, "{words}");
    assert!(words.starts_with("the request is not the message of this call: "), "{words}");

    // Names and texts are bounded by what the log keeps for ever.
    let long = "x".repeat(300);
    api.refused(api.streams().create_image_stream(create(&long)), Code::InvalidArgument, "cannot be longer");
    api.refused(api.tags().set_tag(point("app", &long)), Code::InvalidArgument, "a maximum of 128");
    api.refused(api.streams().create_image_stream(create("NO")), Code::InvalidArgument, "must match");
    assert_eq!(refused(&server, "name_bytes"), 2, "a name of the right length is wrong otherwise");
    let write = Some(WriteOptions { reason: "w".repeat(4_097), ..WriteOptions::default() });
    let request = CreateImageStreamRequest { write, ..create("app") };
    api.refused(api.streams().create_image_stream(request), Code::InvalidArgument, "at most 4096 are kept");
    assert_eq!(refused(&server, "text_bytes"), 1);

    api.ok(api.tags().set_tag(SetTagRequest { create: true, ..point("app", "one") }));
    api.ok(api.tags().set_tag(point("app", "two")));
    let full = "the image stream \"app\" would have 3 tags, at most 2 are possible";
    api.refused(api.tags().set_tag(point("app", "three")), Code::FailedPrecondition, full);
    assert_eq!(refused(&server, "tags_per_stream"), 1);

    // A page is cut, and goes on: nothing is refused.
    let page = |from_sequence, page_size| {
        let request = ReadEventsRequest { from_sequence, page_size, ..Default::default() };
        let page = api.ok(api.events().read_events(request));
        page.events.iter().map(|event| event.sequence).collect::<Vec<_>>()
    };
    assert_eq!(page(1, 0), [1, 2]);
    assert_eq!(page(1, 1), [1]);
    assert_eq!(server.metric("tagtrail_pages_cut_total").expect("counted"), 0.0);
    assert_eq!(page(1, 100), [1, 2]);
    assert_eq!(page(3, 100)[0], 3);
    assert_eq!(server.metric("tagtrail_pages_cut_total").expect("counted"), 2.0);
}

#[test]
fn one_client_asks_too_often() {
    let (server, api) = start("client_requests_per_second = 2\nclient_burst = 5");
    for n in 0..5 {
        api.ok(api.streams().create_image_stream(create(&format!("s{n}"))));
    }
    let wait =
        turned_away(api.call(api.streams().create_image_stream(create("s5"))), "client_requests_per_second");
    assert!(wait <= Duration::from_millis(500), "{wait:?}");
    // Who looks after the server is not held up.
    for _ in 0..20 {
        assert_eq!(api.head(), 5);
    }
    assert!(refused(&server, "client_requests_per_second") >= 1);
    std::thread::sleep(wait);
    api.ok(api.streams().create_image_stream(create("s5")));
}

#[test]
fn watches_and_their_places() {
    let (server, api) = start("watches = 1");
    let watch = || WatchRequest { bookmark_seconds: 1, ..Default::default() };
    let first = api.ok(api.events().watch(watch()));
    let retry = turned_away(api.call(api.events().watch(watch())), "watches");
    assert_eq!(retry, Duration::from_secs(5));
    assert_eq!(refused(&server, "watches"), 1);
    drop(first);
    let again = || api.call(api.events().watch(watch())).ok();
    wait::until(Duration::from_secs(10), again).expect("there is a place again");
}

/// A registry that does not answer holds up those who ask it, up to their limit, and nobody else.
#[test]
fn imports_leave_room_for_others() {
    let registry = Faulty::start().expect("a registry");
    registry.turn(Fault::Silent);
    let (server, api) = start("concurrent_requests = 8\nconcurrent_imports = 1");
    let import = |name: &str| ImportRequest {
        namespace: "test".into(),
        name: name.into(),
        tag: "v1".into(),
        from: format!("{}/team/app:v1", registry.host()),
        confirm: true,
        insecure: Some(true),
        ..Default::default()
    };
    let mut imports = api.imports();
    let first = import("first");
    let waiting = api.spawn(async move { imports.import(first).await });
    wait::until(Duration::from_secs(10), || (registry.asked() > 0).then_some(())).expect("it is asked");
    let retry = turned_away(api.call(api.imports().import(import("second"))), "concurrent_imports");
    assert_eq!(retry, Duration::from_secs(1));
    assert_eq!(refused(&server, "concurrent_imports"), 1);
    // A tag that would be waited for is set all the same.
    let began = Instant::now();
    let set = api.ok(api.tags().set_tag(imported("third", &registry)));
    assert!(set.importing && began.elapsed() < Duration::from_secs(30), "nobody waited");
    registry.turn(Fault::None);
    api.ok(waiting).result.expect("the one that had a place is answered");
    api.ok(api.imports().import(import("second")));
}

#[test]
fn deadlines() {
    let (server, api) = start("request_timeout = '1s'");
    let check = |timeout: &str, code: Code, words: &str| {
        let headers = [("grpc-timeout", timeout)];
        let request = create("never").encoded();
        let (told, message) = api.run(raw::call(&server, CREATE, &headers, request));
        assert_eq!(told, code as i32, "{timeout}: {message}");
        assert!(message.contains(words), "{timeout}: {message}");
    };
    let nothing = "the deadline passed before this was begun; nothing was done";
    check("0S", Code::DeadlineExceeded, nothing);
    check("1m", Code::DeadlineExceeded, nothing);
    check("50u", Code::DeadlineExceeded, nothing);
    check("5", Code::InvalidArgument, "grpc-timeout \"5\" is no time");
    check("5 S", Code::InvalidArgument, "is no time");
    assert_eq!(refused(&server, "deadline"), 3);
    assert_eq!(api.head(), 0, "nothing was done");
    // Who says nothing has the server's own patience. The tag is set before its import is waited for.
    let registry = Faulty::start().expect("a registry");
    registry.turn(Fault::Silent);
    let late = api.call(api.tags().set_tag(imported("app", &registry))).expect_err("too long");
    assert_eq!(late.code(), Code::DeadlineExceeded, "{}", late.message());
    assert!(late.message().contains("a repeat with the same request id tells"), "{}", late.message());
    assert!(api.head() > 0);
}

/// What HTTP/2 allows and nobody needs. Whoever does it loses their connection; others do not notice.
#[test]
fn connections_that_misbehave() {
    let (server, api) = start(
        "connections = 8\nstreams_per_connection = 5\npending_resets = 10\nheader_bytes = 8192\n\
         keepalive_interval = '1s'\nkeepalive_timeout = '1s'",
    );
    // Requests that are taken back as soon as they are sent (CVE-2023-44487).
    assert!(api.run(raw::rapid_reset(&server, 10_000)), "the connection is still open");
    api.ok(api.streams().create_image_stream(create("alive")));

    // More headers than there may be.
    let long = "x".repeat(9_000);
    let headers = [("note", long.as_str())];
    let (status, _) = api.run(raw::call(&server, GET_STATUS, &headers, Bytes::from_static(&[0; 5])));
    assert_eq!(status, -431, "HTTP's own status");

    // The server says how many requests it takes on one connection.
    assert_eq!(api.run(raw::concurrent_streams(&server)), 5);

    // A connection that does not answer pings is closed.
    let mut silent = TcpStream::connect(server.address()).expect("a connection");
    silent.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").expect("it takes the preface");
    silent.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
    let mut said = Vec::new();
    silent.read_to_end(&mut said).expect("it is closed by the server, and before the time is up");

    // As many connections as there may be, and one more, which is let go at once.
    let others: Vec<_> = (0..8).map(|_| TcpStream::connect(server.address()).expect("connects")).collect();
    wait::until(Duration::from_secs(10), || (refused(&server, "connections") > 0).then_some(()))
        .expect("one was too many");
    api.ok(api.streams().create_image_stream(create("still")));
    drop(others);
    let again = || api.run(raw::try_call(&server, GET_STATUS)).ok();
    wait::until(Duration::from_secs(10), again).expect("there are places again");
}

/// A connection of a certain age is asked to end; a watcher resumes on another.
#[test]
fn old_connections_are_ended() {
    let (server, api) = start("connection_age = '1s'\nconnection_age_grace = '1s'");
    let ended = api.run(async {
        let channel = tonic::transport::Endpoint::from_shared(server.url()).expect("a URL");
        let channel = channel.connect().await.expect("a connection");
        let mut events = EventServiceClient::new(channel.clone());
        let request = WatchRequest { bookmark_seconds: 1, ..Default::default() };
        let mut watch = events.watch(request).await.expect("a watch").into_inner();
        let ended = async { while let Ok(Some(_)) = watch.message().await {} };
        tokio::time::timeout(Duration::from_secs(20), ended).await.expect("it ends");
        // The same channel connects anew, as soon as it has noticed.
        let mut streams = ImageStreamServiceClient::new(channel);
        let mut answer = streams.create_image_stream(create("anew")).await;
        while answer.as_ref().is_err_and(|status| status.code() == Code::Cancelled) {
            answer = streams.create_image_stream(create("anew")).await;
        }
        answer
    });
    ended.expect("it goes on");
}

trait Encoded {
    fn encoded(&self) -> Bytes;
}

impl<M: prost::Message> Encoded for M {
    /// As one gRPC message.
    fn encoded(&self) -> Bytes {
        let message = self.encode_to_vec();
        let length = u32::try_from(message.len()).expect("small").to_be_bytes();
        [&[0], &length[..], &message].concat().into()
    }
}

/// HTTP/2 by hand.
mod raw {
    use h2::client::{Builder, SendRequest};

    use super::*;

    async fn connect(
        server: &Server,
    ) -> (SendRequest<Bytes>, tokio::task::JoinHandle<Result<(), h2::Error>>) {
        let stream = tokio::net::TcpStream::connect(server.address()).await.expect("connects");
        let (send, connection) = Builder::new().handshake(stream).await.expect("speaks HTTP/2");
        (send, tokio::spawn(connection))
    }

    fn request(server: &Server, path: &str, headers: &[(&str, &str)]) -> Request<()> {
        let request = Request::post(format!("http://{}{path}", server.address()));
        let request = request.header("content-type", "application/grpc").header("te", "trailers");
        headers
            .iter()
            .fold(request, |request, (name, value)| request.header(*name, *value))
            .body(())
            .expect("valid")
    }

    /// The gRPC status and message; HTTP's status as a negative number where that is not 200.
    pub(super) async fn call(
        server: &Server,
        path: &str,
        headers: &[(&str, &str)],
        message: Bytes,
    ) -> (i32, String) {
        let (send, connection) = connect(server).await;
        let told = exchange(send, request(server, path, headers), message).await.expect("it is answered");
        connection.abort();
        told
    }

    pub(super) async fn try_call(server: &Server, path: &str) -> Result<(i32, String), h2::Error> {
        let stream = tokio::net::TcpStream::connect(server.address()).await.expect("connects");
        let (send, connection) = Builder::new().handshake(stream).await?;
        let connection = tokio::spawn(connection);
        let told = exchange(send, request(server, path, &[]), Bytes::from_static(&[0; 5])).await;
        connection.abort();
        told
    }

    async fn exchange(
        send: SendRequest<Bytes>,
        request: Request<()>,
        message: Bytes,
    ) -> Result<(i32, String), h2::Error> {
        let mut send = send.ready().await?;
        let (answer, mut body) = send.send_request(request, false)?;
        // An error means that the server has answered already.
        body.send_data(message, true).ok();
        let answer = answer.await?;
        if answer.status() != 200 {
            return Ok((-i32::from(answer.status().as_u16()), String::new()));
        }
        let headers = answer.headers().clone();
        let mut body = answer.into_body();
        while let Some(data) = body.data().await {
            body.flow_control().release_capacity(data?.len())?;
        }
        let trailers = body.trailers().await?.unwrap_or(headers);
        let told = |headers: &HeaderMap, name: &str| {
            headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let status = told(&trailers, "grpc-status").and_then(|code| code.parse().ok()).expect("a status");
        let message = told(&trailers, "grpc-message").unwrap_or_default();
        Ok((status, message.replace("%20", " ").replace("%22", "\"")))
    }

    /// Sends requests and takes each back at once. Gives whether the server has closed the connection.
    pub(super) async fn rapid_reset(server: &Server, most: usize) -> bool {
        let (mut send, connection) = connect(server).await;
        for _ in 0..most {
            // An error means that the connection has ended.
            let Ok(ready) = send.ready().await else { break };
            send = ready;
            let Ok((_, mut body)) = send.send_request(request(server, GET_STATUS, &[]), false) else { break };
            body.send_reset(h2::Reason::CANCEL);
        }
        let ended = tokio::time::timeout(Duration::from_secs(10), connection).await;
        ended.is_ok_and(|ended| ended.expect("nobody panicked").is_err())
    }

    /// How many requests the server's settings allow at the same time.
    pub(super) async fn concurrent_streams(server: &Server) -> usize {
        let (mut send, connection) = connect(server).await;
        // Answered, so that the settings have come.
        send = send.ready().await.expect("ready");
        exchange(send.clone(), request(server, GET_STATUS, &[]), Bytes::from_static(&[0; 5]))
            .await
            .expect("answered");
        let most = send.current_max_send_streams();
        connection.abort();
        most
    }
}
