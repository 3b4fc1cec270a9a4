//! Whether a log is one that `decide` could have written: what an audit asks of each event, in order, from the first.
//!
//! The log alone does not tell what was wished for or what a registry answered, so that nobody can decide everything anew. But
//! each fact says much about the state it came from, and an event of which any part disagrees with that state was not decided: it
//! was put there, changed, or something before it was taken away. What is written here is written a second time on
//! purpose: a mistake in `decide` is not to hide itself.

mod seen;

use std::collections::BTreeSet;

use seen::Seen;

use crate::apply::{Position, apply};
use crate::digest::Digest;
use crate::event::{Actor, Event, Fact, HistoryChange, MoveCause, Recorded, Run, TagMoved, TagRestored};
use crate::limits;
use crate::names::{StreamKey, TagName};
use crate::state::{HistoryItem, HoldTerms, Stream, StreamState, TagState};
use crate::tag::{SourceKind, TagSpec};
use crate::time::Timestamp;

/// Why no log that this program wrote holds such an event.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Broken {
    /// It stands in another place than it says.
    #[error("it says that it is event {said}, where event {due} is due")]
    Sequence {
        /// What it must be.
        due: u64,
        /// What it says.
        said: u64,
    },
    /// It is not the next event of its stream.
    #[error("it says that it is event {said} of {stream}, of which event {due} is due")]
    Revision {
        /// Its stream.
        stream: StreamKey,
        /// What it must be.
        due: u64,
        /// What it says.
        said: u64,
    },
    /// The run it belongs to is not whole, or not one.
    #[error("{0}")]
    Run(String),
    /// The state before it does not lead to it.
    #[error("{0}")]
    Rule(String),
}

type Checked = Result<(), Broken>;

fn rule(holds: bool, why: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Broken::Rule(why())) }
}

fn in_run(holds: bool, why: &str) -> Checked {
    if holds { Ok(()) } else { Err(Broken::Run(why.to_owned())) }
}

/// Follows a log from its first event, and refuses the first one that no log of this program holds.
#[derive(Clone, Default, Debug)]
pub struct Checker {
    /// Every name that had an event, with its state, in the order in which they came.
    streams: Vec<(StreamKey, StreamState)>,
    /// Where in `streams` a name is.
    places: Seen,
    sequence: u64,
    recorded_at: Option<Timestamp>,
    run: Option<OpenRun>,
    uids: Seen,
    requests: Seen,
    /// Every image that an event named as one that a tag points to, or that was recorded.
    images: Seen,
    /// Which of these were recorded, by number.
    recorded: Vec<bool>,
    references: Seen,
    brought: Vec<Brought>,
}

/// An item that an event brought to a tag, its image and its reference as numbers of ours.
#[derive(Clone, Copy, Debug)]
struct Brought {
    sequence: u64,
    image: Option<u32>,
    reference: u32,
}

/// A run of which not all events were seen yet.
#[derive(Clone, Debug)]
struct OpenRun {
    envelope: Envelope,
    /// The streams whose events are over.
    left: BTreeSet<StreamKey>,
    chunk: Chunk,
}

/// What all events of a run say alike.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Envelope {
    run: Run,
    recorded_at: Timestamp,
    actor: Actor,
    reason: String,
    command: String,
    request_id: String,
    request_digest: Vec<u8>,
    caused_by: u64,
    traceparent: String,
}

impl Envelope {
    fn of(recorded: &Recorded) -> Self {
        Self {
            run: recorded.run,
            recorded_at: recorded.recorded_at,
            actor: recorded.actor.clone(),
            reason: recorded.reason.clone(),
            command: recorded.command.clone(),
            request_id: recorded.request_id.clone(),
            request_digest: recorded.request_digest.clone(),
            caused_by: recorded.caused_by,
            traceparent: recorded.traceparent.clone(),
        }
    }

    fn is_of(&self, recorded: &Recorded) -> bool {
        self.recorded_at == recorded.recorded_at
            && self.actor == recorded.actor
            && self.reason == recorded.reason
            && self.command == recorded.command
            && self.request_id == recorded.request_id
            && self.request_digest == recorded.request_digest
            && self.caused_by == recorded.caused_by
            && self.traceparent == recorded.traceparent
    }
}

