//! Benchmarks, each answering one operator question. See `README.md` beside this crate's manifest.

use std::time::Duration;

use tagtrail_api::v1::admin_service_client::AdminServiceClient;
use tagtrail_api::v1::history_service_client::HistoryServiceClient;
use tagtrail_api::v1::image_stream_service_client::ImageStreamServiceClient;
use tagtrail_api::v1::import_service_client::ImportServiceClient;
use tagtrail_api::v1::tag_service_client::TagServiceClient;
use tagtrail_api::v1::{self, SetTagRequest};
use tagtrail_domain::command::{Import, ImportOrigin, ImportTarget, ImportedImage};
use tagtrail_domain::import_plan::{ImportWish, plan};
use tagtrail_domain::tag::{ImportMode, ReferencePolicy};
use tagtrail_domain::*;
use tagtrail_event_log::{Run as Encoded, codec};
use tonic::transport::{Channel, Endpoint};

/// The program's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The largest answer that is taken.
const LARGEST_ANSWER_BYTES: usize = 64 << 20;
/// Streams of the fixture, and tags of each.
const STREAMS: u64 = 200;
const TAGS: u64 = 5;

/// The time below which `of_hundred` percent of the times are, in microseconds. Sorts them.
pub fn quantile(times: &mut [Duration], of_hundred: usize) -> u128 {
    times.sort_unstable();
    times[times.len() * of_hundred / 100].as_micros()
}

/// A wish that moves tag `v1` of a writer's stream: two events.
#[must_use]
pub fn point(writer: u64, number: u64) -> SetTagRequest {
    let source = v1::TagSource {
        kind: v1::SourceKind::DockerImage.into(),
        namespace: String::new(),
        name: format!("registry.example/team/app:{number}"),
    };
    SetTagRequest {
        namespace: "bench".into(),
        name: format!("app-{writer}"),
        tag: "v1".into(),
        source: Some(source),
        // Never imported: no registry is asked.
        reference: true,
        ..SetTagRequest::default()
    }
}

/// Calls to a server, on one connection.
pub struct Calls(Channel);

impl Calls {
    /// Connects.
    ///
    /// # Panics
    /// If nobody answers there.
    pub async fn to(url: &str) -> Self {
        let endpoint = Endpoint::from_shared(url.to_owned()).expect("a URL");
        Self(endpoint.connect().await.expect("a server"))
    }

    /// Image streams as a whole.
    #[must_use]
    pub fn streams(&self) -> ImageStreamServiceClient<Channel> {
        ImageStreamServiceClient::new(self.0.clone()).max_decoding_message_size(LARGEST_ANSWER_BYTES)
    }

    /// Single tags.
    #[must_use]
    pub fn tags(&self) -> TagServiceClient<Channel> {
        TagServiceClient::new(self.0.clone()).max_decoding_message_size(LARGEST_ANSWER_BYTES)
    }

    /// What was.
    #[must_use]
    pub fn histories(&self) -> HistoryServiceClient<Channel> {
        HistoryServiceClient::new(self.0.clone()).max_decoding_message_size(LARGEST_ANSWER_BYTES)
    }

    /// For operators.
    #[must_use]
    pub fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.0.clone())
    }

    /// Imports so many images of a registry into one tag, one after the other, and gives their digests. `next` makes the
    /// registry have another one.
    ///
    /// # Panics
    /// If an import fails.
    pub async fn import(&self, registry: &str, images: usize, next: impl Fn()) -> Vec<String> {
        let mut digests = Vec::new();
        for _ in 0..images {
            next();
            let request = v1::ImportRequest {
                namespace: "bench".into(),
                name: "pool".into(),
                tag: "v1".into(),
                from: format!("{registry}/team/app:v1"),
                confirm: true,
                insecure: Some(true),
                ..v1::ImportRequest::default()
            };
            let client = ImportServiceClient::new(self.0.clone());
            let mut client = client.max_decoding_message_size(LARGEST_ANSWER_BYTES);
            let answer = client.import(request).await.expect("an answer").into_inner();
            let image = answer.results.into_iter().next().and_then(|result| result.image);
            digests.push(image.expect("the registry is honest").digest);
        }
        digests
    }

    /// A wish that a tag points to one of these images.
    #[must_use]
    pub fn set(name: &str, tag: &str, digest: &str) -> SetTagRequest {
        let source = v1::TagSource {
            kind: v1::SourceKind::ImageStreamImage.into(),
            namespace: "bench".into(),
            name: format!("pool@{digest}"),
        };
        SetTagRequest {
            namespace: "bench".into(),
            name: name.into(),
            tag: tag.into(),
            source: Some(source),
            ..SetTagRequest::default()
        }
    }
}

