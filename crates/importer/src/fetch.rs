//! The importer itself: one image, or the tags of one repository, from whichever source has it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;
use tagtrail_domain::image::{Image, ManifestEntry};
use tagtrail_domain::{Digest, Failure, ImageReference, Timestamp};

use crate::auth::{self, Connection, Known};
use crate::client::{Answer, Client};
use crate::config::{Config, ConfigError};
use crate::credentials::Credentials;
use crate::failure::{self, Asked, Cause, Fault, invalid_reference};
use crate::few::few;
use crate::limits;
use crate::manifest::{self, Manifest};
use crate::pace::Turn;
use crate::pull_secrets::PullSecrets;
use crate::registry::{self, Source};

/// What becomes of an index (manifest list).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ImportMode {
    /// The manifest of one platform is taken for the image.
    #[default]
    Legacy,
    /// The index is the image, and all its manifests are fetched with it.
    PreserveOriginal,
}

/// One image wanted.
#[derive(Clone, Debug)]
pub struct ImageRequest {
    /// The image, as typed. A digest wins over a tag.
    pub reference: ImageReference,
    /// Do without certificates, and fall back to plain HTTP.
    pub insecure: bool,
    /// What becomes of an index.
    pub mode: ImportMode,
    /// Operating system to take from an index; `None`: this machine's.
    pub prefer_os: Option<String>,
    /// Architecture to take from an index, in Go's words (`amd64`); `None`: this machine's.
    pub prefer_arch: Option<String>,
    /// What the namespace that wants it has handed over. Tried before the server's own credentials.
    pub secrets: PullSecrets,
}

/// One image fetched.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The image. Its reference is the repository as typed, at the digest, whatever mirror served it.
    pub image: Image,
    /// The images of an index that was kept whole, in its order.
    pub sub_manifests: Vec<Image>,
    /// Manifests and configurations of all these images. To be stored before the event that tells of them.
    pub blobs: Vec<(Digest, Bytes)>,
    /// The index (manifest list) the image was chosen from, in [`ImportMode::Legacy`]: what the registry names for
    /// the reference, and so what [`Importer::probe`] finds while nothing has moved.
    pub index: Option<Digest>,
}

/// What a HEAD tells of a reference.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Probe {
    /// The registry names this digest for the reference: of the image, or of the index it is in. The registry's
    /// word alone, not checked against any bytes.
    Digest(Digest),
    /// The registry asks to be left alone (429, or `Retry-After` with 502, 503 or 504) for so long; nothing more was
    /// asked of it.
    Later(Duration, Failure),
    /// A HEAD does not tell: fetch the image to know.
    Unknown,
}

/// Why there is no [`Turn`] now, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// The budget of the registry host is spent.
    Budget(Duration),
    /// The registry has asked to be left alone (`Retry-After`).
    Asked(Duration),
}

impl Wait {
    /// How long.
    #[must_use]
    pub fn time(self) -> Duration {
        match self {
            Self::Budget(time) | Self::Asked(time) => time,
        }
    }
}

/// Fetches images. Cheap to clone; one per server, because it remembers pings, tokens and connections.
#[derive(Clone)]
pub struct Importer {
    inner: Arc<Inner>,
}

struct Inner {
    config: Arc<Config>,
    client: Client,
    known: Known,
    credentials: Credentials,
}

