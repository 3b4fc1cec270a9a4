//! Calls to the server: connecting, going through pages, and what a refusal means.

use std::cell::Cell;
use std::error::Error as _;
use std::time::Duration;

use tagtrail_api::v1;
use tagtrail_api::v1::admin_service_client::AdminServiceClient;
use tagtrail_api::v1::audit_service_client::AuditServiceClient;
use tagtrail_api::v1::event_service_client::EventServiceClient;
use tagtrail_api::v1::history_service_client::HistoryServiceClient;
use tagtrail_api::v1::image_service_client::ImageServiceClient;
use tagtrail_api::v1::image_stream_service_client::ImageStreamServiceClient;
use tagtrail_api::v1::import_service_client::ImportServiceClient;
use tagtrail_api::v1::schedule_service_client::ScheduleServiceClient;
use tagtrail_api::v1::secret_service_client::SecretServiceClient;
use tagtrail_api::v1::tag_service_client::TagServiceClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::failure::Failure;
use crate::moment::{When, of_timestamp};
use crate::print::age::Now;

/// The server's answers may be this large: a stream with thousands of history items is.
const LARGEST_ANSWER_BYTES: usize = 64 * 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a silent server is asked whether it is still there, and how long it may take to say so.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));

/// A server to ask.
pub(crate) struct Client {
    channel: Channel,
    url: String,
    /// The moment that every read of what was is about.
    at: When,
    /// That moment, as the server's answers have told it.
    shown: Cell<Option<v1::ShownMoment>>,
}

