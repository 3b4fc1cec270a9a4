//! Samples of what a server writes and is asked: made anew with
//! `cargo test -p tagtrail-tests --test fuzz -- --ignored samples_of_a_server`.

use std::fs;
use std::path::Path;

use prost::Message;
use tagtrail_api::v1::*;
use tagtrail_tests::server::{Options, Server};
use tagtrail_transparency::SigningKey;

use crate::{corpus, requests};

#[test]
#[ignore = "writes into the repository"]
fn samples_of_a_server() {
    let server = Server::start(Options::default()).expect("a server");
    let client = server.client();
    let run = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let printed = client.run(&words).expect("tagtrail runs");
        assert_eq!(printed.rc, 0, "{line}: {}", printed.stderr);
        printed.stdout
    };
    run("create imagestream app");
    run("tag --source=docker --reference registry.example/team/app:1 app:v1");
    run("tag --source=docker --reference registry.example/team/app:2 app:v1 --reason=newer");
    run("annotate is app note=text");
    let receipt = server.files().join("receipt");
    let receipt = receipt.to_str().expect("text");
    run(&format!("hold app:v1 --reason=tested --receipt={receipt}"));
    run("tag -d app:v1");
    run("delete is app");
    keep("receipt", "hold", &fs::read(receipt).expect("a receipt"));
    for (format, name) in [("backup", "backup"), ("export", "export")] {
        let file = server.files().join(format);
        run(&format!("admin {name} {}", file.display()));
        keep(format, "small", &fs::read(file).expect("a file"));
    }
    let note = server.get("/log/checkpoint").expect("it answers").body;
    keep("note", "signed", &note);
    let checkpoint = note.split_inclusive(|byte| *byte == b'\n').take(3).collect::<Vec<_>>().concat();
    keep("checkpoint", "signed", &checkpoint);
    let status = client.json(&["status", "-o", "json"]).expect("a status");
    let key =
        status["audit"]["verifierKey"].as_str().or(status["audit"]["verifier_key"].as_str()).expect("a key");
    keep("verifier-key", "log", key.as_bytes());
    keep("policy", "log", format!("# Only the log.\nlog {key}\nquorum none\n").as_bytes());
    let witness =
        |n: u8| SigningKey::from_seed(format!("w{n}.example"), &[n; 32]).expect("a name").cosigner();
    let witnesses = format!(
        "log {key} https://log.example/\nwitness one {}\nwitness two {}\ngroup both all one two\nquorum both\n",
        witness(1),
        witness(2)
    );
    keep("policy", "witnesses", witnesses.as_bytes());
    let segment = fs::read_dir(server.data().join("journal")).expect("a journal").next().expect("a segment");
    let segment = fs::read(segment.expect("it can be listed").path()).expect("a segment");
    let end = segment.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    keep("journal", "small", &segment[..end]);

    for (name, method, message) in requests_of_each_kind() {
        let bytes = [method.as_bytes(), b"\n", &message].concat();
        keep("request", name, &bytes);
        requests::request(&bytes);
    }
    requests::stop();
}

fn keep(parser: &str, name: &str, bytes: &[u8]) {
    let folder = corpus().join(parser);
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(Path::new(&folder).join(name), bytes).expect("a sample");
}

