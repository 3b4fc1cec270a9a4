//! Everything that ever happened to a tag, to the tags of a stream, or to all tags, newest first.
//!
//! A page is gathered from events in descending order. Some of them do not say what their tag pointed to; the event that
//! set it comes later in that order, and is mostly met on the way.

use std::collections::{BTreeSet, HashMap};

use prost::Message;
use tagtrail_api::kind::Kind;
use tagtrail_api::v1;
use tagtrail_domain::event::Actor;
use tagtrail_domain::{Digest, Fact, Namespace, Refusal, StreamKey, TagName};
use tagtrail_projection::{Span, Within};
use tonic::Status;

use super::entry::{self, Open};
use super::prefix::Prefix;
use super::{Services, check, errors, stream_of, tag_of};
use crate::convert;
use crate::past::{Past, PastError};

/// Most entries in one page, and most events that are looked at for one.
const PAGE: usize = 1_000;
const LOOKED_AT: usize = 20_000;
/// A page ends when it has this many bytes.
const BYTES: usize = 3 << 20;
/// Fewest and most events that are read in one go.
const READ: (usize, usize) = (64, 500);
/// How many spans are looked at in one go.
const SPANS: usize = 1_000;
/// What is listed unless somebody asks for other kinds.
const KINDS: [Kind; 9] = [
    Kind::StreamDeleted,
    Kind::TagMoved,
    Kind::TagDeleted,
    Kind::TagRestored,
    Kind::TagHeld,
    Kind::TagReleased,
    Kind::MoveWithheld,
    Kind::ImportFailed,
    Kind::LogContinued,
];

/// What is asked for.
struct Wish {
    scope: Scope,
    actor: String,
    digest: Option<Prefix>,
    kinds: Vec<Kind>,
    /// Only what happened after this event.
    since: u64,
    /// Only what happened before this event.
    before: u64,
    size: usize,
}

/// Whose history.
enum Scope {
    All,
    Namespace(Namespace),
    Stream(StreamKey),
    Tag(StreamKey, TagName),
}

/// Where the events are found.
enum Source<'w> {
    /// All there are, one after the other.
    Log,
    Stream(&'w StreamKey),
    Tag(&'w StreamKey, &'w TagName),
    /// Those of tags while they pointed to an image, newest first.
    Image(Vec<u64>),
}

impl Services {
    pub(super) fn page_of_entries(
        &self,
        request: &v1::ListEntriesRequest,
    ) -> Result<v1::ListEntriesResponse, Status> {
        let wish = self.entries_asked_for(request)?;
        self.refuse_unknown(&wish.scope)?;
        if let Scope::Namespace(namespace) = &wish.scope
            && self.view.names(Some(namespace), None, 1).is_empty()
        {
            return Ok(v1::ListEntriesResponse::default());
        }
        self.past().entries(&wish).map_err(|error| errors::past(&error))
    }

    fn entries_asked_for(&self, request: &v1::ListEntriesRequest) -> Result<Wish, Status> {
        let kinds: Result<Vec<Kind>, _> = request.kinds.iter().map(|text| text.parse()).collect();
        let kinds =
            kinds.map_err(|error: tagtrail_api::kind::UnknownKind| errors::usage(error.to_string()))?;
        let digest = Some(&request.digest).filter(|text| !text.is_empty());
        let until = self.at(request.until.as_ref())?;
        let since = self.at(request.since.as_ref())?;
        let before = match request.page_token.as_str() {
            "" => u64::MAX,
            text => text.parse().map_err(|_| errors::bad_page_token(text))?,
        };
        let end = until.map_or(self.view.position(), |until| until.sequence) + 1;
        let wish = Wish {
            scope: scope(request)?,
            actor: request.actor.clone(),
            digest: digest.map(|text| check(Prefix::parse(text))).transpose()?,
            kinds: if kinds.is_empty() { KINDS.to_vec() } else { kinds },
            since: since.map_or(0, |since| since.sequence),
            before: before.min(end),
            size: self.page(request.page_size, PAGE),
        };
        wish.refuse_impossible().map_err(errors::usage)?;
        Ok(wish)
    }

