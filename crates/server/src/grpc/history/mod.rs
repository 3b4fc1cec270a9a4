//! What was.
//!
//! | module        | the one idea                                                     |
//! |---------------|------------------------------------------------------------------|
//! | `entry`       | an event as one thing that happened to a tag                     |
//! | `entries`     | everything that ever happened, newest first                      |
//! | `prefix`      | a digest, or the beginning of one                                |
//! | `whereabouts` | which tags point, or pointed, to an image                        |
//! | `why`         | why a tag points to what it points to                            |
//! | `diff`        | what differs between two moments, and between two images         |

mod diff;
mod entries;
mod entry;
mod prefix;
#[cfg(test)]
mod tests;
mod whereabouts;
mod why;

use tagtrail_api::v1;
use tagtrail_api::v1::history_service_server::HistoryService;
use tagtrail_domain::event::Recorded;
use tagtrail_domain::{StreamKey, TagName};
use tagtrail_event_log::codec::to_proto;
use tonic::{Request, Response, Status};

use super::{Services, check, errors};
use crate::past::{Past, PastError};

#[tonic::async_trait]
impl HistoryService for Services {
    async fn list_entries(
        &self,
        request: Request<v1::ListEntriesRequest>,
    ) -> Result<Response<v1::ListEntriesResponse>, Status> {
        let request = request.into_inner();
        self.in_turn(true, move |services| services.page_of_entries(&request)).await
    }

    async fn r#where(
        &self,
        request: Request<v1::WhereRequest>,
    ) -> Result<Response<v1::WhereResponse>, Status> {
        let request = request.into_inner();
        self.in_turn(true, move |services| services.page_of_whereabouts(&request)).await
    }

    async fn why(&self, request: Request<v1::WhyRequest>) -> Result<Response<v1::WhyResponse>, Status> {
        let request = request.into_inner();
        self.in_turn(true, move |services| services.causes(&request)).await
    }

    async fn diff_streams(
        &self,
        request: Request<v1::DiffStreamsRequest>,
    ) -> Result<Response<v1::DiffStreamsResponse>, Status> {
        let request = request.into_inner();
        self.in_turn(true, move |services| services.difference_of_streams(&request)).await
    }

    async fn diff_images(
        &self,
        request: Request<v1::DiffImagesRequest>,
    ) -> Result<Response<v1::DiffImagesResponse>, Status> {
        let request = request.into_inner();
        self.in_turn(true, move |services| services.difference_of_images(&request)).await
    }
}

impl Past {
    /// What a tag pointed to before an event.
    fn pointed_to(
        &self,
        key: &StreamKey,
        tag: &TagName,
        before: u64,
    ) -> Result<Option<v1::HistoryItem>, PastError> {
        let pointing = |recorded: &Recorded| {
            entry::pointing(&to_proto::event(recorded)).map(|pointing| pointing.item.cloned())
        };
        Ok(self.newest_of_tag(key, tag, before, pointing)?.flatten())
    }
}

fn stream_of(namespace: &str, name: &str) -> StreamKey {
    StreamKey::parse(namespace, name).expect("the log holds only events of streams that can be")
}

fn tag_of(text: &str) -> TagName {
    TagName::parse(text).expect("the log holds only events of tags that can be")
}
