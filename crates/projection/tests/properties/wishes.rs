//! Any run of commands: three streams with five tags each, and registries that give six images, indexes of them, and two kinds of
//! failure.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tagtrail_domain::command::{
    Import, ImportOrigin, ImportTarget, ImportedImage, Restore, RestoredTag, Rollback, SetTag, Testimony,
    ToldTag, UpdateMetadata,
};
use tagtrail_domain::event::TestimonyTaken;
use tagtrail_domain::image::FailureKind;
use tagtrail_domain::import_plan::{self, ImportPlan, ImportWish, PlannedImage};
use tagtrail_domain::state::{Current, HoldTerms};
use tagtrail_domain::tag::{ImportMode, ImportPolicy, ReferencePolicy, SourceKind, TagSource, TagSpec};
use tagtrail_domain::*;

pub(crate) const STREAMS: u8 = 3;
pub(crate) const TAGS: u8 = 5;
pub(crate) const IMAGES: u8 = 6;

/// A wish, before the world is asked what it means there, and perhaps an id.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    stream: u8,
    what: What,
    /// Whether the request has an id.
    pub(crate) identified: bool,
}

#[derive(Clone, Debug)]
enum What {
    Plain(Box<Command>),
    Import {
        tag: Option<u8>,
        from: Option<u8>,
        policy: ImportPolicy,
        answers: Vec<u8>,
    },
    Pending {
        scheduled: bool,
        answers: Vec<u8>,
    },
    /// Back to something that the tag has pointed to.
    Rollback {
        tag: u8,
        to: usize,
        until: Option<i64>,
    },
    /// One of the tags that are held.
    Release {
        which: usize,
        expired: bool,
    },
    /// As it was before its last deletion, or at any moment: the stream, or one of the tags that it has no more.
    Restore {
        which: Option<usize>,
        at: Option<usize>,
    },
    /// These tags of any streams, each to what another tag points to.
    Promote(Vec<(u8, u8, u8, u8)>),
}

impl What {
    fn plain(command: Command) -> What {
        What::Plain(Box::new(command))
    }
}

impl Wish {
    /// A wish to copy or to follow.
    pub(crate) fn set_tag(stream: u8, set: SetTag) -> Wish {
        Wish { stream, what: What::plain(Command::SetTag(set)), identified: false }
    }

    /// A wish to import an image into a tag.
    pub(crate) fn import(stream: u8, tag: u8, image: u8) -> Wish {
        let policy = ImportPolicy::default();
        let what = What::Import { tag: Some(tag), from: Some(tag % 4), policy, answers: vec![image] };
        Wish { stream, what, identified: false }
    }

    /// A wish to delete a tag.
    pub(crate) fn delete_tag(stream: u8, name: u8) -> Wish {
        let command = Command::DeleteTag { tag: tag(name).to_string(), expect: None };
        Wish { stream, what: What::plain(command), identified: false }
    }

    /// A wish to bring back the first of the tags that a stream has no more, as it was before it was deleted.
    pub(crate) fn restore_tag(stream: u8) -> Wish {
        Wish { stream, what: What::Restore { which: Some(0), at: None }, identified: false }
    }

    /// What a stream waits for comes, all of it this image.
    pub(crate) fn pending(stream: u8, image: u8) -> Wish {
        let what = What::Pending { scheduled: false, answers: vec![image] };
        Wish { stream, what, identified: false }
    }

    pub(crate) fn key(&self) -> StreamKey {
        key(self.stream)
    }

    /// What the wish means in a world, after what has happened in it. `None`: nothing.
    pub(crate) fn commands(
        &self,
        world: &impl World,
        happened: &[Recorded],
    ) -> Option<Vec<(StreamKey, Command)>> {
        let What::Promote(promotions) = &self.what else {
            return Some(vec![(self.key(), self.command(world, happened)?)]);
        };
        let promotion = |(stream, name, from, from_tag): &(u8, u8, u8, u8)| {
            let from = source(SourceKind::ImageStreamTag, format!("{}:{}", key(*from).name, tag(*from_tag)));
            let from = TagSource { namespace: Some(key(*stream).namespace), ..from };
            (key(*stream), Command::SetTag(set_tag(*name, Some(from))))
        };
        Some(promotions.iter().map(promotion).collect())
    }

