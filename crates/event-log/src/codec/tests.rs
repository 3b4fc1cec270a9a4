//! An event once stored can be read for ever.
//!
//! `tests/golden/v1` holds the bytes of one event of every kind of fact, with every field filled, as the first version
//! stored them. The files are never changed. A new kind of fact gets a file of its own beside them: add it to [`golden`],
//! run the test with `TAGTRAIL_NEW_GOLDEN=1`, and it writes what is missing. A new field gets a new folder, with all
//! fields filled again, beside the old ones: `v2` has the interval of an import policy and the index of a history item
//! ([`golden_v2`]), `v3` the trace context of the envelope, `v4` what an item was copied from and the images of an index
//! ([`golden_v4`]), `v5` what a document told ([`golden_v5`]).

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use tagtrail_domain::event::{
    Actor, Event, HistoryChange, ImageRecorded, ImportFinished, ImportOutcome, LogContinued, MoveCause,
    MoveWithheld, Run, TagMoved, TagRestored, TestimonyTaken,
};
use tagtrail_domain::state::HoldTerms;
use tagtrail_domain::tag::{
    Entries, ImportMode, ImportPolicy, ReferencePolicy, SourceKind, TagSource, TagSpec,
};
use tagtrail_domain::{
    Digest, Fact, Failure, FailureKind, HistoryItem, Interval, Namespace, Platform, StreamKey, TagName,
    Timestamp,
};

use super::*;

const HEADER: &str = "\
# A stored event, in hexadecimal: what every later version must read, and write again to the same bytes.
# Never change this file. A new kind of fact gets a file beside it, a new field a new folder: see src/codec/tests.rs.
";

/// The name of a kind of fact, as the field of the protobuf `Event` has it.
fn kind(fact: &Fact) -> &'static str {
    match fact {
        Fact::StreamCreated { .. } => "stream_created",
        Fact::StreamDeleted { .. } => "stream_deleted",
        Fact::StreamMetadataSet { .. } => "stream_metadata_set",
        Fact::LookupPolicySet { .. } => "lookup_policy_set",
        Fact::TagSet { .. } => "tag_set",
        Fact::TagDeleted { .. } => "tag_deleted",
        Fact::TagMoved(_) => "tag_moved",
        Fact::ImportFailed { .. } => "import_failed",
        Fact::FailureCleared { .. } => "failure_cleared",
        Fact::ImageRecorded(_) => "image_recorded",
        Fact::ImportFinished(_) => "import_finished",
        Fact::RepositoryImportFailed { .. } => "repository_import_failed",
        Fact::TagHeld { .. } => "tag_held",
        Fact::TagReleased { .. } => "tag_released",
        Fact::MoveWithheld(_) => "move_withheld",
        Fact::TagRestored(_) => "tag_restored",
        Fact::TestimonyTaken(_) => "testimony_taken",
        Fact::LogContinued(_) => "log_continued",
    }
}

/// The events of the second version: those that got a field, with that field filled as well.
fn golden_v2() -> Vec<Recorded> {
    let add_index = |item: &mut HistoryItem| {
        item.index = Some(Digest::parse(&format!("sha256:{}", "d".repeat(64))).expect("valid"));
    };
    let with_new_fields = |mut event: Recorded| {
        match &mut event.event.fact {
            Fact::TagSet { spec, .. } => {
                spec.import_policy.interval = Some(Interval::parse("1h30m").expect("valid"));
            }
            Fact::TagDeleted { last: Some(last), .. } => add_index(last),
            Fact::TagMoved(moved) => {
                add_index(&mut moved.item);
                moved.previous.iter_mut().for_each(add_index);
            }
            _ => return None,
        }
        Some(event)
    };
    golden().into_iter().filter_map(with_new_fields).collect()
}