/// The events of one stream in one run.
#[derive(Clone, Debug)]
struct Chunk {
    stream: StreamKey,
    /// The generation that all of them have.
    generation: i64,
    /// The stream's before them. `None`: they begin with its creation.
    before: Option<i64>,
    /// Whether one of them changed the spec.
    changes_spec: bool,
    /// The tag that the newest of them rolled back.
    rolled_back: Option<TagName>,
    /// Whether they come from a document. `None`: only its creation was seen, and it may.
    told: Option<bool>,
}

impl Checker {
    /// Takes the next event, if a log may hold it here. After a refusal nothing that follows can be told: the state is not known.
    ///
    /// # Errors
    /// [`Broken`], with nothing changed.
    pub fn take(&mut self, recorded: &Recorded) -> Checked {
        self.check(recorded)?;
        self.remember(recorded);
        Ok(())
    }

    /// Checks that the log may end here: not within a run.
    ///
    /// # Errors
    /// [`Broken::Run`].
    pub fn end(&self) -> Checked {
        match &self.run {
            Some(run) => Err(Broken::Run(format!(
                "the log ends within the run of {} events that begins with event {}",
                run.envelope.run.length, run.envelope.run.first_sequence
            ))),
            None => Ok(()),
        }
    }

    /// The sequence of the newest event taken.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// What is true of each name that ever had an event.
    pub fn into_streams(self) -> impl Iterator<Item = (StreamKey, StreamState)> {
        self.streams.into_iter()
    }

    fn check(&self, recorded: &Recorded) -> Checked {
        let due = self.sequence + 1;
        if recorded.sequence != due {
            return Err(Broken::Sequence { due, said: recorded.sequence });
        }
        rule(self.recorded_at.is_none_or(|before| before <= recorded.recorded_at), || {
            "it was recorded earlier than the event before it".into()
        })?;
        self.check_run(recorded)?;
        let never = StreamState::default();
        let state =
            self.places.number(&recorded.stream).map_or(&never, |place| &self.streams[place as usize].1);
        check_on(state, recorded, self.told(recorded))?;
        self.check_chunk(state, recorded)?;
        self.check_in_log(state, recorded)
    }

    /// Whether an event comes from a document that told of its stream: it stands in one run with the event that says so.
    fn told(&self, recorded: &Recorded) -> bool {
        let chunk = self.run.as_ref().map(|run| &run.chunk).filter(|chunk| chunk.stream == recorded.stream);
        match recorded.event.fact {
            Fact::TestimonyTaken(_) => chunk.is_some_and(|chunk| chunk.told.is_none()),
            _ => chunk.is_some_and(|chunk| chunk.told == Some(true)),
        }
    }

    /// A run: one command, one envelope, whole.
    fn check_run(&self, recorded: &Recorded) -> Checked {
        let Run { first_sequence, length } = recorded.run;
        in_run(length > 0, "it says that its run has no events")?;
        let Some(open) = &self.run else {
            in_run(first_sequence == recorded.sequence, "the run before it is whole, and it begins none")?;
            rule(recorded.caused_by < recorded.sequence, || {
                "it is said to be caused by a later event".into()
            })?;
            let again =
                !recorded.request_id.is_empty() && self.requests.number(&recorded.request_id).is_some();
            return rule(!again, || {
                format!("the request \"{}\" was carried out before", recorded.request_id)
            });
        };
        in_run(recorded.run == open.envelope.run, "the run before it is not whole")?;
        let same = open.envelope.is_of(recorded);
        in_run(same, "who, when, why or what asked for it is not what the other events of its run say")
    }

