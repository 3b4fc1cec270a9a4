//! Writes of every kind, from all sides, as wild as they come.

use std::collections::BTreeMap;

use tagtrail_api::v1::image_stream_service_client::ImageStreamServiceClient;
use tagtrail_api::v1::tag_service_client::TagServiceClient;
use tagtrail_api::v1::{
    CreateImageStreamRequest, DeleteImageStreamRequest, DeleteTagRequest, SetLookupPolicyRequest,
    SetTagRequest, SourceKind, TagSource, UpdateMetadataRequest, WriteOptions, WriteResult,
};
use tagtrail_tests::chance::Chance;
use tagtrail_tests::server::Server;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// One command, with everything that makes a repeat of it the same request.
#[derive(Clone)]
pub(crate) struct Write {
    pub(crate) id: String,
    what: What,
    stream: String,
    tag: String,
}

#[derive(Clone, Copy)]
enum What {
    Create,
    Delete,
    SetTag(u64),
    DeleteTag,
    SetLookupPolicy,
    Annotate(u64),
}

/// What a writer heard.
pub(crate) enum Heard {
    /// It is done; the last event has this sequence, or nothing had to change (0).
    Done(u64),
    /// It will never be done.
    Refused,
    /// The connection broke.
    Nothing,
}

impl Write {
    pub(crate) fn any(chance: &mut Chance, id: String) -> Write {
        let what = match chance.below(20) {
            0 => What::Delete,
            1..=2 => What::Create,
            3..=5 => What::DeleteTag,
            6..=7 => What::SetLookupPolicy,
            8..=10 => What::Annotate(chance.below(1_000)),
            // Creates the stream where there is none: several events in one command.
            _ => What::SetTag(chance.below(1_000)),
        };
        Write { id, what, stream: format!("s{}", chance.below(8)), tag: format!("t{}", chance.below(6)) }
    }

    pub(crate) async fn send(&self, channel: Channel) -> Heard {
        match self.call(channel).await {
            Ok(result) => Heard::Done(result.expect("every write answers with its result").sequence),
            Err(status) => match status.code() {
                Code::NotFound
                | Code::AlreadyExists
                | Code::FailedPrecondition
                | Code::InvalidArgument
                | Code::Aborted => Heard::Refused,
                _ => Heard::Nothing,
            },
        }
    }

    async fn call(&self, channel: Channel) -> Result<Option<WriteResult>, Status> {
        let (namespace, name) = ("storm".to_owned(), self.stream.clone());
        let tag = self.tag.clone();
        let write =
            Some(WriteOptions { request_id: self.id.clone(), reason: "storm".into(), ..Default::default() });
        let mut streams = ImageStreamServiceClient::new(channel.clone());
        let mut tags = TagServiceClient::new(channel);
        Ok(match self.what {
            What::Create => {
                let request = CreateImageStreamRequest { namespace, name, write, ..Default::default() };
                streams.create_image_stream(request).await?.into_inner().result
            }
            What::Delete => {
                let request = DeleteImageStreamRequest { namespace, name, write };
                streams.delete_image_stream(request).await?.into_inner().result
            }
            What::SetTag(image) => {
                let source = TagSource {
                    kind: SourceKind::DockerImage.into(),
                    namespace: String::new(),
                    name: format!("registry.example/team/app:{image}"),
                };
                // A reference is never imported: this is about the log alone.
                let source = Some(source);
                let request = SetTagRequest {
                    namespace,
                    name,
                    tag,
                    source,
                    reference: true,
                    write,
                    ..Default::default()
                };
                tags.set_tag(request).await?.into_inner().result
            }
            What::DeleteTag => {
                let request = DeleteTagRequest { namespace, name, tag, expected_image: String::new(), write };
                tags.delete_tag(request).await?.into_inner().result
            }
            What::SetLookupPolicy => {
                let local = self.id.len().is_multiple_of(2);
                let request = SetLookupPolicyRequest { namespace, name, local, dry_run: false, write };
                streams.set_lookup_policy(request).await?.into_inner().result
            }
            What::Annotate(value) => {
                let set_annotations = BTreeMap::from([("storm".to_owned(), value.to_string())]);
                let request = UpdateMetadataRequest {
                    namespace,
                    name,
                    set_annotations,
                    overwrite: true,
                    write,
                    ..Default::default()
                };
                streams.update_metadata(request).await?.into_inner().result
            }
        })
    }
}

/// Sends so many writes from each of sixteen sides, and waits until all are answered.
pub(crate) async fn storm(server: &Server, name: &str, writes: u64) {
    let mut writers = JoinSet::new();
    for writer in 0..16 {
        let channel = connect(server).await;
        let (name, mut chance) = (name.to_owned(), Chance(writer + 1));
        writers.spawn(async move {
            for number in 0..writes {
                let write = Write::any(&mut chance, format!("{name}-{writer}-{number}"));
                assert!(!matches!(write.send(channel.clone()).await, Heard::Nothing), "{name}: no answer");
            }
        });
    }
    writers.join_all().await;
}

pub(crate) async fn connect(server: &Server) -> Channel {
    let endpoint = Endpoint::from_shared(server.url()).expect("the server has a URL");
    endpoint.connect().await.expect("the server takes connections")
}