    fn command(&self, world: &impl World, happened: &[Recorded]) -> Option<Command> {
        let key = self.key();
        let state = world.stream(&key);
        match &self.what {
            What::Promote(_) => unreachable!("these are several commands"),
            What::Rollback { tag: name, to, until } => {
                let tag = tag(*name);
                let past: Vec<Current> =
                    happened.iter().filter_map(|event| brought(event, &key, &tag)).collect();
                let to = past.get(to.checked_rem(past.len())?)?.clone();
                Some(Command::Rollback(Rollback { tag, to, terms: terms(*until), expect: None, planned: 0 }))
            }
            What::Release { which, expired } => {
                let tags = state.life.iter().flat_map(|stream| &stream.tags);
                let held: Vec<_> =
                    tags.filter(|(_, state)| state.hold.is_some()).map(|(tag, _)| tag).collect();
                let tag = held.get(which.checked_rem(held.len())?)?;
                Some(Command::Release { tag: (*tag).clone(), expired: *expired })
            }
            What::Restore { which, at } => {
                let there =
                    |tag: &TagName| state.life.as_ref().is_some_and(|stream| stream.tags.contains_key(tag));
                let gone: Vec<TagName> = (0..TAGS).map(tag).filter(|tag| !there(tag)).collect();
                let tag = match which {
                    Some(which) => Some(gone.get(which.checked_rem(gone.len())?)?),
                    None => None,
                };
                restore(happened, &key, tag, *at).map(Command::Restore)
            }
            What::Plain(command) => Some((**command).clone()),
            What::Import { tag: name, from, policy, answers } => {
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
                let plan = import_plan::plan(&key, state.life.as_ref(), &wish).ok()?;
                Some(Command::Import(answered(plan, ImportOrigin::Request, answers)))
            }
            What::Pending { scheduled, answers } => {
                let origin = if *scheduled { ImportOrigin::Schedule } else { ImportOrigin::Background };
                let stream = state.life.as_ref()?;
                let plan =
                    if *scheduled { plan_scheduled(stream) } else { import_plan::plan_pending(stream) };
                Some(Command::Import(answered(plan, origin, answers)))
            }
        }
    }
}

pub(crate) fn any_wish() -> impl Strategy<Value = Wish> {
    let what = prop_oneof![
        1 => any::<bool>().prop_map(|lookup_local| {
            let none = BTreeMap::new;
            What::plain(Command::CreateStream { lookup_local, labels: none(), annotations: none() })
        }),
        1 => Just(What::plain(Command::DeleteStream)),
        1 => any::<bool>().prop_map(|local| What::plain(Command::SetLookupPolicy { local })),
        1 => (option::of(0..TAGS), 0..3u8).prop_map(|(on, value)| {
            What::plain(Command::UpdateMetadata(UpdateMetadata {
                tag: on.map(tag),
                set_annotations: BTreeMap::from([("note".into(), value.to_string())]),
                overwrite: true,
                ..UpdateMetadata::default()
            }))
        }),
        2 => (0..TAGS).prop_map(|name| What::plain(Command::DeleteTag { tag: tag(name).to_string(), expect: None })),
        12 => any_set_tag().prop_map(|set| What::plain(Command::SetTag(set))),
        8 => (option::of(0..TAGS), option::of(0..4u8), any_policy(), vec(0..8u8, 6))
            .prop_map(|(tag, from, policy, answers)| What::Import { tag, from, policy, answers }),
        8 => (any::<bool>(), vec(0..8u8, 6)).prop_map(|(scheduled, answers)| What::Pending { scheduled, answers }),
        3 => (0..TAGS, any_end()).prop_map(|(name, until)| {
            What::plain(Command::Hold { tag: tag(name), terms: terms(until), expect: None })
        }),
        3 => (any::<usize>(), any::<bool>()).prop_map(|(which, expired)| What::Release { which, expired }),
        4 => (0..TAGS, any::<usize>(), any_end()).prop_map(|(tag, to, until)| What::Rollback { tag, to, until }),
        5 => (option::weighted(0.7, any::<usize>()), option::weighted(0.3, any::<usize>()))
            .prop_map(|(which, at)| What::Restore { which, at }),
        3 => vec((0..STREAMS, 0..TAGS, 0..STREAMS, 0..TAGS), 1..3).prop_map(What::Promote),
        3 => any_testimony().prop_map(|told| What::plain(Command::TakeTestimony(Box::new(told)))),
    ];
    // One stream more than the others, so that much happens to the same tags.
    let stream = prop_oneof![3 => Just(0), 2 => 0..STREAMS];
    (stream, what, any::<bool>()).prop_map(|(stream, what, identified)| Wish { stream, what, identified })
}