    /// The events of one stream in one run stand together and have one generation.
    fn check_chunk(&self, state: &StreamState, recorded: &Recorded) -> Checked {
        let generation = recorded.event.generation;
        let open = self.run.as_ref();
        if let Some(run) = open {
            in_run(
                !run.left.contains(&recorded.stream),
                "the events of its stream do not stand together in its run",
            )?;
        }
        let chunk = open.map(|run| &run.chunk).filter(|chunk| chunk.stream == recorded.stream);
        if let Fact::LogContinued(_) = recorded.event.fact {
            return in_run(recorded.run.length == 1, "what the log says of itself is a run of its own");
        }
        let before = match chunk {
            Some(chunk) => {
                rule(generation == chunk.generation, || {
                    format!(
                        "it says generation {generation}, and the event of its stream before it in the same run {}",
                        chunk.generation
                    )
                })?;
                chunk.before
            }
            None => state.life.as_ref().map(|stream| stream.generation),
        };
        match before {
            None => {
                // Only a document tells of a stream that has had a life elsewhere, and it does so next.
                let told = self.told(recorded) || (chunk.is_none() && recorded.run.length > 1);
                rule(
                    generation == 1 || (told && (1..=limits::TOLD_GENERATION).contains(&generation)),
                    || format!("a new stream begins with generation 1, not {generation}"),
                )?;
            }
            Some(before) => {
                rule((before..=before.saturating_add(1)).contains(&generation), || {
                    format!("it says generation {generation}, and its stream was at {before}")
                })?;
                rule(generation > before || !changes_spec(&recorded.event.fact), || {
                    format!("it changes what the stream shall be, and leaves the generation at {before}")
                })?;
            }
        }
        // What is over with this event must have had a reason for its generation.
        let left = open.map(|run| &run.chunk).filter(|chunk| chunk.stream != recorded.stream);
        if let Some(left) = left {
            reasoned(left.generation, left.before, left.changes_spec, &left.stream)?;
            rule(left.told.is_some() || left.generation == 1, || {
                format!("{} is new and begins with generation {}", left.stream, left.generation)
            })?;
        }
        if let Fact::TagHeld { tag, terms } = &recorded.event.fact {
            let as_before =
                state.tag(tag).and_then(|tag| tag.hold.as_ref()).is_some_and(|hold| hold.terms == *terms);
            let back = chunk.is_some_and(|chunk| chunk.rolled_back.as_ref() == Some(tag));
            rule(!as_before || back, || format!("{tag} was held on the same terms already"))?;
        }
        if recorded.sequence + 1 == recorded.run.first_sequence + u64::from(recorded.run.length) {
            let changed = chunk.is_some_and(|chunk| chunk.changes_spec) || changes_spec(&recorded.event.fact);
            reasoned(generation, before, changed, &recorded.stream)?;
            // A life that did not begin here was told of.
            let alone = before.is_none() && !self.told(recorded);
            rule(generation == 1 || !alone, || {
                format!("a new stream begins with generation 1, not {generation}")
            })?;
        }
        Ok(())
    }

    /// What is asked of the whole log before it.
    fn check_in_log(&self, state: &StreamState, recorded: &Recorded) -> Checked {
        let known = |item: &HistoryItem| match &item.image {
            Some(image) if self.images.number(image.as_str()).is_none() => {
                Err(Broken::Rule(format!("the image {image} was never recorded")))
            }
            Some(_) | None => Ok(()),
        };
        match &recorded.event.fact {
            Fact::StreamCreated { .. } => {
                rule(self.uids.number(&recorded.event.stream_uid).is_none(), || {
                    "another life of a stream has its id already".into()
                })
            }
            Fact::ImageRecorded(image) => {
                let number = self.images.number(image.digest.as_str());
                let recorded = number.is_some_and(|number| self.recorded[number as usize]);
                rule(!recorded, || format!("the image {} was recorded before", image.digest))
            }
            // What a document tells nobody here has seen.
            Fact::TagMoved(moved) if moved.cause == MoveCause::Testimony => {
                rule(moved.copied_from == 0, || {
                    "it was told, and says that it was taken from another event".into()
                })
            }
            Fact::TagMoved(moved) => {
                known(&moved.item)?;
                let renewed = moved.change == HistoryChange::Renewed;
                self.check_copy(recorded, &moved.item, &moved.cause, moved.copied_from, renewed)?;
                self.check_followed(state, recorded, &moved.item, &moved.cause, moved.copied_from)
            }
            Fact::MoveWithheld(withheld) => {
                known(&withheld.item)?;
                self.check_copy(recorded, &withheld.item, &withheld.cause, withheld.copied_from, false)?;
                self.check_followed(state, recorded, &withheld.item, &withheld.cause, withheld.copied_from)
            }
            Fact::TagRestored(restored) => {
                restored.items.iter().try_for_each(known)?;
                rule(restored.as_of < recorded.sequence, || "it restores what is yet to come".into())
            }
            _ => Ok(()),
        }
    }

