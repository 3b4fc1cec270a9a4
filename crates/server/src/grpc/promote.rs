//! Several tags at once, of whatever streams: all of them or none.

use std::collections::BTreeMap;
use std::sync::Arc;

use tagtrail_api::v1;
use tagtrail_domain::command::SetTag;
use tagtrail_domain::tag::{Entries, ImportPolicy, ReferencePolicy, SourceKind};
use tagtrail_domain::{Command, Event, Fact, StreamKey, StreamState, TagName, limits};
use tagtrail_event_log::codec::to_proto;
use tonic::{Request, Status};

use super::{Services, check, errors, opened};
use crate::convert;
use crate::writer::Written;

impl Services {
    pub(super) async fn promote_tags(
        &self,
        request: Request<v1::PromoteRequest>,
    ) -> Result<v1::PromoteResponse, Status> {
        let (request, origin) = opened(request)?;
        let count = request.promotions.len();
        if count == 0 || count > limits::TAGS_PER_COMMAND {
            let most = limits::TAGS_PER_COMMAND;
            let text = format!("{count} tags are to be promoted; name at least 1 and at most {most}");
            return Err(errors::usage(text));
        }
        if origin.expected_revision.is_some() {
            let text = "an expected revision is of one stream, and a promotion may change several; expect an image of each tag";
            return Err(errors::usage(text.into()));
        }
        let asked = request.promotions.into_iter().map(wish).collect::<Result<Vec<_>, _>>()?;
        let names: Vec<_> = asked.iter().map(|(key, wish)| (key.clone(), wish.tag.clone())).collect();
        let wishes: Vec<_> = asked.into_iter().map(|(key, wish)| (key, Command::SetTag(wish))).collect();
        if request.dry_run {
            let events = check(self.try_together(&wishes, &origin))?;
            let tags = self.promoted(&names, events.iter().map(|(key, event)| (key, event)), None)?;
            return Ok(v1::PromoteResponse { tags, result: None });
        }
        let written = self.write_together(wishes, origin).await?;
        let events = written.events.iter().map(|recorded| (&recorded.stream, &recorded.event));
        let tags = self.promoted(&names, events, Some(&written))?;
        let (sequence, repeated) = (written.sequence(), written.repeated);
        Ok(v1::PromoteResponse { tags, result: Some(v1::WriteResult { sequence, revision: 0, repeated }) })
    }

    /// What became of each tag: what its move tells, or what it points to where it did not have to move.
    fn promoted<'e>(
        &self,
        names: &[(StreamKey, TagName)],
        events: impl Iterator<Item = (&'e StreamKey, &'e Event)>,
        written: Option<&Written>,
    ) -> Result<Vec<v1::PromotedTag>, Status> {
        let mut moves = BTreeMap::new();
        for (key, event) in events {
            if let Fact::TagMoved(moved) = &event.fact {
                moves.insert((key, &moved.tag), moved);
            }
        }
        let promoted = |(key, tag): &(StreamKey, TagName)| {
            let (from, to) = match moves.get(&(key, tag)) {
                Some(moved) => (moved.previous.clone(), Some(moved.item.clone())),
                None => {
                    let item = self.after(key, written)?.points_to(tag).map(|current| current.item.clone());
                    (item.clone(), item)
                }
            };
            Ok(v1::PromotedTag {
                namespace: key.namespace.to_string(),
                name: key.name.to_string(),
                tag: tag.to_string(),
                from: from.as_ref().map(to_proto::history_item),
                to: to.as_ref().map(to_proto::history_item),
            })
        };
        names.iter().map(promoted).collect()
    }

    /// A stream after what was written; for a repeat, as it was then.
    fn after(&self, key: &StreamKey, written: Option<&Written>) -> Result<Arc<StreamState>, Status> {
        match written.filter(|written| written.repeated) {
            Some(written) => {
                self.past().state_at(key, written.sequence()).map_err(|error| errors::past(&error))
            }
            None => Ok(self.view.stream(key)),
        }
    }
}

/// What a promotion wishes: that a tag points to what another one points to now.
fn wish(promotion: v1::Promotion) -> Result<(StreamKey, SetTag), Status> {
    let key = check(convert::key(&promotion.namespace, &promotion.name))?;
    let tag = check(convert::tag(&promotion.tag))?;
    let name = format!("{key}:{tag}");
    let source = promotion.source.ok_or_else(|| errors::usage(format!("{name} needs a source")))?;
    let source = check(convert::source(source))?;
    if source.kind == SourceKind::DockerImage {
        return Err(errors::usage(format!(
            "{name} cannot be promoted to {}: only what a tag of an image stream points to, or has pointed to, can be; import it first",
            source.name
        )));
    }
    let wish = SetTag {
        tag,
        source: Some(source),
        alias: false,
        reference: false,
        import_policy: ImportPolicy::default(),
        reference_policy: ReferencePolicy::default(),
        annotations: Entries::new(),
        create: false,
        expect: check(convert::expectation(&promotion.expected_image))?,
    };
    Ok((key, wish))
}
