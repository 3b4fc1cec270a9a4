//! What holds for any run of commands, whatever they are.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tagtrail_domain::apply::Position;
use tagtrail_domain::command::{
    Expectation, Import, ImportOrigin, ImportTarget, ImportedImage, Restore, RestoredTag, Rollback, SetTag,
    Testimony, ToldFailure, ToldTag, UpdateMetadata,
};
use tagtrail_domain::event::{HistoryChange, MoveCause, TagMoved, TestimonyTaken};
use tagtrail_domain::image::FailureKind;
use tagtrail_domain::import_plan::{self, ImportPlan, ImportWish, PlannedImage};
use tagtrail_domain::permitted::Checker;
use tagtrail_domain::state::{Current, HoldTerms};
use tagtrail_domain::tag::{ImportMode, ImportPolicy, ReferencePolicy, SourceKind, TagSource, TagSpec};
use tagtrail_domain::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever was asked for, reading the log again gives the state we had, after each command.
    #[test]
    fn the_log_is_the_state(wishes in any_wishes(40)) {
        let mut live = Live::default();
        let mut read = Model::default();
        for wish in wishes {
            let run = live.run(wish);
            for (key, event, at) in &live.log[run.from..] {
                read.apply(key, event, *at);
            }
            prop_assert_eq!(&read, &live.model);
        }
    }

    /// The sequence has no gaps, each stream's revision has none either, and both only grow: also over a deletion.
    #[test]
    fn sequence_and_revision_are_dense(wishes in any_wishes(40)) {
        let mut live = Live::default();
        for wish in wishes {
            live.run(wish);
        }
        let mut revisions = BTreeMap::new();
        let mut read = Model::default();
        for (index, (key, event, at)) in live.log.iter().enumerate() {
            prop_assert_eq!(at.sequence, index as u64 + 1);
            read.apply(key, event, *at);
            let revision = revisions.entry(key.clone()).or_insert(0);
            *revision += 1;
            prop_assert_eq!((read.stream(key).revision, read.stream(key).sequence), (*revision, at.sequence));
        }
    }

    /// The same wish in the same world gives the same events.
    #[test]
    fn decisions_are_deterministic(wishes in any_wishes(30), last in any_wish()) {
        let mut live = Live::default();
        for wish in wishes {
            live.run(wish);
        }
        let (first, second) = (live.decide(&last), live.clone().decide(&last));
        prop_assert_eq!(first, second);
    }

    /// What was carried out need not be carried out again. (Setting a container image means: look again.)
    #[test]
    fn a_repeated_wish_makes_no_event(wishes in any_wishes(30), last in any_wish()) {
        let mut live = Live::default();
        for wish in wishes {
            live.run(wish);
        }
        if live.run(last.clone()).refused.is_none() && is_idempotent(&live, &last) {
            let again = live.decide(&last);
            // It may be refused, where the first time made a stream that has nothing to import.
            prop_assert_eq!(again.unwrap_or_default(), Vec::new(), "{:?}", last);
        }
    }

    /// History only grows: each move says what it moved from and which event had set that, so what is edited in
    /// place in OpenShift's eyes stays readable, and a chain leads from each item back to a tag's first.
    #[test]
    fn history_only_grows(wishes in any_wishes(40)) {
        let mut live = Live::default();
        for wish in wishes {
            live.run(wish);
        }
        let mut newest: BTreeMap<(StreamKey, TagName), (u64, HistoryItem)> = BTreeMap::new();
        for (key, event, at) in &live.log {
            match &event.fact {
                Fact::TagMoved(moved) => {
                    let place = (key.clone(), moved.tag.clone());
                    let before = newest.insert(place, (at.sequence, moved.item.clone()));
                    let said = moved.previous.clone().map(|item| (moved.replaces_sequence, item));
                    prop_assert_eq!(said, before.clone());
                    // What was told may hold what could not come about here.
                    let told = moved.cause == MoveCause::Testimony;
                    let by_rule = change(before.map(|(_, item)| item), moved);
                    prop_assert_eq!(moved.change, if told { HistoryChange::Added } else { by_rule });
                }
                Fact::TagDeleted { tag, last, .. } => {
                    let before = newest.remove(&(key.clone(), tag.clone()));
                    prop_assert_eq!(last.clone(), before.map(|(_, item)| item));
                }
                Fact::TagRestored(restored) => {
                    let place = (key.clone(), restored.tag.clone());
                    let first = restored.items.first().map(|item| (at.sequence, item.clone()));
                    prop_assert_eq!(first.and_then(|first| newest.insert(place, first)), None);
                }
                Fact::StreamDeleted { .. } => newest.retain(|(of, _), _| of != key),
                _ => {}
            }
        }
    }

    /// After any command that moved a tag or brought it back, every tag that follows it points to the same, over any number of
    /// hops, but for what is held. A tag that was released or brought back points itself to what it follows. (A release alone
    /// moves nothing else: what lagged behind the tag, as a document may tell, goes on lagging.)
    #[test]
    fn what_follows_a_tag_points_where_it_points(wishes in any_wishes(40)) {
        let mut live = Live::default();
        for wish in wishes {
            let run = live.run(wish);
            for (key, event, _) in &live.log[run.from..] {
                let (tag, leads, catches_up) = match &event.fact {
                    // A document may tell that a tag lagged behind.
                    Fact::TagMoved(moved) if moved.cause == MoveCause::Testimony => continue,
                    Fact::TagMoved(moved) => (&moved.tag, true, false),
                    Fact::TagReleased { tag, .. } => (tag, false, true),
                    Fact::TagRestored(restored) => (&restored.tag, true, true),
                    _ => continue,
                };
                let state = live.model.stream(key);
                let stream = state.life.as_ref().expect("a tag that moved has a stream");
                for (follower, state) in &stream.tags {
                    let source = state.spec.as_ref().and_then(|spec| spec.source.as_ref());
                    let Some(followed) = source.and_then(|source| source.followed_tag(key)) else { continue };
                    let concerned = (leads && followed == *tag) || (catches_up && follower == tag);
                    let target = points_to(stream, &followed);
                    if concerned && state.hold.is_none() && target.is_some() {
                        prop_assert_eq!(points_to(stream, follower), target, "{} follows {}", follower, followed);
                    }
                }
            }
        }
    }

    /// Nothing moves a held tag but a rollback, and what it follows stays. What it is kept from is told once, is never what it
    /// points to, and only a tag that points to something is held.
    #[test]
    fn a_held_tag_stays(wishes in any_wishes(60)) {
        let mut live = Live::default();
        for wish in wishes {
            live.run(wish);
        }
        let mut read = Model::default();
        for (key, event, at) in &live.log {
            let before = event.fact.tag().and_then(|tag| tag_state(&read, key, tag));
            let held = before.as_ref().and_then(|state| state.hold.as_ref());
            match (&event.fact, before.as_ref(), held) {
                (Fact::TagMoved(moved), _, Some(_)) => prop_assert_eq!(&moved.cause, &MoveCause::Rollback),
                (Fact::TagSet { spec, .. }, Some(before), Some(_)) => {
                    // How it is imported can be changed.
                    let followed = |spec: &TagSpec| (spec.source.clone(), spec.reference, spec.generation);
                    prop_assert_eq!(Some(followed(spec)), before.spec.as_ref().map(followed));
                }
                (Fact::MoveWithheld(withheld), Some(before), held) => {
                    let hold = held.expect("it is withheld from a held tag");
                    let known = hold.withheld.as_ref().or(before.current.as_ref().map(|current| &current.item));
                    prop_assert!(!known.expect("it points to something").is_same(&withheld.item));
                }
                (Fact::MoveWithheld(_), None, _) => prop_assert!(false, "nothing is withheld from no tag"),
                _ => {}
            }
            read.apply(key, event, *at);
            for tag in read.stream(key).life.iter().flat_map(|stream| stream.tags.values()) {
                let Some(hold) = &tag.hold else { continue };
                let current = &tag.current.as_ref().expect("it is held where it is").item;
                prop_assert!(!hold.withheld.as_ref().is_some_and(|withheld| withheld.is_same(current)));
            }
        }
    }

    /// What was taken over from somewhere was there: an event of before had brought that image to a tag.
    #[test]
    fn what_is_copied_was_there(wishes in any_wishes(60)) {
        let mut live = Live::default();
        for wish in wishes {
            live.run(wish);
        }
        for (_, event, at) in &live.log {
            let (item, cause, copied_from, renewed) = match &event.fact {
                Fact::TagMoved(moved) => {
                    let renewed = moved.change == HistoryChange::Renewed;
                    (&moved.item, &moved.cause, moved.copied_from, renewed)
                }
                Fact::MoveWithheld(moved) => (&moved.item, &moved.cause, moved.copied_from, false),
                _ => continue,
            };
            if copied_from == 0 {
                let made_here = match cause {
                    MoveCause::Import | MoveCause::ScheduledImport | MoveCause::Testimony => true,
                    // Only pointed at, or confirmed by a new alias.
                    MoveCause::Tag => item.image.is_none() || renewed,
                    MoveCause::Alias(_) | MoveCause::Rollback => false,
                };
                prop_assert!(made_here, "{:?}", event);
                continue;
            }
            prop_assert!(copied_from < at.sequence);
            let is_it = |other: &HistoryItem| match cause {
                MoveCause::Alias(_) | MoveCause::Rollback => item.is_same(other),
                // The image may have been there by several references.
                _ => item.image == other.image,
            };
            let there = match &live.log[copied_from as usize - 1].1.fact {
                Fact::TagMoved(moved) => is_it(&moved.item),
                Fact::TagRestored(restored) => restored.items.iter().any(is_it),
                _ => false,
            };
            prop_assert!(there, "{:?} from {}", event, copied_from);
        }
    }

    /// A stream's own events alone tell what it was after each command, with its histories: also after it was deleted, and
    /// whatever happened to other streams in the same command.
    #[test]
    fn each_moment_can_be_read_from_the_stream_alone(wishes in any_wishes(40)) {
        let mut live = Live::default();
        let mut moments = Vec::new();
        for wish in wishes {
            live.run(wish);
            moments.push((live.log.len(), live.model.clone()));
        }
        for key in (0..STREAMS).map(key) {
            let mut own = Model::default();
            let mut from = 0;
            for (until, then) in &moments {
                for (of, event, at) in &live.log[from..*until] {
                    if *of == key {
                        own.apply(of, event, *at);
                    }
                }
                from = *until;
                prop_assert_eq!(own.stream(&key), then.stream(&key));
                for tag in (0..TAGS).map(tag) {
                    prop_assert_eq!(own.history(&key, &tag), then.history(&key, &tag));
                }
                prop_assert_eq!(own.find_image(&key, ""), then.find_image(&key, ""));
            }
        }
    }

    /// In which order tags are named that are set together does not matter.
    #[test]
    fn a_promotion_has_no_order(
        wishes in any_wishes(40),
        promotions in vec(any_promotion(), 1..6),
        first in any::<prop::sample::Index>(),
    ) {
        let mut live = Live::default();
        for wish in wishes {
            live.run(wish);
        }
        let mut other = promotions.clone();
        other.reverse();
        other.rotate_left(first.index(promotions.len()));
        let mut turned = live.clone();
        let run = live.run(Wish::Promote(promotions));
        let other = turned.run(Wish::Promote(other));
        prop_assert_eq!(run.refused.is_some(), other.refused.is_some());
        let pointers = |live: &Live| -> Vec<_> {
            let lives = live.model.streams().filter_map(|(key, state)| Some((key, state.life.as_ref()?)));
            let tags = lives.flat_map(|(key, stream)| {
                stream.tags.keys().map(move |tag| (key.clone(), tag.clone(), points_to(stream, tag), stream.generation))
            });
            tags.collect()
        };
        prop_assert_eq!(pointers(&live), pointers(&turned));
    }

    /// Each life of a stream has an id of its own, also those that begin in one command.
    #[test]
    fn no_two_lives_have_one_id(wishes in any_wishes(40)) {
        let mut live = Live::default();
        for wish in wishes {
            live.run(wish);
        }
        let mut ids = BTreeSet::new();
        for (_, event, _) in &live.log {
            if let Fact::StreamCreated { .. } = event.fact {
                prop_assert!(ids.insert(&event.stream_uid));
            }
        }
    }

    /// Following aliases from any tag comes to an end. The legacy form, and tags to come, make many that would not.
    #[test]
    fn no_tag_follows_itself(wishes in any_wishes(40)) {
        let mut live = Live::default();
        for wish in wishes {
            live.run(wish);
        }
        for (key, state) in live.model.streams() {
            let Some(stream) = &state.life else { continue };
            let followed = |tag: &TagName| {
                stream.tags.get(tag)?.spec.as_ref()?.source.as_ref()?.followed_tag(key)
            };
            for tag in stream.tags.keys() {
                let way = std::iter::successors(Some(tag.clone()), followed);
                prop_assert!(way.take(stream.tags.len() + 2).count() < stream.tags.len() + 2, "{}", tag);
            }
        }
    }

    /// Only what is scheduled has an interval.
    #[test]
    fn an_interval_has_a_schedule(wishes in any_wishes(40)) {
        let mut live = Live::default();
        for wish in wishes {
            live.run(wish);
        }
        for (_, state) in live.model.streams() {
            for tag in state.life.iter().flat_map(|stream| stream.tags.values()) {
                let policy = tag.spec.as_ref().map(|spec| spec.import_policy).unwrap_or_default();
                prop_assert!(policy.scheduled || policy.interval.is_none());
            }
        }
    }

    /// An audit refuses nothing that was decided.
    #[test]
    fn whatever_is_decided_is_permitted(wishes in any_wishes(60)) {
        let mut live = Live::default();
        for wish in wishes {
            live.run(wish);
        }
        let mut checker = Checker::default();
        for recorded in live.recorded() {
            prop_assert_eq!(checker.take(&recorded), Ok(()), "{:?}", recorded);
        }
        prop_assert_eq!(checker.end(), Ok(()));
        let states = live.model.streams().map(|(key, state)| (key.clone(), state.clone()));
        prop_assert_eq!(checker.into_streams().collect::<BTreeMap<_, _>>(), states.collect::<BTreeMap<_, _>>());
    }

    /// An audit refuses an event of which anything was changed that the state before it, or its run, tells otherwise.
    #[test]
    fn what_was_changed_is_refused(
        wishes in any_wishes(40),
        which in any::<prop::sample::Index>(),
        how in any::<prop::sample::Index>(),
    ) {
        let mut live = Live::default();
        for wish in wishes {
            live.run(wish);
        }
        let mut log = live.recorded();
        prop_assume!(!log.is_empty());
        let at = which.index(log.len());
        let run = log[at].run;
        let changes = changes(&log[at]);
        let (what, changed) = how.get(&changes).clone();
        log[at] = changed;
        let mut checker = Checker::default();
        let refused = log.iter().position(|recorded| checker.take(recorded).is_err());
        // At once, or where its run ends.
        let until = (run.first_sequence + u64::from(run.length)) as usize;
        prop_assert!(refused.is_some_and(|refused| (at..until).contains(&refused)), "{}: {:?}", what, log[at]);
    }

    /// An audit misses an event that was taken away, even where all that follow were numbered anew.
    #[test]
    fn what_was_taken_away_is_missed(wishes in any_wishes(40), which in any::<prop::sample::Index>()) {
        let mut live = Live::default();
        for wish in wishes {
            live.run(wish);
        }
        let log = live.recorded();
        prop_assume!(!log.is_empty());
        let run = log[which.index(log.len())].run;
        let gone = run.first_sequence..run.first_sequence + u64::from(run.length);
        let streams: BTreeSet<_> =
            log.iter().filter(|recorded| gone.contains(&recorded.sequence)).map(|recorded| &recorded.stream).collect();
        let later = log.iter().filter(|recorded| recorded.sequence >= gone.end && streams.contains(&recorded.stream));
        prop_assume!(later.count() > 0);
        let mut checker = Checker::default();
        let left = log.iter().filter(|recorded| !gone.contains(&recorded.sequence)).zip(1..);
        let refused = left.into_iter().any(|(recorded, sequence)| {
            let mut recorded = recorded.clone();
            if recorded.sequence >= gone.end {
                recorded.run.first_sequence -= u64::from(run.length);
            }
            recorded.sequence = sequence;
            checker.take(&recorded).is_err()
        });
        prop_assert!(refused);
    }

    /// A refusal writes nothing; one command has one generation of each stream; generations never fall within a life.
    #[test]
    fn generations_only_grow(wishes in any_wishes(40)) {
        let mut live = Live::default();
        for wish in wishes {
            let run = live.run(wish);
            let events = &live.log[run.from..];
            prop_assert!(run.refused.is_none() || events.is_empty());
            for stream in events.chunk_by(|one, other| one.0 == other.0) {
                prop_assert!(stream.iter().all(|(_, event, _)| event.generation == stream[0].1.generation));
            }
            let streams: BTreeSet<&StreamKey> = events.iter().map(|(key, ..)| key).collect();
            prop_assert_eq!(streams.len(), events.chunk_by(|one, other| one.0 == other.0).count());
        }
        let of_told = live.log.iter().filter(|(_, event, _)| matches!(event.fact, Fact::TestimonyTaken(_)));
        let told: BTreeMap<&str, i64> =
            of_told.map(|(_, event, _)| (event.stream_uid.as_str(), event.generation)).collect();
        let mut last: BTreeMap<&str, i64> = BTreeMap::new();
        for (_, event, _) in &live.log {
            // Only a stream that was told of may begin at another one than 1, and then where its document says.
            let before = last.insert(&event.stream_uid, event.generation);
            let before = before.unwrap_or_else(|| told.get(event.stream_uid.as_str()).copied().unwrap_or(1));
            prop_assert!((before..=before + 1).contains(&event.generation));
        }
        for (_, state) in live.model.streams() {
            for (tag, tag_state) in state.life.iter().flat_map(|stream| &stream.tags) {
                let generation = tag_state.spec.as_ref().map_or(0, |spec| spec.generation);
                prop_assert!(generation <= state.life.as_ref().map_or(0, |s| s.generation), "{}", tag);
            }
        }
    }
}

