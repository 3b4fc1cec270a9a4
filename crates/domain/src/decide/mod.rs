//! What a command would change. The rules of spec §2, one file for each kind of wish.

mod hold;
mod import;
mod metadata;
mod restore;
mod rollback;
mod tag;
mod testimony;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::apply::{Position, apply};
use crate::command::{Command, Context, Expectation};
use crate::digest::Digest;
use crate::event::{Event, Fact, HistoryChange, MoveCause, MoveWithheld, TagMoved};
use crate::limits;
use crate::names::{StreamKey, TagName};
use crate::refusal::{Refusal, Subject, resource};
use crate::state::{Current, HistoryItem, Stream, StreamState, TagState};
use crate::tag::{Entries, TagSpec};

/// The state of all streams, as far as decisions ask for it.
pub trait World {
    /// The state of a stream's name. For a name without events the default.
    fn stream(&self, key: &StreamKey) -> Arc<StreamState>;

    /// The images in the history of a stream whose digest starts with `prefix` (with or without its algorithm), each
    /// once, with the newest history item that has it. Sorted by digest.
    fn find_image(&self, key: &StreamKey, prefix: &str) -> Vec<(Digest, Current)>;

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
    let mut draft = Draft::new(key, context, 0, world.stream(key))?;
    draft.carry_out(world, command)?;
    Ok(draft.finish())
}

/// Decides what several commands would change together: all of it, in one run of events, or nothing. The events of a
/// stream stand together, in the order in which the streams are named first.
///
/// What a command looks up in other tags, of whatever stream, is as it was before all of them: the order of the commands
/// does not matter.
///
/// # Errors
/// [`Refusal`] says why nothing may be done: of the first command that is refused, or because a tag is to be set twice.
pub fn decide_together(
    world: &impl World,
    context: &Context,
    wishes: &[(StreamKey, Command)],
) -> Result<Vec<(StreamKey, Event)>, Refusal> {
    refuse_twice(wishes)?;
    let mut keys: Vec<&StreamKey> = Vec::new();
    let mut groups: BTreeMap<&StreamKey, Vec<&Command>> = BTreeMap::new();
    for (key, command) in wishes {
        let group = groups.entry(key).or_default();
        if group.is_empty() {
            keys.push(key);
        }
        group.push(command);
    }
    let mut events = Vec::new();
    for (number, key) in keys.into_iter().enumerate() {
        let next_sequence = context.next_sequence + events.len() as u64;
        let context = Context { next_sequence, ..context.clone() };
        let mut draft = Draft::new(key, &context, number, world.stream(key))?;
        for command in &groups[key] {
            draft.carry_out(world, command).map_err(|refusal| match command {
                Command::SetTag(wish) if wishes.len() > 1 => among_others(refusal, key, &wish.tag),
                _ => refusal,
            })?;
        }
        events.extend(draft.finish().into_iter().map(|event| (key.clone(), event)));
    }
    Ok(events)
}

/// Says which of several tags a refusal is about, where it only speaks of what that was to be set to.
fn among_others(refusal: Refusal, key: &StreamKey, tag: &TagName) -> Refusal {
    match refusal {
        Refusal::Usage(text) => Refusal::Usage(format!("{key}:{tag}: {text}; nothing was moved")),
        other => other,
    }
}

/// Set twice by one wish, a tag would pass over an image that nobody was to see.
fn refuse_twice(wishes: &[(StreamKey, Command)]) -> Result<(), Refusal> {
    let mut seen = BTreeSet::new();
    let set = wishes.iter().filter_map(|(key, command)| match command {
        Command::SetTag(wish) => Some((key, &wish.tag)),
        _ => None,
    });
    for (key, tag) in set {
        if !seen.insert((key, tag)) {
            return Err(Refusal::Malformed(format!("the tag {key}:{tag} is named twice; name it once")));
        }
    }
    Ok(())
}

/// Events about the log itself stand under a name, which therefore no image stream can have.
fn refuse_the_log(key: &StreamKey) -> Result<(), Refusal> {
    if !key.is_of_log() {
        return Ok(());
    }
    Err(Refusal::Malformed(format!(
        "\"{key}\" is the name under which the log tells of itself, so no image stream can be there; choose another name"
    )))
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
    /// Which of the fresh ids is this stream's.
    number: usize,
    state: StreamState,
    events: Vec<Event>,
    /// The stream's generation after this command (spec §2.2).
    generation: i64,
    /// The generation that any change to the stream's spec takes it to, however many there are.
    next_generation: i64,
    /// The tags that were set and point to something else now.
    moved: Vec<TagName>,
}

impl<'a> Draft<'a> {
    fn new(
        key: &'a StreamKey,
        context: &'a Context,
        number: usize,
        before: Arc<StreamState>,
    ) -> Result<Self, Refusal> {
        refuse_the_log(key)?;
        expect_revision(&before, key, context.expected_revision)?;
        let generation = before.life.as_ref().map_or(0, |stream| stream.generation);
        let state = Arc::unwrap_or_clone(before);
        let (events, moved, next_generation) = (Vec::new(), Vec::new(), generation + 1);
        Ok(Self { key, context, number, state, events, generation, next_generation, moved })
    }