/// The third version: the envelope got a field.
fn golden_v3() -> Vec<Recorded> {
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned();
    let created = golden().into_iter().find(|event| kind(&event.event.fact) == "stream_created");
    created.map(|event| Recorded { traceparent, ..event }).into_iter().collect()
}

/// The fourth version: a move says what its item was copied from, and may take a tag back; an image index names its images.
fn golden_v4() -> Vec<Recorded> {
    let digest = |digit: &str| Digest::parse(&format!("sha256:{}", digit.repeat(64))).expect("valid");
    let with_new_fields = |mut event: Recorded| {
        match &mut event.event.fact {
            Fact::TagMoved(moved) => {
                moved.cause = MoveCause::Rollback;
                moved.copied_from = 17;
            }
            Fact::ImageRecorded(image) => image.manifests = vec![digest("e"), digest("f")],
            _ => return None,
        }
        Some(event)
    };
    golden().into_iter().filter_map(with_new_fields).collect()
}

/// The fifth version: a move and a failure may be told by a document.
fn golden_v5() -> Vec<Recorded> {
    let with_new_fields = |mut event: Recorded| {
        match &mut event.event.fact {
            Fact::TagMoved(moved) => moved.cause = MoveCause::Testimony,
            Fact::ImportFailed { told_since, .. } => *told_since = Some(Timestamp::new(1_600_000_001, 0)),
            _ => return None,
        }
        Some(event)
    };
    golden().into_iter().filter_map(with_new_fields).collect()
}