impl Importer {
    /// An importer with this configuration. Connects to nothing yet.
    ///
    /// # Errors
    /// The configuration contradicts itself, or a file it names is missing.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        config.check()?;
        let config = Arc::new(config);
        let client = Client::new(Arc::clone(&config));
        let credentials = Credentials::new(config.docker_config_dir.as_deref());
        Ok(Self { inner: Arc::new(Inner { config, client, known: Known::default(), credentials }) })
    }

    /// Fetches one image from the first source that has it. `now` becomes the date of an index.
    ///
    /// # Errors
    /// Why no source gave it, in OpenShift's words (spec §3.7).
    pub async fn image(&self, request: &ImageRequest, now: Timestamp) -> Result<Fetched, Failure> {
        let reference = checked(&request.reference)?;
        let asked = Asked::Image(&reference);
        let sources = registry::sources(&self.inner.config, &reference, request.insecure)?;
        let fetch = async {
            let mut failures = Vec::new();
            for source in &sources {
                match self.image_from(source, &reference, request, now).await {
                    Ok(fetched) => return Ok(fetched),
                    Err(failure) => failures.push(failure),
                }
            }
            Err(failure::join(failures))
        };
        self.in_time(asked, fetch).await
    }

    /// The tags of a repository, all pages, in the registry's order, each once. Tags that are no tags are left
    /// out; an empty one is taken for `latest` (spec §3.3). `secrets` are those of the namespace that wants them.
    ///
    /// # Errors
    /// Why no source gave them.
    pub async fn tags(
        &self,
        repository: &ImageReference,
        insecure: bool,
        secrets: &PullSecrets,
    ) -> Result<Vec<String>, Failure> {
        let reference = checked(repository)?;
        let asked = Asked::Tags(repository);
        let sources = registry::sources(&self.inner.config, &reference, insecure)?;
        let fetch = async {
            let mut failures = Vec::new();
            for source in &sources {
                match self.tags_from(source, secrets).await {
                    Ok(tags) => return Ok(tags),
                    Err(fault) => failures.push(failure::explain(asked, &fault)),
                }
            }
            Err(failure::join(failures))
        };
        self.in_time(asked, fetch).await
    }

    /// Takes a turn to ask for a reference in the background: one request out of the budget of the host that
    /// [`Importer::probe`] asks first. A reference that nobody would be asked for has its turn at once.
    ///
    /// # Errors
    /// How long until there may be one: until the budget has room, or, if all sources asked to be left alone
    /// (429, `Retry-After`), until the first of them may be asked again.
    pub fn turn(&self, reference: &ImageReference) -> Result<Turn, Wait> {
        let sources = registry::sources(&self.inner.config, &reference.with_defaults(), false);
        let sources = sources.unwrap_or_default();
        // `None` is less than any time: one willing source is enough.
        if let Some(wait) = sources.iter().map(|source| self.inner.client.held(&source.host)).min().flatten()
        {
            return Err(Wait::Asked(wait));
        }
        match self.willing(&sources).first() {
            Some(first) => self.inner.client.turn(&first.host).map_err(Wait::Budget),
            None => Ok(Turn::for_nobody()),
        }
    }

    /// Takes back a turn that was not used.
    pub fn give_back(&self, turn: Turn) {
        self.inner.client.give_back(turn);
    }

    /// Asks by HEAD what a reference names now, at no cost of a pull (Docker Hub counts a GET). The turn pays
    /// for it if the registry is known; once a minute or so a ping, and tokens when they run out, come on top.
    ///
    /// Of several sources the first that names a digest counts. Nothing is tried twice: whoever has a schedule
    /// comes back.
    pub async fn probe(&self, request: &ImageRequest, turn: Turn) -> Probe {
        let Ok(reference) = checked(&request.reference) else { return Probe::Unknown };
        let Ok(sources) = registry::sources(&self.inner.config, &reference, request.insecure) else {
            return Probe::Unknown;
        };
        let ask = async {
            let mut busy = None;
            for source in self.willing(&sources) {
                match self.probe_at(source, &reference, &request.secrets, &turn).await {
                    Ok(Some(digest)) => return Probe::Digest(digest),
                    Ok(None) => {}
                    Err(fault) => {
                        let asked = match fault.cause {
                            Cause::RateLimited => Some(fault.retry_after.unwrap_or(limits::USUAL_HOLD)),
                            Cause::Unavailable => fault.retry_after,
                            _ => None,
                        };
                        if let Some(time) = asked {
                            let failure = failure::explain(Asked::Image(&reference), &fault);
                            busy.get_or_insert(Probe::Later(time.max(limits::SHORTEST_LATER), failure));
                        }
                    }
                }
            }
            busy.unwrap_or(Probe::Unknown)
        };
        tokio::time::timeout(self.inner.config.timeouts.image, ask).await.unwrap_or(Probe::Unknown)
    }

    /// `None`: an answer without a digest.
    async fn probe_at(
        &self,
        source: &Source,
        reference: &ImageReference,
        secrets: &PullSecrets,
        turn: &Turn,
    ) -> Result<Option<Digest>, Fault> {
        let mut connection = self.connect(source, secrets, Some(turn)).await?;
        let place = reference.digest.as_ref().map_or(reference.tag.as_str(), Digest::as_str);
        let answer = connection.head(&format!("manifests/{place}"), manifest::ACCEPT).await?;
        Ok(answer.header("docker-content-digest").and_then(|digest| Digest::parse(digest).ok()))
    }

    /// The sources that have not asked to be left alone, in order; all of them if there are none.
    fn willing<'a>(&self, sources: &'a [Source]) -> Vec<&'a Source> {
        let willing = |source: &&Source| self.inner.client.held(&source.host).is_none();
        let found: Vec<_> = sources.iter().filter(willing).collect();
        if found.is_empty() { sources.iter().collect() } else { found }
    }

    /// Nobody waits for ever, however slowly a registry drips.
    async fn in_time<T>(
        &self,
        asked: Asked<'_>,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let limit: Duration = self.inner.config.timeouts.image;
        tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
            let text =
                format!("context deadline exceeded (the registry took more than {} s)", limit.as_secs());
            Err(failure::explain(asked, &Fault::new(Cause::Flaky, text)))
        })
    }

    async fn connect<'a>(
        &'a self,
        source: &'a Source,
        secrets: &PullSecrets,
        turn: Option<&'a Turn>,
    ) -> Result<Connection<'a>, Fault> {
        let credentials = self.inner.credentials.find(secrets, &source.host, &source.repository).await;
        Connection::open(&self.inner.client, &self.inner.known, source, credentials, turn).await
    }

    async fn image_from(
        &self,
        source: &Source,
        reference: &ImageReference,
        request: &ImageRequest,
        now: Timestamp,
    ) -> Result<Fetched, Failure> {
        let explain = |fault: Fault| failure::explain(Asked::Image(reference), &fault);
        let mut connection = self.connect(source, &request.secrets, None).await.map_err(explain)?;
        let mut fetch = Fetch { connection: &mut connection, typed: &request.reference, blobs: Vec::new() };

        let wanted = reference.digest.as_ref();
        let place = wanted.map_or(reference.tag.as_str(), Digest::as_str);
        let (digest, found) = fetch.manifest(place, wanted).await.map_err(explain)?;
        let (media_type, entries) = match found {
            Manifest::Image { .. } => {
                let image = fetch.image(digest, found).await.map_err(explain)?;
                return Ok(fetch.done(image, Vec::new()));
            }
            Manifest::Index { media_type, entries } => (media_type, entries),
        };
        match request.mode {
            ImportMode::Legacy => {
                let index = Some(digest);
                fetch.blobs.clear(); // The index itself is not kept.
                let (os, arch) = (request.prefer_os.as_deref(), request.prefer_arch.as_deref());
                let chosen = manifest::choose(&entries, os, arch)
                    .ok_or_else(|| explain(Fault::new(Cause::BadAnswer, "no manifests in manifest list")))?;
                let image = fetch.child(chosen).await.map_err(explain)?;
                Ok(Fetched { index, ..fetch.done(image, Vec::new()) })
            }
            ImportMode::PreserveOriginal => {
                let mut images = Vec::with_capacity(entries.len());
                for entry in &entries {
                    // What goes wrong with a part is told of the part.
                    let part = reference.at_digest(&entry.digest);
                    let image = fetch.child(entry).await;
                    images.push(image.map_err(|fault| failure::explain(Asked::Image(&part), &fault))?);
                }
                let typed = request.reference.at_digest(&digest).to_string();
                Ok(fetch.done(manifest::index(digest, typed, media_type, entries, now), images))
            }
        }
    }

    async fn tags_from(&self, source: &Source, secrets: &PullSecrets) -> Result<Vec<String>, Fault> {
        let mut connection = self.connect(source, secrets, None).await?;
        let tags = Self::pages(&mut connection).await;
        tags.map_err(|fault| connection.scrubbed(fault))
    }

    async fn pages(connection: &mut Connection<'_>) -> Result<Vec<String>, Fault> {
        let mut tags = Vec::new();
        let mut seen = HashSet::new();
        let mut visited = HashSet::new();
        let mut answer =
            connection.get("tags/list", "application/json", "tag list", limits::TAG_PAGE_BYTES).await?;
        loop {
            let page = parse_tags(&answer.body)?;
            tags.extend(page.into_iter().filter(|tag| seen.insert(tag.clone())));
            if tags.len() > limits::TAGS {
                return Err(too_many_tags());
            }
            let Some(next) = next_page(&answer)? else { return Ok(tags) };
            if next.origin() != connection.base().origin() {
                return Err(auth::on(&answer.url, Cause::BadAnswer, "the tag list goes on at another host"));
            }
            if !visited.insert(next.clone()) || visited.len() >= limits::TAG_PAGES {
                return Err(auth::on(&answer.url, Cause::BadAnswer, "the tag list does not end"));
            }
            answer = connection.get_url(next, "application/json", "tag list", limits::TAG_PAGE_BYTES).await?;
        }
    }
}

