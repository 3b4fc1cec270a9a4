//! What holds for any run of commands, whatever they are.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tagtrail_domain::apply::Position;
use tagtrail_domain::command::{Import, ImportOrigin, ImportTarget, ImportedImage, SetTag, UpdateMetadata};
use tagtrail_domain::event::{HistoryChange, TagMoved};
use tagtrail_domain::image::FailureKind;
use tagtrail_domain::import_plan::{self, ImportPlan, ImportWish, PlannedImage};
use tagtrail_domain::tag::{ImportMode, ImportPolicy, ReferencePolicy, SourceKind, TagSource};
use tagtrail_domain::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever was asked for, reading the log again gives the state we had, after each command.
    #[test]
    fn the_log_is_the_state(wishes in vec(any_wish(), 0..40)) {
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
    fn sequence_and_revision_are_dense(wishes in vec(any_wish(), 0..40)) {
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
    fn decisions_are_deterministic(wishes in vec(any_wish(), 0..30), last in any_wish()) {
        let mut live = Live::default();
        for wish in wishes {
            live.run(wish);
        }
        let (first, second) = (live.decide(&last), live.clone().decide(&last));
        prop_assert_eq!(first, second);
    }

    /// What was carried out need not be carried out again. (Setting a container image means: look again.)
    #[test]
    fn a_repeated_wish_makes_no_event(wishes in vec(any_wish(), 0..30), last in any_wish()) {
        let mut live = Live::default();
        for wish in wishes {
            live.run(wish);
        }
        if live.run(last.clone()).refused.is_none() && is_idempotent(&live, &last) {
            let again = live.decide(&last);
            // It may be refused, where the first time made a stream that has nothing to import.
            let events = again.map(|(_, events)| events).unwrap_or_default();
            prop_assert_eq!(events, Vec::new(), "{:?}", last);
        }
    }

    /// History only grows: each move says what it moved from and which event had set that, so what is edited in
    /// place in OpenShift's eyes stays readable, and a chain leads from each item back to a tag's first.
    #[test]
    fn history_only_grows(wishes in vec(any_wish(), 0..40)) {
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
                    prop_assert_eq!(moved.change, change(before.map(|(_, item)| item), moved));
                }
                Fact::TagDeleted { tag, last, .. } => {
                    let before = newest.remove(&(key.clone(), tag.clone()));
                    prop_assert_eq!(last.clone(), before.map(|(_, item)| item));
                }
                Fact::StreamDeleted { .. } => newest.retain(|(of, _), _| of != key),
                _ => {}
            }
        }
    }

    /// After any command that moved a tag, every tag that follows it points to the same, over any number of hops.
    #[test]
    fn what_follows_a_tag_points_where_it_points(wishes in vec(any_wish(), 0..40)) {
        let mut live = Live::default();
        for wish in wishes {
            let run = live.run(wish);
            for (key, event, _) in &live.log[run.from..] {
                let Fact::TagMoved(moved) = &event.fact else { continue };
                let state = live.model.stream(key);
                let stream = state.life.as_ref().expect("a tag that moved has a stream");
                let target = points_to(stream, &moved.tag);
                for (tag, state) in &stream.tags {
                    let source = state.spec.as_ref().and_then(|spec| spec.source.as_ref());
                    if source.and_then(|source| source.followed_tag(key)).as_ref() == Some(&moved.tag) {
                        prop_assert_eq!(points_to(stream, tag), target.clone(), "{} follows {}", tag, moved.tag);
                    }
                }
            }
        }
    }

    /// Following aliases from any tag comes to an end. The legacy form, and tags to come, make many that would not.
    #[test]
    fn no_tag_follows_itself(wishes in vec(any_wish(), 0..40)) {
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
    fn an_interval_has_a_schedule(wishes in vec(any_wish(), 0..40)) {
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

    /// A refusal writes nothing; one command has one generation; generations never fall within a life.
    #[test]
    fn generations_only_grow(wishes in vec(any_wish(), 0..40)) {
        let mut live = Live::default();
        for wish in wishes {
            let run = live.run(wish);
            let events = &live.log[run.from..];
            prop_assert!(run.refused.is_none() || events.is_empty());
            prop_assert!(events.iter().all(|(_, event, _)| event.generation == events[0].1.generation));
        }
        let mut last: BTreeMap<&str, i64> = BTreeMap::new();
        for (_, event, _) in &live.log {
            let before = last.insert(&event.stream_uid, event.generation).unwrap_or(1);
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

/// A wish, before the world is asked what it means there.
#[derive(Clone, Debug)]
enum Wish {
    /// A command as it stands.
    Plain(u8, Command),
    /// An import of this tag, or of all.
    Import { stream: u8, tag: Option<u8>, from: Option<u8>, policy: ImportPolicy, answers: Vec<u8> },
    /// What waits in the background, or the schedule.
    Pending { stream: u8, scheduled: bool, answers: Vec<u8> },
}

fn is_idempotent(live: &Live, wish: &Wish) -> bool {
    match wish {
        Wish::Plain(_, Command::CreateStream { .. } | Command::DeleteStream | Command::DeleteTag { .. }) => {
            false
        }
        Wish::Plain(_, Command::SetLookupPolicy { .. } | Command::UpdateMetadata(_)) => true,
        Wish::Plain(stream, Command::SetTag(set)) => {
            let state = live.model.stream(&key(*stream));
            let spec = state.life.as_ref().and_then(|s| s.tags.get(&set.tag)?.spec.clone());
            let source = spec.and_then(|spec| spec.source);
            // A copy of the tag that the wish itself moved would be another wish now.
            let itself = set
                .source
                .as_ref()
                .is_some_and(|s| !set.alias && s.followed_tag(&key(*stream)).as_ref() == Some(&set.tag));
            !set.create && !itself && source.is_none_or(|source| source.kind != SourceKind::DockerImage)
        }
        Wish::Plain(_, Command::Import(_) | Command::Hold { .. } | Command::Restore(_)) => true,
        Wish::Plain(_, Command::Rollback(_) | Command::Release { .. }) => false,
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

fn any_wish() -> impl Strategy<Value = Wish> {
    let answers = || vec(0..8u8, 6);
    let streams = 0..3u8;
    prop_oneof![
        1 => (streams.clone(), any::<bool>()).prop_map(|(stream, lookup_local)| {
            let none = BTreeMap::new;
            Wish::Plain(stream, Command::CreateStream { lookup_local, labels: none(), annotations: none() })
        }),
        1 => streams.clone().prop_map(|stream| Wish::Plain(stream, Command::DeleteStream)),
        1 => (streams.clone(), any::<bool>()).prop_map(|(stream, local)| Wish::Plain(stream, Command::SetLookupPolicy { local })),
        2 => (streams.clone(), option::of(0..5u8), 0..3u8, any::<bool>()).prop_map(|(stream, on, value, overwrite)| {
            let update = UpdateMetadata {
                tag: on.map(tag),
                set_annotations: BTreeMap::from([("note".into(), value.to_string())]),
                overwrite,
                ..UpdateMetadata::default()
            };
            Wish::Plain(stream, Command::UpdateMetadata(update))
        }),
        2 => (streams.clone(), 0..5u8).prop_map(|(stream, name)| {
            Wish::Plain(stream, Command::DeleteTag { tag: tag(name).to_string(), expect: None })
        }),
        12 => (streams.clone(), any_set_tag()).prop_map(|(stream, set)| Wish::Plain(stream, Command::SetTag(set))),
        8 => (streams.clone(), option::of(0..5u8), option::of(0..4u8), any_policy(), answers())
            .prop_map(|(stream, tag, from, policy, answers)| Wish::Import { stream, tag, from, policy, answers }),
        8 => (streams, any::<bool>(), answers())
            .prop_map(|(stream, scheduled, answers)| Wish::Pending { stream, scheduled, answers }),
    ]
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
    (0..5u8, option::weighted(0.95, any_source()), policy, rest).prop_map(
        |(name, source, import_policy, (alias, reference, create, local))| SetTag {
            tag: tag(name),
            source,
            alias,
            reference,
            import_policy,
            reference_policy: if local { ReferencePolicy::Local } else { ReferencePolicy::Source },
            annotations: BTreeMap::new(),
            create,
            expect: None,
        },
    )
}

fn any_source() -> impl Strategy<Value = TagSource> {
    prop_oneof![
        2 => (0..4u8).prop_map(|from| source(SourceKind::DockerImage, pull_spec(from))),
        // The legacy form, which always means the same stream: many aliases, and aliases of these.
        4 => (0..5u8).prop_map(|name| source(SourceKind::ImageStreamTag, tag(name).to_string())),
        2 => (0..3u8, 0..5u8).prop_map(|(stream, name)| {
            source(SourceKind::ImageStreamTag, format!("{}:{}", key(stream).name, tag(name)))
        }),
        1 => (0..3u8, 0..6u8).prop_map(|(stream, image)| {
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
        let (key, events) = match decided {
            Ok(decided) => decided,
            Err(refusal) => return Run { from, refused: Some(refusal) },
        };
        for event in events {
            let sequence = self.log.len() as u64 + 1;
            let at = Position { sequence, recorded_at: Timestamp::new(self.wishes, 0) };
            self.model.apply(&key, &event, at);
            self.log.push((key.clone(), event, at));
        }
        Run { from, refused: None }
    }

    fn decide(&self, wish: &Wish) -> Result<(StreamKey, Vec<Event>), Refusal> {
        let context = Context {
            now: Timestamp::new(self.wishes + 1, 0),
            next_sequence: self.log.len() as u64 + 1,
            fresh_uids: vec![format!("uid-{}", self.wishes)],
            expected_revision: None,
            internal_registry: None,
        };
        let (key, command) = self.command(wish)?;
        decide(&self.model, &key, &context, &command).map(|events| (key, events))
    }

    fn command(&self, wish: &Wish) -> Result<(StreamKey, Command), Refusal> {
        match wish {
            Wish::Plain(stream, command) => Ok((key(*stream), command.clone())),
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
