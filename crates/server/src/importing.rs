//! Asking registries. Never inside the writer: resolve first, decide after, and let `decide` notice that the world
//! moved meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use futures_util::StreamExt;
use tagtrail_domain::command::{Import, ImportOrigin, ImportTarget, ImportedImage};
use tagtrail_domain::import_plan::{ImportPlan, PlannedImage, PlannedRepository, preferred_platform};
use tagtrail_domain::order::prioritize;
use tagtrail_domain::tag::ImportMode;
use tagtrail_domain::{Digest, Failure, FailureKind, ImageReference, Namespace, Stream, TagName};
use tagtrail_event_log::blobs::BlobStore;
use tagtrail_importer::{Fetched, ImageRequest, Importer, Probe, PullSecrets, Turn, Wait, is_blocked};

use crate::outside::Outside;
use crate::secrets::Secrets;

/// How many images of one import are asked for at a time.
const AT_ONCE: usize = 4;
/// Most bytes of manifests and configurations that one import holds until all of it is there. Real ones are some
/// kilobytes an image; what comes beyond this fails.
const BYTES_AT_ONCE: usize = 256 << 20;

/// Asks registries, and keeps the bytes they give.
#[derive(Clone)]
pub(crate) struct Importing {
    importer: Importer,
    blobs: Arc<BlobStore>,
    secrets: Arc<Secrets>,
    outside: Outside,
    max_images_per_repository: usize,
}

/// What registries answered to a plan.
pub(crate) struct Answer {
    /// One for each image, those of a repository first.
    pub images: Vec<AnsweredImage>,
    /// Tags of the repository that were left out, by priority.
    pub additional_tags: Vec<String>,
    /// What was wrong with the repository as a whole.
    pub repository_failure: Option<Failure>,
    repository: String,
    create_stream: bool,
    planned_uid: Option<String>,
}

/// What became of one image.
pub(crate) struct AnsweredImage {
    /// What was asked for.
    pub planned: PlannedImage,
    /// Whether it belongs to the import of a whole repository.
    pub from_repository: bool,
    /// What was answered.
    pub outcome: Result<Arc<Fetched>, Failure>,
}

impl AnsweredImage {
    /// The tag at the source. It names the image in OpenShift's output (spec §1.1, ImageStreamImport). An image that
    /// was asked for by its digest has none, whatever tag stands beside the digest.
    #[must_use]
    pub(crate) fn source_tag(&self) -> String {
        // A blocked registry is refused before OpenShift has looked at the tag (spec §3.3).
        let blocked = matches!(&self.outcome, Err(failure) if is_blocked(failure));
        if blocked { String::new() } else { source_tag(&self.planned.reference) }
    }
}

impl Answer {
    /// The answer to a plan of one image that was not even asked for.
    #[must_use]
    pub(crate) fn failed(image: PlannedImage, stream: &Stream, failure: Failure) -> Self {
        Self {
            images: vec![AnsweredImage { planned: image, from_repository: false, outcome: Err(failure) }],
            additional_tags: Vec::new(),
            repository_failure: None,
            repository: String::new(),
            create_stream: false,
            planned_uid: Some(stream.uid.clone()),
        }
    }
}

/// The tag a reference asks for: `latest` where it names nothing else, none where it names a digest.
pub(crate) fn source_tag(reference: &ImageReference) -> String {
    if reference.digest.is_some() { String::new() } else { reference.with_defaults().tag }
}

impl Importing {
    /// Puts the parts together.
    #[must_use]
    pub(crate) fn new(
        importer: Importer,
        blobs: Arc<BlobStore>,
        secrets: Arc<Secrets>,
        outside: Outside,
        max_images_per_repository: usize,
    ) -> Self {
        Self { importer, blobs, secrets, outside, max_images_per_repository }
    }