/// The event with one thing changed, in all the ways in which it can never have been.
fn changes(event: &Recorded) -> Vec<(&'static str, Recorded)> {
    let mut changes = Vec::new();
    let mut change = |what, change: &dyn Fn(&mut Recorded)| {
        let mut changed = event.clone();
        change(&mut changed);
        changes.push((what, changed));
    };
    change("sequence", &|event| event.sequence += 1);
    change("revision", &|event| event.revision += 1);
    change("revision back", &|event| event.revision -= 1);
    change("generation", &|event| event.event.generation += 2);
    change("generation back", &|event| event.event.generation -= 1);
    change("uid", &|event| event.event.stream_uid = String::new());
    // A creation may be of any stream.
    if event.revision > 1 {
        change("another stream", &|event| {
            event.stream = StreamKey::parse("test", "other").expect("a stream")
        });
    }
    change("run", &|event| event.run.first_sequence += 1);
    change("run without events", &|event| event.run.length = 0);
    if event.sequence > 1 {
        change("time", &|event| event.recorded_at = Timestamp::new(-1, 0));
    }
    if event.run.length > 1 {
        change("actor", &|event| event.actor.name = "eve".into());
        change("reason", &|event| event.reason = "none".into());
        change("length", &|event| event.run.length += 1);
    }
    match &event.event.fact {
        Fact::TagMoved(moved) => {
            let change = |what, change: &dyn Fn(&mut TagMoved)| {
                let mut moved = moved.clone();
                change(&mut moved);
                let event_with = Event { fact: Fact::TagMoved(moved), ..event.event.clone() };
                changes.push((what, Recorded { event: event_with, ..event.clone() }));
            };
            let mut change = change;
            change("previous", &|moved| match &mut moved.previous {
                Some(item) => item.reference.push('x'),
                None => moved.previous = Some(moved.item.clone()),
            });
            change("replaces", &|moved| moved.replaces_sequence += 1);
            change("source", &|moved| moved.source.push('x'));
            // Nobody here has seen what a document tells.
            if moved.cause != MoveCause::Testimony {
                change("unknown image", &|moved| moved.item.image = Some(digest(99)));
            }
            change("copied from itself", &|moved| moved.copied_from = event.sequence);
            change("item's generation", &|moved| moved.item.generation = 1_000);
            change("change", &|moved| {
                moved.change = match moved.change {
                    HistoryChange::Added => HistoryChange::Replaced,
                    HistoryChange::Replaced | HistoryChange::Renewed => HistoryChange::Added,
                };
            });
            change("what it follows", &|moved| moved.cause = MoveCause::Alias(tag(99)));
        }
        Fact::TagDeleted { tag, had_spec, last } => {
            let mut change = |what, had_spec, last| {
                let fact = Fact::TagDeleted { tag: tag.clone(), had_spec, last };
                let event_with = Event { fact, ..event.event.clone() };
                changes.push((what, Recorded { event: event_with, ..event.clone() }));
            };
            change("had a spec", !had_spec, last.clone());
            if last.is_some() {
                change("last", *had_spec, None);
            }
        }
        Fact::TagReleased { .. } | Fact::FailureCleared { .. } => {
            let none = || tag(99);
            let facts =
                [Fact::TagReleased { tag: none(), expired: false }, Fact::FailureCleared { tag: none() }];
            for fact in facts {
                let event_with = Event { fact, ..event.event.clone() };
                changes.push(("no such tag", Recorded { event: event_with, ..event.clone() }));
            }
        }
        _ => {}
    }
    changes
}