    /// What was taken over from somewhere was there.
    fn check_copy(
        &self,
        recorded: &Recorded,
        item: &HistoryItem,
        cause: &MoveCause,
        copied_from: u64,
        renewed: bool,
    ) -> Checked {
        if copied_from == 0 {
            let made_here = match cause {
                MoveCause::Import | MoveCause::ScheduledImport | MoveCause::Testimony => true,
                // Only pointed at, or confirmed by a new alias.
                MoveCause::Tag => item.image.is_none() || renewed,
                MoveCause::Alias(_) | MoveCause::Rollback => false,
            };
            return rule(made_here, || "it does not say which event its image was taken from".into());
        }
        let imported = matches!(cause, MoveCause::Import | MoveCause::ScheduledImport);
        rule(!imported, || "it was imported, and says that it was taken from another event".into())?;
        rule(copied_from < recorded.sequence, || "it takes its image from a later event".into())?;
        let image = item.image.as_ref().map(|image| self.images.number(image.as_str()));
        let reference = self.references.number(&item.reference);
        let first = self.brought.partition_point(|brought| brought.sequence < copied_from);
        let there = self.brought[first..].iter().take_while(|brought| brought.sequence == copied_from).any(
            |brought| {
                let same_image = brought.image.map(Some) == image;
                match cause {
                    MoveCause::Alias(_) | MoveCause::Rollback => {
                        same_image && Some(brought.reference) == reference
                    }
                    // The image may have been there by several references.
                    _ => same_image,
                }
            },
        );
        rule(there, || {
            format!("event {copied_from}, from which it takes its image, brought no such image to any tag")
        })
    }

    /// What follows a tag gets what that tag points to.
    fn check_followed(
        &self,
        state: &StreamState,
        recorded: &Recorded,
        item: &HistoryItem,
        cause: &MoveCause,
        copied_from: u64,
    ) -> Checked {
        let MoveCause::Alias(followed) = cause else { return Ok(()) };
        let tag = recorded.event.fact.tag();
        let spec = tag.and_then(|tag| state.tag(tag)?.spec.as_ref());
        let follows = spec.and_then(|spec| spec.source.as_ref()?.followed_tag(&recorded.stream));
        rule(follows.as_ref() == Some(followed), || {
            format!("it moved with {followed}, which it does not follow")
        })?;
        let current = state.points_to(followed);
        let same = current.is_some_and(|current| {
            current.sequence == copied_from
                && HistoryItem { created: item.created, ..current.item.clone() } == *item
        });
        rule(same, || format!("it moved with {followed}, which points to something else"))
    }

    fn remember(&mut self, recorded: &Recorded) {
        let Recorded { sequence, recorded_at, stream, event, .. } = recorded;
        let at = Position { sequence: *sequence, recorded_at: *recorded_at };
        let (place, new) = self.places.take(stream);
        if new {
            self.streams.push((stream.clone(), StreamState::default()));
        }
        let (_, state) = &mut self.streams[place as usize];
        let before = state.life.as_ref().map(|stream| stream.generation);
        *state = apply(std::mem::take(state), event, at);
        self.sequence = *sequence;
        self.recorded_at = Some(*recorded_at);
        match &event.fact {
            Fact::StreamCreated { .. } => {
                self.uids.take(&event.stream_uid);
            }
            Fact::ImageRecorded(image) => {
                let number = self.image(&image.digest);
                self.recorded[number as usize] = true;
            }
            Fact::TagMoved(moved) => self.bring(*sequence, &moved.item),
            Fact::TagRestored(restored) => {
                restored.items.iter().for_each(|item| self.bring(*sequence, item));
            }
            _ => {}
        }
        self.remember_run(recorded, before);
    }

