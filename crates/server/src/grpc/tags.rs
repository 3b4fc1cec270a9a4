//! Single tags.

use std::time::Duration;

use tagtrail_api::v1;
use tagtrail_api::v1::tag_service_server::TagService;
use tagtrail_domain::command::SetTag;
use tagtrail_domain::refusal::Subject;
use tagtrail_domain::{Command, Namespace, Refusal, StreamKey, StreamState, TagName};
use tagtrail_event_log::codec::to_proto;
use tonic::{Request, Response, Status};

use super::{Services, check, errors, opened, past, result};
use crate::convert;
use crate::moment::At;
use crate::past::Wanted;

/// The longest a caller may wait for an import.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

#[tonic::async_trait]
impl TagService for Services {
    async fn set_tag(
        &self,
        request: Request<v1::SetTagRequest>,
    ) -> Result<Response<v1::SetTagResponse>, Status> {
        let (request, origin) = opened(request)?;
        check(namespace_of(&request))?;
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
            import_policy: check(convert::import_policy(request.import_policy))?,
            reference_policy,
            annotations: request.annotations,
            create: request.create,
            expect: check(convert::expectation(&request.expected_image))?,
        });
        if request.dry_run {
            check(self.try_out(&key, &command, &origin))?;
            return Ok(Response::new(v1::SetTagResponse::default()));
        }
        let written = self.write(&key, command, origin).await?;
        let source = past::source_set(&written.events);
        let mut state = written.after.clone();
        let source = source.or_else(|| convert::current_source(&state, &tag));
        // The tag is set. If as many wait as may, it is told that its import goes on.
        if !wait.is_zero()
            && let Some(_place) = self.places.imports.try_take()
        {
            self.wait_for_import(&key, &tag, wait).await;
            state = self.view.stream(&key);
        }
        let importing = self.work.pending.is_importing(&key, &tag, &state);
        let mut shown = self.shown().tag(&key, &state, &tag, 1);
        if let Some(shown) = &mut shown {
            // The tag is set, whatever has become of the bytes of its image.
            shown.image = self.image_of(&state, &tag).unwrap_or_default();
        }
        Ok(Response::new(v1::SetTagResponse {
            source,
            tag: shown,
            result: Some(result(&written)),
            importing,
        }))
    }

    async fn delete_tag(
        &self,
        request: Request<v1::DeleteTagRequest>,
    ) -> Result<Response<v1::DeleteTagResponse>, Status> {
        let (request, origin) = opened(request)?;
        let key = tag_of(&request.namespace, &request.name)?;
        let expect = check(convert::expectation(&request.expected_image))?;
        let before = self.view.stream(&key);
        let tag = TagName::parse(&request.tag).ok();
        let command = Command::DeleteTag { tag: request.tag, expect };
        let written = self.write(&key, command, origin).await?;
        let held = || before.tag(&tag?)?.hold.as_ref().map(to_proto::hold);
        let hold = if written.repeated { None } else { held() };
        Ok(Response::new(v1::DeleteTagResponse { result: Some(result(&written)), hold }))
    }

    async fn get_tag(
        &self,
        request: Request<v1::GetTagRequest>,
    ) -> Result<Response<v1::GetTagResponse>, Status> {
        let request = request.into_inner();
        self.in_turn(request.at.is_some(), move |services| services.tag_as_asked(&request)).await
    }

    async fn promote(
        &self,
        request: Request<v1::PromoteRequest>,
    ) -> Result<Response<v1::PromoteResponse>, Status> {
        self.promote_tags(request).await.map(Response::new)
    }

    async fn rollback(
        &self,
        request: Request<v1::RollbackRequest>,
    ) -> Result<Response<v1::RollbackResponse>, Status> {
        self.roll_back(request).await.map(Response::new)
    }

    async fn hold(&self, request: Request<v1::HoldRequest>) -> Result<Response<v1::HoldResponse>, Status> {
        self.hold_tag(request).await.map(Response::new)
    }

    async fn release(
        &self,
        request: Request<v1::ReleaseRequest>,
    ) -> Result<Response<v1::ReleaseResponse>, Status> {
        self.release_tag(request).await.map(Response::new)
    }

    async fn restore(
        &self,
        request: Request<v1::RestoreRequest>,
    ) -> Result<Response<v1::RestoreResponse>, Status> {
        self.bring_back(request).await.map(Response::new)
    }
}

/// Refuses a namespace that can be none as OpenShift does, which looks at it as a part of the tag.
fn namespace_of(request: &v1::SetTagRequest) -> Result<(), Refusal> {
    let v1::SetTagRequest { namespace, name, tag, .. } = request;
    if Namespace::parse(namespace).is_ok() {
        return Ok(());
    }
    let is_label = |text: &str| Namespace::parse(text).is_ok();
    let why = if namespace.contains('.') && namespace.split('.').all(is_label) {
        "must not contain dots"
    } else {
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
    };
    let subject = Subject { kind: "ImageStreamTag", name: format!("{name}:{tag}") };
    let message = format!("metadata.namespace: Invalid value: \"{namespace}\": {why}");
    Err(Refusal::Invalid { subject, message })
}

/// The stream of a tag that is to be looked at or deleted. A stream that cannot exist is reported as its tag's.
pub(super) fn tag_of(namespace: &str, name: &str) -> Result<StreamKey, Status> {
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
    fn tag_as_asked(&self, request: &v1::GetTagRequest) -> Result<v1::GetTagResponse, Status> {
        let key = tag_of(&request.namespace, &request.name)?;
        let at = self.at(request.at.as_ref())?;
        // A text that is no tag is a tag that does not exist.
        let tag = TagName::parse(&request.tag).ok();
        let limit = convert::HISTORY_LIMIT;
        let wanted =
            tag.as_ref().map_or(Wanted::OfEach(0), |tag| Wanted::Of { tag, before: u64::MAX, limit });
        let shown = self.shown_at(&key, at, wanted)?;
        let state = shown.look.stream(&key);
        let missing = || errors::refused(&Refusal::no_tag(&key, &request.tag, state.life.is_some()));
        let tag = tag.ok_or_else(missing)?;
        let answer = shown.tag(&key, &state, &tag, limit);
        let mut answer = answer.ok_or_else(missing)?;
        // The writer need not wait for files.
        drop(shown);
        answer.image = self.image_of(&state, &tag)?;
        // OpenShift's ImageStreamTag is a tag with an image; its ImageTag is any tag (spec §1.1).
        if answer.image.is_none() && !request.allow_without_image {
            return Err(missing());
        }
        Ok(v1::GetTagResponse { tag: Some(answer), at: at.map(At::shown) })
    }

    /// The present image of a tag, if it has one.
    fn image_of(&self, state: &StreamState, tag: &TagName) -> Result<Option<v1::Image>, Status> {
        let Some(digest) = state.points_to(tag).and_then(|current| current.item.image.as_ref()) else {
            return Ok(None);
        };
        self.images.find(digest, false).map_err(|error| errors::no_bytes(&error))
    }

    /// Waits until the import of a tag has ended, the time is up, or the server stops.
    async fn wait_for_import(&self, key: &StreamKey, tag: &TagName, wait: Duration) {
        let ended = async {
            loop {
                // Asked for before looking, so that no end is missed.
                let ended = self.work.pending.ended.notified();
                if !self.work.pending.is_going_on()
                    || !self.work.pending.is_importing(key, tag, &self.view.stream(key))
                {
                    return;
                }
                ended.await;
            }
        };
        tokio::time::timeout(wait, ended).await.ok();
    }
}