/// Which change of the history the table of spec §2.6 gives for a move.
fn change(before: Option<HistoryItem>, moved: &TagMoved) -> HistoryChange {
    let Some(before) = before else { return HistoryChange::Added };
    match (before.reference == moved.item.reference, before.image == moved.item.image) {
        (true, true) => HistoryChange::Renewed,
        (false, false) => HistoryChange::Added,
        _ => HistoryChange::Replaced,
    }
}

fn points_to(stream: &Stream, tag: &TagName) -> Option<(String, Option<Digest>)> {
    let current = stream.tags.get(tag)?.current.as_ref()?;
    Some((current.item.reference.clone(), current.item.image.clone()))
}

fn tag_state(model: &Model, key: &StreamKey, tag: &TagName) -> Option<TagState> {
    Some((**model.stream(key).life.as_ref()?.tags.get(tag)?).clone())
}

const STREAMS: u8 = 3;
const TAGS: u8 = 5;

/// A wish, before the world is asked what it means there.
#[derive(Clone, Debug)]
enum Wish {
    /// A command as it stands.
    Plain(u8, Box<Command>),
    /// Several tags set together.
    Promote(Vec<Promotion>),
    /// One of the tags that are held.
    Release { stream: u8, which: usize, expired: bool },
    /// Back to something that the tag has pointed to.
    Rollback { stream: u8, tag: u8, to: usize, until: Option<i64>, expect: Option<Expectation> },
    /// As it was before its last deletion, or at any moment: the stream, or one of the tags that it has no more.
    Restore { stream: u8, which: Option<usize>, at: Option<usize> },
    /// An import of this tag, or of all.
    Import { stream: u8, tag: Option<u8>, from: Option<u8>, policy: ImportPolicy, answers: Vec<u8> },
    /// What waits in the background, or the schedule.
    Pending { stream: u8, scheduled: bool, answers: Vec<u8> },
}

