//! Image streams as a whole.

use prost::Message;
use tagtrail_api::v1;
use tagtrail_api::v1::image_stream_service_server::ImageStreamService;
use tagtrail_domain::command::UpdateMetadata;
use tagtrail_domain::{Command, Namespace, Refusal, StreamKey};
use tagtrail_event_log::codec::to_proto;
use tagtrail_projection::labels::Selector;
use tonic::{Request, Response, Status};

use super::{Services, check, errors, opened, result};
use crate::convert::{self, history_limit};
use crate::moment::At;
use crate::past::{Then, Wanted};

/// Most streams in one page, and most that are looked at for one. One that is to be told as it was counts as several.
const PAGE: usize = 500;
const LOOKED_AT: usize = 5_000;
const TOLD_AS_IT_WAS: usize = 5;
/// A page ends when it has this many bytes.
const BYTES: usize = 8 << 20;
/// The largest answer: clients take 64 MiB.
const LARGEST_BYTES: usize = 60 << 20;

#[tonic::async_trait]
impl ImageStreamService for Services {
    async fn create_image_stream(
        &self,
        request: Request<v1::CreateImageStreamRequest>,
    ) -> Result<Response<v1::CreateImageStreamResponse>, Status> {
        let (request, origin) = opened(request)?;
        let key = check(convert::key(&request.namespace, &request.name))?;
        let command = Command::CreateStream {
            lookup_local: request.lookup_local,
            labels: request.labels,
            annotations: request.annotations,
        };
        if request.dry_run {
            check(self.try_out(&key, &command, &origin))?;
            return Ok(Response::new(v1::CreateImageStreamResponse::default()));
        }
        let written = self.write(&key, command, origin).await?;
        Ok(Response::new(v1::CreateImageStreamResponse {
            stream: self.shown().header(&key, &written.after),
            result: Some(result(&written)),
        }))
    }

    async fn delete_image_stream(
        &self,
        request: Request<v1::DeleteImageStreamRequest>,
    ) -> Result<Response<v1::DeleteImageStreamResponse>, Status> {
        let (request, origin) = opened(request)?;
        let key = check(convert::existing(&request.namespace, &request.name))?;
        let written = self.write(&key, Command::DeleteStream, origin).await?;
        Ok(Response::new(v1::DeleteImageStreamResponse { result: Some(result(&written)) }))
    }

    async fn get_image_stream(
        &self,
        request: Request<v1::GetImageStreamRequest>,
    ) -> Result<Response<v1::GetImageStreamResponse>, Status> {
        let request = request.into_inner();
        self.in_turn(request.at.is_some(), move |services| services.stream_of(&request)).await
    }

    async fn list_image_streams(
        &self,
        request: Request<v1::ListImageStreamsRequest>,
    ) -> Result<Response<v1::ListImageStreamsResponse>, Status> {
        let request = request.into_inner();
        self.in_turn(request.at.is_some(), move |services| services.page_of_streams(&request)).await
    }

    async fn describe_image_stream(
        &self,
        request: Request<v1::DescribeImageStreamRequest>,
    ) -> Result<Response<v1::DescribeImageStreamResponse>, Status> {
        let request = request.into_inner();
        self.in_turn(request.at.is_some(), move |services| services.description_of(&request)).await
    }

    async fn list_history(
        &self,
        request: Request<v1::ListHistoryRequest>,
    ) -> Result<Response<v1::ListHistoryResponse>, Status> {
        let request = request.into_inner();
        self.in_turn(request.at.is_some(), move |services| services.page_of_history(&request)).await
    }

    async fn set_lookup_policy(
        &self,
        request: Request<v1::SetLookupPolicyRequest>,
    ) -> Result<Response<v1::SetLookupPolicyResponse>, Status> {
        let (request, origin) = opened(request)?;
        let key = check(convert::existing(&request.namespace, &request.name))?;
        let command = Command::SetLookupPolicy { local: request.local };
        if request.dry_run {
            check(self.try_out(&key, &command, &origin))?;
            return Ok(Response::new(v1::SetLookupPolicyResponse::default()));
        }
        let written = self.write(&key, command, origin).await?;
        Ok(Response::new(v1::SetLookupPolicyResponse {
            stream: self.shown().header(&key, &written.after),
            result: Some(result(&written)),
        }))
    }

    async fn update_metadata(
        &self,
        request: Request<v1::UpdateMetadataRequest>,
    ) -> Result<Response<v1::UpdateMetadataResponse>, Status> {
        let (request, origin) = opened(request)?;
        let key = check(convert::existing(&request.namespace, &request.name))?;
        let missing = |_| errors::refused(&Refusal::no_tag(&key, &request.tag, true));
        let tag = match request.tag.as_str() {
            "" => None,
            text => Some(convert::tag(text).map_err(missing)?),
        };
        let command = Command::UpdateMetadata(UpdateMetadata {
            tag,
            set_annotations: request.set_annotations,
            remove_annotations: request.remove_annotations,
            set_labels: request.set_labels,
            remove_labels: request.remove_labels,
            overwrite: request.overwrite,
        });
        if request.dry_run {
            check(self.try_out(&key, &command, &origin))?;
            return Ok(Response::new(v1::UpdateMetadataResponse::default()));
        }
        let written = self.write(&key, command, origin).await?;
        Ok(Response::new(v1::UpdateMetadataResponse {
            stream: self.shown().header(&key, &written.after),
            result: Some(result(&written)),
        }))
    }
}

