//! Single tags.

use std::time::Duration;

use tagtrail_api::v1;
use tagtrail_api::v1::tag_service_server::TagService;
use tagtrail_domain::command::SetTag;
use tagtrail_domain::{Command, Refusal, StreamKey, StreamState, TagName};
use tonic::{Request, Response, Status};

use super::past::{self, After};
use super::{Services, Writes, check, errors};
use crate::convert::{self, Shown};

/// The longest a caller may wait for an import.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

#[tonic::async_trait]
impl TagService for Services {
    async fn set_tag(
        &self,
        request: Request<v1::SetTagRequest>,
    ) -> Result<Response<v1::SetTagResponse>, Status> {
        let request = request.into_inner();
        let origin = request.origin()?;
        let key = check(convert::key(&request.namespace, &request.name))?;
        let tag = check(convert::tag(&request.tag))?;
        let wait = Duration::from_millis(request.wait_ms.into()).min(LONGEST_WAIT);
        let reference_policy = convert::reference_policy(request.reference_policy());
        if request.source.is_none() && !request.create {
            return Err(errors::usage("a tag needs a source to be set to".into()));
        }
        let command = Command::SetTag(SetTag {
            tag: tag.clone(),
            source: request.source.map(|source| check(convert::source(source))).transpose()?,
            alias: request.alias,
            reference: request.reference,
            import_policy: convert::import_policy(request.import_policy),
            reference_policy,
            annotations: request.annotations,
            create: request.create,
        });
        let written = self.write(&key, command, origin).await?;
        let source = past::source_set(&self.events_of(&written)?);
        let mut after = self.after(&key, &written)?;
        let source = source.or_else(|| convert::current_source(&after.state, &tag));
        if !wait.is_zero() {
            self.wait_for_import(&key, &tag, wait).await;
            after = After::now(self.view.stream(&key));
        }
        let importing = self.work.is_importing(&key, &tag, &after.state);
        Ok(Response::new(v1::SetTagResponse {
            source,
            tag: self.tag(&self.shown_after(&after), &key, &after.state, &tag, 1)?,
            result: Some(self.result(&written)?),
            importing,
        }))
    }

    async fn delete_tag(
        &self,
        request: Request<v1::DeleteTagRequest>,
    ) -> Result<Response<v1::DeleteTagResponse>, Status> {
        let request = request.into_inner();
        let origin = request.origin()?;
        let key = tag_of(&request.namespace, &request.name, &request.tag)?;
        let written = self.write(&key, Command::DeleteTag { tag: request.tag }, origin).await?;
        Ok(Response::new(v1::DeleteTagResponse { result: Some(self.result(&written)?) }))
    }

    async fn get_tag(
        &self,
        request: Request<v1::GetTagRequest>,
    ) -> Result<Response<v1::GetTagResponse>, Status> {
        let request = request.into_inner();
        let key = tag_of(&request.namespace, &request.name, &request.tag)?;
        let state = self.view.stream(&key);
        let missing = || errors::refused(&Refusal::no_tag(&key, &request.tag, state.life.is_some()));
        let tag = TagName::parse(&request.tag).map_err(|_| missing())?;
        let shown =
            self.tag(&self.shown(), &key, &state, &tag, convert::HISTORY_LIMIT)?.ok_or_else(missing)?;
        // OpenShift's ImageStreamTag is a tag with an image; its ImageTag is any tag (spec §1.1).
        if shown.image.is_none() && !request.allow_without_image {
            return Err(missing());
        }
        Ok(Response::new(v1::GetTagResponse { tag: Some(shown) }))
    }
}

/// The stream of a tag that is to be looked at or deleted. A stream that cannot exist is reported as its tag's.
fn tag_of(namespace: &str, name: &str, _tag: &str) -> Result<StreamKey, Status> {
    match convert::existing(namespace, name) {
        Err(Refusal::NotFound { name, resource }) if resource != "namespaces" => {
            Err(errors::refused(&Refusal::NotFound {
                resource: tagtrail_domain::refusal::resource::TAGS,
                name,
            }))
        }
        other => check(other),
    }
}

impl Services {
    /// A tag with its present image and so much of its history. `None`: there is no such tag.
    fn tag(
        &self,
        shown: &Shown<'_>,
        key: &StreamKey,
        state: &StreamState,
        tag: &TagName,
        history_limit: usize,
    ) -> Result<Option<v1::ImageStreamTag>, Status> {
        let tag_state = state.life.as_ref().and_then(|stream| stream.tags.get(tag));
        let Some((tag_state, stream)) = tag_state.zip(shown.stream_of_tag(key, state, tag, history_limit))
        else {
            return Ok(None);
        };
        let digest = tag_state.current.as_ref().and_then(|current| current.item.image.as_ref());
        let image = match digest {
            Some(digest) => self.images.find(digest, false).map_err(|error| errors::no_bytes(&error))?,
            None => None,
        };
        Ok(Some(v1::ImageStreamTag {
            stream: Some(stream),
            tag: tag.to_string(),
            image,
            resolved_reference: shown.resolved_reference(key, state, tag),
        }))
    }

    /// Waits until the import of a tag has ended, or the time is up.
    async fn wait_for_import(&self, key: &StreamKey, tag: &TagName, wait: Duration) {
        let ended = async {
            loop {
                // Asked for before looking, so that no end is missed.
                let ended = self.work.ended.notified();
                if !self.work.is_importing(key, tag, &self.view.stream(key)) {
                    return;
                }
                ended.await;
            }
        };
        tokio::time::timeout(wait, ended).await.ok();
    }
}
