//! Streams as a whole: creating, deleting, lookup, metadata, and which changes count (spec §2.1, §2.2, §2.8).

use tagtrail_domain::event::LogContinued;
use tagtrail_domain::{Event, Fact, Position, Refusal, StreamKey, StreamState, Timestamp, apply, limits};

use crate::language::{after, check};

#[test]
fn creating_and_deleting_a_stream() {
    check("", "create p", "G1: created");
    check("", "create p --local note=hi", "G1: created local note=hi");
    check("create p", "create p", "refused (exists): imagestreams.image.openshift.io \"p\" already exists");
    check("create p", "delete p", "G1: deleted []");
    check("tag - p:b; tag - p:a", "delete p", "G2: deleted [a, b]");
    check("", "delete p", "refused (not found): imagestreams.image.openshift.io \"p\" not found");
    check(
        "create p; delete p",
        "delete p",
        "refused (not found): imagestreams.image.openshift.io \"p\" not found",
    );
    // A new life starts from the beginning: generation 1, nothing left.
    after("tag x.io/a:1 p:a; background p = A; tag - p:b; delete p; create p", &["G1"]);
    check(
        "tag x.io/a:1 p:a; background p = A; delete p",
        "tag p@A p:b",
        "refused (invalid ImageStream p): []: Internal error: imagestreams \"p\" is invalid: spec.tags[b].from.name: Invalid value: \"p@A\": error generating tag event: imagestreamimage.image.openshift.io \"A\" not found",
    );
}

#[test]
fn names_that_cannot_be() {
    let refused = |name: &str| {
        let error = StreamKey::parse("test", name).expect_err(name);
        Refusal::bad_name(&error).to_string()
    };
    // Cases 1 and 2.
    assert_eq!(
        refused("a__b"),
        "metadata.name: Invalid value: \"a__b\": must match \"[a-z0-9]+(?:[._-][a-z0-9]+)*\""
    );
    let long = "a".repeat(251);
    assert_eq!(
        refused(&long),
        format!(
            "metadata.name: Invalid value: \"{long}\": 'namespace/name' cannot be longer than 255 characters"
        )
    );
}

/// Events about the log itself stand under a name like those of streams, so there no stream can ever be.
#[test]
fn no_stream_can_be_where_the_log_tells_of_itself() {
    let refused = "refused (malformed): \"tagtrail-system/log\" is the name under which the log tells of itself, so no image stream can be there; choose another name";
    for command in [
        "create tagtrail-system/log",
        "tag x.io/a:1 tagtrail-system/log:a",
        "delete tagtrail-system/log",
        "told tagtrail-system/log",
        "promote tagtrail-system/log:a=test/p:a p:b=p:a",
    ] {
        check("tag x.io/a:1 p:a; background p = A", command, refused);
    }
    check("", "create tagtrail-system/p", "G1: created");
    check("", "create log", "G1: created");

    // The log told something, and no stream came of it.
    let fact = Fact::LogContinued(Box::new(LogContinued {
        old_log_id: "00112233445566778899aabbccddeeff".into(),
        old_origin: String::new(),
        old_checkpoint: String::new(),
        head: 6,
    }));
    let event = Event { stream_uid: String::new(), generation: 0, fact };
    let at = Position { sequence: 7, recorded_at: Timestamp::new(1, 0) };
    let state = apply(StreamState::default(), &event, at);
    assert_eq!(state, StreamState { revision: 1, sequence: 7, life: None });
}

#[test]
fn what_counts_as_a_change_of_the_stream() {
    let given = "tag x.io/a:1 p:a; background p = A"; // The stream is at generation 2.
    check(given, "lookup p on", "G3: lookup on");
    check(given, "lookup p off", "");
    check("", "lookup p on", "refused (not found): imagestreams.image.openshift.io \"p\" not found");
    check(given, "annotate p who=me", "G2: annotations who=me, labels"); // Not the spec: no generation.
    check(given, "label p env=dev", "G2: annotations, labels env=dev");
    // A tag's annotations are spec: the stream counts them, the tag does not, so nothing is imported again.
    check(given, "annotate p:a who=me", "G3: a := x.io/a:1 g2 who=me");
    check(given, "untag p:a", "G3: a deleted, was x.io/a@A g2");
    // History without spec is no spec (a repository import that failed for one tag).
    let failed = "import p --all --from=x.io/a --confirm = v1:!NotFound";
    check(failed, "untag p:v1", "G1: v1 deleted, was nothing, no spec");
}

#[test]
fn deleting_a_tag() {
    let given = "import p:a --from=x.io/a:1 --confirm = A; tag p:a p:al --alias";
    let missing = "refused (not found): imagestreamtags.image.openshift.io \"p:a\" not found";
    check(given, "untag p:a", "G3: a deleted, was x.io/a@A g2");
    check(&format!("{given}; untag p:a"), "untag p:a", missing); // Case 39.
    check("create p", "untag p:a", missing);
    check("create p", "untag p:bad#tag", &missing.replace("p:a", "p:bad#tag")); // Case 3: no tag, so not found.
    check("", "untag p:a", &missing.replace("p:a", "p")); // The stream is what is missing.
    // Case 30: what followed it keeps its last image, and follows again if the tag comes back.
    after(&format!("{given}; untag p:a"), &["G3 checked", "al := istag p:a g2 [x.io/a@A g2 t1]"]);
    check(
        &format!("{given}; untag p:a; tag x.io/b:1 p:a"),
        "background p = B",
        "G5: a := x.io/b:1 g5; new B; a + x.io/b@B g5; al + x.io/b@B g5 with a; checked",
    );
}