    /// Refuses names that never had an event.
    fn refuse_unknown(&self, scope: &Scope) -> Result<(), Status> {
        let (key, tag) = match scope {
            Scope::All | Scope::Namespace(_) => return Ok(()),
            Scope::Stream(key) => (key, None),
            Scope::Tag(key, tag) => (key, Some(tag)),
        };
        let refusal = match tag {
            _ if self.view.stream(key).revision == 0 => Refusal::no_stream(key),
            Some(tag) if self.view.events_of_tag_before(key, tag, u64::MAX, 1).is_empty() => {
                Refusal::no_tag(key, tag.as_str(), true)
            }
            Some(_) | None => return Ok(()),
        };
        Err(errors::refused(&refusal))
    }
}

fn scope(request: &v1::ListEntriesRequest) -> Result<Scope, Status> {
    let v1::ListEntriesRequest { namespace, name, tag, .. } = request;
    if name.is_empty() && !tag.is_empty() {
        return Err(errors::usage("a tag needs its image stream".into()));
    }
    if namespace.is_empty() && !name.is_empty() {
        return Err(errors::usage("an image stream needs its namespace".into()));
    }
    if namespace.is_empty() {
        return Ok(Scope::All);
    }
    if name.is_empty() {
        let no_namespace = |_| Refusal::NotFound { resource: "namespaces", name: namespace.clone() };
        return check(Namespace::parse(namespace).map_err(no_namespace)).map(Scope::Namespace);
    }
    let key = check(convert::existing(namespace, name))?;
    if tag.is_empty() {
        return Ok(Scope::Stream(key));
    }
    match TagName::parse(tag) {
        Ok(tag) => Ok(Scope::Tag(key, tag)),
        Err(_) => Err(errors::refused(&Refusal::no_tag(&key, tag, true))),
    }
}

impl Wish {
    /// Refuses what can match nothing.
    fn refuse_impossible(&self) -> Result<(), String> {
        let all = || self.kinds.iter().map(Kind::to_string).collect::<Vec<_>>().join(", ");
        let of_tags = |kind: &Kind| kind.names_a_tag() || *kind == Kind::StreamDeleted;
        if let Scope::Tag(_, tag) = &self.scope
            && !self.kinds.iter().any(of_tags)
        {
            return Err(format!("events of the kind {} are about no tag, so none is about \"{tag}\"", all()));
        }
        if self.digest.is_some() && !self.kinds.iter().copied().any(tells_image) {
            return Err(format!("events of the kind {} do not move a tag from or to an image", all()));
        }
        Ok(())
    }

    /// How many events of an image are looked for, for one page: some of them are no entries.
    fn at_most(&self) -> usize {
        (2 * self.size).clamp(READ.0, LOOKED_AT)
    }

    fn passes(&self, event: &v1::Event, kind: Kind, asked_by: Option<&str>) -> bool {
        let there = match &self.scope {
            Scope::Namespace(namespace) => namespace.as_str() == event.namespace,
            Scope::All | Scope::Stream(_) | Scope::Tag(..) => true,
        };
        let by = event.actor.as_ref().map_or("", |actor| actor.name.as_str());
        let by_them = self.actor.is_empty() || self.actor == by || asked_by == Some(&self.actor);
        there && self.kinds.contains(&kind) && by_them
    }

    /// Whether an entry came from or led to the image that is asked for, if one is. What was withheld led nowhere; and where
    /// all tags of a stream went, one of them pointed to it, or the event would not have been looked at.
    fn is_of_image(&self, entry: &v1::HistoryEntry) -> bool {
        let Some(prefix) = &self.digest else { return true };
        let names =
            |item: &Option<v1::HistoryItem>| item.as_ref().is_some_and(|item| prefix.matches(&item.image));
        let withheld = entry.kind == Kind::MoveWithheld.as_str();
        let all_went = entry.kind == Kind::StreamDeleted.as_str() && entry.tag.is_empty();
        all_went || names(&entry.from) || (!withheld && names(&entry.to))
    }
}