/// A document that tells of a stream: of tags with a source, a history, or both.
fn any_testimony() -> impl Strategy<Value = Testimony> {
    let tag = (0..TAGS, any::<bool>(), vec(0..IMAGES, 0..6));
    (vec(tag, 0..5), option::of(0..9_i64)).prop_map(|(tags, created)| {
        let tags: BTreeMap<u8, _> =
            tags.into_iter().map(|(name, spec, images)| (name, (spec, images))).collect();
        let tags = tags.into_iter().map(|(name, (spec, images))| told_tag(name, spec, &images)).collect();
        Testimony {
            told: TestimonyTaken {
                document: "f".into(),
                document_digest: digest(9),
                namespace: String::new(),
                name: String::new(),
                uid: String::new(),
                resource_version: String::new(),
                created: created.map(|seconds| Timestamp::new(seconds, 0)),
                checked_at: created.map(|seconds| Timestamp::new(seconds, 0)),
                items_left_out: 0,
            },
            generation: 3,
            lookup_local: false,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            tags,
            envelope_bytes: 100,
        }
    })
}

fn told_tag(name: u8, spec: bool, images: &[u8]) -> ToldTag {
    let source = source(SourceKind::DockerImage, pull_spec(name % 4));
    let item = |image: &u8| HistoryItem {
        created: Timestamp::new(i64::from(*image), 0),
        reference: format!("x{}.io/a@{}", image % 2, digest(*image)),
        // One of them stands for a reference.
        image: (*image > 0).then(|| digest(*image)),
        generation: 1,
        media_type: String::new(),
        platform: None,
        index: None,
    };
    ToldTag {
        tag: tag(name),
        spec: spec.then(|| TagSpec { source: Some(source), generation: 2, ..TagSpec::default() }),
        items: images.iter().map(item).collect(),
        failure: None,
    }
}

/// When a hold ends, in commands from the beginning.
fn any_end() -> impl Strategy<Value = Option<i64>> {
    option::of(0..60_i64)
}

fn terms(until: Option<i64>) -> HoldTerms {
    let expires_at = until.map(|seconds| Timestamp::new(seconds, 0));
    HoldTerms { held_by: "ana".into(), reason: "friday".into(), expires_at }
}

/// What an event brought to a tag.
fn brought(event: &Recorded, key: &StreamKey, tag: &TagName) -> Option<Current> {
    let item = match &event.event.fact {
        Fact::TagMoved(moved) if moved.tag == *tag => &moved.item,
        Fact::TagRestored(restored) if restored.tag == *tag => restored.items.first()?,
        _ => return None,
    };
    (event.stream == *key).then(|| Current { item: item.clone(), sequence: event.sequence })
}

/// A stream or one of its tags as it was before it was last deleted, or after so many events. `None`: it was not there.
fn restore(
    happened: &[Recorded],
    key: &StreamKey,
    tag: Option<&TagName>,
    at: Option<usize>,
) -> Option<Restore> {
    let ends = |event: &Recorded| {
        let ends = match &event.event.fact {
            Fact::StreamDeleted { .. } => true,
            Fact::TagDeleted { tag: gone, .. } => Some(gone) == tag,
            _ => false,
        };
        event.stream == *key && ends
    };
    let until = match at {
        Some(at) => at % (happened.len() + 1),
        None => happened.iter().rposition(ends)?,
    };
    let mut past = Model::default();
    for Recorded { stream, event, sequence, recorded_at, .. } in &happened[..until] {
        past.apply(stream, event, Position { sequence: *sequence, recorded_at: *recorded_at });
    }
    let stream = past.stream(key).life.clone()?;
    let wanted = stream.tags.iter().filter(|(name, _)| tag.is_none_or(|tag| tag == *name));
    let tags = wanted.map(|(name, state)| RestoredTag {
        tag: name.clone(),
        spec: state.spec.clone(),
        items: past.history(key, name).iter().rev().map(|current| current.item.clone()).collect(),
        hold: state.hold.as_ref().map(|hold| hold.terms.clone()),
    });
    Some(Restore {
        tags: tags.collect(),
        lookup_local: stream.lookup_local,
        labels: stream.labels,
        annotations: stream.annotations,
        whole: tag.is_none(),
        as_of: until as u64,
    })
}