    fn remember_run(&mut self, recorded: &Recorded, before: Option<i64>) {
        let fact = &recorded.event.fact;
        let rolled_back = match fact {
            Fact::TagMoved(moved) if moved.cause == MoveCause::Rollback => Some(moved.tag.clone()),
            _ => None,
        };
        let stream = recorded.stream.clone();
        let chunk = Chunk {
            stream,
            generation: recorded.event.generation,
            before,
            changes_spec: changes_spec(fact),
            rolled_back: rolled_back.clone(),
            told: (!matches!(fact, Fact::StreamCreated { .. })).then_some(false),
        };
        match &mut self.run {
            Some(run) if run.chunk.stream == recorded.stream => {
                run.chunk.changes_spec |= chunk.changes_spec;
                run.chunk.rolled_back = rolled_back;
                run.chunk.told = run.chunk.told.or(Some(matches!(fact, Fact::TestimonyTaken(_))));
            }
            Some(run) => {
                let left = std::mem::replace(&mut run.chunk, chunk);
                run.left.insert(left.stream);
            }
            None => {
                if !recorded.request_id.is_empty() {
                    self.requests.take(&recorded.request_id);
                }
                if recorded.run.length > 1 {
                    self.run =
                        Some(OpenRun { envelope: Envelope::of(recorded), left: BTreeSet::new(), chunk });
                }
            }
        }
        if recorded.sequence + 1 == recorded.run.first_sequence + u64::from(recorded.run.length) {
            self.run = None;
        }
    }

    /// The number of an image.
    fn image(&mut self, image: &Digest) -> u32 {
        let (number, new) = self.images.take(image.as_str());
        if new {
            self.recorded.push(false);
        }
        number
    }

    fn bring(&mut self, sequence: u64, item: &HistoryItem) {
        let image = item.image.as_ref().map(|image| self.image(image));
        let (reference, _) = self.references.take(&item.reference);
        self.brought.push(Brought { sequence, image, reference });
    }
}

/// A stream comes to another generation because its spec changed.
fn reasoned(generation: i64, before: Option<i64>, changes_spec: bool, stream: &StreamKey) -> Checked {
    let risen = before.is_some_and(|before| generation > before);
    rule(!risen || changes_spec, || {
        format!(
            "{stream} comes to generation {generation} in this run, and nothing in it changes what it shall be"
        )
    })
}

/// Whether a fact changes the spec of a stream that lives.
fn changes_spec(fact: &Fact) -> bool {
    match fact {
        Fact::LookupPolicySet { .. } | Fact::TagSet { .. } | Fact::TagRestored(_) => true,
        Fact::TagDeleted { had_spec, .. } => *had_spec,
        Fact::StreamCreated { .. }
        | Fact::StreamDeleted { .. }
        | Fact::StreamMetadataSet { .. }
        | Fact::TagMoved(_)
        | Fact::ImportFailed { .. }
        | Fact::FailureCleared { .. }
        | Fact::ImageRecorded(_)
        | Fact::ImportFinished(_)
        | Fact::RepositoryImportFailed { .. }
        | Fact::TagHeld { .. }
        | Fact::TagReleased { .. }
        | Fact::MoveWithheld(_)
        | Fact::TestimonyTaken(_)
        | Fact::LogContinued(_) => false,
    }
}

/// What the state of its stream alone tells of an event. `told`: it comes from a document.
fn check_on(state: &StreamState, recorded: &Recorded, told: bool) -> Checked {
    let due = state.revision + 1;
    if recorded.revision != due {
        return Err(Broken::Revision { stream: recorded.stream.clone(), due, said: recorded.revision });
    }
    let Event { stream_uid, fact, .. } = &recorded.event;
    if let Fact::LogContinued(continued) = fact {
        rule(recorded.stream.is_of_log(), || "what the log says of itself stands under another name".into())?;
        return rule(continued.head.checked_add(1) == Some(recorded.sequence), || {
            format!("the log is said to go on after event {}, and does not", continued.head)
        });
    }
    let Some(stream) = &state.life else {
        rule(matches!(fact, Fact::StreamCreated { .. }), || {
            format!("it happens to {}, and there is no such stream then", recorded.stream)
        })?;
        return rule(!stream_uid.is_empty(), || "the new stream has no id".into());
    };
    rule(!matches!(fact, Fact::StreamCreated { .. }), || {
        format!("it creates {}, which is there already", recorded.stream)
    })?;
    rule(*stream_uid == stream.uid, || {
        format!("it happens to another life of {} than the present one", recorded.stream)
    })?;
    if told { check_told(stream, recorded) } else { check_fact(stream, recorded) }
}