/// The events in the golden files of the first version, and of the kinds that have come since.
fn golden() -> Vec<Recorded> {
    let tag = |text: &str| TagName::parse(text).expect("valid");
    let digest = |digit: &str| Digest::parse(&format!("sha256:{}", digit.repeat(64))).expect("valid");
    let at = |seconds| Timestamp::new(seconds, 123_456_789);
    let entries = |words: &[(&str, &str)]| -> Entries {
        words.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let labels = || entries(&[("app", "web"), ("tier", "front")]);
    let annotations = || entries(&[("example.com/owner", "ops"), ("note", "first, \"quoted\", é")]);
    let platform = || Platform { os: "linux".into(), architecture: "arm64".into(), variant: "v8".into() };
    let item = |digit: &str, generation| HistoryItem {
        created: at(1_700_000_000),
        reference: format!("quay.io/acme/app@{}", digest(digit)),
        image: Some(digest(digit)),
        generation,
        media_type: "application/vnd.oci.image.manifest.v1+json".into(),
        platform: Some(platform()),
        index: None,
    };
    let from_index =
        |digit: &str, generation| HistoryItem { index: Some(digest("d")), ..item(digit, generation) };
    let terms = || HoldTerms {
        held_by: "ana@laptop".into(),
        reason: "release 1.0 first".into(),
        expires_at: Some(at(1_700_090_000)),
    };
    let facts = vec![
        Fact::StreamCreated { lookup_local: true, labels: labels(), annotations: annotations() },
        Fact::StreamDeleted { tags: vec![tag("1.0"), tag("latest")] },
        Fact::StreamMetadataSet { labels: labels(), annotations: annotations() },
        Fact::LookupPolicySet { local: true },
        Fact::TagSet {
            tag: tag("latest"),
            spec: TagSpec {
                source: Some(TagSource {
                    kind: SourceKind::ImageStreamImage,
                    namespace: Some(Namespace::parse("base").expect("valid")),
                    name: format!("app@{}", digest("a")),
                }),
                reference: true,
                generation: 7,
                import_policy: ImportPolicy {
                    insecure: true,
                    scheduled: true,
                    mode: ImportMode::PreserveOriginal,
                    interval: None,
                },
                reference_policy: ReferencePolicy::Local,
                annotations: annotations(),
            },
        },
        Fact::TagDeleted { tag: tag("latest"), had_spec: true, last: Some(item("a", 6)) },
        Fact::TagMoved(Box::new(TagMoved {
            tag: tag("latest"),
            item: item("b", 7),
            change: HistoryChange::Replaced,
            previous: Some(item("a", 6)),
            replaces_sequence: 40,
            cause: MoveCause::Alias(tag("1.0")),
            source: "app:1.0".into(),
            copied_from: 0,
        })),
        Fact::ImportFailed {
            tag: tag("latest"),
            source: "quay.io/acme/app:latest".into(),
            failure: Failure {
                kind: FailureKind::Unsupported,
                reason: "InternalError".into(),
                message: "this image cannot be used".into(),
            },
            generation: 7,
            told_since: None,
        },
        Fact::FailureCleared { tag: tag("latest") },
        Fact::ImageRecorded(Box::new(ImageRecorded {
            digest: digest("a"),
            reference: format!("quay.io/acme/app@{}", digest("a")),
            media_type: "application/vnd.oci.image.manifest.v1+json".into(),
            config: Some(digest("c")),
            size: 123_456_789_012,
            platform: Some(platform()),
            built_at: Some(at(1_600_000_000)),
            manifests: Vec::new(),
        })),
        Fact::ImportFinished(Box::new(ImportFinished {
            checked_at: at(1_700_000_001),
            outcomes: vec![
                ImportOutcome { tag: tag("1.0"), result: Ok(digest("a")) },
                ImportOutcome { tag: tag("latest"), result: Err("NotFound".into()) },
            ],
            scheduled: true,
            repository: "quay.io/acme/app".into(),
            additional_tags: 12,
        })),
        Fact::RepositoryImportFailed {
            repository: "quay.io/acme/app".into(),
            failure: Failure {
                kind: FailureKind::RateLimited,
                reason: "InternalError".into(),
                message: "you may not have access to the container image".into(),
            },
        },
        Fact::TagHeld { tag: tag("latest"), terms: terms() },
        Fact::TagReleased { tag: tag("latest"), expired: true },
        Fact::MoveWithheld(Box::new(MoveWithheld {
            tag: tag("latest"),
            item: from_index("b", 8),
            cause: MoveCause::Alias(tag("1.0")),
            source: "app:1.0".into(),
            copied_from: 38,
        })),
        Fact::TagRestored(Box::new(TagRestored {
            tag: tag("latest"),
            spec: Some(TagSpec {
                source: Some(TagSource {
                    kind: SourceKind::DockerImage,
                    namespace: None,
                    name: "quay.io/acme/app:latest".into(),
                }),
                reference: true,
                generation: 7,
                import_policy: ImportPolicy {
                    insecure: true,
                    scheduled: true,
                    mode: ImportMode::PreserveOriginal,
                    interval: Some(Interval::parse("1h30m").expect("valid")),
                },
                reference_policy: ReferencePolicy::Local,
                annotations: annotations(),
            }),
            items: vec![from_index("b", 7), from_index("a", 6)],
            hold: Some(terms()),
            as_of: 37,
        })),
        Fact::TestimonyTaken(Box::new(TestimonyTaken {
            document: "old cluster.yaml".into(),
            document_digest: digest("9"),
            namespace: "base".into(),
            name: "app".into(),
            uid: "2f9a9a1e-6c3d-4c11-9f3e-2d7a1f9f0e11".into(),
            resource_version: "41236".into(),
            created: Some(at(1_500_000_000)),
            checked_at: Some(at(1_500_000_001)),
            items_left_out: 3,
        })),
        Fact::LogContinued(Box::new(LogContinued {
            old_log_id: "00112233445566778899aabbccddeeff".into(),
            old_origin: "tagtrail.example.com/00112233445566778899aabbccddeeff".into(),
            old_checkpoint: "tagtrail.example.com/00112233445566778899aabbccddeeff\n57\n".into(),
            head: 41,
        })),
    ];
    let envelope = |fact| Recorded {
        sequence: 42,
        revision: 9,
        recorded_at: at(1_700_000_002),
        run: Run { first_sequence: 41, length: 3 },
        stream: StreamKey::parse("shop", "app").expect("valid"),
        actor: Actor { name: "ana@laptop".into(), authenticated: true },
        reason: "release 1.0".into(),
        command: "import".into(),
        request_id: "4f0c".into(),
        request_digest: (0..32).collect(),
        caused_by: 39,
        traceparent: String::new(),
        event: Event { stream_uid: "0b5ff8a2-6c3d-4c11-9f3e-2d7a1f9f0e11".into(), generation: 7, fact },
    };
    facts.into_iter().map(envelope).collect()
}

#[test]
fn golden_bytes_can_be_read_and_written_for_ever() {
    let kinds = read_and_write(golden(), "v1");
    assert_eq!(kinds, kinds_of_the_proto(), "every kind of fact has its golden file");
    read_and_write(golden_v2(), "v2");
    read_and_write(golden_v3(), "v3");
    read_and_write(golden_v4(), "v4");
    read_and_write(golden_v5(), "v5");
}

/// Compares events with a folder of golden files, and gives the kinds of fact in it.
fn read_and_write(events: Vec<Recorded>, version: &str) -> BTreeSet<String> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(version);
    let mut kinds = BTreeSet::new();
    for event in events {
        let kind = kind(&event.event.fact);
        kinds.insert(kind.to_owned());
        let file = folder.join(format!("{kind}.hex"));
        if !file.exists() && std::env::var_os("TAGTRAIL_NEW_GOLDEN").is_some() {
            std::fs::write(&file, HEADER.to_owned() + &hex(&encode(&event))).expect("written");
        }
        let text = std::fs::read_to_string(&file)
            .unwrap_or_else(|error| panic!("{}: {error}; TAGTRAIL_NEW_GOLDEN=1 writes it", file.display()));
        let bytes = unhex(&text);
        assert_eq!(decode(&bytes).unwrap_or_else(|error| panic!("{kind}: {error}")), event, "{kind}");
        assert_eq!(encode(&event), bytes, "{kind}");
    }
    let files = std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let files: BTreeSet<_> =
        files.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!(kinds, files, "every golden file is checked");
    kinds
}