/// At least so many events, as imports make them: 1,000 tags in 200 streams, each import finding a new image.
///
/// # Panics
/// If the domain refuses an import: then this is not a measurement.
#[must_use]
pub fn imports(events: u64) -> Vec<Encoded> {
    let mut all = Vec::new();
    import_log(events, 256, |runs| all.extend(runs));
    all
}

/// The same, some runs at a time.
///
/// # Panics
/// If the domain refuses an import.
pub fn import_log(events: u64, at_once: usize, mut take: impl FnMut(Vec<Encoded>)) {
    let (mut model, mut runs, mut head, mut number) = (Model::default(), Vec::new(), 0, 0);
    while head < events {
        let run = import(&model, head + 1, number);
        number += 1;
        for recorded in &run {
            let at = Position { sequence: recorded.sequence, recorded_at: recorded.recorded_at };
            model.apply(&recorded.stream, &recorded.event, at);
            head = recorded.sequence;
        }
        runs.push(run.iter().map(codec::encode).collect());
        if runs.len() == at_once {
            take(std::mem::take(&mut runs));
        }
    }
    take(runs);
}

fn import(model: &Model, first: u64, number: u64) -> Vec<Recorded> {
    let key = StreamKey::parse("bench", &format!("app-{}", number % STREAMS)).expect("a stream");
    let tag = TagName::parse(&format!("v{}", number / STREAMS % TAGS)).expect("a tag");
    let state = model.stream(&key);
    let wish = ImportWish {
        target_text: format!("{}:{tag}", key.name),
        from: format!("registry.example/team/app:{tag}"),
        tag: Some(tag),
        all: false,
        confirm: true,
        scheduled: false,
        interval: None,
        insecure: None,
        mode: ImportMode::Legacy,
        reference_policy: ReferencePolicy::Source,
    };
    let planned = plan(&key, state.life.as_ref(), &wish).expect("it can be imported");
    let command = Command::Import(Import {
        create_stream: planned.create_stream,
        planned_uid: planned.uid,
        targets: planned
            .images
            .into_iter()
            .map(|image| ImportTarget {
                outcome: Ok(ImportedImage {
                    image: found(&image.reference, number),
                    children: Vec::new(),
                    index: None,
                }),
                tag: image.tag,
                from: image.from,
                policy: image.policy,
                reference_policy: image.reference_policy,
                from_repository: false,
                planned: image.planned,
            })
            .collect(),
        repository: String::new(),
        repository_failure: None,
        additional_tags: 0,
        origin: ImportOrigin::Request,
    });
    let now = Timestamp::new(1_700_000_000 + i64::try_from(number).expect("small"), 0);
    let context = Context {
        now,
        next_sequence: first,
        fresh_uids: vec![format!("00000000-0000-4000-8000-{number:012}")],
        expected_revision: None,
        internal_registry: None,
        tags_per_stream: tagtrail_domain::limits::TAGS_PER_STREAM,
    };
    let events = decide(model, &key, &context, &command).expect("it is not refused");
    let run = Run { first_sequence: first, length: u32::try_from(events.len()).expect("few") };
    let envelope = |(index, event)| Recorded {
        sequence: first + index,
        revision: state.revision + 1 + index,
        recorded_at: now,
        run,
        stream: key.clone(),
        actor: Actor { name: "bench@localhost".into(), authenticated: false },
        reason: String::new(),
        command: "import".into(),
        request_id: format!("request-{number}"),
        request_digest: vec![0xAB; 32],
        caused_by: 0,
        traceparent: String::new(),
        event,
    };
    (0..).zip(events).map(envelope).collect()
}

fn found(reference: &ImageReference, number: u64) -> Image {
    let digest = Digest::parse(&format!("sha256:{number:064x}")).expect("a digest");
    Image {
        reference: reference.at_digest(&digest).to_string(),
        config: Some(digest.clone()),
        digest,
        media_type: "application/vnd.oci.image.manifest.v1+json".into(),
        size: 1 << 20,
        platform: Platform { os: "linux".into(), architecture: "amd64".into(), variant: String::new() },
        built_at: None,
        layers: Vec::new(),
        manifests: Vec::new(),
    }
}
