//! What a command would change. The rules of spec §2, one file for each kind of wish.

mod import;
mod metadata;
mod tag;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::apply::{Position, apply};
use crate::command::{Command, Context};
use crate::digest::Digest;
use crate::event::{Event, Fact, HistoryChange, MoveCause, TagMoved};
use crate::limits;
use crate::names::{StreamKey, TagName};
use crate::refusal::{Refusal, Subject, resource};
use crate::state::{HistoryItem, Stream, StreamState};
use crate::tag::{Entries, TagSpec};

/// The state of all streams, as far as decisions ask for it.
pub trait World {
    /// The state of a stream's name. For a name without events the default.
    fn stream(&self, key: &StreamKey) -> Arc<StreamState>;

    /// The images in the history of a stream whose digest starts with `prefix` (with or without its algorithm), each
    /// once, with the newest history item that has it. Sorted by digest.
    fn find_image(&self, key: &StreamKey, prefix: &str) -> Vec<(Digest, HistoryItem)>;

    /// Whether an image was recorded before.
    fn knows_image(&self, digest: &Digest) -> bool;
}

/// Decides what a command would change. Reads nothing but its arguments. No events: there is nothing to do.
///
/// # Errors
/// [`Refusal`] says why nothing may be done.
pub fn decide(
    world: &impl World,
    key: &StreamKey,
    context: &Context,
    command: &Command,
) -> Result<Vec<Event>, Refusal> {
    let before = world.stream(key);
    expect_revision(&before, key, context.expected_revision)?;
    let mut draft = Draft::new(key, context, before);
    match command {
        Command::CreateStream { lookup_local, labels, annotations } => {
            let subject = Subject::stream(key.name.as_str());
            metadata::check_annotations(&subject, annotations)?;
            metadata::check_labels(&subject, labels)?;
            if draft.life().is_some() {
                return Err(Refusal::AlreadyExists {
                    resource: resource::STREAMS,
                    name: key.name.to_string(),
                });
            }
            draft.create_stream(*lookup_local, labels.clone(), annotations.clone());
        }
        Command::DeleteStream => {
            let stream = draft.life().ok_or_else(|| Refusal::no_stream(key))?;
            // Enough to see what was lost, within the size of one event; all of it is in the events before.
            let tags = stream.tags.keys().take(limits::TAGS_PER_DELETION).cloned().collect();
            draft.happen(Fact::StreamDeleted { tags });
        }
        Command::SetLookupPolicy { local } => {
            let stream = draft.life().ok_or_else(|| Refusal::no_stream(key))?;
            if stream.lookup_local != *local {
                draft.generation += 1;
                draft.happen(Fact::LookupPolicySet { local: *local });
            }
        }
        Command::UpdateMetadata(update) => metadata::decide(&mut draft, update)?,
        Command::SetTag(wish) => tag::set(&mut draft, world, wish)?,
        Command::DeleteTag { tag } => tag::delete(&mut draft, tag)?,
        Command::Import(answer) => import::decide(&mut draft, world, answer)?,
    }
    Ok(draft.events)
}

fn expect_revision(state: &StreamState, key: &StreamKey, expected: Option<u64>) -> Result<(), Refusal> {
    let actual = if state.life.is_some() { state.revision } else { 0 };
    match expected {
        Some(expected) if expected != actual => {
            let is =
                if actual == 0 { "does not exist".to_owned() } else { format!("is at revision {actual}") };
            Err(Refusal::Conflict(format!(
                "Operation cannot be fulfilled on {} \"{}\": the image stream {is}, not at revision {expected}; look again and retry",
                resource::STREAMS,
                key.name
            )))
        }
        _ => Ok(()),
    }
}

/// The events of one command as they come about. Each is applied at once, by the same `apply` that will serve for
/// ever, so a rule always looks at the state its own earlier events made.
struct Draft<'a> {
    key: &'a StreamKey,
    context: &'a Context,
    state: StreamState,
    events: Vec<Event>,
    /// The stream's generation after this command (spec §2.2).
    generation: i64,
}

impl<'a> Draft<'a> {
    fn new(key: &'a StreamKey, context: &'a Context, before: Arc<StreamState>) -> Self {
        let generation = before.life.as_ref().map_or(0, |stream| stream.generation);
        Self { key, context, state: Arc::unwrap_or_clone(before), events: Vec::new(), generation }
    }

    fn life(&self) -> Option<&Stream> {
        self.state.life.as_ref()
    }

    /// The stream, for rules that run only where there is one.
    fn stream(&self) -> &Stream {
        self.life().expect("this rule runs on a living stream")
    }