/// Whether entries of this kind tell what a tag pointed to.
fn tells_image(kind: Kind) -> bool {
    match kind {
        Kind::StreamDeleted
        | Kind::TagMoved
        | Kind::TagConfirmed
        | Kind::TagDeleted
        | Kind::TagHeld
        | Kind::TagReleased
        | Kind::TagRestored
        | Kind::MoveWithheld => true,
        Kind::StreamCreated
        | Kind::StreamChanged
        | Kind::TagSet
        | Kind::ImportFailed
        | Kind::ImportRecovered
        | Kind::ImportFinished
        | Kind::ImageRecorded
        | Kind::TestimonyTaken
        | Kind::LogContinued => false,
    }
}

impl Past {
    fn entries(&self, wish: &Wish) -> Result<v1::ListEntriesResponse, PastError> {
        let source = match (&wish.scope, &wish.digest) {
            (Scope::Tag(key, tag), _) => Source::Tag(key, tag),
            (_, Some(prefix)) => Source::Image(self.events_of_image(wish, prefix)),
            (Scope::Stream(key), None) => Source::Stream(key),
            (Scope::All | Scope::Namespace(_), None) => Source::Log,
        };
        let mut page = Page::new(wish);
        let at_once = wish.size.clamp(READ.0, READ.1);
        let mut looked_at = 0;
        let more = 'page: loop {
            let mut sequences = self.below(&source, page.down_to, at_once);
            let last = sequences.len() < at_once;
            sequences.retain(|sequence| *sequence > wish.since);
            let last = last || sequences.len() < at_once;
            sequences.reverse();
            looked_at += sequences.len();
            for event in self.told(&sequences)?.into_iter().rev() {
                let asked_by = self.asked_by(&event, &wish.actor)?;
                page.look_at(event, asked_by.as_deref());
                if page.is_full() {
                    break 'page true;
                }
            }
            if last {
                // Of an image, only so many events were looked for.
                break matches!(&source, Source::Image(all) if all.len() >= wish.at_most());
            }
            if looked_at >= LOOKED_AT {
                break true;
            }
        };
        let next_page_token = if more { page.down_to.to_string() } else { String::new() };
        Ok(v1::ListEntriesResponse { entries: page.end(self)?, next_page_token })
    }

    /// Who asked for what an event tells, where only the events of one actor are wanted and this is another's.
    fn asked_by(&self, event: &v1::Event, wanted: &str) -> Result<Option<String>, PastError> {
        let by = event.actor.as_ref().map_or("", |actor| actor.name.as_str());
        if wanted.is_empty() || wanted == by || event.caused_by == 0 {
            return Ok(None);
        }
        let wish = self.event(event.caused_by)?;
        Ok(matches!(wish.event.fact, Fact::TagSet { .. }).then_some(wish.actor.name))
    }

    /// The newest events before `before`, newest first.
    fn below(&self, source: &Source<'_>, before: u64, limit: usize) -> Vec<u64> {
        match source {
            Source::Log => (1..before).rev().take(limit).collect(),
            Source::Stream(key) => self.view.events_of_before(key, before, limit),
            Source::Tag(key, tag) => self.view.events_of_tag_before(key, tag, before, limit),
            Source::Image(all) => {
                let newer = all.partition_point(|sequence| *sequence >= before);
                all[newer..].iter().copied().take(limit).collect()
            }
        }
    }

    /// The newest events of tags from when they pointed to an image up to when they no longer did, newest first.
    fn events_of_image(&self, wish: &Wish, prefix: &Prefix) -> Vec<u64> {
        let within = match &wish.scope {
            Scope::All => Within::Everything,
            Scope::Namespace(namespace) => Within::Namespace(namespace),
            Scope::Stream(key) | Scope::Tag(key, _) => Within::Stream(key),
        };
        let mut newest = BTreeSet::new();
        for text in prefix.texts() {
            let mut image: Option<Digest> = None;
            while let Some(next) = self.view.next_image(text, image.as_ref()) {
                let mut after: Option<Span> = None;
                loop {
                    let spans = self.view.spans(&next, within, after.as_ref(), SPANS);
                    for span in &spans {
                        self.add_events_of_span(wish, span, &mut newest);
                    }
                    if spans.len() < SPANS {
                        break;
                    }
                    after = spans.into_iter().next_back();
                }
                image = Some(next);
            }
        }
        newest.into_iter().rev().collect()
    }

    fn add_events_of_span(&self, wish: &Wish, span: &Span, newest: &mut BTreeSet<u64>) {
        let mut before = if span.lasts() { wish.before } else { wish.before.min(span.until + 1) };
        loop {
            let too_old = newest.first().copied().filter(|_| newest.len() >= wish.at_most()).unwrap_or(0);
            let oldest = span.since.max(wish.since + 1).max(too_old + 1);
            if before <= oldest {
                return;
            }
            let events =
                self.view.events_of_tag_before(&span.stream, &span.tag, before, crate::past::LOOKED_FOR);
            let Some(last) = events.last() else { return };
            before = *last;
            newest.extend(events.iter().copied().filter(|sequence| *sequence >= oldest));
            while newest.len() > wish.at_most() {
                newest.pop_first();
            }
        }
    }
}

