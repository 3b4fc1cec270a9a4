//! Importing now, for somebody who waits.

use std::time::Duration;

use tagtrail_api::v1;
use tagtrail_api::v1::import_service_server::ImportService;
use tagtrail_domain::command::ImportOrigin;
use tagtrail_domain::event::{ImportFinished, Recorded};
use tagtrail_domain::import_plan::{ImportWish, plan};
use tagtrail_domain::{
    Command, Fact, FailureKind, ImageReference, Refusal, StreamKey, StreamState, Timestamp,
};
use tagtrail_event_log::codec::to_proto;
use tonic::{Request, Response, Status};

use super::{Services, check, errors, opened, result};
use crate::convert::{self, Histories, Shown};
use crate::importing::{Answer, AnsweredImage, source_tag};
use crate::writer::{Origin, Written};

/// When to come back while as many wait for registries as may.
const RETRY: Duration = Duration::from_secs(1);

#[tonic::async_trait]
impl ImportService for Services {
    async fn take_testimony(
        &self,
        request: Request<v1::TakeTestimonyRequest>,
    ) -> Result<Response<v1::TakeTestimonyResponse>, Status> {
        self.taken(request).await.map(Response::new)
    }

    async fn import(
        &self,
        request: Request<v1::ImportRequest>,
    ) -> Result<Response<v1::ImportResponse>, Status> {
        let (request, origin) = opened(request)?;
        let key = check(convert::key(&request.namespace, &request.name))?;
        if let Some(answer) = self.first_answer(&key, &origin)? {
            return Ok(Response::new(answer));
        }
        let wish = wish(&request)?;
        let state = self.view.stream(&key);
        self.expect_revision(&key, &origin)?;
        let planned = check(plan(&key, state.life.as_ref(), &wish))?;
        // A registry that does not answer holds up those who ask it, and nobody else.
        let full = |most| format!("{most} requests wait for registries already; try again in a moment");
        let place = self.places.imports.take(full, RETRY)?;
        let answer = self.importing.ask(&key.namespace, planned, state.life.as_ref()).await;
        drop(place);
        if request.dry_run {
            return Ok(Response::new(self.answer(&answer, None)));
        }
        let import =
            self.importing.keep(&answer, ImportOrigin::Request).await.map_err(|e| errors::internal(&e))?;
        let written = self.write(&key, Command::Import(import), origin).await?;
        if written.repeated {
            return Ok(Response::new(self.answer_again(&key, &written)?));
        }
        let mut response =
            self.answer(&answer, Some(imported_at(&written).unwrap_or_else(|| self.outside.now())));
        show_stream(&mut response, &key, &written.after, &self.shown());
        response.result = Some(result(&written));
        Ok(Response::new(response))
    }
}

fn wish(request: &v1::ImportRequest) -> Result<ImportWish, Status> {
    let tag = match request.tag.as_str() {
        "" => None,
        text => Some(check(convert::tag(text))?),
    };
    let target_text =
        if request.target_text.is_empty() { request.name.clone() } else { request.target_text.clone() };
    Ok(ImportWish {
        tag,
        target_text,
        from: request.from.clone(),
        all: request.all,
        confirm: request.confirm,
        scheduled: request.scheduled,
        interval: check(convert::interval(request.interval_seconds))?,
        insecure: request.insecure,
        mode: convert::import_mode(request.import_mode()),
        reference_policy: convert::reference_policy(request.reference_policy()),
    })
}

impl Services {
    /// Looks whether the expectation holds, before a registry is asked in vain; `decide` looks again.
    fn expect_revision(&self, key: &StreamKey, origin: &Origin) -> Result<(), Status> {
        // Any command tells: the expectation is what is looked at first.
        match self.try_out(key, &Command::DeleteStream, origin) {
            Err(conflict @ Refusal::Conflict(_)) => Err(errors::refused(&conflict)),
            _ => Ok(()),
        }
    }

    fn answer(&self, answer: &Answer, imported_at: Option<Timestamp>) -> v1::ImportResponse {
        let image = |image: &AnsweredImage| v1::ImportResult {
            source_tag: image.source_tag(),
            tag: image.planned.tag.to_string(),
            from_repository: image.from_repository,
            image: image.outcome.as_ref().ok().map(|fetched| self.images.fetched(fetched, imported_at)),
            failure: image.outcome.as_ref().err().map(to_proto::failure),
            hold: None,
        };
        v1::ImportResponse {
            stream: None,
            description: None,
            results: answer.images.iter().map(image).collect(),
            additional_tags: answer.additional_tags.clone(),
            repository_failure: answer.repository_failure.as_ref().map(to_proto::failure),
            result: None,
        }
    }