/// A tag is to point to what one of the tags of the world points to.
#[derive(Clone, Debug)]
struct Promotion {
    stream: u8,
    tag: u8,
    from: usize,
    by_digest: bool,
    /// Whether what it points to now is expected, or something.
    expect: Option<Option<Expectation>>,
}

fn is_idempotent(live: &Live, wish: &Wish) -> bool {
    match wish {
        Wish::Plain(stream, command) => is_command_idempotent(live, *stream, command),
        // What is promoted may be another image now.
        Wish::Promote(_) => false,
        // Another tag, or further back.
        Wish::Release { .. } | Wish::Restore { .. } | Wish::Rollback { .. } => false,
        // An import that only changed the mode asks once more (spec §2.2).
        Wish::Import { stream, .. } | Wish::Pending { stream, .. } => {
            let state = live.model.stream(&key(*stream));
            let tags = state.life.as_ref().map(|stream| stream.tags.values());
            tags.into_iter()
                .flatten()
                .all(|tag| tag.spec.as_ref().is_none_or(|spec| spec.generation <= tag.observed_generation()))
        }
    }
}

fn is_command_idempotent(live: &Live, stream: u8, command: &Command) -> bool {
    match command {
        Command::CreateStream { .. } | Command::DeleteStream | Command::DeleteTag { .. } => false,
        Command::SetLookupPolicy { .. } | Command::UpdateMetadata(_) => true,
        Command::SetTag(set) => {
            let state = live.model.stream(&key(stream));
            let spec = state.life.as_ref().and_then(|s| s.tags.get(&set.tag)?.spec.clone());
            let source = spec.and_then(|spec| spec.source);
            // A copy of the tag that the wish itself moved would be another wish now.
            let itself = set
                .source
                .as_ref()
                .is_some_and(|s| !set.alias && s.followed_tag(&key(stream)).as_ref() == Some(&set.tag));
            !set.create && !itself && source.is_none_or(|source| source.kind != SourceKind::DockerImage)
        }
        // The second time it is there already.
        Command::Hold { .. } | Command::TakeTestimony(_) => true,
        Command::Import(_) | Command::Rollback(_) | Command::Release { .. } | Command::Restore(_) => {
            unreachable!("these are wishes of their own")
        }
    }
}