/// What `event.proto` lists under `fact`.
fn kinds_of_the_proto() -> BTreeSet<String> {
    let all = prost_types::FileDescriptorSet::decode(v1::FILE_DESCRIPTOR_SET).expect("our own descriptors");
    let event = all.file.iter().flat_map(|file| &file.message_type).find(|message| message.name() == "Event");
    let fields = &event.expect("there is an Event").field;
    fields.iter().filter(|field| field.oneof_index.is_some()).map(|field| field.name().to_owned()).collect()
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(40) {
        line.iter().for_each(|byte| write!(text, "{byte:02x}").expect("text takes everything"));
        text.push('\n');
    }
    text
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: String = text.lines().filter(|line| !line.starts_with('#')).collect();
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits");
    (0..digits.len()).step_by(2).map(byte).collect()
}

#[test]
fn what_only_a_newer_version_knows_is_refused() {
    let check = |change: &dyn Fn(&mut v1::Event), words: &str| {
        let set = golden().into_iter().find(|event| kind(&event.event.fact) == "tag_set").expect("there");
        let mut event = to_proto::event(&set);
        change(&mut event);
        let error = decode(&event.encode_to_vec()).expect_err(words).to_string();
        assert_eq!(error, words);
    };
    fn spec(event: &mut v1::Event) -> &mut v1::TagSpec {
        match &mut event.fact {
            Some(v1::event::Fact::TagSet(set)) => set.spec.as_mut().expect("there"),
            _ => unreachable!("a tag was set"),
        }
    }
    check(&|event| event.fact = None, "the event has no fact that this version knows");
    check(&|event| event.run = None, "the event has no run");
    check(&|event| event.stream = "A".into(), "the event's stream \"shop/A\" is not one this version knows");
    check(
        &|event| spec(event).reference_policy = 9,
        "the event's reference policy \"9\" is not one this version knows",
    );
    check(
        &|event| spec(event).import_policy.as_mut().expect("there").import_mode = 9,
        "the event's import mode \"9\" is not one this version knows",
    );
    check(
        &|event| spec(event).import_policy.as_mut().expect("there").interval_seconds = 2_592_001,
        "the event's interval \"2592001\" is not one this version knows",
    );
    check(
        &|event| spec(event).source.as_mut().expect("there").kind = 9,
        "the event's source kind \"9\" is not one this version knows",
    );
    check(
        &|event| event.recorded_at.as_mut().expect("there").nanos = 1_000_000_000,
        "the event's time \"1700000002.1000000000\" is not one this version knows",
    );
}