/// What a document tells stays as it was told, also where it could not have come about here. What was made of it can be
/// checked all the same.
fn check_told(stream: &Stream, recorded: &Recorded) -> Checked {
    let generation = recorded.event.generation;
    let not_above = |of: i64| {
        rule((0..=generation).contains(&of), || {
            format!("it says generation {of}, and the stream is at {generation}, which is never behind")
        })
    };
    let there = |tag: &TagName| stream.tags.get(tag);
    match &recorded.event.fact {
        Fact::TestimonyTaken(_) => rule(stream.tags.is_empty(), || "the stream had tags before".into()),
        Fact::TagSet { tag, spec } => {
            rule(there(tag).is_none(), || format!("{tag} was told of twice"))?;
            not_above(spec.generation)
        }
        Fact::TagMoved(moved) => {
            let current = there(&moved.tag).and_then(|state| state.current.as_ref());
            rule(moved.cause == MoveCause::Testimony && moved.change == HistoryChange::Added, || {
                "it stands among what a document told, and was not told".into()
            })?;
            rule(moved.previous.as_ref() == current.map(|current| &current.item), || {
                format!("{} did not point to what it says it did", moved.tag)
            })?;
            rule(moved.replaces_sequence == current.map_or(0, |current| current.sequence), || {
                format!("{} got what it pointed to from another event", moved.tag)
            })?;
            rule(moved.source.is_empty(), || format!("nobody told what {} followed then", moved.tag))?;
            not_above(moved.item.generation)
        }
        Fact::ImportFailed { failure, generation: of, .. } => {
            rule(failure.message.len() <= limits::FAILURE_MESSAGE_BYTES, || {
                "the message of the failure is longer than one may be".into()
            })?;
            not_above(*of)
        }
        _ => Err(Broken::Rule("it stands among what a document told, and no document tells of such".into())),
    }
}