    /// What this request was answered the first time, if there was one: before a registry is asked again.
    fn first_answer(&self, key: &StreamKey, origin: &Origin) -> Result<Option<v1::ImportResponse>, Status> {
        let written = self.written_before(key, origin)?;
        written.map(|written| self.answer_again(key, &written)).transpose()
    }

    /// The first answer, from the events it made: what became of each tag stands in the last of them.
    fn answer_again(&self, key: &StreamKey, written: &Written) -> Result<v1::ImportResponse, Status> {
        let Written { events, after: state, .. } = written;
        let mut response = v1::ImportResponse { result: Some(result(written)), ..Default::default() };
        let then = self.stream_until(key, written.sequence() + 1)?;
        let shown = Shown { look: &then, repository: &self.config.repository };
        show_stream(&mut response, key, state, &shown);
        response.repository_failure = events.iter().find_map(|recorded| match &recorded.event.fact {
            Fact::RepositoryImportFailed { failure, .. } => Some(to_proto::failure(failure)),
            _ => None,
        });
        if let (Some(finished), Some(created)) = (finished(events), imported_at(written)) {
            let from_repository = !finished.repository.is_empty();
            for outcome in &finished.outcomes {
                let source = state.tag(&outcome.tag).and_then(|tag| tag.spec.as_ref()?.source.as_ref());
                let reference = source.and_then(|source| ImageReference::parse(&source.name).ok());
                let (image, failure) = match (&outcome.result, &reference) {
                    (Ok(digest), Some(from)) => {
                        let image = self.images.fetched_again(digest, from, created);
                        (image.map_err(|e| errors::no_bytes(&e))?, None)
                    }
                    (Ok(digest), None) => {
                        (self.images.find(digest, false).map_err(|e| errors::no_bytes(&e))?, None)
                    }
                    (Err(reason), _) => (None, Some(failure(events, state, &outcome.tag, reason))),
                };
                response.results.push(v1::ImportResult {
                    source_tag: reference.as_ref().map(source_tag).unwrap_or_default(),
                    tag: outcome.tag.to_string(),
                    from_repository,
                    image,
                    failure,
                    hold: hold(state, outcome.tag.as_str()),
                });
            }
        }
        Ok(response)
    }
}

fn show_stream<H: Histories>(
    response: &mut v1::ImportResponse,
    key: &StreamKey,
    state: &StreamState,
    shown: &Shown<'_, H>,
) {
    for result in &mut response.results {
        result.hold = hold(state, &result.tag);
    }
    response.stream = shown.stream(key, state, convert::HISTORY_LIMIT);
    response.description = shown.description(key, state, convert::HISTORY_LIMIT);
}

/// The hold because of which an import did not move a tag.
fn hold(state: &StreamState, tag: &str) -> Option<v1::Hold> {
    let tag = tagtrail_domain::TagName::parse(tag).ok()?;
    state.tag(&tag)?.hold.as_ref().map(to_proto::hold)
}

/// When an import was recorded.
fn imported_at(written: &Written) -> Option<Timestamp> {
    written.events.last().map(|recorded| recorded.recorded_at)
}

fn finished(events: &[Recorded]) -> Option<&ImportFinished> {
    events.iter().find_map(|recorded| match &recorded.event.fact {
        Fact::ImportFinished(finished) => Some(&**finished),
        _ => None,
    })
}

/// The failure of a tag: from the run itself, or, where it repeated the one before, from the tag.
fn failure(
    events: &[Recorded],
    state: &StreamState,
    tag: &tagtrail_domain::TagName,
    reason: &str,
) -> v1::Failure {
    let in_run = events.iter().find_map(|recorded| match &recorded.event.fact {
        Fact::ImportFailed { tag: failed, failure, .. } if failed == tag => Some(failure),
        _ => None,
    });
    let shown = state.tag(tag).and_then(|tag| tag.condition.as_ref());
    match in_run.or(shown.map(|condition| &condition.failure)) {
        Some(failure) => to_proto::failure(failure),
        None => to_proto::failure(&tagtrail_domain::Failure {
            kind: FailureKind::BadAnswer,
            reason: reason.to_owned(),
            message: String::new(),
        }),
    }
}