/// One image on its way in.
struct Fetch<'a, 'c> {
    connection: &'a mut Connection<'c>,
    typed: &'a ImageReference,
    blobs: Vec<(Digest, Bytes)>,
}

impl Fetch<'_, '_> {
    /// Fetches a manifest by tag or digest and keeps its bytes.
    async fn manifest(&mut self, place: &str, wanted: Option<&Digest>) -> Result<(Digest, Manifest), Fault> {
        let path = format!("manifests/{place}");
        let answer = self.connection.get(&path, manifest::ACCEPT, "manifest", limits::MANIFEST_BYTES).await?;
        // The header that tells the digest is not even looked at.
        let digest = manifest::digest_of(&answer.body, wanted);
        if let Some(wanted) = wanted
            && *wanted != digest
        {
            let text = format!(
                "content integrity error: the manifest retrieved with digest {wanted} does not match the digest \
                 calculated from the content {digest}"
            );
            return Err(Fault::new(Cause::BadAnswer, text));
        }
        let manifest = manifest::parse(&answer.body, answer.headers.get(CONTENT_TYPE));
        let manifest = manifest.map_err(|fault| self.connection.scrubbed(fault))?;
        self.keep(digest.clone(), answer.body)?;
        Ok((digest, manifest))
    }

    /// Keeps bytes until the image is complete. Each piece has its limit; many of them together have one too.
    fn keep(&mut self, digest: Digest, bytes: Bytes) -> Result<(), Fault> {
        if self.blobs.iter().any(|(kept, _)| *kept == digest) {
            return Ok(());
        }
        let kept: usize = self.blobs.iter().map(|(_, bytes)| bytes.len()).sum();
        if kept + bytes.len() > limits::IMAGE_BYTES {
            let limit = limits::IMAGE_BYTES;
            let text = format!("the manifests and configurations together are larger than {limit} bytes");
            return Err(Fault::new(Cause::BadAnswer, text));
        }
        self.blobs.push((digest, bytes));
        Ok(())
    }