    /// A turn at the registry of an image, for a check that nobody waits for.
    ///
    /// # Errors
    /// For how long there is none, and why.
    pub(crate) fn turn(&self, reference: &ImageReference) -> Result<Turn, Wait> {
        self.importer.turn(reference)
    }

    /// Takes back a turn that was not used.
    pub(crate) fn give_back(&self, turn: Turn) {
        self.importer.give_back(turn);
    }

    /// Asks what a tag of a registry names, without fetching it, with the secrets of a namespace.
    pub(crate) async fn probe(&self, namespace: &Namespace, image: &PlannedImage, turn: Turn) -> Probe {
        self.importer.probe(&request(image, &self.secrets.of(namespace)), turn).await
    }

    /// Asks for everything in a plan, with the secrets that the namespace has now. `stream` is what it was planned on.
    pub(crate) async fn ask(
        &self,
        namespace: &Namespace,
        plan: ImportPlan,
        stream: Option<&Stream>,
    ) -> Answer {
        let secrets = self.secrets.of(namespace);
        let mut answer = Answer {
            images: Vec::new(),
            additional_tags: Vec::new(),
            repository_failure: None,
            repository: plan.repository.as_ref().map(|r| r.from.clone()).unwrap_or_default(),
            create_stream: plan.create_stream,
            planned_uid: plan.uid,
        };
        let mut wanted: Vec<(PlannedImage, bool)> = Vec::new();
        if let Some(repository) = plan.repository {
            match self.importer.tags(&repository.reference, repository.policy.insecure, &secrets).await {
                Ok(tags) => {
                    let (taken, left) = by_priority(tags, self.max_images_per_repository);
                    let images = taken.into_iter().map(|tag| (of_repository(&repository, tag, stream), true));
                    wanted.extend(images);
                    answer.additional_tags = left;
                }
                Err(failure) => answer.repository_failure = Some(failure),
            }
        }
        wanted.extend(plan.images.into_iter().map(|image| (image, false)));
        answer.images = self.fetch_all(wanted, &secrets).await;
        answer
    }

    /// Each distinct image is fetched once, even where several tags want it (spec §3.3). The order stays.
    async fn fetch_all(
        &self,
        wanted: Vec<(PlannedImage, bool)>,
        secrets: &PullSecrets,
    ) -> Vec<AnsweredImage> {
        let mut distinct: BTreeMap<Question, ImageRequest> = BTreeMap::new();
        for (image, _) in &wanted {
            distinct.entry(Question::of(image)).or_insert_with(|| request(image, secrets));
        }
        let held = AtomicUsize::new(0);
        let fetch = async |request: ImageRequest| {
            let fetched = self.fetch(&request).await?;
            let bytes: usize = fetched.blobs.iter().map(|(_, bytes)| bytes.len()).sum();
            if held.fetch_add(bytes, Ordering::Relaxed) + bytes > BYTES_AT_ONCE {
                return Err(too_much(&request));
            }
            Ok(Arc::new(fetched))
        };
        let fetch = &fetch;
        let answers: BTreeMap<Question, Result<Arc<Fetched>, Failure>> = futures_util::stream::iter(distinct)
            .map(|(question, request)| async move { (question, fetch(request).await) })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let answered = |(planned, from_repository): (PlannedImage, bool)| {
            let outcome = answers[&Question::of(&planned)].clone();
            AnsweredImage { planned, from_repository, outcome }
        };
        wanted.into_iter().map(answered).collect()
    }

    async fn fetch(&self, request: &ImageRequest) -> Result<Fetched, Failure> {
        let began = Instant::now();
        let fetched = self.importer.image(request, self.outside.now()).await;
        crate::metrics::imported(fetched.as_ref().err(), began.elapsed());
        fetched
    }