fn any_text() -> impl Strategy<Value = String> {
    "\\PC{0,12}"
}

fn any_tag() -> impl Strategy<Value = TagName> {
    "[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}".prop_map(|text| TagName::parse(&text).expect("valid"))
}

fn any_digest() -> impl Strategy<Value = Digest> {
    "sha256:[0-9a-f]{64}".prop_map(|text| Digest::parse(&text).expect("valid"))
}

fn any_time() -> impl Strategy<Value = Timestamp> {
    (any::<i64>(), 0..1_000_000_000_u32).prop_map(|(seconds, nanos)| Timestamp::new(seconds, nanos))
}

fn any_entries() -> impl Strategy<Value = Entries> {
    btree_map(any_text(), any_text(), 0..4)
}

fn any_platform() -> impl Strategy<Value = Platform> {
    (any_text(), any_text(), any_text()).prop_map(|(os, architecture, variant)| Platform {
        os,
        architecture,
        variant,
    })
}

fn any_spec() -> impl Strategy<Value = TagSpec> {
    let kind = prop_oneof![
        Just(SourceKind::DockerImage),
        Just(SourceKind::ImageStreamTag),
        Just(SourceKind::ImageStreamImage)
    ];
    let namespace = "[a-z0-9]{1,9}".prop_map(|text| Namespace::parse(&text).expect("valid"));
    let source = (kind, option::of(namespace), any_text()).prop_map(|(kind, namespace, name)| TagSource {
        kind,
        namespace,
        name,
    });
    let mode = prop_oneof![Just(ImportMode::Legacy), Just(ImportMode::PreserveOriginal)];
    let interval = option::of((1..=2_592_000_u32).prop_map(|s| Interval::from_seconds(s).expect("in range")));
    let import =
        (any::<bool>(), any::<bool>(), mode, interval).prop_map(|(insecure, scheduled, mode, interval)| {
            ImportPolicy { insecure, scheduled, mode, interval }
        });
    let policy = prop_oneof![Just(ReferencePolicy::Source), Just(ReferencePolicy::Local)];
    (option::of(source), any::<bool>(), any::<i64>(), import, policy, any_entries()).prop_map(
        |(source, reference, generation, import_policy, reference_policy, annotations)| TagSpec {
            source,
            reference,
            generation,
            import_policy,
            reference_policy,
            annotations,
        },
    )
}

fn any_item() -> impl Strategy<Value = HistoryItem> {
    let digests = (option::of(any_digest()), option::of(any_digest()));
    (any_time(), any_text(), digests, any::<i64>(), any_text(), option::of(any_platform())).prop_map(
        |(created, reference, (image, index), generation, media_type, platform)| HistoryItem {
            created,
            reference,
            image,
            generation,
            media_type,
            platform,
            index,
        },
    )
}

fn any_cause() -> impl Strategy<Value = MoveCause> {
    prop_oneof![
        Just(MoveCause::Import),
        Just(MoveCause::ScheduledImport),
        Just(MoveCause::Tag),
        any_tag().prop_map(MoveCause::Alias),
        Just(MoveCause::Rollback),
        Just(MoveCause::Testimony)
    ]
}

