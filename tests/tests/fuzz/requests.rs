//! Requests: a real server is sent what is no request, or one that nobody would make. Whatever it is, it is refused in words or
//! carried out; nothing breaks.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use tagtrail_tests::server::{Options, Server};
use tokio::runtime::Runtime;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

/// What is called. Not: what asks registries or brokers, and what rebuilds the read model.
const METHODS: [&str; 33] = [
    "ImageStreamService/CreateImageStream",
    "ImageStreamService/DeleteImageStream",
    "ImageStreamService/GetImageStream",
    "ImageStreamService/ListImageStreams",
    "ImageStreamService/DescribeImageStream",
    "ImageStreamService/ListHistory",
    "ImageStreamService/SetLookupPolicy",
    "ImageStreamService/UpdateMetadata",
    "TagService/SetTag",
    "TagService/DeleteTag",
    "TagService/GetTag",
    "TagService/Promote",
    "TagService/Rollback",
    "TagService/Hold",
    "TagService/Release",
    "TagService/Restore",
    "HistoryService/ListEntries",
    "HistoryService/Where",
    "HistoryService/Why",
    "HistoryService/DiffStreams",
    "HistoryService/DiffImages",
    "ImportService/TakeTestimony",
    "ScheduleService/ListSchedule",
    "ImageService/GetImage",
    "ImageService/ListImages",
    "ImageService/GetImageStreamImage",
    "SecretService/CreateSecret",
    "SecretService/DeleteSecret",
    "SecretService/ListSecrets",
    "EventService/Watch",
    "EventService/ReadEvents",
    "AuditService/GetInclusionProof",
    "AuditService/GetConsistencyProof",
];

/// How long a watcher waits for something.
const WATCHED: Duration = Duration::from_millis(200);

struct Asked {
    runtime: Runtime,
    channel: Channel,
    server: Server,
}

static SERVER: Mutex<Option<Asked>> = Mutex::new(None);

/// A line that names the method, and the bytes of a request.
pub(crate) fn request(bytes: &[u8]) -> bool {
    let line = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (named, message) = bytes.split_at(line);
    let message = Bytes::copy_from_slice(message.get(1..).unwrap_or_default());
    // The method that begins most like what is named: a changed letter is to find its way to the same call.
    let alike =
        |method: &&str| method.bytes().zip(named).take_while(|(ours, theirs)| ours == *theirs).count();
    let method = METHODS.into_iter().max_by_key(alike).expect("there are methods");

    let mut asked = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    let Asked { runtime, channel, server } = asked.get_or_insert_with(start);
    let outcome = runtime.block_on(call(channel.clone(), method, message));
    match outcome {
        Ok(()) => true,
        Err(status) => match status.code() {
            Code::Internal | Code::Unknown | Code::DataLoss | Code::Unavailable | Code::Unimplemented => {
                let log = server.log();
                let end = log.lines().rev().take(5).collect::<Vec<_>>().join("\n");
                *asked = None;
                panic!("{method}: {:?}: {}\n{end}", status.code(), status.message());
            }
            _ => false,
        },
    }
}

/// Starts the server, so that no input waits for it.
pub(crate) fn begin() {
    SERVER.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(start);
}

/// Ends the server, which nobody else would.
pub(crate) fn stop() {
    *SERVER.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

fn start() -> Asked {
    // No import that fails is tried again while this runs.
    let config = "[import]\nfirst_retry = \"30d\"\nlongest_retry = \"30d\"\nallow_private_networks = false\n";
    let server = Server::start(Options { config: config.into(), ..Options::default() }).expect("a server");
    let runtime = Runtime::new().expect("a runtime");
    let endpoint = Endpoint::from_shared(server.url()).expect("a URL");
    let channel = runtime.block_on(endpoint.connect()).expect("a connection");
    Asked { runtime, channel, server }
}

/// Sends the bytes, and waits for the first answer.
async fn call(channel: Channel, method: &str, message: Bytes) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(channel).max_decoding_message_size(64 << 20);
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path: PathAndQuery = format!("/tagtrail.v1.{method}").parse().expect("a path");
    let answers = client.server_streaming(Request::new(message), path, Raw).await?;
    let first = async { answers.into_inner().message().await.map(drop) };
    tokio::time::timeout(WATCHED, first).await.unwrap_or(Ok(()))
}

/// Messages as bytes.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = usize;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = usize;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<usize>, Status> {
        let length = bytes.remaining();
        bytes.advance(length);
        Ok(Some(length))
    }
}