macro_rules! service {
    ($(#[$doc:meta])* $name:ident, $client:ident) => {
        $(#[$doc])*
        pub(crate) fn $name(&self) -> $client<Channel> {
            $client::new(self.channel.clone()).max_decoding_message_size(LARGEST_ANSWER_BYTES)
        }
    };
}

impl Client {
    /// Gets ready to ask a server. The first call connects.
    ///
    /// # Errors
    /// [`Failure::Client`] for what is no URL of a server.
    pub(crate) fn new(url: &str) -> Result<Self, Failure> {
        let bad = |why: &str| Failure::client(format!("\"{url}\" is no server URL: {why}"));
        let full = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        if !full.starts_with("http://") {
            return Err(bad("it must begin with http://"));
        }
        let endpoint =
            Endpoint::from_shared(full.clone()).map_err(|_| bad("write it like http://127.0.0.1:7400"))?;
        let endpoint = endpoint.connect_timeout(CONNECT_TIMEOUT);
        // Whoever waits for an answer hears of it when nobody is there any more.
        let (interval, timeout) = KEEPALIVE;
        let endpoint = endpoint.http2_keep_alive_interval(interval).keep_alive_timeout(timeout);
        let channel = endpoint.connect_lazy();
        Ok(Self { channel, url: full, at: When::Now, shown: Cell::new(None) })
    }

    /// The same server, as everything was at a moment: one moment for all that is read of streams, tags and images.
    pub(crate) fn at(self, at: When) -> Self {
        Self { at, ..self }
    }

    /// The moment that ages count from: that of the answers, or now.
    pub(crate) fn now(&self) -> Now {
        match (self.at, self.shown.get().and_then(|shown| of_timestamp(&shown.time?))) {
            (When::Now, _) => Now::by_the_clock(),
            (When::Time(time), _) | (When::Sequence(_), Some(time)) => Now(time),
            // Nothing was shown whose age could be told.
            (When::Sequence(_), None) => Now::by_the_clock(),
        }
    }

    /// Which moment the answers have shown. `None`: now.
    pub(crate) fn shown(&self) -> Option<v1::ShownMoment> {
        self.shown.get()
    }

    fn showed(&self, at: Option<v1::ShownMoment>) {
        self.shown.set(at.or(self.shown.get()));
    }

    service! {
        /// Image streams as a whole.
        streams, ImageStreamServiceClient
    }
    service! {
        /// What was.
        histories, HistoryServiceClient
    }
    service! {
        /// What is checked without anybody asking.
        schedule, ScheduleServiceClient
    }
    service! {
        /// Single tags.
        tags, TagServiceClient
    }
    service! {
        /// Importing.
        imports, ImportServiceClient
    }
    service! {
        /// Images.
        images, ImageServiceClient
    }
    service! {
        /// Credentials for registries.
        secrets, SecretServiceClient
    }
    service! {
        /// The log.
        events, EventServiceClient
    }
    service! {
        /// What proves the log.
        audits, AuditServiceClient
    }
    service! {
        /// For operators.
        admin, AdminServiceClient
    }

    /// Gives a stream with at most so many history items of each tag; 0 means as many as fit.
    pub(crate) async fn stream(
        &self,
        namespace: &str,
        name: &str,
        history_limit: u32,
    ) -> Result<v1::ImageStream, Failure> {
        let request = v1::GetImageStreamRequest {
            namespace: namespace.into(),
            name: name.into(),
            history_limit,
            at: self.at.to_wire(),
        };
        let answer = self.streams().get_image_stream(request).await;
        let answer = answer.map_err(|status| self.refusal(&status))?.into_inner();
        self.showed(answer.at);
        answer.stream.ok_or_else(|| self.nonsense())
    }

    /// Lists all streams of a namespace, or of all with an empty one.
    pub(crate) async fn list_streams(
        &self,
        namespace: &str,
        label_selector: &str,
        history_limit: u32,
    ) -> Result<Vec<v1::ImageStream>, Failure> {
        let mut request = v1::ListImageStreamsRequest {
            namespace: namespace.into(),
            label_selector: label_selector.into(),
            history_limit,
            at: self.at.to_wire(),
            ..v1::ListImageStreamsRequest::default()
        };
        let mut streams = Vec::new();
        loop {
            let page = self.streams().list_image_streams(request.clone()).await;
            let page = page.map_err(|status| self.refusal(&status))?.into_inner();
            self.showed(page.at);
            streams.extend(page.streams);
            if page.next_page_token.is_empty() {
                return Ok(streams);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Gives the description of a stream with its whole history.
    pub(crate) async fn description(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<v1::ImageStreamDescription, Failure> {
        let request = v1::DescribeImageStreamRequest {
            namespace: namespace.into(),
            name: name.into(),
            history_limit: 0,
            at: self.at.to_wire(),
        };
        let answer = self.streams().describe_image_stream(request).await;
        let answer = answer.map_err(|status| self.refusal(&status))?.into_inner();
        self.showed(answer.at);
        let mut description = answer.description.ok_or_else(|| self.nonsense())?;
        self.complete_description(&mut description).await?;
        Ok(description)
    }

    /// Names a repository for a stream where the server has none to name: `<server>/<namespace>/<stream>`. Only
    /// this side knows by which address the server is reached.
    pub(crate) fn name_repository(&self, stream: &mut v1::ImageStream) {
        if stream.repository.is_empty() {
            let server = self.url.trim_start_matches("http://").trim_end_matches('/');
            stream.repository = format!("{server}/{}/{}", stream.namespace, stream.name);
        }
    }

    /// Fetches the history items that a stream was too large to carry.
    pub(crate) async fn fill_history(&self, stream: &mut v1::ImageStream) -> Result<(), Failure> {
        for status in &mut stream.statuses {
            if status.history_length > status.items.len() as u64 {
                status.items = self.history(&stream.namespace, &stream.name, &status.tag).await?;
            }
        }
        Ok(())
    }

    /// Completes a description: its repository, and the history items it was too large to carry.
    pub(crate) async fn complete_description(
        &self,
        description: &mut v1::ImageStreamDescription,
    ) -> Result<(), Failure> {
        let stream = description.stream.get_or_insert_default();
        self.name_repository(stream);
        for tag in &mut description.tags {
            if tag.history_length > tag.items.len() as u64 {
                tag.items = self.history(&stream.namespace, &stream.name, &tag.tag).await?;
            }
        }
        Ok(())
    }

    async fn history(&self, namespace: &str, name: &str, tag: &str) -> Result<Vec<v1::HistoryItem>, Failure> {
        let mut request = v1::ListHistoryRequest {
            namespace: namespace.into(),
            name: name.into(),
            tag: tag.into(),
            at: self.at.to_wire(),
            ..v1::ListHistoryRequest::default()
        };
        let mut items = Vec::new();
        loop {
            let page = self.streams().list_history(request.clone()).await;
            let page = page.map_err(|status| self.refusal(&status))?.into_inner();
            items.extend(page.items);
            if page.next_page_token.is_empty() {
                return Ok(items);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Gives a tag. `allow_without_image`: also one that points to nothing yet.
    pub(crate) async fn tag(
        &self,
        namespace: &str,
        name: &str,
        tag: &str,
        allow_without_image: bool,
    ) -> Result<v1::ImageStreamTag, Failure> {
        let request = v1::GetTagRequest {
            namespace: namespace.into(),
            name: name.into(),
            tag: tag.into(),
            allow_without_image,
            at: self.at.to_wire(),
        };
        let answer = self.tags().get_tag(request).await;
        let answer = answer.map_err(|status| self.refusal(&status))?.into_inner();
        self.showed(answer.at);
        answer.tag.ok_or_else(|| self.nonsense())
    }

    /// Gives an image by its digest.
    pub(crate) async fn image(&self, digest: &str) -> Result<v1::Image, Failure> {
        let request = v1::GetImageRequest { digest: digest.into(), include_manifest: false };
        let answer = self.images().get_image(request).await.map_err(|status| self.refusal(&status))?;
        answer.into_inner().image.ok_or_else(|| self.nonsense())
    }

    /// Gives all images ever recorded, by digest.
    pub(crate) async fn list_images(&self) -> Result<Vec<v1::Image>, Failure> {
        let mut request = v1::ListImagesRequest::default();
        let mut images = Vec::new();
        loop {
            let page = self.images().list_images(request.clone()).await;
            let page = page.map_err(|status| self.refusal(&status))?.into_inner();
            images.extend(page.images);
            if page.next_page_token.is_empty() {
                return Ok(images);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Gives the tags that are checked again: all of a namespace (empty: of all), or those of a stream.
    pub(crate) async fn list_schedule(
        &self,
        namespace: &str,
        stream: &str,
    ) -> Result<Vec<v1::ScheduledTag>, Failure> {
        let mut request = v1::ListScheduleRequest {
            namespace: namespace.into(),
            name: stream.into(),
            ..v1::ListScheduleRequest::default()
        };
        let mut tags = Vec::new();
        loop {
            let page = self.schedule().list_schedule(request.clone()).await;
            let page = page.map_err(|status| self.refusal(&status))?.into_inner();
            tags.extend(page.tags);
            if page.next_page_token.is_empty() {
                return Ok(tags);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Lists the secrets of a namespace, or of all with an empty one, without their values.
    pub(crate) async fn list_secrets(&self, namespace: &str) -> Result<Vec<v1::Secret>, Failure> {
        let mut request =
            v1::ListSecretsRequest { namespace: namespace.into(), ..v1::ListSecretsRequest::default() };
        let mut secrets = Vec::new();
        loop {
            let page = self.secrets().list_secrets(request.clone()).await;
            let page = page.map_err(|status| self.refusal(&status))?.into_inner();
            secrets.extend(page.secrets);
            if page.next_page_token.is_empty() {
                return Ok(secrets);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Gives an image of a stream by the start of its digest.
    pub(crate) async fn stream_image(
        &self,
        namespace: &str,
        name: &str,
        id: &str,
    ) -> Result<(v1::ImageStream, v1::Image), Failure> {
        let request = v1::GetImageStreamImageRequest {
            namespace: namespace.into(),
            name: name.into(),
            id: id.into(),
            at: self.at.to_wire(),
        };
        let answer =
            self.images().get_image_stream_image(request).await.map_err(|status| self.refusal(&status))?;
        let answer = answer.into_inner();
        let image = answer.image.ok_or_else(|| self.nonsense())?;
        if let When::Sequence(_) = self.at {
            // Only the stream's answer tells when that was.
            self.stream(namespace, name, 1).await?;
        }
        Ok((answer.stream.unwrap_or_default(), image))
    }

    /// Puts a refusal of the server into `oc`'s words.
    pub(crate) fn refusal(&self, status: &Status) -> Failure {
        let info = status.get_details_error_info().filter(|info| info.domain == "tagtrail");
        let message = status.message();
        let Some(info) = info else {
            let lost = status.source().is_some();
            return match status.code() {
                Code::Unavailable if lost => self.unreachable(status),
                Code::Unavailable => Failure::server("ServiceUnavailable", message),
                Code::Unimplemented if message.contains("HTTP status code") => self.no_tagtrail(),
                Code::Unknown | Code::Cancelled | Code::Internal if lost => self.cut_off(status),
                code => Failure::server(&camel_case(&format!("{code:?}")), message),
            };
        };
        let metadata = |key: &str| info.metadata.get(key).map_or("", String::as_str);
        match info.reason.as_str() {
            "USAGE" => Failure::client(message),
            "INVALID" => Failure::invalid(metadata("kind"), metadata("name"), message),
            "UNAVAILABLE" => Failure::server("ServiceUnavailable", message),
            "INTERNAL" => Failure::server("InternalError", message),
            "NOT_FOUND" if self.at != When::Now => {
                Failure::server("NotFound", &format!("{message} at {}", self.at))
            }
            reason => Failure::server(&camel_case(reason), message),
        }
    }

    /// Why a call came to nothing, in a few words.
    pub(crate) fn why(&self, status: &Status) -> String {
        innermost(status)
    }

    /// An answer that lacks what the API promises.
    pub(crate) fn nonsense(&self) -> Failure {
        Failure::client(format!(
            "the server at {} gave an answer without content; is it of another version?",
            self.url
        ))
    }

    /// Something else answers there.
    fn no_tagtrail(&self) -> Failure {
        Failure::client(format!(
            "what answers at {} is no Tagtrail server; its gRPC port is 7400 unless it was told another",
            self.url
        ))
    }

    /// The answer did not come, so nobody here knows whether there is one.
    fn cut_off(&self, status: &Status) -> Failure {
        Failure::client(format!(
            "the server at {} ended the connection without an answer ({}): what was asked may be done or not",
            self.url,
            innermost(status)
        ))
    }

    fn unreachable(&self, status: &Status) -> Failure {
        let last = innermost(status);
        let reason = match last.split_once(" (os error") {
            Some((reason, _)) => reason.to_lowercase(),
            None => last,
        };
        let url = &self.url;
        Failure::client(format!(
            "cannot reach the server at {url}: {reason}. Is it running? Start one with 'tagtrail serve'."
        ))
    }
}

/// What it came from, in the end.
fn innermost(status: &Status) -> String {
    let mut cause = status.source();
    let mut last = status.message().to_owned();
    while let Some(error) = cause {
        last = error.to_string();
        cause = error.source();
    }
    last
}

/// `NOT_FOUND` and `NotFound` both read `NotFound`.
fn camel_case(reason: &str) -> String {
    if !reason.contains('_') && reason.chars().any(char::is_lowercase) {
        return reason.to_owned();
    }
    let word = |word: &str| {
        let mut chars = word.chars();
        chars.next().map(|first| first.to_string() + &chars.as_str().to_lowercase()).unwrap_or_default()
    };
    reason.split('_').map(word).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    #[tokio::test]
    async fn refusals_are_told_in_the_words_of_oc() {
        let client = Client::new("http://127.0.0.1:7400").expect("a URL");
        let check = |reason: &str, want: &str| {
            let metadata =
                HashMap::from([("kind".into(), "ImageStream".into()), ("name".into(), "x".into())]);
            let details = ErrorDetails::with_error_info(reason, "tagtrail", metadata);
            let status = Status::with_error_details(Code::Unknown, "words", details);
            assert_eq!(client.refusal(&status).text(), format!("{want}\n"));
        };
        check("NOT_FOUND", "Error from server (NotFound): words");
        check("ALREADY_EXISTS", "Error from server (AlreadyExists): words");
        check("CONFLICT", "Error from server (Conflict): words");
        check("BAD_REQUEST", "Error from server (BadRequest): words");
        check("FORBIDDEN", "Error from server (Forbidden): words");
        check("UNAVAILABLE", "Error from server (ServiceUnavailable): words");
        check("INVALID", "The ImageStream \"x\" is invalid: words");
        check("USAGE", "error: words");
        let details = ErrorDetails::with_error_info("NOT_FOUND", "tagtrail", HashMap::new());
        let missing = Status::with_error_details(Code::NotFound, "x not found", details);
        let then = Client::new("http://127.0.0.1:7400").expect("a URL").at(When::Sequence(7));
        let want = "Error from server (NotFound): x not found at sequence 7\n";
        assert_eq!(then.refusal(&missing).text(), want);
        let bare = client.refusal(&Status::new(Code::DeadlineExceeded, "too late"));
        assert_eq!(bare.text(), "Error from server (DeadlineExceeded): too late\n");
        let bare = client.refusal(&Status::unavailable("starting; try again"));
        assert_eq!(bare.text(), "Error from server (ServiceUnavailable): starting; try again\n");
        let other = client.refusal(&Status::unimplemented("mapped from HTTP status code 404"));
        assert!(other.text().contains("is no Tagtrail server"), "{}", other.text());
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named() {
        let client = Client::new("127.0.0.1:1").expect("a URL");
        let failure = client.stream("test", "app", 1).await.expect_err("nothing listens on port 1");
        let want = "error: cannot reach the server at http://127.0.0.1:1: connection refused. Is it running? Start one with 'tagtrail serve'.\n";
        assert_eq!(failure.text(), want);
    }

    #[tokio::test]
    async fn a_stream_without_a_repository_gets_the_servers_name() {
        let client = Client::new("http://127.0.0.1:7400/").expect("a URL");
        let named = |repository: &str| {
            let (namespace, name) = ("test".into(), "app".into());
            let mut stream =
                v1::ImageStream { namespace, name, repository: repository.into(), ..Default::default() };
            client.name_repository(&mut stream);
            stream.repository
        };
        assert_eq!(named(""), "127.0.0.1:7400/test/app");
        assert_eq!(named("registry:5000/test/app"), "registry:5000/test/app");
    }

    #[test]
    fn only_http_urls_are_servers() {
        for bad in ["https://h:1", "ftp://h", "http://"] {
            assert!(Client::new(bad).is_err(), "{bad}");
        }
    }
}