#[test]
fn annotations_and_labels() {
    let given = "create p note=hi; label p env=dev tier=1";
    check(given, "annotate p note=hi", "");
    check(given, "annotate p note=ho --overwrite", "G1: annotations note=ho, labels env=dev tier=1");
    check(given, "annotate p note-", "G1: annotations, labels env=dev tier=1");
    check(given, "annotate p other-", "");
    check(
        given,
        "annotate p note=ho",
        "refused (usage): --overwrite is false but found the following declared annotation(s): 'note' already has a value (hi)",
    );
    check(
        given,
        "label p env=prod",
        "refused (usage): 'env' already has a value (dev), and --overwrite is false",
    );
    check(
        given,
        "label p env=prod tier=2",
        "refused (usage): 'env' already has a value (dev), and --overwrite is false\n'tier' already has a value (1), and --overwrite is false",
    );
    check(
        given,
        "annotate p note=ho note-",
        "refused (usage): can not both modify and remove the following annotation(s) in the same command: note",
    );
    check(
        given,
        "label p env=a env-",
        "refused (usage): can not both modify and remove a label in the same command",
    );
    check("", "annotate p a=b", "refused (not found): imagestreams.image.openshift.io \"p\" not found");
    check("", "annotate p:a a=b", "refused (not found): imagestreamtags.image.openshift.io \"p\" not found");
    check(
        given,
        "annotate p:a a=b",
        "refused (not found): imagestreamtags.image.openshift.io \"p:a\" not found",
    );
    check(
        "tag - p:a",
        "label p:a a=b",
        "refused (invalid ImageStreamTag p:a): metadata: Invalid value: \"\": may not update fields other than metadata.annotations",
    );
    check(
        "import p --all --from=x.io/a --confirm = v1:!NotFound",
        "annotate p:v1 a=b",
        "refused (bad request): imagestreamtag v1 is not a spec tag in imagestream test/p, cannot be updated",
    );
}

#[test]
fn metadata_that_cannot_be() {
    let check_annotation = "refused (usage): the annotation \"openshift.io/image.dockerRepositoryCheck\" is kept by the server and cannot be set or removed";
    check("create p", "annotate p openshift.io/image.dockerRepositoryCheck=now", check_annotation);
    check("create p", "annotate p openshift.io/image.dockerRepositoryCheck-", check_annotation);
    check("", "create p openshift.io/image.dockerRepositoryCheck=now", check_annotation);
    let bad_key = |object: &str, field: &str, key: &str, why: &str| {
        format!("refused (invalid {object}): metadata.{field}: Invalid value: \"{key}\": {why}")
    };
    let name = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    let name_part = format!("name part {name}");
    let prefix_part = "prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    let (stream, tag) = ("ImageStream p", "ImageStreamTag p:a");
    check("create p", "annotate p -a=b", &bad_key(stream, "annotations", "-a", &name_part));
    check("tag - p:a", "annotate p:a -a=b", &bad_key(tag, "annotations", "-a", &name_part));
    check("create p", "annotate p a_b/c=d", &bad_key(stream, "annotations", "a_b/c", prefix_part));
    let both = [
        bad_key(stream, "labels", "a/", "name part must be non-empty"),
        format!("metadata.labels: Invalid value: \"a/\": {name_part}"),
    ];
    check("create p", "label p a/=b", &both.join("\n"));
    check("create p", "label p /a=b", &bad_key(stream, "labels", "/a", "prefix part must be non-empty"));
    let qualified = format!(
        "a qualified name {name} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
    );
    check("create p", "label p a/b/c=d", &bad_key(stream, "labels", "a/b/c", &qualified));
    let long = "x".repeat(64);
    let too_long = bad_key(stream, "labels", &long, "name part must be no more than 63 bytes");
    check("create p", &format!("label p {long}=a"), &too_long);
    let too_long = bad_key(stream, "labels", &long, "must be no more than 63 bytes");
    check("create p", &format!("label p a={long}"), &too_long);
    check("create p", "label p example.com/a=b", "G1: annotations, labels example.com/a=b");
    check(
        "create p",
        "label p a=b/c",
        "refused (invalid ImageStream p): metadata.labels: Invalid value: \"b/c\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
    );
    check("create p", "label p a=", "G1: annotations, labels a=");
    // Labels and annotations travel in one event, so both together must fit it.
    let long = "x".repeat(limits::ENTRIES_BYTES);
    check(
        "create p",
        &format!("annotate p a={long}"),
        "refused (usage): labels or annotations of 24589 bytes are too long: at most 24576 bytes in total",
    );
}

#[test]
fn an_expected_revision() {
    let conflict = |is: &str, expected: u64| {
        format!(
            "refused (conflict): Operation cannot be fulfilled on imagestreams.image.openshift.io \"p\": the image stream {is}, not at revision {expected}; look again and retry"
        )
    };
    check("create p", "lookup p on --at-revision=1", "G2: lookup on");
    check("create p; lookup p on", "lookup p off --at-revision=1", &conflict("is at revision 2", 1));
    check("", "create p --at-revision=0", "G1: created"); // 0: it must not exist.
    check("create p", "tag - p:a --at-revision=0", &conflict("is at revision 1", 0));
    check("", "tag - p:a --at-revision=1", &conflict("does not exist", 1));
    check("create p; delete p", "create p --at-revision=0", "G1: created");
    check("create p; delete p", "create p --at-revision=2", &conflict("does not exist", 2));
}