/// Mostly a world where something can happen: two tags with images, two that follow the one, and one in another stream. Then
/// anything.
fn any_wishes(most: usize) -> impl Strategy<Value = Vec<Wish>> {
    let import = |tag, image| {
        let (tag, from, policy) = (Some(tag), Some(tag), ImportPolicy::default());
        Wish::Import { stream: 0, tag, from, policy, answers: vec![image] }
    };
    let set = |stream, name, from: &str, alias| {
        let source = Some(source(SourceKind::ImageStreamTag, from.into()));
        Wish::Plain(stream, Box::new(Command::SetTag(SetTag { alias, ..set_tag(name, source) })))
    };
    let opening = [
        import(0, 0),
        import(1, 1),
        set(0, 2, "s0:t0", true),
        set(0, 3, "s0:t2", true),
        set(1, 0, "s0:t1", false),
    ];
    (prop::bool::weighted(0.8), vec(any_wish(), 0..most)).prop_map(move |(opened, wishes)| {
        let opening = opening.iter().filter(|_| opened).cloned();
        opening.chain(wishes).collect()
    })
}

fn any_wish() -> impl Strategy<Value = Wish> {
    let answers = || vec(0..8u8, 6);
    let streams = any_stream();
    let plain = |stream, command| Wish::Plain(stream, Box::new(command));
    prop_oneof![
        1 => (streams.clone(), any::<bool>()).prop_map(move |(stream, lookup_local)| {
            let none = BTreeMap::new;
            plain(stream, Command::CreateStream { lookup_local, labels: none(), annotations: none() })
        }),
        1 => streams.clone().prop_map(move |stream| plain(stream, Command::DeleteStream)),
        1 => (streams.clone(), any::<bool>()).prop_map(move |(stream, local)| plain(stream, Command::SetLookupPolicy { local })),
        2 => (streams.clone(), option::of(0..TAGS), 0..3u8, any::<bool>()).prop_map(move |(stream, on, value, overwrite)| {
            let update = UpdateMetadata {
                tag: on.map(tag),
                set_annotations: BTreeMap::from([("note".into(), value.to_string())]),
                overwrite,
                ..UpdateMetadata::default()
            };
            plain(stream, Command::UpdateMetadata(update))
        }),
        2 => (streams.clone(), 0..TAGS, any_expectation()).prop_map(move |(stream, name, expect)| {
            plain(stream, Command::DeleteTag { tag: tag(name).to_string(), expect })
        }),
        12 => (streams.clone(), any_set_tag()).prop_map(move |(stream, set)| plain(stream, Command::SetTag(set))),
        3 => (streams.clone(), 0..TAGS, any_end(), any_expectation()).prop_map(move |(stream, name, until, expect)| {
            plain(stream, Command::Hold { tag: tag(name), terms: terms(until), expect })
        }),
        3 => (streams.clone(), any_testimony()).prop_map(move |(stream, testimony)| {
            plain(stream, Command::TakeTestimony(Box::new(testimony)))
        }),
        4 => (streams.clone(), any::<usize>(), any::<bool>())
            .prop_map(|(stream, which, expired)| Wish::Release { stream, which, expired }),
        4 => (streams.clone(), 0..TAGS, any::<usize>(), any_end(), any_expectation())
            .prop_map(|(stream, tag, to, until, expect)| Wish::Rollback { stream, tag, to, until, expect }),
        4 => (streams.clone(), option::weighted(0.7, any::<usize>()), option::weighted(0.3, any::<usize>()))
            .prop_map(|(stream, which, at)| Wish::Restore { stream, which, at }),
        4 => vec(any_promotion(), 1..6).prop_map(Wish::Promote),
        8 => (streams.clone(), option::of(0..TAGS), option::of(0..4u8), any_policy(), answers())
            .prop_map(|(stream, tag, from, policy, answers)| Wish::Import { stream, tag, from, policy, answers }),
        8 => (streams, any::<bool>(), answers())
            .prop_map(|(stream, scheduled, answers)| Wish::Pending { stream, scheduled, answers }),
    ]
}

/// One stream more than the others, so that much happens to the same tags.
fn any_stream() -> BoxedStrategy<u8> {
    prop_oneof![3 => Just(0), 2 => 0..STREAMS].boxed()
}

fn any_promotion() -> impl Strategy<Value = Promotion> {
    let expect = option::weighted(0.3, prop_oneof![9 => Just(None), 1 => any_expectation()]);
    (any_stream(), 0..TAGS, any::<usize>(), any::<bool>(), expect)
        .prop_map(|(stream, tag, from, by_digest, expect)| Promotion { stream, tag, from, by_digest, expect })
}