    fn carry_out(&mut self, world: &impl World, command: &Command) -> Result<(), Refusal> {
        match command {
            Command::CreateStream { lookup_local, labels, annotations } => {
                let subject = Subject::stream(self.key.name.as_str());
                metadata::check_annotations(&subject, annotations)?;
                metadata::check_labels(&subject, labels)?;
                self.refuse_existing()?;
                self.create_stream(*lookup_local, labels.clone(), annotations.clone());
            }
            Command::DeleteStream => {
                let stream = self.life().ok_or_else(|| Refusal::no_stream(self.key))?;
                // Enough to see what was lost, within the size of one event; all of it is in the events before.
                let tags = stream.tags.keys().take(limits::TAGS_PER_DELETION).cloned().collect();
                self.happen(Fact::StreamDeleted { tags });
            }
            Command::SetLookupPolicy { local } => {
                let stream = self.life().ok_or_else(|| Refusal::no_stream(self.key))?;
                if stream.lookup_local != *local {
                    self.change_spec();
                    self.happen(Fact::LookupPolicySet { local: *local });
                }
            }
            Command::UpdateMetadata(update) => metadata::decide(self, update)?,
            Command::SetTag(wish) => tag::set(self, world, wish)?,
            Command::DeleteTag { tag, expect } => tag::delete(self, tag, expect.as_ref())?,
            Command::Import(answer) => import::decide(self, world, answer)?,
            Command::Rollback(wish) => rollback::decide(self, wish)?,
            Command::Hold { tag, terms, expect } => hold::hold(self, tag, terms, expect.as_ref())?,
            Command::Release { tag, expired } => hold::release(self, tag, *expired)?,
            Command::Restore(wish) => restore::decide(self, wish)?,
            Command::TakeTestimony(testimony) => testimony::decide(self, testimony)?,
        }
        Ok(())
    }

    /// What follows a tag moves only when all that was wished is done: a tag that follows another no longer, or is expected to
    /// point somewhere, must not move with it before its own turn.
    fn finish(mut self) -> Vec<Event> {
        let moved = std::mem::take(&mut self.moved);
        if !moved.is_empty() && self.life().is_some() {
            self.follow_aliases(moved);
        }
        self.events
    }

    fn refuse_existing(&self) -> Result<(), Refusal> {
        match self.life() {
            Some(_) => {
                Err(Refusal::AlreadyExists { resource: resource::STREAMS, name: self.key.name.to_string() })
            }
            None => Ok(()),
        }
    }

    /// A tag that is to be there, with what it points to.
    fn pointing(&self, tag: &TagName) -> Result<(&TagState, &Current), Refusal> {
        let stream = self.life();
        let state = stream.and_then(|stream| stream.tags.get(tag));
        let state = state.ok_or_else(|| Refusal::no_tag(self.key, tag.as_str(), stream.is_some()))?;
        match &state.current {
            Some(current) => Ok((state, current)),
            None => {
                Err(Refusal::Usage(format!("\"{}:{tag}\" does not point to an image yet", self.key.name)))
            }
        }
    }

    /// Refuses unless a tag points to what it is expected to point to.
    fn expect_image(&self, tag: &str, expect: Option<&Expectation>) -> Result<(), Refusal> {
        let Some(expect) = expect else { return Ok(()) };
        let tag_name = TagName::parse(tag).ok();
        let current = tag_name.and_then(|tag| self.state.points_to(&tag));
        let fits = match expect {
            Expectation::Nothing => current.is_none(),
            Expectation::Image(image) => current.is_some_and(|c| c.item.image.as_ref() == Some(image)),
        };
        if fits {
            return Ok(());
        }
        let (points_to, image) = match current.map(|current| &current.item) {
            None => ("nothing".to_owned(), "none".to_owned()),
            Some(HistoryItem { image: Some(image), .. }) => (image.to_string(), image.to_string()),
            Some(HistoryItem { reference, .. }) => (format!("the reference {reference}"), reference.clone()),
        };
        let expected = match expect {
            Expectation::Nothing => "nothing".to_owned(),
            Expectation::Image(image) => image.to_string(),
        };
        let message = format!(
            "Operation cannot be fulfilled on {} \"{}:{tag}\": the tag points to {points_to}, not to {expected}; look again and retry",
            resource::TAGS,
            self.key
        );
        Err(Refusal::Moved { message, image, sequence: current.map_or(0, |current| current.sequence) })
    }

    fn refuse_held(&self, tag: &TagName) -> Result<(), Refusal> {
        let state = self.state.tag(tag);
        let Some(hold) = state.and_then(|state| state.hold.as_ref()) else { return Ok(()) };
        let why =
            if hold.terms.reason.is_empty() { String::new() } else { format!(" ({})", hold.terms.reason) };
        Err(Refusal::Held(format!(
            "\"{}:{tag}\" is held by {}{why}: nothing but a rollback moves it until it is released",
            self.key, hold.terms.held_by
        )))
    }