/// A page while it is gathered.
struct Page<'w> {
    wish: &'w Wish,
    entries: Vec<v1::HistoryEntry>,
    /// Entries of a stream's tag that do not know yet what it pointed to.
    open: HashMap<(StreamKey, TagName), Vec<(usize, Open)>>,
    /// Everything that was to be looked at was, from here on up.
    down_to: u64,
    bytes: usize,
}

impl<'w> Page<'w> {
    fn new(wish: &'w Wish) -> Self {
        Self { wish, entries: Vec::new(), open: HashMap::new(), down_to: wish.before, bytes: 0 }
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= self.wish.size || self.bytes >= BYTES
    }

    fn look_at(&mut self, event: v1::Event, asked_by: Option<&str>) {
        self.down_to = event.sequence;
        self.settle(&event);
        let Some(kind) = Kind::of(&event).filter(|kind| self.wish.passes(&event, *kind, asked_by)) else {
            return;
        };
        let of_tag = match &self.wish.scope {
            Scope::Tag(_, tag) => Some(tag.as_str()),
            Scope::All | Scope::Namespace(_) | Scope::Stream(_) => None,
        };
        let (entry, open) = entry::entry(event, kind, of_tag);
        if open == Open::Nothing {
            if self.wish.is_of_image(&entry) {
                self.add(entry);
            }
        } else {
            let name = (stream_of(&entry.namespace, &entry.stream), tag_of(&entry.tag));
            self.open.entry(name).or_default().push((self.entries.len(), open));
            self.add(entry);
        }
    }

    fn add(&mut self, entry: v1::HistoryEntry) {
        self.bytes += entry.encoded_len();
        self.entries.push(entry);
    }

    /// Fills in what a tag pointed to, where this event is the one that set it.
    fn settle(&mut self, event: &v1::Event) {
        if self.open.is_empty() {
            return;
        }
        let Some(pointing) = entry::pointing(event) else { return };
        let key = stream_of(&event.namespace, &event.stream);
        match pointing.tag {
            Some(tag) => {
                let open = self.open.remove(&(key, tag_of(tag)));
                self.fill(open.into_iter().flatten(), pointing.item);
            }
            // They pointed to nothing, which is what their entries say already.
            None => self.open.retain(|(stream, _), _| *stream != key),
        }
    }

    fn fill(&mut self, open: impl Iterator<Item = (usize, Open)>, item: Option<&v1::HistoryItem>) {
        for (number, open) in open {
            let entry = &mut self.entries[number];
            entry.from = item.cloned();
            if open == Open::Both {
                entry.to = item.cloned();
            }
        }
    }

    fn end(mut self, past: &Past) -> Result<Vec<v1::HistoryEntry>, PastError> {
        for ((key, tag), open) in std::mem::take(&mut self.open) {
            let item = past.pointed_to(&key, &tag, self.down_to)?;
            self.fill(open.into_iter(), item.as_ref());
        }
        self.entries.retain(|entry| self.wish.is_of_image(entry));
        for entry in self.entries.iter_mut().filter(|entry| entry.caused_by > 0) {
            let wish = past.event(entry.caused_by)?;
            // What somebody wished for, not what a hold kept away until its time was up.
            if !matches!(wish.event.fact, Fact::TagSet { .. }) {
                continue;
            }
            let Actor { name, authenticated } = wish.actor;
            entry.asked_by = Some(v1::Actor { name, authenticated });
            if entry.reason.is_empty() {
                entry.reason = wish.reason;
            }
        }
        Ok(self.entries)
    }
}