fn any_expectation() -> impl Strategy<Value = Option<Expectation>> {
    let expectation =
        prop_oneof![Just(Expectation::Nothing), (0..6u8).prop_map(|image| Expectation::Image(digest(image)))];
    option::weighted(0.1, expectation)
}

/// When a hold ends, in commands from the beginning.
fn any_end() -> impl Strategy<Value = Option<i64>> {
    option::weighted(0.5, 0..60_i64)
}

fn terms(until: Option<i64>) -> HoldTerms {
    let expires_at = until.map(|seconds| Timestamp::new(seconds, 0));
    HoldTerms { held_by: "ana".into(), reason: String::new(), expires_at }
}

fn any_policy() -> impl Strategy<Value = ImportPolicy> {
    // Also where nothing is scheduled, which is refused unless the tag is scheduled already.
    let interval = option::weighted(0.4, 1..4_u32);
    (any::<bool>(), any::<bool>(), any::<bool>(), interval).prop_map(
        |(insecure, scheduled, preserve, interval)| ImportPolicy {
            insecure,
            scheduled,
            mode: if preserve { ImportMode::PreserveOriginal } else { ImportMode::Legacy },
            interval: interval.map(|seconds| Interval::from_seconds(seconds).expect("in range")),
        },
    )
}

fn any_set_tag() -> impl Strategy<Value = SetTag> {
    let policy = prop_oneof![3 => Just(ImportPolicy::default()), 1 => any_policy()];
    let rest =
        (prop::bool::weighted(0.7), prop::bool::weighted(0.2), prop::bool::weighted(0.1), any::<bool>());
    (0..TAGS, option::weighted(0.95, any_source()), policy, rest, any_expectation()).prop_map(
        |(name, source, import_policy, (alias, reference, create, local), expect)| SetTag {
            alias,
            reference,
            import_policy,
            reference_policy: if local { ReferencePolicy::Local } else { ReferencePolicy::Source },
            create,
            expect,
            ..set_tag(name, source)
        },
    )
}

/// A document that tells of a stream: of tags with spec, history, a failure, or some of these. Aliases follow tags before
/// them, so that none leads back to itself.
fn any_testimony() -> impl Strategy<Value = Testimony> {
    let tag = (
        0..TAGS,
        option::of((any::<bool>(), any::<bool>(), 0..5_i64)),
        vec((0..6u8, 0..5_i64), 0..4),
        any::<bool>(),
    );
    (vec(tag, 0..5), 0..6_i64, option::of(0..9_i64)).prop_map(|(tags, generation, created)| {
        let mut names = BTreeSet::new();
        let tags = tags.into_iter().filter(|(name, ..)| names.insert(*name));
        let tags = tags.map(|(name, spec, items, failed)| told_tag(name, spec, items, failed)).collect();
        Testimony {
            told: TestimonyTaken {
                document: "f".into(),
                document_digest: digest(9),
                namespace: "test".into(),
                name: "s0".into(),
                uid: String::new(),
                resource_version: String::new(),
                created: created.map(|seconds| Timestamp::new(seconds, 0)),
                checked_at: None,
                items_left_out: 0,
            },
            generation,
            lookup_local: false,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            tags,
            envelope_bytes: 100,
        }
    })
}

fn told_tag(name: u8, spec: Option<(bool, bool, i64)>, items: Vec<(u8, i64)>, failed: bool) -> ToldTag {
    let spec = spec.map(|(alias, scheduled, generation)| {
        let source = match name.checked_sub(1).filter(|_| alias) {
            Some(before) => source(SourceKind::ImageStreamTag, tag(before).to_string()),
            None => source(SourceKind::DockerImage, pull_spec(name % 4)),
        };
        let scheduled = scheduled && source.kind == SourceKind::DockerImage;
        let import_policy = ImportPolicy { scheduled, ..ImportPolicy::default() };
        TagSpec { source: Some(source), generation, import_policy, ..TagSpec::default() }
    });
    let item = |(image, generation): (u8, i64)| HistoryItem {
        created: Timestamp::new(generation, 0),
        reference: format!("x{}.io/a@{}", image % 2, digest(image)),
        image: Some(digest(image)),
        generation,
        media_type: String::new(),
        platform: None,
        index: None,
    };
    let failure = failed.then(|| ToldFailure {
        failure: Failure { kind: FailureKind::NotFound, reason: "NotFound".into(), message: "gone".into() },
        generation: 1,
        since: None,
    });
    ToldTag { tag: tag(name), spec, items: items.into_iter().map(item).collect(), failure }
}

/// Sets a tag without any flag.
fn set_tag(name: u8, source: Option<TagSource>) -> SetTag {
    SetTag {
        tag: tag(name),
        source,
        alias: false,
        reference: false,
        import_policy: ImportPolicy::default(),
        reference_policy: ReferencePolicy::Source,
        annotations: BTreeMap::new(),
        create: false,
        expect: None,
    }
}

fn any_source() -> impl Strategy<Value = TagSource> {
    prop_oneof![
        2 => (0..4u8).prop_map(|from| source(SourceKind::DockerImage, pull_spec(from))),
        // The legacy form, which always means the same stream: many aliases, and aliases of these.
        4 => (0..TAGS).prop_map(|name| source(SourceKind::ImageStreamTag, tag(name).to_string())),
        2 => (0..STREAMS, 0..TAGS).prop_map(|(stream, name)| {
            source(SourceKind::ImageStreamTag, format!("{}:{}", key(stream).name, tag(name)))
        }),
        1 => (0..STREAMS, 0..6u8).prop_map(|(stream, image)| {
            source(SourceKind::ImageStreamImage, format!("{}@{}", key(stream).name, digest(image)))
        }),
    ]
}

fn source(kind: SourceKind, name: String) -> TagSource {
    TagSource { kind, namespace: None, name }
}

fn key(stream: u8) -> StreamKey {
    StreamKey::parse("test", &format!("s{stream}")).expect("a stream")
}

fn tag(name: u8) -> TagName {
    TagName::parse(&format!("t{name}")).expect("a tag")
}

fn pull_spec(from: u8) -> String {
    format!("x{}.io/a:{from}", from % 2)
}

fn digest(image: u8) -> Digest {
    Digest::parse(&format!("sha256:{}", format!("{image:02x}").repeat(32))).expect("a digest")
}