fn requests_of_each_kind() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let (namespace, name, tag) = (|| "test".to_owned(), || "app".to_owned(), || "v1".to_owned());
    let docker = |image: &str| {
        let kind = SourceKind::DockerImage.into();
        Some(TagSource { kind, namespace: String::new(), name: image.into() })
    };
    let write = || {
        Some(WriteOptions {
            request_id: "r-1".into(),
            reason: "why".into(),
            actor: "who".into(),
            expected_revision: None,
        })
    };
    let sequence = |sequence| Some(Moment { when: Some(moment::When::Sequence(sequence)) });
    let time = prost_types::Timestamp { seconds: 1_795_797_324, nanos: 5 };
    vec![
        (
            "a-create",
            "ImageStreamService/CreateImageStream",
            CreateImageStreamRequest {
                namespace: namespace(),
                name: name(),
                labels: [("tier".to_owned(), "web".to_owned())].into(),
                annotations: [("note".to_owned(), "text".to_owned())].into(),
                write: write(),
                ..Default::default()
            }
            .encode_to_vec(),
        ),
        (
            "b-tag",
            "TagService/SetTag",
            SetTagRequest {
                namespace: namespace(),
                name: name(),
                tag: tag(),
                source: docker("registry.example/team/app:1"),
                reference: true,
                annotations: [("a".to_owned(), "b".to_owned())].into(),
                import_policy: Some(ImportPolicy {
                    scheduled: false,
                    interval_seconds: 60,
                    ..Default::default()
                }),
                ..Default::default()
            }
            .encode_to_vec(),
        ),
        (
            "b-tag-again",
            "TagService/SetTag",
            SetTagRequest {
                namespace: namespace(),
                name: name(),
                tag: tag(),
                source: docker("registry.example/team/app:2"),
                reference: true,
                create: true,
                expected_image: "none".into(),
                dry_run: true,
                ..Default::default()
            }
            .encode_to_vec(),
        ),
        (
            "c-metadata",
            "ImageStreamService/UpdateMetadata",
            UpdateMetadataRequest {
                namespace: namespace(),
                name: name(),
                set_labels: [("tier".to_owned(), "db".to_owned())].into(),
                remove_annotations: vec!["note".into()],
                overwrite: true,
                ..Default::default()
            }
            .encode_to_vec(),
        ),
        (
            "d-lookup",
            "ImageStreamService/SetLookupPolicy",
            SetLookupPolicyRequest {
                namespace: namespace(),
                name: name(),
                local: true,
                ..Default::default()
            }
            .encode_to_vec(),
        ),
        (
            "e-get",
            "ImageStreamService/GetImageStream",
            GetImageStreamRequest { namespace: namespace(), name: name(), history_limit: 3, at: sequence(1) }
                .encode_to_vec(),
        ),
        (
            "e-describe",
            "ImageStreamService/DescribeImageStream",
            DescribeImageStreamRequest { namespace: namespace(), name: name(), history_limit: 3, at: None }
                .encode_to_vec(),
        ),
        (
            "e-list",
            "ImageStreamService/ListImageStreams",
            ListImageStreamsRequest {
                namespace: namespace(),
                page_size: 2,
                label_selector: "tier in (db,web),!old".into(),
                ..Default::default()
            }
            .encode_to_vec(),
        ),
        (
            "e-tag",
            "TagService/GetTag",
            GetTagRequest {
                namespace: namespace(),
                name: name(),
                tag: tag(),
                allow_without_image: true,
                at: Some(Moment { when: Some(moment::When::Time(time)) }),
            }
            .encode_to_vec(),
        ),
        (
            "f-promote",
            "TagService/Promote",
            PromoteRequest {
                promotions: vec![Promotion {
                    namespace: namespace(),
                    name: name(),
                    tag: "prod".into(),
                    source: Some(TagSource {
                        kind: SourceKind::ImageStreamTag.into(),
                        namespace: String::new(),
                        name: "app:v1".into(),
                    }),
                    ..Default::default()
                }],
                dry_run: true,
                ..Default::default()
            }
            .encode_to_vec(),
        ),
        (
            "g-rollback",
            "TagService/Rollback",
            RollbackRequest { namespace: namespace(), name: name(), tag: tag(), ..Default::default() }
                .encode_to_vec(),
        ),
        (
            "h-hold",
            "TagService/Hold",
            HoldRequest { namespace: namespace(), name: name(), tag: tag(), ..Default::default() }
                .encode_to_vec(),
        ),
        (
            "i-release",
            "TagService/Release",
            ReleaseRequest { namespace: namespace(), name: name(), tag: tag(), ..Default::default() }
                .encode_to_vec(),
        ),
        (
            "j-entries",
            "HistoryService/ListEntries",
            ListEntriesRequest {
                namespace: namespace(),
                page_size: 5,
                page_token: "9".into(),
                kinds: vec!["tag-moved".into()],
                ..Default::default()
            }
            .encode_to_vec(),
        ),
        (
            "j-where",
            "HistoryService/Where",
            WhereRequest { digest: "sha256:1f7f88".into(), ..Default::default() }.encode_to_vec(),
        ),
        (
            "k-testimony",
            "ImportService/TakeTestimony",
            TakeTestimonyRequest {
                namespace: "old".into(),
                name: name(),
                document: "app.yaml".into(),
                document_digest: format!("sha256:{}", "a".repeat(64)),
                stream: Some(ImageStream {
                    namespace: "old".into(),
                    name: name(),
                    uid: "u".into(),
                    generation: 2,
                    created: Some(time),
                    tags: vec![Tag {
                        name: tag(),
                        spec: Some(TagSpec {
                            source: docker("registry.example/team/app:1"),
                            reference: true,
                            generation: 2,
                            ..Default::default()
                        }),
                    }],
                    statuses: vec![TagStatus {
                        tag: tag(),
                        items: vec![HistoryItem {
                            created: Some(time),
                            docker_image_reference: "registry.example/team/app:1".into(),
                            image: format!("sha256:{}", "b".repeat(64)),
                            generation: 2,
                            ..Default::default()
                        }],
                        ..Default::default()
                    }],
                    ..Default::default()
                }),
                ..Default::default()
            }
            .encode_to_vec(),
        ),
        (
            "l-watch",
            "EventService/Watch",
            WatchRequest {
                begin: Some(watch_request::Begin::Snapshot(true)),
                label_selector: "tier=db".into(),
                bookmark_seconds: 1,
                ..Default::default()
            }
            .encode_to_vec(),
        ),
        (
            "l-events",
            "EventService/ReadEvents",
            ReadEventsRequest { from_sequence: 1, page_size: 2, namespace: namespace(), stream: name() }
                .encode_to_vec(),
        ),
        (
            "m-proof",
            "AuditService/GetConsistencyProof",
            GetConsistencyProofRequest { ..Default::default() }.encode_to_vec(),
        ),
        (
            "n-secret",
            "SecretService/CreateSecret",
            CreateSecretRequest { namespace: namespace(), name: "pull".into(), ..Default::default() }
                .encode_to_vec(),
        ),
        (
            "o-schedule",
            "ScheduleService/ListSchedule",
            ListScheduleRequest { namespace: namespace(), name: name(), ..Default::default() }
                .encode_to_vec(),
        ),
        (
            "z-delete",
            "TagService/DeleteTag",
            DeleteTagRequest { namespace: namespace(), name: name(), tag: tag(), ..Default::default() }
                .encode_to_vec(),
        ),
        (
            "z-restore",
            "TagService/Restore",
            RestoreRequest { namespace: namespace(), name: name(), tag: tag(), ..Default::default() }
                .encode_to_vec(),
        ),
    ]
}
