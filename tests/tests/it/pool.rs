//! Images to point tags at without asking a registry each time: the histories of some streams.

use tagtrail_api::v1::{ImportRequest, SetTagRequest, SourceKind, TagSource};
use tagtrail_tests::faulty::Faulty;

use crate::api::Api;

/// The namespace of everything here.
pub(crate) const HERE: &str = "test";

/// Digests of images that were imported. Each tenth begins a stream: an import answers with the whole history.
pub(crate) struct Pool(pub(crate) Vec<String>);

const IMAGES_PER_STREAM: usize = 10;

impl Pool {
    /// Imports so many different images.
    pub(crate) fn filled(api: &Api, registry: &Faulty, images: usize) -> Pool {
        let import = |number| {
            registry.rebuild();
            let request = ImportRequest {
                namespace: HERE.into(),
                name: format!("pool-{}", number / IMAGES_PER_STREAM),
                tag: "v1".into(),
                from: format!("{}/team/app:v1", registry.host()),
                confirm: true,
                insecure: Some(true),
                ..ImportRequest::default()
            };
            let answer = api.ok(api.imports().import(request));
            let image = answer.results.into_iter().next().and_then(|result| result.image);
            image.expect("the registry is honest").digest
        };
        Pool((0..images).map(import).collect())
    }
}

impl Pool {
    /// One of its images, as a source.
    pub(crate) fn image(&self, number: usize) -> TagSource {
        image_of(number / IMAGES_PER_STREAM, &self.0[number])
    }
}

/// An image of a pool with few images, as a source.
pub(crate) fn image(digest: &str) -> TagSource {
    image_of(0, digest)
}

fn image_of(stream: usize, digest: &str) -> TagSource {
    let name = format!("pool-{stream}@{digest}");
    TagSource { kind: SourceKind::ImageStreamImage.into(), namespace: HERE.into(), name }
}

/// A tag of the same namespace, as a source.
pub(crate) fn tag(name: &str) -> TagSource {
    TagSource { kind: SourceKind::ImageStreamTag.into(), namespace: HERE.into(), name: name.into() }
}

/// Points a tag at a source.
pub(crate) fn set(name: &str, tag: &str, source: TagSource) -> SetTagRequest {
    SetTagRequest {
        namespace: HERE.into(),
        name: name.into(),
        tag: tag.into(),
        source: Some(source),
        ..SetTagRequest::default()
    }
}