fn check_fact(stream: &Stream, recorded: &Recorded) -> Checked {
    let (now, generation) = (recorded.recorded_at, recorded.event.generation);
    let tag_state = |tag: &TagName| stream.tags.get(tag).map(AsRef::as_ref);
    let there = |tag: &TagName| {
        tag_state(tag)
            .ok_or_else(|| Broken::Rule(format!("there is no tag {tag} in {} then", recorded.stream)))
    };
    let room = |tag: &TagName| {
        rule(stream.tags.contains_key(tag) || stream.tags.len() < limits::TAGS_PER_STREAM, || {
            format!("{} would have more than {} tags", recorded.stream, limits::TAGS_PER_STREAM)
        })
    };
    match &recorded.event.fact {
        Fact::StreamCreated { .. } => Ok(()),
        Fact::StreamDeleted { tags } => {
            let had = stream.tags.keys().take(limits::TAGS_PER_DELETION);
            rule(tags.iter().eq(had), || "the tags it names are not those that the stream had".into())
        }
        Fact::StreamMetadataSet { labels, annotations } => {
            rule(*labels != stream.labels || *annotations != stream.annotations, || {
                "it sets labels and annotations to what they were".into()
            })
        }
        Fact::LookupPolicySet { local } => {
            rule(*local != stream.lookup_local, || "it sets the lookup policy to what it was".into())
        }
        Fact::TagSet { tag, spec } => {
            room(tag)?;
            check_spec(tag_state(tag), spec, recorded)
        }
        Fact::TagDeleted { tag, had_spec, last } => {
            let state = there(tag)?;
            rule(*had_spec == state.spec.is_some(), || {
                format!("whether {tag} had a spec is not as it says")
            })?;
            let current = state.current.as_ref().map(|current| &current.item);
            rule(last.as_ref() == current, || format!("{tag} did not point to what it says"))
        }
        Fact::TagMoved(moved) => check_move(there(&moved.tag)?, moved, recorded),
        Fact::ImportFailed { tag, failure, generation: of, source: _, told_since } => {
            room(tag)?;
            rule(told_since.is_none(), || {
                "no document told of the failure, and it says since when it was so".into()
            })?;
            rule((generation..=generation.saturating_add(1)).contains(of), || {
                format!("the failure stands for generation {of}, and the stream is at {generation}")
            })?;
            check_message(&failure.message)
        }
        Fact::FailureCleared { tag } => {
            rule(there(tag)?.condition.is_some(), || format!("no failure was shown on {tag}"))
        }
        Fact::ImageRecorded(image) => rule(image.manifests.len() <= limits::MANIFESTS_PER_INDEX, || {
            "it names more images of an index than an event may".into()
        }),
        Fact::ImportFinished(import) => {
            rule(import.checked_at <= now, || "the registry was asked after the answer was recorded".into())?;
            rule(import.outcomes.len() <= limits::OUTCOMES_PER_IMPORT, || {
                "it lists more outcomes than an event may".into()
            })
        }
        Fact::RepositoryImportFailed { failure, .. } => check_message(&failure.message),
        Fact::TagHeld { tag, terms } => {
            rule(there(tag)?.current.is_some(), || format!("{tag} is held and points to nothing"))?;
            check_end(terms, now)
        }
        Fact::TagReleased { tag, expired } => {
            let hold = there(tag)?.hold.as_ref();
            let hold = hold.ok_or_else(|| Broken::Rule(format!("{tag} is released and was not held")))?;
            let over = hold.terms.expires_at.is_some_and(|at| at <= now);
            rule(!expired || over, || format!("the time of the hold on {tag} was not up"))
        }
        Fact::MoveWithheld(withheld) => {
            let (tag, state) = (&withheld.tag, there(&withheld.tag)?);
            let hold = state.hold.as_ref();
            let hold = hold
                .ok_or_else(|| Broken::Rule(format!("a move is withheld from {tag}, which is not held")))?;
            let known = hold.withheld.as_ref().or(state.current.as_ref().map(|current| &current.item));
            rule(!known.is_some_and(|known| known.is_same(&withheld.item)), || {
                format!("it was told already what {tag} is kept from")
            })?;
            rule(
                !matches!(withheld.cause, MoveCause::Tag | MoveCause::Rollback | MoveCause::Testimony),
                || format!("setting {tag} while it is held is refused, and not withheld"),
            )?;
            rule(withheld.source == source_text(state), || format!("{tag} does not follow what it says"))
        }
        Fact::TagRestored(restored) => {
            room(&restored.tag)?;
            rule(!stream.tags.contains_key(&restored.tag), || {
                format!("{} is restored and is there already", restored.tag)
            })?;
            check_restored(restored, recorded)
        }
        Fact::TestimonyTaken(_) => {
            Err(Broken::Rule("a document tells of a stream that was not created for it just before".into()))
        }
        Fact::LogContinued(_) => unreachable!("it was looked at before"),
    }
}

fn check_spec(state: Option<&TagState>, spec: &TagSpec, recorded: &Recorded) -> Checked {
    let generation = recorded.event.generation;
    let old = state.and_then(|state| state.spec.as_ref());
    rule(old != Some(spec), || "it sets a tag to what it was set to".into())?;
    let kept = old.is_some_and(|old| old.generation == spec.generation);
    rule(spec.generation == generation || kept, || {
        format!("the spec says generation {}, and the stream is at {generation}", spec.generation)
    })?;
    let is_image = spec.source.as_ref().is_none_or(|source| source.kind == SourceKind::DockerImage);
    let policy = &spec.import_policy;
    rule(is_image || !policy.scheduled, || "only an image in a registry can be on the schedule".into())?;
    rule(policy.scheduled || policy.interval.is_none(), || "only what is scheduled has an interval".into())?;
    let Some(old) = old else { return Ok(()) };
    if state.is_some_and(|state| state.hold.is_some()) {
        let followed =
            |spec: &TagSpec| (spec.source.clone(), spec.reference, spec.generation, spec.reference_policy);
        return rule(followed(spec) == followed(old), || "it changes what a held tag follows".into());
    }
    rule(spec.generation == generation || !spec.differs_in_target(old, &recorded.stream), || {
        "the tag follows something else, and its generation stays".into()
    })
}