fn any_move() -> impl Strategy<Value = TagMoved> {
    let change =
        prop_oneof![Just(HistoryChange::Added), Just(HistoryChange::Replaced), Just(HistoryChange::Renewed)];
    let sequences = any::<(u64, u64)>();
    (any_tag(), any_item(), change, option::of(any_item()), sequences, any_cause(), any_text()).prop_map(
        |(tag, item, change, previous, (replaces_sequence, copied_from), cause, source)| TagMoved {
            tag,
            item,
            change,
            previous,
            replaces_sequence,
            cause,
            source,
            copied_from,
        },
    )
}

fn any_withheld() -> impl Strategy<Value = MoveWithheld> {
    (any_tag(), any_item(), any_cause(), any_text(), any::<u64>()).prop_map(
        |(tag, item, cause, source, copied_from)| MoveWithheld { tag, item, cause, source, copied_from },
    )
}

fn any_terms() -> impl Strategy<Value = HoldTerms> {
    (any_text(), any_text(), option::of(any_time())).prop_map(|(held_by, reason, expires_at)| HoldTerms {
        held_by,
        reason,
        expires_at,
    })
}

fn any_restored() -> impl Strategy<Value = TagRestored> {
    (any_tag(), option::of(any_spec()), vec(any_item(), 0..4), option::of(any_terms()), any::<u64>())
        .prop_map(|(tag, spec, items, hold, as_of)| TagRestored { tag, spec, items, hold, as_of })
}

fn any_testimony() -> impl Strategy<Value = TestimonyTaken> {
    let texts = (any_text(), any_text(), any_text(), any_text(), any_text());
    let times = (option::of(any_time()), option::of(any_time()));
    (texts, any_digest(), times, any::<u32>()).prop_map(
        |(
            (document, namespace, name, uid, resource_version),
            document_digest,
            (created, checked_at),
            items_left_out,
        )| TestimonyTaken {
            document,
            document_digest,
            namespace,
            name,
            uid,
            resource_version,
            created,
            checked_at,
            items_left_out,
        },
    )
}

fn any_failure() -> impl Strategy<Value = Failure> {
    let kind = prop_oneof![
        Just(FailureKind::NotFound),
        Just(FailureKind::Unauthorized),
        Just(FailureKind::Denied),
        Just(FailureKind::RateLimited),
        Just(FailureKind::Unreachable),
        Just(FailureKind::BadAnswer),
        Just(FailureKind::InvalidReference),
        Just(FailureKind::Forbidden),
        Just(FailureKind::Unsupported)
    ];
    (kind, any_text(), any_text()).prop_map(|(kind, reason, message)| Failure { kind, reason, message })
}

fn any_image() -> impl Strategy<Value = ImageRecorded> {
    let texts = (any_digest(), any_text(), any_text(), option::of(any_digest()));
    let manifests = vec(any_digest(), 0..4);
    (texts, any::<i64>(), option::of(any_platform()), option::of(any_time()), manifests).prop_map(
        |((digest, reference, media_type, config), size, platform, built_at, manifests)| ImageRecorded {
            digest,
            reference,
            media_type,
            config,
            size,
            platform,
            built_at,
            manifests,
        },
    )
}

fn any_import() -> impl Strategy<Value = ImportFinished> {
    let result = prop_oneof![any_digest().prop_map(Ok), any_text().prop_map(Err)];
    let outcome = (any_tag(), result).prop_map(|(tag, result)| ImportOutcome { tag, result });
    (any_time(), vec(outcome, 0..4), any::<bool>(), any_text(), any::<u32>()).prop_map(
        |(checked_at, outcomes, scheduled, repository, additional_tags)| ImportFinished {
            checked_at,
            outcomes,
            scheduled,
            repository,
            additional_tags,
        },
    )
}