    fn life(&self) -> Option<&Stream> {
        self.state.life.as_ref()
    }

    /// The stream, for rules that run only where there is one.
    fn stream(&self) -> &Stream {
        self.life().expect("this rule runs on a living stream")
    }

    fn spec(&self, tag: &TagName) -> Option<&TagSpec> {
        self.state.tag(tag)?.spec.as_ref()
    }

    fn happen(&mut self, fact: Fact) {
        let stream_uid = match &fact {
            Fact::StreamCreated { .. } => self.context.fresh_uids[self.number].clone(),
            _ => self.stream().uid.clone(),
        };
        let event = Event { stream_uid, generation: self.generation, fact };
        let sequence = self.context.next_sequence + self.events.len() as u64;
        let state = std::mem::take(&mut self.state);
        self.state = apply(state, &event, Position { sequence, recorded_at: self.context.now });
        self.events.push(event);
    }

    /// The stream's spec changes.
    fn change_spec(&mut self) {
        self.generation = self.next_generation;
    }

    /// A new stream starts at generation 1, whatever the same command does to it next (spec §2.1).
    fn create_stream(&mut self, lookup_local: bool, labels: Entries, annotations: Entries) {
        self.generation = 1;
        self.happen(Fact::StreamCreated { lookup_local, labels, annotations });
    }

    /// Adds an item to a tag's history by OpenShift's rule (spec §2.6). Gives whether the newest item is another
    /// one now, by any of its parts.
    fn add_item(&mut self, tag: &TagName, item: HistoryItem, cause: MoveCause, copied_from: u64) -> bool {
        let current = self.state.points_to(tag).cloned();
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
        let source = self.source_text(tag);
        let tag = tag.clone();
        let moved = TagMoved { tag, item, change, previous, replaces_sequence, cause, source, copied_from };
        self.happen(Fact::TagMoved(Box::new(moved)));
        true
    }

    /// Where a tag takes its image from, as it was typed.
    fn source_text(&self, tag: &TagName) -> String {
        let source = self.spec(tag).and_then(|spec| spec.source.as_ref());
        source.map(|source| source.name.clone()).unwrap_or_default()
    }

    /// Gives a tag an item that nobody chose for it by name: what was imported, or what the tag it follows points to. A held
    /// tag stays, and an event says once what it would have moved to. Gives whether the tag's newest item is another one
    /// now.
    fn arrive(&mut self, tag: &TagName, item: HistoryItem, cause: MoveCause, copied_from: u64) -> bool {
        let state = self.state.tag(tag);
        let Some(hold) = state.and_then(|state| state.hold.as_ref()) else {
            return self.add_item(tag, item, cause, copied_from);
        };
        let current = state.and_then(|state| state.current.as_ref()).map(|current| &current.item);
        let known = hold.withheld.as_ref().or(current);
        if !known.is_some_and(|known| known.is_same(&item)) {
            let source = self.source_text(tag);
            let withheld = MoveWithheld { tag: tag.clone(), item, cause, source, copied_from };
            self.happen(Fact::MoveWithheld(Box::new(withheld)));
        }
        false
    }

    /// Lets an alias point to what the tag it follows points to, and what follows the alias as well.
    fn catch_up(&mut self, tag: &TagName) {
        let followed = self.spec(tag).and_then(|spec| spec.source.as_ref()?.followed_tag(self.key));
        let current = followed.as_ref().and_then(|followed| self.state.points_to(followed).cloned());
        if let (Some(followed), Some(Current { item, sequence })) = (followed, current)
            && self.arrive(tag, item, MoveCause::Alias(followed), sequence)
        {
            self.follow_aliases(vec![tag.clone()]);
        }
    }

    /// Gives what moved to every tag that follows it, and to those that follow these (spec §2.4; OpenShift gets
    /// only one hop right). A circle, which only an older log or a testimony can hold, ends where it began.
    fn follow_aliases(&mut self, moved: Vec<TagName>) {
        let followers = self.followers();
        let mut seen: BTreeSet<TagName> = moved.iter().cloned().collect();
        let mut queue = VecDeque::from(moved);
        while let Some(source) = queue.pop_front() {
            let Some(current) = self.state.points_to(&source).cloned() else {
                continue;
            };
            for tag in followers.get(&source).into_iter().flatten() {
                let cause = MoveCause::Alias(source.clone());
                if seen.insert(tag.clone()) && self.arrive(tag, current.item.clone(), cause, current.sequence)
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
        let most = self.context.tags_per_stream.min(limits::TAGS_PER_STREAM);
        if new.is_empty() || total <= most {
            return Ok(());
        }
        Err(Refusal::TooManyTags(format!(
            "the image stream \"{}\" would have {total} tags, at most {most} are possible; delete tags or use another image stream",
            self.key.name
        )))
    }
}