    /// Fetches the manifest an index names, and what belongs to it.
    async fn child(&mut self, entry: &ManifestEntry) -> Result<Image, Fault> {
        let (digest, manifest) = self.manifest(entry.digest.as_str(), Some(&entry.digest)).await?;
        self.image(digest, manifest).await
    }

    /// Fetches the configuration and puts the facts together. An index within an index is no image.
    async fn image(&mut self, digest: Digest, manifest: Manifest) -> Result<Image, Fault> {
        let (media_type, config, layers) = match manifest {
            Manifest::Image { media_type, config, layers } => (media_type, config, layers),
            Manifest::Index { media_type, .. } => return Err(manifest::unsupported(&media_type)),
        };
        let path = format!("blobs/{}", config.digest);
        let answer = self.connection.get(&path, "*/*", "configuration", limits::CONFIG_BYTES).await;
        let answer = answer.map_err(|fault| match fault.cause {
            Cause::BlobUnknown | Cause::NotFoundPage => Fault::new(Cause::BlobUnknown, "unknown blob"),
            _ => fault,
        })?;
        let typed = self.typed.at_digest(&digest).to_string();
        let image = manifest::image(digest, typed, media_type, &config, layers, &answer.body);
        let image = image.map_err(|fault| self.connection.scrubbed(fault))?;
        self.keep(config.digest, answer.body)?;
        Ok(image)
    }

