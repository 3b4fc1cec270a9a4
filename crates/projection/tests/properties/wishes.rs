//! Any run of commands: three streams with five tags each, and registries that give six images and two kinds of failure.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tagtrail_domain::command::{Import, ImportOrigin, ImportTarget, ImportedImage, SetTag, UpdateMetadata};
use tagtrail_domain::image::FailureKind;
use tagtrail_domain::import_plan::{self, ImportPlan, ImportWish, PlannedImage};
use tagtrail_domain::tag::{ImportMode, ImportPolicy, ReferencePolicy, SourceKind, TagSource};
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
#[allow(clippy::large_enum_variant)] // A few hundred exist at a time.
enum What {
    Plain(Command),
    Import { tag: Option<u8>, from: Option<u8>, policy: ImportPolicy, answers: Vec<u8> },
    Pending { scheduled: bool, answers: Vec<u8> },
}

impl Wish {
    /// A wish to copy or to follow.
    pub(crate) fn set_tag(stream: u8, set: SetTag) -> Wish {
        Wish { stream, what: What::Plain(Command::SetTag(set)), identified: false }
    }

    /// A wish to import an image into a tag.
    pub(crate) fn import(stream: u8, tag: u8, image: u8) -> Wish {
        let policy = ImportPolicy::default();
        let what = What::Import { tag: Some(tag), from: Some(tag % 4), policy, answers: vec![image] };
        Wish { stream, what, identified: false }
    }

    pub(crate) fn key(&self) -> StreamKey {
        key(self.stream)
    }

    /// What the wish means in a world. `None`: nothing.
    pub(crate) fn command(&self, world: &impl World) -> Option<Command> {
        let key = self.key();
        let state = world.stream(&key);
        match &self.what {
            What::Plain(command) => Some(command.clone()),
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
            What::Plain(Command::CreateStream { lookup_local, labels: none(), annotations: none() })
        }),
        1 => Just(What::Plain(Command::DeleteStream)),
        1 => any::<bool>().prop_map(|local| What::Plain(Command::SetLookupPolicy { local })),
        1 => (option::of(0..TAGS), 0..3u8).prop_map(|(on, value)| {
            What::Plain(Command::UpdateMetadata(UpdateMetadata {
                tag: on.map(tag),
                set_annotations: BTreeMap::from([("note".into(), value.to_string())]),
                overwrite: true,
                ..UpdateMetadata::default()
            }))
        }),
        2 => (0..TAGS).prop_map(|name| What::Plain(Command::DeleteTag { tag: tag(name).to_string(), expect: None })),
        12 => any_set_tag().prop_map(|set| What::Plain(Command::SetTag(set))),
        8 => (option::of(0..TAGS), option::of(0..4u8), any_policy(), vec(0..8u8, 6))
            .prop_map(|(tag, from, policy, answers)| What::Import { tag, from, policy, answers }),
        8 => (any::<bool>(), vec(0..8u8, 6)).prop_map(|(scheduled, answers)| What::Pending { scheduled, answers }),
    ];
    (0..STREAMS, what, any::<bool>()).prop_map(|(stream, what, identified)| Wish { stream, what, identified })
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

/// What a registry answers: an image, or for 6 and 7 two kinds of failure. A digest is answered with its image.
fn target(planned: PlannedImage, answer: u8) -> ImportTarget {
    let asked = (0..IMAGES).find(|image| planned.reference.digest == Some(digest(*image)));
    let outcome = if answer < IMAGES {
        let digest = digest(asked.unwrap_or(answer));
        let image = Image {
            reference: planned.reference.at_digest(&digest).to_string(),
            digest,
            media_type: "manifest".into(),
            config: None,
            size: 1,
            platform: Platform::default(),
            built_at: None,
            layers: Vec::new(),
            manifests: Vec::new(),
        };
        // Half of the images are chosen from an index.
        let index = answer.is_multiple_of(2).then(|| self::digest(answer + IMAGES));
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
