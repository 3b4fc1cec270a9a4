//! The questions the read model answers from its rows.

use std::ops::Bound;
use std::sync::Arc;

use sled::IVec;
use tagtrail_domain::event::ImageRecorded;
use tagtrail_domain::state::Current;
use tagtrail_domain::{Digest, Namespace, StreamKey, StreamState, TagName, Timestamp, World};

use crate::keys;
use crate::look::Look;
use crate::rows::{self, ImageRow, RequestRow, StreamRow, TagRow};
use crate::table::{Table, after_all};
use crate::view::View;

/// What a request id made before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastRequest {
    /// Sequence of the first event it made.
    pub first_sequence: u64,
    /// How many events it made.
    pub length: u32,
    /// SHA-256 of the request.
    pub digest: Vec<u8>,
}

impl From<RequestRow> for PastRequest {
    fn from(row: RequestRow) -> Self {
        Self { first_sequence: row.first_sequence, length: row.length, digest: row.digest }
    }
}

/// An image as the read model knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownImage {
    /// Its facts.
    pub image: ImageRecorded,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// Sequence of the event that recorded it.
    pub sequence: u64,
}

/// From when to when a tag pointed to an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The image.
    pub image: Digest,
    /// The stream.
    pub stream: StreamKey,
    /// The tag.
    pub tag: TagName,
    /// Sequence of the event that pointed it there.
    pub since: u64,
    /// Sequence of the event that pointed it elsewhere, or deleted it. 0: it still points there.
    pub until: u64,
}

impl Span {
    /// Whether the tag still points to the image.
    #[must_use]
    pub fn lasts(&self) -> bool {
        self.until == 0
    }
}