    /// Puts the bytes of an answer on the disk, so that an event may name them, and makes the command of it.
    ///
    /// # Errors
    /// If the disk does not take them. Nothing may then be written to the log.
    pub(crate) async fn keep(&self, answer: &Answer, origin: ImportOrigin) -> std::io::Result<Import> {
        let fetched = || answer.images.iter().filter_map(|image| image.outcome.as_ref().ok());
        let blobs: BTreeMap<Digest, Bytes> =
            fetched().flat_map(|fetched| fetched.blobs.iter().cloned()).collect();
        let store = self.blobs.clone();
        let put = move || blobs.values().try_for_each(|bytes| store.put(bytes).map(drop));
        tokio::task::spawn_blocking(put).await.map_err(std::io::Error::other)??;
        Ok(Import {
            targets: answer.images.iter().map(target).collect(),
            repository: answer.repository.clone(),
            repository_failure: answer.repository_failure.clone(),
            additional_tags: u32::try_from(answer.additional_tags.len()).unwrap_or(u32::MAX),
            create_stream: answer.create_stream,
            origin,
            planned_uid: answer.planned_uid.clone(),
        })
    }
}

/// What is asked of a registry. Two images wanted with the same question get the same answer.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Question {
    reference: String,
    insecure: bool,
    mode: ImportMode,
    prefer_os: Option<String>,
    prefer_architecture: Option<String>,
}

impl Question {
    /// What is asked for an image.
    #[must_use]
    pub(crate) fn of(image: &PlannedImage) -> Self {
        Self {
            reference: image.reference.to_string(),
            insecure: image.policy.insecure,
            mode: image.policy.mode,
            prefer_os: image.prefer_os.clone(),
            prefer_architecture: image.prefer_architecture.clone(),
        }
    }
}

fn request(image: &PlannedImage, secrets: &PullSecrets) -> ImageRequest {
    ImageRequest {
        reference: image.reference.clone(),
        insecure: image.policy.insecure,
        mode: match image.policy.mode {
            ImportMode::Legacy => tagtrail_importer::ImportMode::Legacy,
            ImportMode::PreserveOriginal => tagtrail_importer::ImportMode::PreserveOriginal,
        },
        prefer_os: image.prefer_os.clone(),
        prefer_arch: image.prefer_architecture.clone(),
        secrets: secrets.clone(),
    }
}

fn target(image: &AnsweredImage) -> ImportTarget {
    let planned = &image.planned;
    ImportTarget {
        tag: planned.tag.clone(),
        from: planned.from.clone(),
        policy: planned.policy,
        reference_policy: planned.reference_policy,
        from_repository: image.from_repository,
        planned: planned.planned.clone(),
        outcome: image.outcome.as_ref().map_err(Clone::clone).map(|fetched| ImportedImage {
            image: fetched.image.clone(),
            children: fetched.sub_manifests.clone(),
            index: fetched.index.clone(),
        }),
    }
}

fn too_much(request: &ImageRequest) -> Failure {
    let message = format!(
        "Internal error occurred: {}: the manifests and configurations of this import have more than {} MiB; import fewer images at once",
        request.reference,
        BYTES_AT_ONCE >> 20
    );
    Failure { kind: FailureKind::BadAnswer, reason: "InternalError".into(), message }
}

fn by_priority(mut tags: Vec<String>, limit: usize) -> (Vec<TagName>, Vec<String>) {
    prioritize(&mut tags);
    let left = tags.split_off(limit.min(tags.len()));
    (tags.iter().filter_map(|tag| TagName::parse(tag).ok()).collect(), left)
}

fn of_repository(repository: &PlannedRepository, tag: TagName, stream: Option<&Stream>) -> PlannedImage {
    let reference = repository.reference.at_tag(tag.as_str());
    let spec = stream.and_then(|stream| stream.tags.get(&tag)).and_then(|state| state.spec.as_ref());
    let (prefer_os, prefer_architecture) = spec.map(preferred_platform).unwrap_or_default();
    PlannedImage {
        from: reference.to_string(),
        reference,
        policy: repository.policy,
        reference_policy: repository.reference_policy,
        planned: spec.cloned(),
        prefer_os,
        prefer_architecture,
        tag,
    }
}