/// A world and all that happened in it.
#[derive(Clone, Default)]
struct Live {
    model: Model,
    log: Vec<(StreamKey, Event, Position)>,
    wishes: i64,
}

/// What became of one wish.
struct Run {
    /// Where its events begin in the log.
    from: usize,
    refused: Option<Refusal>,
}

impl Live {
    fn run(&mut self, wish: Wish) -> Run {
        let from = self.log.len();
        let decided = self.decide(&wish);
        self.wishes += 1;
        let events = match decided {
            Ok(decided) => decided,
            Err(refusal) => return Run { from, refused: Some(refusal) },
        };
        for (key, event) in events {
            let sequence = self.log.len() as u64 + 1;
            let at = Position { sequence, recorded_at: Timestamp::new(self.wishes, 0) };
            self.model.apply(&key, &event, at);
            self.log.push((key, event, at));
        }
        Run { from, refused: None }
    }

    /// The log, each event in its envelope. All events of one command have one time, and those of two have not.
    fn recorded(&self) -> Vec<Recorded> {
        let mut revisions: BTreeMap<&StreamKey, u64> = BTreeMap::new();
        let runs = self.log.chunk_by(|(.., one), (.., other)| one.recorded_at == other.recorded_at);
        let envelopes = runs.flat_map(|run| {
            let length = u32::try_from(run.len()).expect("a short run");
            let run_of = event::Run { first_sequence: run[0].2.sequence, length };
            run.iter().map(move |logged| (run_of, logged))
        });
        let envelopes = envelopes.map(|(run, (stream, event, at))| {
            let revision = revisions.entry(stream).or_default();
            *revision += 1;
            Recorded {
                sequence: at.sequence,
                revision: *revision,
                recorded_at: at.recorded_at,
                run,
                stream: stream.clone(),
                actor: Actor::default(),
                reason: String::new(),
                command: String::new(),
                request_id: String::new(),
                request_digest: Vec::new(),
                caused_by: 0,
                traceparent: String::new(),
                event: event.clone(),
            }
        });
        envelopes.collect()
    }

    fn decide(&self, wish: &Wish) -> Result<Vec<(StreamKey, Event)>, Refusal> {
        let wishes = match wish {
            Wish::Promote(promotions) => promotions
                .iter()
                .map(|promotion| self.promotion(promotion))
                .collect::<Option<_>>()
                .ok_or_else(|| Refusal::Usage("nothing points to an image".into()))?,
            wish => vec![self.command(wish)?],
        };
        let context = Context {
            now: Timestamp::new(self.wishes + 1, 0),
            next_sequence: self.log.len() as u64 + 1,
            fresh_uids: (0..wishes.len()).map(|n| format!("uid-{}-{n}", self.wishes)).collect(),
            expected_revision: None,
            internal_registry: None,
            tags_per_stream: usize::MAX,
        };
        let together = decide_together(&self.model, &context, &wishes);
        if let [(key, command)] = wishes.as_slice() {
            let alone = decide(&self.model, key, &context, command);
            let alone = alone.map(|events| events.into_iter().map(|event| (key.clone(), event)).collect());
            assert_eq!(together, alone, "one wish is one wish");
        }
        together
    }

    /// All tags that point to an image.
    fn pointing(&self) -> Vec<(&StreamKey, &TagName, &Digest)> {
        let lives = self.model.streams().filter_map(|(key, state)| Some((key, state.life.as_ref()?)));
        let tags =
            lives.flat_map(|(key, stream)| stream.tags.iter().map(move |(tag, state)| (key, tag, state)));
        tags.filter_map(|(key, tag, state)| Some((key, tag, state.current.as_ref()?.item.image.as_ref()?)))
            .collect()
    }

    fn promotion(&self, promotion: &Promotion) -> Option<(StreamKey, Command)> {
        let pointing = self.pointing();
        let (from, from_tag, image) = *pointing.get(promotion.from.checked_rem(pointing.len())?)?;
        let source = match promotion.by_digest {
            true => source(SourceKind::ImageStreamImage, format!("{}@{image}", from.name)),
            false => source(SourceKind::ImageStreamTag, format!("{}:{from_tag}", from.name)),
        };
        let (key, set) = (key(promotion.stream), set_tag(promotion.tag, Some(source)));
        let there = pointing.iter().find(|(of, tag, _)| (*of, *tag) == (&key, &set.tag));
        let as_it_is =
            there.map_or(Expectation::Nothing, |(_, _, image)| Expectation::Image((*image).clone()));
        let expect = promotion.expect.clone().map(|other| other.unwrap_or(as_it_is));
        Some((key, Command::SetTag(SetTag { expect, ..set })))
    }

    /// The tags of a stream that are held.
    fn held(&self, key: &StreamKey) -> Vec<TagName> {
        let state = self.model.stream(key);
        let tags = state.life.iter().flat_map(|stream| &stream.tags);
        tags.filter(|(_, state)| state.hold.is_some()).map(|(tag, _)| tag.clone()).collect()
    }

    /// The tags that a stream has no more.
    fn gone(&self, key: &StreamKey) -> Vec<TagName> {
        let state = self.model.stream(key);
        let there = |tag: &TagName| state.life.as_ref().is_some_and(|stream| stream.tags.contains_key(tag));
        (0..TAGS).map(tag).filter(|tag| !there(tag)).collect()
    }

    /// What a tag has pointed to in all of its lives, oldest first.
    fn past(&self, key: &StreamKey, tag: &TagName) -> Vec<Current> {
        let brought = |(of, event, at): &(StreamKey, Event, Position)| {
            let item = match &event.fact {
                Fact::TagMoved(moved) if moved.tag == *tag => &moved.item,
                Fact::TagRestored(restored) if restored.tag == *tag => restored.items.first()?,
                _ => return None,
            };
            (of == key).then(|| Current { item: item.clone(), sequence: at.sequence })
        };
        self.log.iter().filter_map(brought).collect()
    }