impl Services {
    fn stream_of(&self, request: &v1::GetImageStreamRequest) -> Result<v1::GetImageStreamResponse, Status> {
        let key = check(convert::existing(&request.namespace, &request.name))?;
        let at = self.at(request.at.as_ref())?;
        let stream = {
            let limit = history_limit(request.history_limit);
            let shown = self.shown_at(&key, at, Wanted::OfEach(limit))?;
            shown.stream(&key, &shown.look.stream(&key), limit)
        };
        let stream = stream.ok_or_else(|| errors::refused(&Refusal::no_stream(&key)))?;
        bounded_answer(&key, &stream)?;
        Ok(v1::GetImageStreamResponse { stream: Some(stream), at: at.map(At::shown) })
    }

    fn page_of_streams(
        &self,
        request: &v1::ListImageStreamsRequest,
    ) -> Result<v1::ListImageStreamsResponse, Status> {
        let selector = Selector::parse(&request.label_selector).map_err(|e| errors::usage(e.to_string()))?;
        let at = self.at(request.at.as_ref())?;
        let mut page = v1::ListImageStreamsResponse { at: at.map(At::shown), ..Default::default() };
        let namespace = match request.namespace.as_str() {
            "" => None,
            // A text that is no namespace has no streams.
            text => match Namespace::parse(text) {
                Ok(namespace) => Some(namespace),
                Err(_) => return Ok(page),
            },
        };
        let size = self.page(request.page_size, PAGE);
        let mut after = token(&request.page_token)?;
        let limit = history_limit(request.history_limit);
        let (mut looked_at, mut bytes) = (0, 0);
        // What the selector leaves out does not make a page shorter, within reason.
        loop {
            // A stream that lives no more may have lived then.
            let keys = match at {
                None => self.view.list(namespace.as_ref(), after.as_ref(), PAGE),
                Some(_) => self.view.names(namespace.as_ref(), after.as_ref(), PAGE),
            };
            let last_page = keys.len() < PAGE;
            for key in keys {
                let enough = looked_at >= LOOKED_AT || bytes >= BYTES;
                if page.streams.len() == size || enough {
                    page.next_page_token = after.map(|key: StreamKey| key.to_string()).unwrap_or_default();
                    return Ok(page);
                }
                let shown = self.shown_at(&key, at, Wanted::OfEach(limit))?;
                let state = shown.look.stream(&key);
                looked_at += if let Then::Past(_) = shown.look { TOLD_AS_IT_WAS } else { 1 };
                if state.life.as_ref().is_some_and(|stream| selector.matches(&stream.labels)) {
                    let stream = shown.stream(&key, &state, limit);
                    bytes += stream.as_ref().map_or(0, Message::encoded_len);
                    page.streams.extend(stream);
                }
                after = Some(key);
            }
            if last_page {
                return Ok(page);
            }
        }
    }

    fn description_of(
        &self,
        request: &v1::DescribeImageStreamRequest,
    ) -> Result<v1::DescribeImageStreamResponse, Status> {
        let key = check(convert::existing(&request.namespace, &request.name))?;
        let at = self.at(request.at.as_ref())?;
        let description = {
            let limit = history_limit(request.history_limit);
            let shown = self.shown_at(&key, at, Wanted::OfEach(limit))?;
            shown.description(&key, &shown.look.stream(&key), limit)
        };
        let description = description.ok_or_else(|| errors::refused(&Refusal::no_stream(&key)))?;
        bounded_answer(&key, &description)?;
        Ok(v1::DescribeImageStreamResponse { description: Some(description), at: at.map(At::shown) })
    }

    fn page_of_history(&self, request: &v1::ListHistoryRequest) -> Result<v1::ListHistoryResponse, Status> {
        let key = check(convert::existing(&request.namespace, &request.name))?;
        let at = self.at(request.at.as_ref())?;
        let missing = |stream: bool| errors::refused(&Refusal::no_tag(&key, &request.tag, stream));
        let limit = history_limit(request.page_size);
        // Items are numbered from the oldest, so a page stays what it was while new ones come.
        let before = match request.page_token.as_str() {
            "" => u64::MAX,
            text => text.parse().map_err(|_| errors::bad_page_token(text))?,
        };
        // A text that is no tag is a tag that does not exist, if the stream does.
        let tag = convert::tag(&request.tag).ok();
        let wanted = tag.as_ref().map_or(Wanted::OfEach(0), |tag| Wanted::Of { tag, before, limit });
        let then = self.shown_at(&key, at, wanted)?.look;
        let state = then.stream(&key);
        let stream = state.life.as_ref().ok_or_else(|| missing(false))?;
        let tag = tag.filter(|tag| stream.tags.contains_key(tag)).ok_or_else(|| missing(true))?;
        let items = then.history(&key, &tag, before, limit);
        let next_page_token = match items.last() {
            Some((number, _)) if *number > 0 => number.to_string(),
            _ => String::new(),
        };
        let items = items.iter().map(|(_, current)| to_proto::history_item(&current.item)).collect();
        Ok(v1::ListHistoryResponse { items, next_page_token, at: at.map(At::shown) })
    }
}

fn token(text: &str) -> Result<Option<StreamKey>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    let (namespace, name) = text.split_once('/').ok_or_else(|| errors::bad_page_token(text))?;
    StreamKey::parse(namespace, name).map(Some).map_err(|_| errors::bad_page_token(text))
}

/// Said here, because no client could read the answer.
fn bounded_answer(key: &StreamKey, answer: &impl Message) -> Result<(), Status> {
    let bytes = answer.encoded_len();
    if bytes <= LARGEST_BYTES {
        return Ok(());
    }
    Err(errors::too_large(format!(
        "the image stream {key} takes {bytes} bytes to tell, more than one answer holds; ask for fewer history items, or tag by tag"
    )))
}
