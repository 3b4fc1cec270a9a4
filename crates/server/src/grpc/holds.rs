//! Holding tags, and releasing them.

use tagtrail_api::v1;
use tagtrail_domain::state::HoldTerms;
use tagtrail_domain::{Command, Fact, Refusal, StreamKey, StreamState, TagName, Timestamp};
use tagtrail_event_log::codec::to_proto;
use tonic::{Request, Status};

use super::tags::tag_of;
use super::{Services, check, errors, opened, result};
use crate::convert;
use crate::writer::Origin;

impl Services {
    pub(super) async fn hold_tag(
        &self,
        request: Request<v1::HoldRequest>,
    ) -> Result<v1::HoldResponse, Status> {
        let (request, origin) = opened(request)?;
        let (key, tag) = self.named(&request.namespace, &request.name, &request.tag)?;
        let command = Command::Hold {
            tag: tag.clone(),
            terms: terms(&origin, request.expires_at)?,
            expect: check(convert::expectation(&request.expected_image))?,
        };
        let before = self.view.stream(&key);
        let replaced = before.tag(&tag).and_then(|tag| tag.hold.as_ref());
        let replaced = replaced.map(to_proto::hold);
        let written = self.write(&key, command, origin).await?;
        // To a repeat the hold before is this one.
        let replaced = replaced.filter(|_| !written.repeated && written.sequence() > 0);
        let item = item(&written.after, &tag);
        Ok(v1::HoldResponse { item, result: Some(result(&written)), replaced })
    }

    pub(super) async fn release_tag(
        &self,
        request: Request<v1::ReleaseRequest>,
    ) -> Result<v1::ReleaseResponse, Status> {
        let (request, origin) = opened(request)?;
        let (key, tag) = self.named(&request.namespace, &request.name, &request.tag)?;
        let command = Command::Release { tag: tag.clone(), expired: false };
        let written = self.write(&key, command, origin).await?;
        let item = item(&written.after, &tag);
        let moved = written.events.iter().find_map(|recorded| match &recorded.event.fact {
            Fact::TagMoved(moved) if moved.tag == tag => moved.previous.as_ref().map(to_proto::history_item),
            _ => None,
        });
        let from = moved.or_else(|| item.clone());
        Ok(v1::ReleaseResponse { item, result: Some(result(&written)), from })
    }

    /// A tag by its names. A text that is no tag is a tag that does not exist.
    pub(super) fn named(
        &self,
        namespace: &str,
        name: &str,
        tag: &str,
    ) -> Result<(StreamKey, TagName), Status> {
        let key = tag_of(namespace, name)?;
        let lives = || self.view.stream(&key).life.is_some();
        let tag = TagName::parse(tag).map_err(|_| errors::refused(&Refusal::no_tag(&key, tag, lives())))?;
        Ok((key, tag))
    }
}

/// The terms of a hold: who asks, and why.
pub(super) fn terms(
    origin: &Origin,
    expires_at: Option<prost_types::Timestamp>,
) -> Result<HoldTerms, Status> {
    let expires_at = expires_at.map(|at| match u32::try_from(at.nanos) {
        Ok(nanos @ 0..1_000_000_000) => Ok(Timestamp::new(at.seconds, nanos)),
        _ => Err(errors::usage(format!("expires_at is no time: it has {} nanoseconds", at.nanos))),
    });
    Ok(HoldTerms {
        held_by: origin.actor.name.clone(),
        reason: origin.reason.clone(),
        expires_at: expires_at.transpose()?,
    })
}

/// What a tag points to.
fn item(state: &StreamState, tag: &TagName) -> Option<v1::HistoryItem> {
    state.points_to(tag).map(|current| to_proto::history_item(&current.item))
}