    /// A stream or a tag as it was. `None`: it was not there.
    fn restore(&self, key: &StreamKey, tag: Option<&TagName>, at: Option<usize>) -> Option<Restore> {
        let ends = |(of, event, _): &(StreamKey, Event, Position)| {
            let ends = match &event.fact {
                Fact::StreamDeleted { .. } => true,
                Fact::TagDeleted { tag: gone, .. } => Some(gone) == tag,
                _ => false,
            };
            of == key && ends
        };
        let until = match at {
            Some(at) => at % (self.log.len() + 1),
            None => self.log.iter().rposition(ends)?,
        };
        let mut past = Model::default();
        for (of, event, at) in &self.log[..until] {
            past.apply(of, event, *at);
        }
        let stream = past.stream(key).life.clone()?;
        let wanted = stream.tags.iter().filter(|(name, _)| tag.is_none_or(|tag| tag == *name));
        let tags: Vec<RestoredTag> = wanted
            .map(|(name, state)| RestoredTag {
                tag: name.clone(),
                spec: state.spec.clone(),
                items: past.history(key, name).iter().rev().map(|current| current.item.clone()).collect(),
                hold: state.hold.as_ref().map(|hold| hold.terms.clone()),
            })
            .collect();
        let there = tag.is_none() || !tags.is_empty();
        there.then_some(Restore {
            tags,
            lookup_local: stream.lookup_local,
            labels: stream.labels,
            annotations: stream.annotations,
            whole: tag.is_none(),
            as_of: until as u64,
        })
    }

    fn command(&self, wish: &Wish) -> Result<(StreamKey, Command), Refusal> {
        match wish {
            Wish::Plain(stream, command) => Ok((key(*stream), (**command).clone())),
            Wish::Promote(_) => unreachable!("these are several commands"),
            Wish::Rollback { stream, tag: name, to, until, expect } => {
                let (key, tag) = (key(*stream), tag(*name));
                let past = self.past(&key, &tag);
                let to = past.get(to % past.len().max(1)).cloned();
                let to = to.ok_or_else(|| Refusal::no_tag(&key, tag.as_str(), true))?;
                let (terms, expect) = (terms(*until), expect.clone());
                Ok((key, Command::Rollback(Rollback { tag, to, terms, expect, planned: 0 })))
            }
            Wish::Release { stream, which, expired } => {
                let key = key(*stream);
                let held = self.held(&key);
                let tag = which.checked_rem(held.len()).map_or_else(|| tag(0), |which| held[which].clone());
                Ok((key, Command::Release { tag, expired: *expired }))
            }
            Wish::Restore { stream, which, at } => {
                let key = key(*stream);
                let gone = self.gone(&key);
                let tag = which.map(|which| {
                    which.checked_rem(gone.len()).map_or_else(|| tag(0), |which| gone[which].clone())
                });
                let restore = self.restore(&key, tag.as_ref(), *at);
                let restore = restore.ok_or_else(|| Refusal::no_stream(&key))?;
                Ok((key, Command::Restore(restore)))
            }
            Wish::Import { stream, tag: name, from, policy, answers } => {
                let key = key(*stream);
                let wish = ImportWish {
                    tag: name.map(tag),
                    target_text: key.name.to_string(),
                    from: from.filter(|_| name.is_some()).map(pull_spec).unwrap_or_default(),
                    all: name.is_none(),
                    confirm: true,
                    scheduled: policy.scheduled,
                    interval: policy.interval,
                    insecure: None,
                    mode: policy.mode,
                    reference_policy: ReferencePolicy::Source,
                };
                let plan = import_plan::plan(&key, self.model.stream(&key).life.as_ref(), &wish)?;
                Ok((key, Command::Import(answered(plan, ImportOrigin::Request, answers))))
            }
            Wish::Pending { stream, scheduled, answers } => {
                let key = key(*stream);
                let state = self.model.stream(&key);
                let stream = state.life.as_ref().ok_or_else(|| Refusal::no_stream(&key))?;
                let origin = if *scheduled { ImportOrigin::Schedule } else { ImportOrigin::Background };
                let plan =
                    if *scheduled { plan_scheduled(stream) } else { import_plan::plan_pending(stream) };
                Ok((key, Command::Import(answered(plan, origin, answers))))
            }
        }
    }
}

/// What a check of each tag on the schedule asks for, all in one.
fn plan_scheduled(stream: &Stream) -> ImportPlan {
    let scheduled = stream.tags.iter().filter(|(_, state)| import_plan::is_scheduled(state));
    let images = scheduled.filter_map(|(tag, state)| import_plan::plan_tag(tag, state)).collect();
    ImportPlan { images, uid: Some(stream.uid.clone()), ..ImportPlan::default() }
}

fn answered(plan: ImportPlan, origin: ImportOrigin, answers: &[u8]) -> Import {
    let targets = plan.images.into_iter().zip(answers.iter().cycle());
    Import {
        targets: targets.map(|(image, answer)| target(image, *answer)).collect(),
        repository: plan.repository.map(|repository| repository.from).unwrap_or_default(),
        repository_failure: None,
        additional_tags: 0,
        create_stream: plan.create_stream,
        origin,
        planned_uid: plan.uid,
    }
}

/// Answers 0 to 5 are images, 6 and 7 two kinds of failure.
fn target(planned: PlannedImage, answer: u8) -> ImportTarget {
    let image = Image {
        digest: digest(answer),
        reference: planned.reference.at_digest(&digest(answer)).to_string(),
        media_type: "manifest".into(),
        config: None,
        size: 1,
        platform: Platform::default(),
        built_at: None,
        layers: Vec::new(),
        manifests: Vec::new(),
    };
    let outcome = if answer < 6 {
        // The same image is named itself (a:0, a:3), or found in one index (a:1) or another (a:2).
        let index = planned
            .from
            .ends_with(['1', '2'])
            .then(|| digest(if planned.from.ends_with('1') { 20 } else { 21 }));
        Ok(ImportedImage { image, children: Vec::new(), index })
    } else {
        let reason = format!("Reason{answer}");
        Err(Failure { kind: FailureKind::NotFound, message: reason.clone(), reason })
    };
    ImportTarget {
        tag: planned.tag,
        from: planned.from,
        policy: planned.policy,
        reference_policy: planned.reference_policy,
        from_repository: false,
        planned: planned.planned,
        outcome,
    }
}