fn any_fact() -> impl Strategy<Value = Fact> {
    prop_oneof![
        (any::<bool>(), any_entries(), any_entries()).prop_map(|(lookup_local, labels, annotations)| {
            Fact::StreamCreated { lookup_local, labels, annotations }
        }),
        vec(any_tag(), 0..4).prop_map(|tags| Fact::StreamDeleted { tags }),
        (any_entries(), any_entries())
            .prop_map(|(labels, annotations)| Fact::StreamMetadataSet { labels, annotations }),
        any::<bool>().prop_map(|local| Fact::LookupPolicySet { local }),
        (any_tag(), any_spec()).prop_map(|(tag, spec)| Fact::TagSet { tag, spec }),
        (any_tag(), any::<bool>(), option::of(any_item()))
            .prop_map(|(tag, had_spec, last)| Fact::TagDeleted { tag, had_spec, last }),
        any_move().prop_map(|moved| Fact::TagMoved(Box::new(moved))),
        (any_tag(), any_text(), any_failure(), any::<i64>(), option::of(any_time())).prop_map(
            |(tag, source, failure, generation, told_since)| {
                Fact::ImportFailed { tag, source, failure, generation, told_since }
            }
        ),
        any_tag().prop_map(|tag| Fact::FailureCleared { tag }),
        any_image().prop_map(|image| Fact::ImageRecorded(Box::new(image))),
        any_import().prop_map(|import| Fact::ImportFinished(Box::new(import))),
        (any_text(), any_failure())
            .prop_map(|(repository, failure)| Fact::RepositoryImportFailed { repository, failure }),
        (any_tag(), any_terms()).prop_map(|(tag, terms)| Fact::TagHeld { tag, terms }),
        (any_tag(), any::<bool>()).prop_map(|(tag, expired)| Fact::TagReleased { tag, expired }),
        any_withheld().prop_map(|withheld| Fact::MoveWithheld(Box::new(withheld))),
        any_restored().prop_map(|restored| Fact::TagRestored(Box::new(restored))),
        any_testimony().prop_map(|told| Fact::TestimonyTaken(Box::new(told))),
        (any_text(), any_text(), any_text(), any::<u64>()).prop_map(
            |(old_log_id, old_origin, old_checkpoint, head)| {
                Fact::LogContinued(Box::new(LogContinued { old_log_id, old_origin, old_checkpoint, head }))
            }
        ),
    ]
}

prop_compose! {
    fn any_event()(
        (sequence, revision, first_sequence, length, caused_by, generation) in any::<(u64, u64, u64, u32, u64, i64)>(),
        recorded_at in any_time(),
        (name, authenticated) in (any_text(), any::<bool>()),
        (reason, command, request_id, stream_uid) in (any_text(), any_text(), any_text(), any_text()),
        traceparent in any_text(),
        request_digest in vec(any::<u8>(), 0..33),
        fact in any_fact(),
    ) -> Recorded {
        Recorded {
            sequence,
            revision,
            recorded_at,
            run: Run { first_sequence, length },
            stream: StreamKey::parse("shop", "app").expect("valid"),
            actor: Actor { name, authenticated },
            reason,
            command,
            request_id,
            request_digest,
            caused_by,
            traceparent,
            event: Event { stream_uid, generation, fact },
        }
    }
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(event in any_event()) {
        let bytes = encode(&event);
        prop_assert_eq!(encode(&event), bytes.clone(), "the same event is the same bytes");
        prop_assert_eq!(decode(&bytes).expect("our own"), event);
    }

    /// Bytes that a newer version, or something else, has written are an error, never a panic. What is read is written
    /// again as it was meant.
    #[test]
    fn what_is_damaged_is_no_panic(event in any_event(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = encode(&event).to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(read) = decode(&bytes) {
            prop_assert_eq!(decode(&encode(&read)).expect("our own"), read);
        }
    }
}
