//! The gRPC contract of `proto/tagtrail/v1/services.proto`, kept by a real server.

mod reads;
mod secrets;
mod writes;

use std::future::Future;

use tagtrail_api::v1::admin_service_client::AdminServiceClient;
use tagtrail_api::v1::audit_service_client::AuditServiceClient;
use tagtrail_api::v1::event_service_client::EventServiceClient;
use tagtrail_api::v1::image_service_client::ImageServiceClient;
use tagtrail_api::v1::image_stream_service_client::ImageStreamServiceClient;
use tagtrail_api::v1::import_service_client::ImportServiceClient;
use tagtrail_api::v1::secret_service_client::SecretServiceClient;
use tagtrail_api::v1::tag_service_client::TagServiceClient;
use tagtrail_api::v1::*;
use tagtrail_tests::faulty::Faulty;
use tagtrail_tests::server::Server;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};

/// The namespace of everything here.
const HERE: &str = "test";

/// Someone who calls a server.
pub(crate) struct Api {
    runtime: Runtime,
    channel: Channel,
}

impl Api {
    pub(crate) fn of(server: &Server) -> Api {
        let runtime = Runtime::new().expect("a runtime");
        let endpoint = Endpoint::from_shared(server.url()).expect("the server has a URL");
        let channel = runtime.block_on(endpoint.connect()).expect("the server takes connections");
        Api { runtime, channel }
    }

    /// Makes a call that has to succeed.
    pub(crate) fn ok<T>(&self, call: impl Future<Output = Result<Response<T>, Status>>) -> T {
        match self.runtime.block_on(call) {
            Ok(response) => response.into_inner(),
            Err(status) => panic!("{:?}: {}", status.code(), status.message()),
        }
    }

    /// Makes a call that has to be refused, in words that contain `words`.
    pub(crate) fn refused<T: std::fmt::Debug>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
        code: Code,
        words: &str,
    ) {
        let status = self.runtime.block_on(call).expect_err(words);
        assert_eq!(status.code(), code, "{}", status.message());
        assert!(status.message().contains(words), "says {}\nnot  {words}", status.message());
    }

    /// Makes a call that may be refused.
    pub(crate) fn call<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<Response<T>, Status> {
        self.runtime.block_on(call)
    }

    /// Does something else at the same time. To be waited for with [`Api::ok`].
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>> + Send + 'static,
    ) -> impl Future<Output = Result<Response<T>, Status>> {
        let task = self.runtime.spawn(call);
        async move { task.await.expect("it does not panic") }
    }

    /// Runs something else that waits.
    pub(crate) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    pub(crate) fn streams(&self) -> ImageStreamServiceClient<Channel> {
        ImageStreamServiceClient::new(self.channel.clone())
    }

    pub(crate) fn tags(&self) -> TagServiceClient<Channel> {
        TagServiceClient::new(self.channel.clone())
    }

    pub(crate) fn imports(&self) -> ImportServiceClient<Channel> {
        ImportServiceClient::new(self.channel.clone())
    }

    pub(crate) fn secrets(&self) -> SecretServiceClient<Channel> {
        SecretServiceClient::new(self.channel.clone())
    }

    pub(crate) fn images(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(self.channel.clone())
    }

    pub(crate) fn events(&self) -> EventServiceClient<Channel> {
        EventServiceClient::new(self.channel.clone())
    }

    pub(crate) fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel.clone())
    }

    pub(crate) fn audits(&self) -> AuditServiceClient<Channel> {
        AuditServiceClient::new(self.channel.clone())
    }

    /// The sequence of the newest event.
    pub(crate) fn head(&self) -> u64 {
        self.ok(self.admin().get_status(GetStatusRequest {})).head
    }

    /// All events after a sequence, of which there are not many.
    pub(crate) fn events_after(&self, sequence: u64) -> Vec<Event> {
        let request = ReadEventsRequest { from_sequence: sequence + 1, ..Default::default() };
        self.ok(self.events().read_events(request)).events
    }
}

fn create(name: &str) -> CreateImageStreamRequest {
    CreateImageStreamRequest { namespace: HERE.into(), name: name.into(), ..Default::default() }
}

fn delete(name: &str) -> DeleteImageStreamRequest {
    DeleteImageStreamRequest { namespace: HERE.into(), name: name.into(), write: None }
}

fn get(name: &str) -> GetImageStreamRequest {
    GetImageStreamRequest { namespace: HERE.into(), name: name.into(), history_limit: 0, at: None }
}

fn describe(name: &str) -> DescribeImageStreamRequest {
    DescribeImageStreamRequest { namespace: HERE.into(), name: name.into(), history_limit: 0, at: None }
}

/// Only points at an image: no registry is asked.
fn point(name: &str, tag: &str, image: &str) -> SetTagRequest {
    let source = source(SourceKind::DockerImage, image);
    SetTagRequest { reference: true, source, ..copy(name, tag, "") }
}

/// Copies what `from`, a tag of a stream, points to now.
fn copy(name: &str, tag: &str, from: &str) -> SetTagRequest {
    SetTagRequest {
        namespace: HERE.into(),
        name: name.into(),
        tag: tag.into(),
        source: source(SourceKind::ImageStreamTag, from),
        ..Default::default()
    }
}

fn source(kind: SourceKind, name: &str) -> Option<TagSource> {
    Some(TagSource { kind: kind.into(), namespace: String::new(), name: name.into() })
}

/// Imports the one image of a registry.
fn import(name: &str, tag: &str, registry: &Faulty) -> ImportRequest {
    ImportRequest {
        namespace: HERE.into(),
        name: name.into(),
        tag: tag.into(),
        from: format!("{}/team/app:v1", registry.host()),
        confirm: true,
        insecure: Some(true),
        ..Default::default()
    }
}

fn under(request_id: &str) -> Option<WriteOptions> {
    Some(WriteOptions { request_id: request_id.into(), ..Default::default() })
}