    fn done(self, image: Image, sub_manifests: Vec<Image>) -> Fetched {
        Fetched { image, sub_manifests, blobs: self.blobs, index: None }
    }
}

/// The reference with its defaults. Checked again because its parts can be set one by one, and they become a
/// path.
fn checked(reference: &ImageReference) -> Result<ImageReference, Failure> {
    let full = reference.with_defaults();
    let typed = reference.to_string();
    if full.name.is_empty() {
        // A dotted name alone reads as a registry (spec §1.2).
        let error = tagtrail_domain::reference::ReferenceError::Format;
        return Err(invalid_reference(&typed, &error));
    }
    ImageReference::parse(&full.to_string()).map_err(|error| invalid_reference(&typed, &error))
}

pub(crate) fn parse_tags(body: &[u8]) -> Result<Vec<String>, Fault> {
    #[derive(Deserialize)]
    struct Page {
        #[serde(default, deserialize_with = "few::<_, _, { limits::TAGS }>")]
        tags: Option<Vec<String>>,
    }
    let page: Page =
        serde_json::from_slice(body).map_err(|e| Fault::json(Cause::BadAnswer, body, "tag list", &e))?;
    let tags = page.tags.unwrap_or_default();
    if tags.len() > limits::TAGS {
        return Err(too_many_tags());
    }
    Ok(tags
        .into_iter()
        .map(|tag| if tag.is_empty() { "latest".to_owned() } else { tag })
        .filter(|tag| ImageReference::parse(&format!("x:{tag}")).is_ok_and(|r| r.tag == *tag))
        .collect())
}

fn too_many_tags() -> Fault {
    Fault::new(Cause::BadAnswer, format!("the repository has more than {} tags", limits::TAGS))
}

/// The `Link` to the next page (RFC 8288; distribution specification, "Listing Tags").
fn next_page(answer: &Answer) -> Result<Option<url::Url>, Fault> {
    for value in answer.headers.get_all("link") {
        let Ok(text) = value.to_str() else { continue };
        for link in text.split(',') {
            let Some((target, parameters)) = link.trim().strip_prefix('<').and_then(|l| l.split_once('>'))
            else {
                continue;
            };
            let is_next = parameters.split(';').any(|p| matches!(p.trim(), "rel=next" | "rel=\"next\""));
            if is_next {
                let next = answer.url.join(target);
                return next.map(Some).map_err(|_| {
                    auth::on(&answer.url, Cause::BadAnswer, "the link to the next page is no web address")
                });
            }
        }
    }
    Ok(None)
}