/// How an item comes to a tag's history (spec §2.6).
fn check_move(state: &TagState, moved: &TagMoved, recorded: &Recorded) -> Checked {
    let TagMoved { tag, item, change, previous, replaces_sequence, cause, source, copied_from: _ } = moved;
    let (now, generation) = (recorded.recorded_at, recorded.event.generation);
    rule(*cause != MoveCause::Testimony, || {
        format!("{tag} moved because a document told so, and none is there")
    })?;
    rule(state.hold.is_none() || *cause == MoveCause::Rollback, || {
        format!("{tag} is held, and moves all the same")
    })?;
    let current = state.current.as_ref();
    rule(previous.as_ref() == current.map(|current| &current.item), || {
        format!("{tag} did not point to what it says it did")
    })?;
    rule(*replaces_sequence == current.map_or(0, |current| current.sequence), || {
        format!("{tag} got what it pointed to from another event than {replaces_sequence}")
    })?;
    let due = match previous {
        None => Some(HistoryChange::Added),
        Some(old) => match (old.reference == item.reference, old.image == item.image) {
            (true, true) => (old.generation != item.generation).then_some(HistoryChange::Renewed),
            (false, false) => Some(HistoryChange::Added),
            (true, false) | (false, true) => Some(HistoryChange::Replaced),
        },
    };
    rule(Some(*change) == due, || match due {
        Some(due) => {
            format!("it says that the item of {tag} was {}, and it was {}", word(*change), word(due))
        }
        None => format!("{tag} moves to what it points to"),
    })?;
    match previous {
        Some(old) if *change != HistoryChange::Added => {
            rule(item.created == old.created, || {
                format!("the item of {tag} changed in place, and its time with it")
            })?;
        }
        Some(_) | None => {
            // What was copied has the time it had, which a document may have told: by any clock.
            let made_now =
                matches!(cause, MoveCause::Import | MoveCause::ScheduledImport | MoveCause::Rollback);
            rule(item.created == now || !made_now, || {
                format!("the time of the new item of {tag} is not that of the event")
            })?;
        }
    }
    let of_another = matches!(cause, MoveCause::Alias(_));
    rule(item.generation == generation || (of_another && item.generation < generation), || {
        format!("the item of {tag} says generation {}, and the stream is at {generation}", item.generation)
    })?;
    rule(*source == source_text(state), || format!("{tag} does not follow what it says"))
}

fn check_restored(restored: &TagRestored, recorded: &Recorded) -> Checked {
    let (tag, generation) = (&restored.tag, recorded.event.generation);
    rule(restored.spec.is_some() || !restored.items.is_empty(), || format!("{tag} comes back with nothing"))?;
    rule(restored.items.len() <= limits::ITEMS_PER_RESTORED_TAG, || {
        format!("{tag} comes back with a longer history than an event may have")
    })?;
    rule(restored.spec.as_ref().is_none_or(|spec| spec.generation == generation), || {
        format!("the spec of {tag} is not of the generation of its stream")
    })?;
    let newest = restored.items.first().map_or(generation, |item| item.generation);
    rule((generation.saturating_sub(1)..=generation).contains(&newest), || {
        format!("the newest item of {tag} is not of the generation of its stream")
    })?;
    match &restored.hold {
        Some(_) if restored.items.is_empty() => {
            Err(Broken::Rule(format!("{tag} comes back held and points to nothing")))
        }
        Some(terms) => check_end(terms, recorded.recorded_at),
        None => Ok(()),
    }
}

fn check_end(terms: &HoldTerms, now: Timestamp) -> Checked {
    rule(terms.expires_at.is_none_or(|at| at > now), || "the hold ends before it begins".into())
}

fn check_message(message: &str) -> Checked {
    rule((1..=limits::FAILURE_MESSAGE_BYTES).contains(&message.len()), || {
        "the message of the failure is empty, or longer than one may be".into()
    })
}

fn source_text(state: &TagState) -> &str {
    let source = state.spec.as_ref().and_then(|spec| spec.source.as_ref());
    source.map_or("", |source| &source.name)
}

fn word(change: HistoryChange) -> &'static str {
    match change {
        HistoryChange::Added => "added",
        HistoryChange::Replaced => "replaced",
        HistoryChange::Renewed => "renewed",
    }
}
