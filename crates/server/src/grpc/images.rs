//! Images.

use std::collections::BTreeSet;

use tagtrail_api::v1;
use tagtrail_api::v1::image_service_server::ImageService;
use tagtrail_domain::refusal::resource;
use tagtrail_domain::{Digest, Refusal, World as _};
use tonic::{Request, Response, Status};

use super::{Services, check, errors};
use crate::convert::{self, Shown};

/// Most images in one page: each may bring a configuration of some kilobytes.
const PAGE: usize = 100;

#[tonic::async_trait]
impl ImageService for Services {
    async fn get_image(
        &self,
        request: Request<v1::GetImageRequest>,
    ) -> Result<Response<v1::GetImageResponse>, Status> {
        let request = request.into_inner();
        let missing = || {
            errors::refused(&Refusal::NotFound { resource: resource::IMAGES, name: request.digest.clone() })
        };
        let digest = Digest::parse(&request.digest).map_err(|_| missing())?;
        let image = self.images.find(&digest, request.include_manifest).map_err(|e| errors::no_bytes(&e))?;
        Ok(Response::new(v1::GetImageResponse { image: Some(image.ok_or_else(missing)?) }))
    }

    async fn list_images(
        &self,
        request: Request<v1::ListImagesRequest>,
    ) -> Result<Response<v1::ListImagesResponse>, Status> {
        let request = request.into_inner();
        let size = self.page(request.page_size, PAGE);
        let after = match request.page_token.as_str() {
            "" => None,
            text => Some(Digest::parse(text).map_err(|_| errors::bad_page_token(text))?),
        };
        let digests = self.view.images(after.as_ref(), size);
        let next_page_token = match digests.last() {
            Some(last) if digests.len() == size => last.to_string(),
            _ => String::new(),
        };
        let images = digests.iter().filter_map(|digest| self.images.find_or_facts(digest)).collect();
        Ok(Response::new(v1::ListImagesResponse { images, next_page_token }))
    }

    async fn get_image_stream_image(
        &self,
        request: Request<v1::GetImageStreamImageRequest>,
    ) -> Result<Response<v1::GetImageStreamImageResponse>, Status> {
        let request = request.into_inner();
        self.in_turn(request.at.is_some(), move |services| services.image_as_asked(&request)).await
    }
}

impl Services {
    fn image_as_asked(
        &self,
        request: &v1::GetImageStreamImageRequest,
    ) -> Result<v1::GetImageStreamImageResponse, Status> {
        let no_stream =
            |name: &str| Refusal::NotFound { resource: resource::STREAM_IMAGES, name: name.to_owned() };
        let key = match convert::existing(&request.namespace, &request.name) {
            Err(Refusal::NotFound { name, resource }) if resource != "namespaces" => {
                return Err(errors::refused(&no_stream(&name)));
            }
            other => check(other)?,
        };
        let at = self.at(request.at.as_ref())?;
        let (stream, own) = match at {
            Some(at) if self.view.stream(&key).sequence > at.sequence => {
                let model = self.stream_until(&key, at.sequence + 1)?;
                let own = model.find_image(&key, "").into_iter().map(|(digest, _)| digest);
                let shown = Shown { look: &model, repository: &self.config.repository };
                (shown.header(&key, &model.stream(&key)), own.collect())
            }
            _ => {
                let shown = self.shown();
                (shown.header(&key, &shown.look.stream(&key)), shown.look.stream_images(&key))
            }
        };
        let stream = stream.ok_or_else(|| errors::refused(&no_stream(key.name.as_str())))?;
        let found: Vec<Digest> = self.meant_by(&request.id, own).into_iter().collect();
        let name = format!("{}@{}", key.name, request.id);
        let digest = match found.as_slice() {
            [digest] => digest,
            [] => return Err(errors::refused(&Refusal::NotFound { resource: resource::STREAM_IMAGE, name })),
            // OpenShift takes any of them, at random. A prefix that means two images means none.
            several => {
                let all = several.iter().map(Digest::as_str).collect::<Vec<_>>().join(", ");
                return Err(errors::refused(&Refusal::Conflict(format!(
                    "Operation cannot be fulfilled on {} \"{}\": multiple images match the prefix \"{}\": {all}",
                    resource::STREAM_IMAGE,
                    request.id,
                    request.id
                ))));
            }
        };
        let image = self.images.find(digest, false).map_err(|error| errors::no_bytes(&error))?;
        let image = image
            .ok_or_else(|| errors::refused(&Refusal::NotFound { resource: resource::STREAM_IMAGE, name }))?;
        Ok(v1::GetImageStreamImageResponse { stream: Some(stream), image: Some(image) })
    }

    /// Which of these images, and of the images of those that are indexes, `id` may mean.
    fn meant_by(&self, id: &str, own: Vec<Digest>) -> BTreeSet<Digest> {
        if let Some(whole) = own.iter().find(|digest| digest.as_str() == id) {
            return BTreeSet::from([whole.clone()]); // Nothing else can be meant, so no index need be opened.
        }
        let children: Vec<Digest> = own.iter().flat_map(|digest| self.images.children(digest)).collect();
        own.into_iter().chain(children).filter(|digest| digest.matches_prefix(id)).collect()
    }
}