    fn spec(&self, tag: &TagName) -> Option<&TagSpec> {
        self.life()?.tags.get(tag)?.spec.as_ref()
    }

    fn happen(&mut self, fact: Fact) {
        let stream_uid = match &fact {
            Fact::StreamCreated { .. } => self.context.fresh_uid.clone(),
            _ => self.stream().uid.clone(),
        };
        let event = Event { stream_uid, generation: self.generation, fact };
        let sequence = self.context.next_sequence + self.events.len() as u64;
        let state = std::mem::take(&mut self.state);
        self.state = apply(state, &event, Position { sequence, recorded_at: self.context.now });
        self.events.push(event);
    }

    /// A new stream starts at generation 1, whatever the same command does to it next (spec §2.1).
    fn create_stream(&mut self, lookup_local: bool, labels: Entries, annotations: Entries) {
        self.generation = 1;
        self.happen(Fact::StreamCreated { lookup_local, labels, annotations });
    }

    /// Adds an item to a tag's history by OpenShift's rule (spec §2.6). Gives whether the newest item is another
    /// one now, by any of its parts.
    fn add_item(&mut self, tag: &TagName, item: HistoryItem, cause: MoveCause) -> bool {
        let current = self.life().and_then(|s| s.tags.get(tag)).and_then(|t| t.current.clone());
        let change = match &current {
            None => HistoryChange::Added,
            Some(current) => {
                let old = &current.item;
                match (old.reference == item.reference, old.image == item.image) {
                    (true, true) if old.generation == item.generation => return false,
                    (true, true) => HistoryChange::Renewed,
                    (true, false) | (false, true) => HistoryChange::Replaced,
                    (false, false) => HistoryChange::Added,
                }
            }
        };
        let (previous, replaces_sequence) = current.map_or((None, 0), |c| (Some(c.item), c.sequence));
        let item = match (&previous, change) {
            // In place means: the time stays (spec §2.6).
            (Some(old), HistoryChange::Renewed | HistoryChange::Replaced) => {
                HistoryItem { created: old.created, ..item }
            }
            _ => item,
        };
        let source = self.spec(tag).and_then(|spec| spec.source.as_ref()).map(|source| source.name.clone());
        let source = source.unwrap_or_default();
        let moved = TagMoved { tag: tag.clone(), item, change, previous, replaces_sequence, cause, source };
        self.happen(Fact::TagMoved(Box::new(moved)));
        true
    }

    /// Gives what moved to every tag that follows it, and to those that follow these (spec §2.4; OpenShift gets
    /// only one hop right). A circle, which only an older log can hold, ends where it began.
    fn follow_aliases(&mut self, moved: Vec<TagName>) {
        let followers = self.followers();
        let mut seen: BTreeSet<TagName> = moved.iter().cloned().collect();
        let mut queue = VecDeque::from(moved);
        while let Some(source) = queue.pop_front() {
            let Some(current) = self.stream().tags.get(&source).and_then(|t| t.current.clone()) else {
                continue;
            };
            for tag in followers.get(&source).into_iter().flatten() {
                if seen.insert(tag.clone())
                    && self.add_item(tag, current.item.clone(), MoveCause::Alias(source.clone()))
                {
                    queue.push_back(tag.clone());
                }
            }
        }
    }

    /// The tags that follow each tag of the stream.
    fn followers(&self) -> BTreeMap<TagName, Vec<TagName>> {
        let mut followers: BTreeMap<TagName, Vec<TagName>> = BTreeMap::new();
        for (tag, state) in &self.stream().tags {
            let source = state.spec.as_ref().and_then(|spec| spec.source.as_ref());
            if let Some(followed) = source.and_then(|source| source.followed_tag(self.key)) {
                followers.entry(followed).or_default().push(tag.clone());
            }
        }
        followers
    }

    /// Whether the stream may get these tags, as far as they are new.
    fn check_room<'t>(&self, tags: impl IntoIterator<Item = &'t TagName>) -> Result<(), Refusal> {
        let there = self.life().map(|stream| &stream.tags);
        let new: BTreeSet<_> =
            tags.into_iter().filter(|tag| there.is_none_or(|there| !there.contains_key(*tag))).collect();
        let total = there.map_or(0, BTreeMap::len) + new.len();
        if new.is_empty() || total <= limits::TAGS_PER_STREAM {
            return Ok(());
        }
        Err(Refusal::Usage(format!(
            "the image stream \"{}\" would have {total} tags, at most {} are possible; delete tags or use another image stream",
            self.key.name,
            limits::TAGS_PER_STREAM
        )))
    }
}
