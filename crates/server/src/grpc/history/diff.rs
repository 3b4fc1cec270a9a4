//! What differs between two moments of image streams, and between two images.

use tagtrail_api::v1;
use tagtrail_domain::refusal::resource;
use tagtrail_domain::{Digest, Refusal, TagState};
use tagtrail_event_log::codec::to_proto;
use tagtrail_projection::diff::{self, Change, TagDiff};
use tonic::Status;

use super::{Services, check, errors};
use crate::convert;
use crate::images;
use crate::moment::At;

impl Services {
    pub(super) fn difference_of_streams(
        &self,
        request: &v1::DiffStreamsRequest,
    ) -> Result<v1::DiffStreamsResponse, Status> {
        let or =
            |given: &str, else_: &str| if given.is_empty() { else_.to_owned() } else { given.to_owned() };
        let (namespace, name) = (&request.namespace, &request.name);
        let from_key = check(convert::existing(namespace, name))?;
        let to_key =
            check(convert::existing(&or(&request.to_namespace, namespace), &or(&request.to_name, name)))?;
        let past = self.past();
        // A stream that lived at another time has nothing then; one that never lived is a mistake.
        for key in [&from_key, &to_key] {
            if self.view.stream(key).revision == 0 {
                return Err(errors::refused(&Refusal::no_stream(key)));
            }
        }
        // One present for both, whatever is written meanwhile.
        let present = past.present(self.outside.now());
        let from = self.at(request.from.as_ref())?.unwrap_or(present);
        let to = self.at(request.to.as_ref())?.unwrap_or(present);
        let from_state = past.state_at(&from_key, from.sequence).map_err(|error| errors::past(&error))?;
        let to_state = past.state_at(&to_key, to.sequence).map_err(|error| errors::past(&error))?;
        if from_state.life.is_none() && to_state.life.is_none() {
            return Err(errors::refused(&Refusal::no_stream(&from_key)));
        }
        let tags = diff::tags(from_state.life.as_ref(), to_state.life.as_ref());
        Ok(v1::DiffStreamsResponse {
            tags: tags.iter().map(tag_diff).collect(),
            from: Some(At::shown(from)),
            to: Some(At::shown(to)),
        })
    }

    pub(super) fn difference_of_images(
        &self,
        request: &v1::DiffImagesRequest,
    ) -> Result<v1::DiffImagesResponse, Status> {
        let from = self.whole_image(&request.from)?;
        let to = self.whole_image(&request.to)?;
        let differences = images::diff::differences(&from, &to);
        Ok(v1::DiffImagesResponse { from: Some(from), to: Some(to), differences })
    }

    fn whole_image(&self, text: &str) -> Result<v1::Image, Status> {
        let missing =
            || errors::refused(&Refusal::NotFound { resource: resource::IMAGES, name: text.to_owned() });
        let digest = Digest::parse(text).map_err(|_| missing())?;
        let image = self.images.find(&digest, false).map_err(|error| errors::no_bytes(&error))?;
        image.ok_or_else(missing)
    }
}

fn tag_diff(diff: &TagDiff<'_>) -> v1::TagDiff {
    let kind = match diff.change {
        Change::Added => v1::DiffKind::Added,
        Change::Removed => v1::DiffKind::Removed,
        Change::Moved => v1::DiffKind::Moved,
        Change::Changed => v1::DiffKind::Changed,
    };
    let item = |state: Option<&TagState>| Some(to_proto::history_item(&state?.current.as_ref()?.item));
    let spec = |state: Option<&TagState>| state?.spec.as_ref().map(to_proto::tag_spec);
    v1::TagDiff {
        tag: diff.tag.to_string(),
        kind: kind.into(),
        from: item(diff.from),
        to: item(diff.to),
        from_spec: spec(diff.from),
        to_spec: spec(diff.to),
    }
}