/// Where to look.
#[derive(Debug, Clone, Copy)]
pub enum Within<'a> {
    /// Everywhere.
    Everything,
    /// In a namespace.
    Namespace(&'a Namespace),
    /// In an image stream.
    Stream(&'a StreamKey),
}

/// Reads the key of a span, and its value.
fn span(key: &[u8], value: u64) -> Option<Span> {
    let number = keys::number(key);
    let mut texts = keys::texts(&key[..key.len() - 8]);
    let image = Digest::parse(texts.next()?).ok()?;
    let stream = StreamKey::parse(texts.next()?, texts.next()?).ok()?;
    let tag = TagName::parse(texts.next()?).ok()?;
    let (since, until) = if number == keys::LASTS { (value, 0) } else { (number, value) };
    Some(Span { image, stream, tag, since, until })
}

impl View {
    /// Looks at several rows as they are at one moment.
    #[must_use]
    pub fn look(&self) -> Look<'_> {
        Look { view: self, rows: self.rows() }
    }

    /// The state of a stream's name.
    #[must_use]
    pub fn stream(&self, key: &StreamKey) -> Arc<StreamState> {
        self.look().stream(key)
    }

    /// Living streams in order of namespace and name, after `after`, at most `limit`.
    #[must_use]
    pub fn list(
        &self,
        namespace: Option<&Namespace>,
        after: Option<&StreamKey>,
        limit: usize,
    ) -> Vec<StreamKey> {
        self.streams(namespace, after).filter(|(_, lives)| *lives).map(|(key, _)| key).take(limit).collect()
    }

    /// The same with the names of streams that live no more: a name stays for ever.
    #[must_use]
    pub fn names(
        &self,
        namespace: Option<&Namespace>,
        after: Option<&StreamKey>,
        limit: usize,
    ) -> Vec<StreamKey> {
        self.streams(namespace, after).map(|(key, _)| key).take(limit).collect()
    }

    /// The names of streams in order, after `after`, each with whether it lives.
    fn streams(
        &self,
        namespace: Option<&Namespace>,
        after: Option<&StreamKey>,
    ) -> impl Iterator<Item = (StreamKey, bool)> + use<'_> {
        let prefix = match namespace {
            Some(namespace) => keys::namespace(keys::STREAM, namespace.as_str()),
            None => keys::table(keys::STREAM),
        };
        let start = match after {
            Some(key) => {
                let mut start = keys::stream(keys::STREAM, key);
                start.push(0xff);
                start.max(prefix.clone())
            }
            None => prefix.clone(),
        };
        // Not held: the writer need not wait for a long list, and each stream is looked at again on its own.
        let rows = self.rows().table.range(start, after_all(&prefix));
        let lives = |value: &[u8]| match rows::decode::<StreamRow>(value) {
            Some(row) => row.life.is_some(),
            None => self.damaged(&"a stream"),
        };
        self.read(rows).filter_map(move |(key, value)| Some((stream_key(&key)?, lives(&value))))
    }

    /// A tag's history: see [`Look::history`].
    #[must_use]
    pub fn history(&self, key: &StreamKey, tag: &TagName, before: u64, limit: usize) -> Vec<(u64, Current)> {
        self.look().history(key, tag, before, limit)
    }

    /// How many different images the history of a stream holds: see [`Look::unique_images`].
    #[must_use]
    pub fn unique_images(&self, key: &StreamKey) -> u64 {
        self.look().unique_images(key)
    }

    /// The same right after one of the stream's events.
    #[must_use]
    pub fn unique_images_after(&self, key: &StreamKey, sequence: u64) -> u64 {
        self.images_in(&self.rows().table, key, sequence)
    }

    pub(crate) fn images_in(&self, table: &Table, key: &StreamKey, sequence: u64) -> u64 {
        if sequence == 0 {
            return 0;
        }
        match table.get(&keys::stream_event(key, sequence)) {
            Ok(Some(row)) => self.decode(&row, "an event of a stream"),
            Ok(None) => self.damaged(&"an event of a stream is missing"),
            Err(error) => self.damaged(&error),
        }
    }

    /// A stream as it was kept last, at an event up to `until`. `None`: that was before it was kept first.
    #[must_use]
    pub fn snapshot(&self, key: &StreamKey, until: u64) -> Option<Arc<StreamState>> {
        let table = self.rows().table.clone();
        let begin = keys::stream(keys::SNAPSHOT, key);
        let end = Bound::Excluded(keys::snapshot(key, until.saturating_add(1)));
        let (last, _) = self.read(table.range_back(begin.clone(), end)).next()?;
        let parts = |row: &[u8]| {
            let (sequence, tag) =
                keys::snapshot_parts(row, &begin).unwrap_or_else(|| self.damaged(&"a snapshot"));
            (sequence, tag.map(TagName::parse))
        };
        let (sequence, _) = parts(&last);
        let mut rows = self.read(table.scan(&keys::snapshot(key, sequence)));
        let (_, row) = rows.next().expect("one was found");
        let tags = rows.map(|(row, value)| match parts(&row).1 {
            Some(Ok(tag)) => (tag, value),
            Some(Err(_)) | None => self.damaged(&"a snapshot"),
        });
        Some(Arc::new(self.state_of(&row, tags)))
    }

    /// The state that the row of a stream and those of its tags stand for.
    pub(crate) fn state_of(&self, row: &[u8], tags: impl Iterator<Item = (TagName, IVec)>) -> StreamState {
        let row: StreamRow = self.decode(row, "a stream");
        let mut life = row.life.map(rows::LifeRow::into_stream);
        if let Some(stream) = &mut life {
            let state = |value: &[u8]| {
                let state = self.decode::<TagRow>(value, "a tag").into_state();
                Arc::new(state.unwrap_or_else(|| self.damaged(&"a tag")))
            };
            stream.tags = tags.map(|(tag, value)| (tag, state(&value))).collect();
        }
        StreamState { revision: row.revision, sequence: row.sequence, life }
    }

    /// The images in the history of a stream whose digest starts with `prefix`: see [`World::find_image`].
    #[must_use]
    pub fn find_image(&self, key: &StreamKey, prefix: &str) -> Vec<(Digest, Current)> {
        self.stage().find_image(key, prefix)
    }

    /// All images in the history of a stream, once each: see [`Look::stream_images`].
    #[must_use]
    pub fn stream_images(&self, key: &StreamKey) -> Vec<Digest> {
        self.look().stream_images(key)
    }

    /// What is known of an image.
    #[must_use]
    pub fn image(&self, digest: &Digest) -> Option<KnownImage> {
        let row: ImageRow = self.decode(&self.get(&keys::image(digest))?, "an image");
        let (recorded_at, sequence) = (row.recorded_at.into(), row.sequence);
        let image = row.into_image(digest.clone()).unwrap_or_else(|| self.damaged(&"an image"));
        Some(KnownImage { image, recorded_at, sequence })
    }

    /// All images ever recorded, by digest, after `after`, at most `limit`.
    #[must_use]
    pub fn images(&self, after: Option<&Digest>, limit: usize) -> Vec<Digest> {
        let table = keys::table(keys::IMAGE);
        let start = after.map_or(table.clone(), |digest| {
            let mut start = keys::image(digest);
            start.push(0xff);
            start
        });
        let rows = self.rows().table.range(start, after_all(&table));
        self.read(rows)
            .take(limit)
            .filter_map(|(key, _)| Digest::parse(keys::texts(&key).next()?).ok())
            .collect()
    }

    /// What a request id made before.
    #[must_use]
    pub fn request(&self, id: &str) -> Option<PastRequest> {
        self.get(&keys::request(id)).map(|row| self.decode::<RequestRow>(&row, "a request").into())
    }

    /// Sequences of the events of a stream's name, from `from` on, at most `limit`.
    #[must_use]
    pub fn events_of(&self, key: &StreamKey, from: u64, limit: usize) -> Vec<u64> {
        let end = after_all(&keys::stream(keys::STREAM_EVENT, key));
        let rows = self.rows().table.range(keys::stream_event(key, from), end);
        self.read(rows).take(limit).map(|(key, _)| keys::number(&key)).collect()
    }

    /// The same from the newest on, before `before`.
    #[must_use]
    pub fn events_of_before(&self, key: &StreamKey, before: u64, limit: usize) -> Vec<u64> {
        self.numbers_before(keys::stream_event(key, 0), keys::stream_event(key, before), limit)
    }

    /// Sequences of the events that are about a tag, its stream's deletions among them, before `before`, newest first, at
    /// most `limit`. They outlive the tag.
    #[must_use]
    pub fn events_of_tag_before(
        &self,
        key: &StreamKey,
        tag: &TagName,
        before: u64,
        limit: usize,
    ) -> Vec<u64> {
        self.numbers_before(keys::tag_event(key, tag, 0), keys::tag_event(key, tag, before), limit)
    }

    fn numbers_before(&self, from: Vec<u8>, to: Vec<u8>, limit: usize) -> Vec<u64> {
        let rows = self.rows().table.range_back(from, Bound::Excluded(to));
        self.read(rows).take(limit).map(|(key, _)| keys::number(&key)).collect()
    }

    /// Which tags point, or pointed, to an image, and from when to when: sorted by namespace, stream, tag and time, what
    /// lasts last; after `after`, at most `limit`.
    #[must_use]
    pub fn spans(&self, image: &Digest, within: Within<'_>, after: Option<&Span>, limit: usize) -> Vec<Span> {
        let prefix = match within {
            Within::Everything => keys::spans(image, None, None),
            Within::Namespace(namespace) => keys::spans(image, Some(namespace), None),
            Within::Stream(key) => keys::spans(image, Some(&key.namespace), Some(&key.name)),
        };
        let mut start = prefix.clone();
        if let Some(span) = after {
            let since = if span.lasts() { keys::LASTS } else { span.since };
            let mut after = keys::span(image, &span.stream, &span.tag, since);
            after.push(0);
            start = start.max(after);
        }
        let rows = self.rows().table.range(start, after_all(&prefix));
        self.read(rows)
            .take(limit)
            .map(|(key, value)| {
                let number = self.decode(&value, "a span");
                span(&key, number).unwrap_or_else(|| self.damaged(&"a span"))
            })
            .collect()
    }

    /// The first image by digest, after `after`, whose digest starts with `prefix` and that a tag ever pointed to, itself or
    /// through an image index.
    #[must_use]
    pub fn next_image(&self, prefix: &str, after: Option<&Digest>) -> Option<Digest> {
        let table = self.rows().table.clone();
        let first_in = |rows: u8| {
            let prefix = [&keys::table(rows), prefix.as_bytes()].concat();
            let start = after.map_or(prefix.clone(), |digest| {
                // Behind the zero byte that ends a text, and so behind all rows of that image.
                let after = [&keys::table(rows), digest.as_str().as_bytes(), &[1]].concat();
                after.max(prefix.clone())
            });
            let (key, _) = self.read(table.range(start, after_all(&prefix))).next()?;
            keys::texts(&key).next().and_then(|text| Digest::parse(text).ok())
        };
        [keys::SPAN, keys::INDEX].into_iter().filter_map(first_in).min()
    }

    /// The image indexes that hold an image, as far as they were kept whole.
    #[must_use]
    pub fn indexes_of(&self, image: &Digest) -> Vec<Digest> {
        let mut prefix = keys::table(keys::INDEX);
        prefix.extend(image.as_str().bytes());
        prefix.push(0);
        let rows = self.scan(&prefix);
        rows.filter_map(|(key, _)| Digest::parse(keys::texts(&key).nth(1)?).ok()).collect()
    }

    /// Streams in which a hold ends by itself.
    #[must_use]
    pub fn expiring(&self) -> Vec<StreamKey> {
        let rows = self.scan(&keys::table(keys::EXPIRING));
        rows.filter_map(|(key, _)| stream_key(&key)).collect()
    }

    /// Streams in which a tag waits for an import.
    #[must_use]
    pub fn pending(&self) -> Vec<StreamKey> {
        self.scan(&keys::table(keys::PENDING)).filter_map(|(key, _)| stream_key(&key)).collect()
    }

    /// Streams in which a tag is checked again: on the schedule, or failed.
    #[must_use]
    pub fn checked(&self) -> Vec<StreamKey> {
        self.scan(&keys::table(keys::CHECKED)).filter_map(|(key, _)| stream_key(&key)).collect()
    }
}

fn stream_key(row: &[u8]) -> Option<StreamKey> {
    let mut texts = keys::texts(row);
    StreamKey::parse(texts.next()?, texts.next()?).ok()
}
