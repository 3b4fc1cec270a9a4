//! What is checked without anybody asking.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tagtrail_api::v1;
use tagtrail_api::v1::schedule_service_server::ScheduleService;
use tagtrail_domain::check::Reason;
use tagtrail_domain::{StreamKey, StreamState, TagName, Timestamp};
use tonic::{Request, Response, Status};

use super::{Services, check, errors};
use crate::convert;
use crate::work::{Listed, Outcome, Place};
use tagtrail_event_log::codec::to_proto;

/// Most tags in one page.
const PAGE: usize = 500;

#[tonic::async_trait]
impl ScheduleService for Services {
    async fn list_schedule(
        &self,
        request: Request<v1::ListScheduleRequest>,
    ) -> Result<Response<v1::ListScheduleResponse>, Status> {
        let request = request.into_inner();
        if request.namespace.is_empty() && !request.name.is_empty() {
            return Err(errors::usage("a stream is named, but not its namespace".into()));
        }
        let size = self.page(request.page_size, PAGE);
        let after = token(&request.page_token)?;
        let now = Instant::now();
        let schedule = &self.work.schedule;
        let listed = if request.name.is_empty() {
            schedule.list(Place::Namespace(&request.namespace), after.as_ref(), size, now)
        } else {
            let key = check(convert::key(&request.namespace, &request.name))?;
            schedule.list(Place::Stream(&key), after.as_ref(), size, now)
        };
        let next_page_token = match listed.last() {
            Some(last) if listed.len() == size => format!("{}:{}", last.key, last.tag),
            _ => String::new(),
        };
        let wall = self.outside.now();
        let mut tags: Vec<_> = listed.iter().map(|listed| shown(listed, wall)).collect();
        self.tell_failures(&listed, &mut tags);
        Ok(Response::new(v1::ListScheduleResponse { tags, next_page_token }))
    }
}

impl Services {
    /// A tag that was not checked since the start may be known to have failed: the log says so.
    fn tell_failures(&self, listed: &[Listed], shown: &mut [v1::ScheduledTag]) {
        let unchecked = |(listed, _): &(&Listed, &mut v1::ScheduledTag)| listed.last.is_none();
        let mut state: Option<(&StreamKey, Arc<StreamState>)> = None;
        for (listed, shown) in listed.iter().zip(shown).filter(unchecked) {
            if state.as_ref().is_none_or(|(key, _)| **key != listed.key) {
                state = Some((&listed.key, self.view.stream(&listed.key)));
            }
            let stream = state.as_ref().and_then(|(_, state)| state.life.as_ref());
            let tag = stream.and_then(|stream| stream.tags.get(&listed.tag));
            if let Some(condition) = tag.and_then(|tag| tag.condition.as_ref()) {
                shown.last_check_at = Some(to_proto::timestamp(condition.since));
                shown.set_last_result(v1::CheckResult::Failed);
                shown.failures = shown.failures.max(1);
                shown.failure = Some(to_proto::failure(&condition.failure));
            }
        }
    }
}

fn token(text: &str) -> Result<Option<(StreamKey, TagName)>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    let parse = || {
        let (stream, tag) = text.rsplit_once(':')?;
        let (namespace, name) = stream.split_once('/')?;
        Some((StreamKey::parse(namespace, name).ok()?, TagName::parse(tag).ok()?))
    };
    parse().map(Some).ok_or_else(|| errors::bad_page_token(text))
}

fn shown(listed: &Listed, now: Timestamp) -> v1::ScheduledTag {
    let (mut result, mut moved_to, mut failure) = (v1::CheckResult::Unspecified, String::new(), None);
    let last_check_at = listed.last.as_ref().map(|last| to_proto::timestamp(last.at));
    match listed.last.as_ref().map(|last| &last.outcome) {
        None | Some(Outcome::Dropped) => {}
        Some(Outcome::Unchanged) => result = v1::CheckResult::Unchanged,
        Some(Outcome::Moved(digest)) => {
            (result, moved_to) = (v1::CheckResult::Moved, digest.to_string());
        }
        Some(Outcome::Failed(why)) => {
            (result, failure) = (v1::CheckResult::Failed, Some(to_proto::failure(why)));
        }
        Some(Outcome::PutOff(_, why)) => {
            (result, failure) = (v1::CheckResult::PutOff, Some(to_proto::failure(why)));
        }
        Some(Outcome::Ours(why)) => {
            let why = v1::Failure { message: why.clone(), ..v1::Failure::default() };
            (result, failure) = (v1::CheckResult::NotTaken, Some(why));
        }
    }
    let (late, late_because) = listed.late.clone().unwrap_or_default();
    let next_check_at = listed.due_in.map(|due_in| to_proto::timestamp(later(now, due_in, late)));
    v1::ScheduledTag {
        namespace: listed.key.namespace.to_string(),
        stream: listed.key.name.to_string(),
        tag: listed.tag.to_string(),
        source: listed.source.clone(),
        scheduled: listed.reason == Reason::Scheduled,
        interval_seconds: seconds(listed.interval),
        last_check_at,
        last_result: result.into(),
        moved_to,
        failure,
        failures: listed.failures,
        next_check_at,
        late_seconds: seconds(late),
        late_because,
    }
}

fn later(now: Timestamp, due_in: Duration, late: Duration) -> Timestamp {
    let signed = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    let seconds = now.seconds.saturating_add(signed(due_in)).saturating_sub(signed(late));
    Timestamp::new(seconds, now.nanos)
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}
