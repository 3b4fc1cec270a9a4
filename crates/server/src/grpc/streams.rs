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

/// Most streams in one page, and most that are looked at for one.
const PAGE: usize = 500;
const LOOKED_AT: usize = 5_000;
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
        let key = check(convert::existing(&request.namespace, &request.name))?;
        let stream = {
            let shown = self.shown();
            shown.stream(&key, &shown.look.stream(&key), history_limit(request.history_limit))
        };
        let stream = stream.ok_or_else(|| errors::refused(&Refusal::no_stream(&key)))?;
        bounded_answer(&key, &stream)?;
        Ok(Response::new(v1::GetImageStreamResponse { stream: Some(stream), at: None }))
    }

    async fn list_image_streams(
        &self,
        request: Request<v1::ListImageStreamsRequest>,
    ) -> Result<Response<v1::ListImageStreamsResponse>, Status> {
        let request = request.into_inner();
        let selector = Selector::parse(&request.label_selector).map_err(|e| errors::usage(e.to_string()))?;
        let namespace = match request.namespace.as_str() {
            "" => None,
            // A text that is no namespace has no streams.
            text => match Namespace::parse(text) {
                Ok(namespace) => Some(namespace),
                Err(_) => return Ok(Response::new(v1::ListImageStreamsResponse::default())),
            },
        };
        let size = match request.page_size as usize {
            0 => PAGE,
            size => size.min(PAGE),
        };
        let mut after = token(&request.page_token)?;
        let mut streams = Vec::new();
        let mut next_page_token = String::new();
        let (mut looked_at, mut bytes) = (0, 0);
        // What the selector leaves out does not make a page shorter, within reason.
        'pages: loop {
            let keys = self.view.list(namespace.as_ref(), after.as_ref(), PAGE);
            let last_page = keys.len() < PAGE;
            for key in keys {
                if streams.len() == size || looked_at == LOOKED_AT || bytes >= BYTES {
                    next_page_token = after.map(|key: StreamKey| key.to_string()).unwrap_or_default();
                    break 'pages;
                }
                let shown = self.shown();
                let state = shown.look.stream(&key);
                if state.life.as_ref().is_some_and(|stream| selector.matches(&stream.labels)) {
                    let stream = shown.stream(&key, &state, history_limit(request.history_limit));
                    bytes += stream.as_ref().map_or(0, Message::encoded_len);
                    streams.extend(stream);
                }
                (after, looked_at) = (Some(key), looked_at + 1);
            }
            if last_page {
                break;
            }
        }
        Ok(Response::new(v1::ListImageStreamsResponse { streams, next_page_token, at: None }))
    }

    async fn describe_image_stream(
        &self,
        request: Request<v1::DescribeImageStreamRequest>,
    ) -> Result<Response<v1::DescribeImageStreamResponse>, Status> {
        let request = request.into_inner();
        let key = check(convert::existing(&request.namespace, &request.name))?;
        let description = {
            let shown = self.shown();
            shown.description(&key, &shown.look.stream(&key), history_limit(request.history_limit))
        };
        let description = description.ok_or_else(|| errors::refused(&Refusal::no_stream(&key)))?;
        bounded_answer(&key, &description)?;
        Ok(Response::new(v1::DescribeImageStreamResponse { description: Some(description), at: None }))
    }

    async fn list_history(
        &self,
        request: Request<v1::ListHistoryRequest>,
    ) -> Result<Response<v1::ListHistoryResponse>, Status> {
        let request = request.into_inner();
        let key = check(convert::existing(&request.namespace, &request.name))?;
        let shown = self.shown();
        let state = shown.look.stream(&key);
        let missing = |stream: bool| errors::refused(&Refusal::no_tag(&key, &request.tag, stream));
        let stream = state.life.as_ref().ok_or_else(|| missing(false))?;
        let tag = convert::tag(&request.tag).map_err(|_| missing(true))?;
        let tag_state = stream.tags.get(&tag).ok_or_else(|| missing(true))?;
        // Items are numbered from the oldest, so a page stays what it was while new ones come.
        let before = match request.page_token.as_str() {
            "" => tag_state.history_length,
            text => text.parse().map_err(|_| errors::bad_page_token(text))?,
        };
        let items = shown.look.history(&key, &tag, before, history_limit(request.page_size));
        let next_page_token = match items.last() {
            Some((number, _)) if *number > 0 => number.to_string(),
            _ => String::new(),
        };
        let items = items.iter().map(|(_, current)| to_proto::history_item(&current.item));
        Ok(Response::new(v1::ListHistoryResponse { items: items.collect(), next_page_token, at: None }))
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
