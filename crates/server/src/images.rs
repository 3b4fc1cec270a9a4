//! Images as people see them: the facts from the log, and what the manifest and the configuration say.

pub(crate) mod diff;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use tagtrail_api::v1;
use tagtrail_domain::event::ImageRecorded;
use tagtrail_domain::image::Image;
use tagtrail_domain::{Digest, ImageReference, Platform, Timestamp};
use tagtrail_event_log::blobs::{BlobError, BlobStore};
use tagtrail_event_log::codec::to_proto;
use tagtrail_importer::Fetched;
use tagtrail_projection::View;

/// Finds images.
#[derive(Clone)]
pub(crate) struct Images {
    /// What was recorded of them.
    pub view: Arc<View>,
    /// Their bytes.
    pub blobs: Arc<BlobStore>,
}

impl Images {
    /// An image by its digest. `Ok(None)`: it was never recorded.
    ///
    /// # Errors
    /// If its bytes are missing or damaged.
    pub(crate) fn find(&self, digest: &Digest, with_manifest: bool) -> Result<Option<v1::Image>, BlobError> {
        let Some(known) = self.view.image(digest) else { return Ok(None) };
        let manifest = self.blobs.get(digest.as_str())?;
        let config = known.image.config.as_ref().map(|config| self.blobs.get(config.as_str())).transpose()?;
        let mut image = image(&known.image, &manifest, config.as_ref());
        image.created = Some(to_proto::timestamp(known.recorded_at));
        image.recorded_sequence = known.sequence;
        if with_manifest {
            image.raw_manifest = manifest.to_vec();
        }
        Ok(Some(image))
    }

    /// The same for lists: one image whose bytes are missing must not hide all others. It is shown by its facts.
    #[must_use]
    pub(crate) fn find_or_facts(&self, digest: &Digest) -> Option<v1::Image> {
        self.find(digest, false).unwrap_or_else(|error| {
            tracing::error!(%error, "a blob could not be read");
            let known = self.view.image(digest)?;
            let mut image = image(&known.image, &Bytes::new(), None);
            image.created = Some(to_proto::timestamp(known.recorded_at));
            image.recorded_sequence = known.sequence;
            Some(image)
        })
    }

    /// An image as it was just fetched: by the reference that was asked for, whatever it was first recorded as, and
    /// created at `created` (OpenShift shows it so, spec §4.8). `None`: in a dry run.
    #[must_use]
    pub(crate) fn fetched(&self, fetched: &Fetched, created: Option<Timestamp>) -> v1::Image {
        let bytes = |digest: &Digest| fetched.blobs.iter().find(|(d, _)| d == digest).map(|(_, bytes)| bytes);
        let manifest = bytes(&fetched.image.digest).cloned().unwrap_or_default();
        let config = fetched.image.config.as_ref().and_then(bytes);
        let mut shown = image(&facts(&fetched.image), &manifest, config);
        let Some(created) = created else { return shown };
        shown.created = Some(to_proto::timestamp(created));
        if let Some(known) = self.view.image(&fetched.image.digest) {
            shown.built_at = known.image.built_at.map(to_proto::timestamp);
            shown.recorded_sequence = known.sequence;
        }
        shown
    }

    /// The same image once more, from what was recorded of it.
    ///
    /// # Errors
    /// If its bytes are missing or damaged.
    pub(crate) fn fetched_again(
        &self,
        digest: &Digest,
        from: &ImageReference,
        created: Timestamp,
    ) -> Result<Option<v1::Image>, BlobError> {
        let found = self.find(digest, false)?;
        Ok(found.map(|image| v1::Image {
            docker_image_reference: from.at_digest(digest).to_string(),
            created: Some(to_proto::timestamp(created)),
            ..image
        }))
    }

    /// The images of an index that a stream's history holds (spec §1.1, ImageStreamImage).
    #[must_use]
    pub(crate) fn children(&self, digest: &Digest) -> Vec<Digest> {
        let is_plain = self.view.image(digest).is_none_or(|known| known.image.config.is_some());
        if is_plain {
            return Vec::new();
        }
        let manifest = self.blobs.get(digest.as_str()).ok();
        let parsed =
            manifest.and_then(|bytes| serde_json::from_slice::<Manifest>(&bytes).ok()).unwrap_or_default();
        parsed.manifests.iter().filter_map(|entry| Digest::parse(&entry.digest).ok()).collect()
    }
}

fn facts(image: &Image) -> ImageRecorded {
    ImageRecorded {
        digest: image.digest.clone(),
        reference: image.reference.clone(),
        media_type: image.media_type.clone(),
        config: image.config.clone(),
        size: image.size,
        platform: (image.platform != Platform::default()).then(|| image.platform.clone()),
        built_at: image.built_at,
        manifests: Vec::new(),
    }
}

/// What is shown of an image. The importer has checked both documents before they were stored, so what does not
/// parse here is shown as empty rather than refused.
fn image(facts: &ImageRecorded, manifest: &Bytes, config: Option<&Bytes>) -> v1::Image {
    let parsed: Manifest = serde_json::from_slice(manifest).unwrap_or_default();
    let layer = |layer: Descriptor| v1::Layer {
        digest: layer.digest,
        size: layer.size,
        media_type: layer.media_type,
    };
    let entry = |entry: Descriptor| v1::ManifestEntry {
        digest: entry.digest,
        media_type: entry.media_type,
        size: entry.size,
        platform: entry.platform.map(|platform| v1::Platform {
            os: platform.os,
            architecture: platform.architecture,
            variant: platform.variant,
        }),
    };
    v1::Image {
        digest: facts.digest.to_string(),
        docker_image_reference: facts.reference.clone(),
        media_type: facts.media_type.clone(),
        created: None,
        recorded_sequence: 0,
        size: facts.size,
        layers: parsed.layers.into_iter().map(layer).collect(),
        manifests: parsed.manifests.into_iter().map(entry).collect(),
        config_digest: facts.config.as_ref().map(ToString::to_string).unwrap_or_default(),
        config: config.map(image_config),
        raw_config: config.map(|bytes| bytes.to_vec()).unwrap_or_default(),
        raw_manifest: Vec::new(),
        built_at: facts.built_at.map(to_proto::timestamp),
    }
}

fn image_config(bytes: &Bytes) -> v1::ImageConfig {
    let file: ConfigFile = serde_json::from_slice(bytes).unwrap_or_default();
    let config = file.config.unwrap_or_default();
    v1::ImageConfig {
        architecture: file.architecture,
        os: file.os,
        author: file.author,
        entrypoint: config.entrypoint.unwrap_or_default(),
        command: config.cmd.unwrap_or_default(),
        working_dir: config.working_dir,
        user: config.user,
        exposed_ports: config.exposed_ports.unwrap_or_default().into_keys().collect(),
        volumes: config.volumes.unwrap_or_default().into_keys().collect(),
        labels: config.labels.unwrap_or_default(),
        environment: config.env.unwrap_or_default(),
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Manifest {
    layers: Vec<Descriptor>,
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Descriptor {
    digest: String,
    size: i64,
    media_type: String,
    platform: Option<DescriptorPlatform>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct DescriptorPlatform {
    os: String,
    architecture: String,
    variant: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ConfigFile {
    architecture: String,
    os: String,
    author: String,
    config: Option<RunConfig>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct RunConfig {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: String,
    user: String,
    exposed_ports: Option<BTreeMap<String, serde_json::Value>>,
    volumes: Option<BTreeMap<String, serde_json::Value>>,
    labels: Option<BTreeMap<String, String>>,
    env: Option<Vec<String>>,
}