fn any_policy() -> impl Strategy<Value = ImportPolicy> {
    let interval = option::of(prop_oneof![Just(1), 1..=2_592_000_u32]);
    (any::<bool>(), any::<bool>(), any::<bool>(), interval).prop_map(
        |(insecure, scheduled, preserve, interval)| ImportPolicy {
            insecure,
            scheduled,
            mode: if preserve { ImportMode::PreserveOriginal } else { ImportMode::Legacy },
            interval: interval
                .filter(|_| scheduled)
                .map(|seconds| Interval::from_seconds(seconds).expect("in range")),
        },
    )
}

fn any_set_tag() -> impl Strategy<Value = SetTag> {
    let policy = prop_oneof![3 => Just(ImportPolicy::default()), 1 => any_policy()];
    let rest =
        (prop::bool::weighted(0.5), prop::bool::weighted(0.3), prop::bool::weighted(0.1), any::<bool>());
    (0..TAGS, option::weighted(0.95, any_source()), policy, rest).prop_map(
        |(name, source, import_policy, (alias, reference, create, local))| SetTag {
            alias,
            reference,
            import_policy,
            reference_policy: if local { ReferencePolicy::Local } else { ReferencePolicy::Source },
            create,
            ..set_tag(name, source)
        },
    )
}

fn any_source() -> impl Strategy<Value = TagSource> {
    prop_oneof![
        2 => (0..4u8).prop_map(|from| source(SourceKind::DockerImage, pull_spec(from))),
        // Named by its digest: as a reference, and then imported, the newest item changes its image in place.
        2 => (0..4u8, 0..IMAGES).prop_map(|(from, image)| {
            let (repository, _) = pull_spec(from).split_once("a:").map(|(r, t)| (r.to_owned(), t.to_owned())).expect("a tag");
            source(SourceKind::DockerImage, format!("{repository}a@{}", digest(image)))
        }),
        4 => (0..TAGS).prop_map(|name| source(SourceKind::ImageStreamTag, tag(name).to_string())),
        2 => (0..STREAMS, 0..TAGS).prop_map(|(stream, name)| source(SourceKind::ImageStreamTag, format!("{}:{}", key(stream).name, tag(name)))),
        2 => (0..STREAMS, 0..IMAGES).prop_map(|(stream, image)| source(SourceKind::ImageStreamImage, format!("{}@{}", key(stream).name, digest(image)))),
    ]
}

/// Sets a tag without any flag.
pub(crate) fn set_tag(name: u8, source: Option<TagSource>) -> SetTag {
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

pub(crate) fn source(kind: SourceKind, name: String) -> TagSource {
    TagSource { kind, namespace: None, name }
}

pub(crate) fn key(stream: u8) -> StreamKey {
    // Names of which one begins the other: their rows must not mix.
    let name = ["s", "s-a", "s.b"][usize::from(stream)];
    StreamKey::parse(if stream == 2 { "test-2" } else { "test" }, name).expect("a stream")
}

pub(crate) fn tag(name: u8) -> TagName {
    TagName::parse(["v", "v1", "v1.0", "w", "latest"][usize::from(name)]).expect("a tag")
}

pub(crate) fn pull_spec(from: u8) -> String {
    format!("x{}.io/a:{from}", from % 2)
}

pub(crate) fn digest(image: u8) -> Digest {
    Digest::parse(&format!("sha256:{}", format!("{image:02x}").repeat(32))).expect("a digest")
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

/// What a registry answers: an image or an index, or for 6 and 7 two kinds of failure. A digest is answered with its image.
fn target(planned: PlannedImage, answer: u8) -> ImportTarget {
    let asked = (0..IMAGES).find(|image| planned.reference.digest == Some(digest(*image)));
    let image = |number: u8| Image {
        reference: planned.reference.at_digest(&digest(number)).to_string(),
        digest: digest(number),
        media_type: "manifest".into(),
        config: None,
        size: 1,
        platform: Platform::default(),
        built_at: None,
        layers: Vec::new(),
        manifests: Vec::new(),
    };
    let outcome = if answer < IMAGES && asked.is_none() && planned.policy.mode == ImportMode::PreserveOriginal
    {
        // An index that is kept whole, with two of the images.
        let children = [answer, (answer + 1) % IMAGES].map(image).into();
        Ok(ImportedImage { image: image(answer + IMAGES), children, index: None })
    } else if answer < IMAGES {
        // Half of the images are chosen from an index.
        let index = answer.is_multiple_of(2).then(|| digest(answer + IMAGES));
        Ok(ImportedImage { image: image(asked.unwrap_or(answer)), children: Vec::new(), index })
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
