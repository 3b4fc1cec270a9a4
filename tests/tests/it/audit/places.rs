//! Where the key and the newest checkpoint are kept, and what becomes of the log when they are not there.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use tagtrail_api::v1::GetCheckpointRequest;
use tagtrail_tests::faulty::Faulty;
use tagtrail_tests::server::{Options, Server};

use super::{copy, covering, done, fails, fill, findings, goes_on, key, only_read, open, problem, until};
use crate::api::Api;

/// A server whose configuration has this section.
fn configured(audit: &str) -> Server {
    let options = Options { config: format!("[audit]\n{audit}\n"), ..Options::default() };
    Server::start(options).expect("the server starts")
}

#[test]
fn the_key() {
    let mut server = configured("name = \"tagtrail.example/log\"");
    let file = server.data().join("log.key");
    fill(&Api::of(&server), 3);
    let before = key(&server.client());
    assert!(before.starts_with("tagtrail.example/log/"), "{before}");
    let mode = || fs::metadata(&file).expect("the key").permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    assert_eq!(findings(&server.client()), "[]");
    server.terminate().expect("the server ends");

    // Others may read it: it signs all the same, and tells.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("it is ours");
    server.restart().expect("it starts");
    assert!(
        findings(&server.client()).contains("others than its owner may read"),
        "{}",
        findings(&server.client())
    );
    assert_eq!(key(&server.client()), before);
    server.terminate().expect("the server ends");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("it is ours");

    // It is gone, unreadable, or another log's: the log is only read, and no other key is made.
    let text = fs::read_to_string(&file).expect("a key");
    fs::remove_file(&file).expect("it can be removed");
    server.restart().expect("it starts, to be read");
    only_read(&server, "the key that did it is not in");
    server.terminate().expect("the server ends");
    assert!(!file.exists());
    let stranger =
        tagtrail_transparency::SigningKey::from_seed("other.example/log", &[7; 32]).expect("a key");
    for (text, why) in [
        ("not a key\n".to_owned(), "holds no key that could be used"),
        (String::new(), "holds no key that could be used"),
        (stranger.to_private_text() + "\n", "is of the log other.example/log"),
    ] {
        fs::write(&file, text).expect("a file");
        server.restart().expect("it starts, to be read");
        only_read(&server, why);
        server.terminate().expect("the server ends");
    }
    fs::write(&file, text).expect("a file");

    // The log's name stays.
    server.configure("[audit]\nname = \"other.example/log\"\n").expect("a file");
    server.restart().expect("it starts, to be read");
    only_read(&server, "the configuration's audit.name cannot be changed for a log that there is");
    server.terminate().expect("the server ends");
    server.configure("[audit]\nname = \"tagtrail.example/log\"\n").expect("a file");
    server.restart().expect("it starts");
    assert_eq!(key(&server.client()), before);
    goes_on(&server);
    server.terminate().expect("the server ends");

    // A key that is lost for good: the log goes on as another one.
    fs::remove_file(&file).expect("it can be removed");
    server.restart_with(&["--accept-rollback=the key is lost"]).expect("it starts, to go on");
    assert_ne!(key(&server.client()), before);
    goes_on(&server);
}

#[test]
fn key_and_checkpoint_elsewhere_or_nowhere() {
    let elsewhere = tempfile::tempdir().expect("a directory");
    let path = |name: &str| elsewhere.path().join(name);
    let mut server = configured(&format!(
        "key_file = \"{}\"\ncheckpoint_copy = \"{}\"",
        path("my.key").display(),
        path("my.checkpoint").display()
    ));
    let api = Api::of(&server);
    let newest = covering(&api, fill(&api, 3));
    assert!(!server.data().join("log.key").exists() && !server.files().join("data.checkpoint").exists());
    assert_eq!(fs::metadata(path("my.key")).expect("the key").permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(path("my.checkpoint")).expect("a checkpoint"), newest.checkpoint);
    assert_eq!(
        fs::read_to_string(server.data().join("checkpoint")).expect("a checkpoint"),
        newest.checkpoint
    );
    goes_on(&server);
    server.terminate().expect("the server ends");

    // No second place at all is allowed, and told.
    server
        .configure(format!("[audit]\nkey_file = \"{}\"\ncheckpoint_copy = \"\"\n", path("my.key").display()))
        .expect("a file");
    server.restart().expect("it starts");
    assert!(
        findings(&server.client()).contains("set audit.checkpoint_copy"),
        "{}",
        findings(&server.client())
    );
    goes_on(&server);
    server.terminate().expect("the server ends");

    // So is one that nobody has chosen and that cannot be written, as under /var/lib.
    server.configure(format!("[audit]\nkey_file = \"{}\"\n", path("my.key").display())).expect("a file");
    fs::create_dir(server.files().join("data.checkpoint.trial")).expect("a directory");
    server.restart().expect("it starts");
    assert!(findings(&server.client()).contains("set audit.checkpoint_copy"));
    goes_on(&server);
    assert!(!server.files().join("data.checkpoint").exists());
    server.terminate().expect("the server ends");

    // By variables too.
    let env = |name: &str, value: &str| (format!("TAGTRAIL_AUDIT__{name}"), value.to_owned());
    let options = Options {
        env: vec![
            env("NAME", "from.example"),
            env("KEY_FILE", path("other.key").to_str().expect("a plain path")),
            env("CHECKPOINT_COPY", ""),
        ],
        // Nothing at all is the usual place.
        config: "[audit]\nkey_file = \"\"\n".into(),
        ..Options::default()
    };
    let server = Server::start(options.clone()).expect("the server starts");
    assert!(key(&server.client()).starts_with("from.example/"));
    assert!(path("other.key").exists() && !server.data().join("log.key").exists());
    let server = Server::start(Options { env: Vec::new(), ..options }).expect("the server starts");
    assert!(server.data().join("log.key").exists());
    assert_eq!(findings(&server.client()), "[]");
    let server = configured("checkpoint_copy = \"\"");
    assert!(findings(&server.client()).contains("set audit.checkpoint_copy"));
}

/// A directory from before there were trees, keys and checkpoints gets them.
#[test]
fn data_from_before() {
    let mut server = Server::start(Options::default()).expect("the server starts");
    let head = fill(&Api::of(&server), 20);
    let before = key(&server.client());
    server.terminate().expect("the server ends");
    for name in ["checkpoint", "log.key"] {
        fs::remove_file(server.data().join(name)).expect("it is there");
    }
    fs::remove_dir_all(server.data().join("tree")).expect("it is there");
    fs::remove_file(server.files().join("data.checkpoint")).expect("it is there");
    server.restart().expect("it starts");
    let api = Api::of(&server);
    assert_eq!(covering(&api, head).size, head);
    assert_ne!(key(&server.client()), before);
    assert!(server.files().join("data.checkpoint").exists());
    goes_on(&server);
}

/// Changes one byte of a file.
fn flip(file: &Path, place: usize) {
    let mut bytes = fs::read(file).expect("a file");
    bytes[place] ^= 1;
    fs::write(file, bytes).expect("a file");
}

/// Of what proves the log, the tree can be made anew: alone, it may be lost or damaged.
#[test]
fn the_tree_is_made_anew() {
    let mut server = Server::start(Options::default()).expect("the server starts");
    fill(&Api::of(&server), 300);
    let before = key(&server.client());
    server.terminate().expect("the server ends");
    let tree = server.data().join("tree");
    //   what becomes of it
    let damages: [&dyn Fn(); 4] = [
        &|| fs::remove_dir_all(&tree).expect("it is there"),
        &|| flip(&tree.join("0"), 40),
        &|| flip(&tree.join("1"), 5),
        &|| fs::write(tree.join("synced"), "").expect("a file"),
    ];
    for (number, damage) in damages.iter().enumerate() {
        damage();
        server.restart().expect("it starts");
        assert_eq!(
            (key(&server.client()), problem(&server.client())),
            (before.clone(), String::new()),
            "{number}"
        );
        goes_on(&server);
        server.terminate().expect("the server ends");
    }
    server.restart().expect("it starts");
    // The read model stands beside all this.
    let words = done(&server.client(), &["admin", "rebuild", "--verify"]);
    assert!(words.contains("the same"), "{words}");
    done(&server.client(), &["admin", "rebuild"]);
    goes_on(&server);
}

/// Two servers on copies of one directory, who share the second place of the checkpoint: only one of them signs on.
#[test]
fn two_servers_do_not_sign_as_one_log() {
    let elsewhere = tempfile::tempdir().expect("a directory");
    let place = elsewhere.path().join("shared.checkpoint");
    let registry = Faulty::start().expect("a registry");
    let often = "[import]\nscheduled_interval = \"1s\"\n";
    let mut one = configured(&format!("checkpoint_copy = \"{}\"", place.display()));
    let from = format!("--from={}/team/app:v1", registry.host());
    done(&one.client(), &["import-image", "base:v1", &from, "--confirm", "--insecure", "--scheduled"]);
    fill(&Api::of(&one), 3);
    let key = key(&one.client());
    one.terminate().expect("the server ends");
    let mut two = configured(&format!("checkpoint_copy = \"{}\"", elsewhere.path().join("unused").display()));
    two.terminate().expect("the server ends");
    copy(&one.data(), &two.data());
    two.configure(format!("[audit]\ncheckpoint_copy = \"{}\"\n{often}", place.display())).expect("a file");
    one.restart().expect("it starts");
    two.restart().expect("it starts");

    let signed = fill(&Api::of(&one), 2);
    covering(&Api::of(&one), signed);
    // The second finds the place taken, whichever of the two would have signed first.
    let in_use = "is another server's, which is running";
    only_read(&two, in_use);
    // What was never shown is not even beside its log. Nor does the schedule go on, though the image has moved.
    let beside = fs::read_to_string(two.data().join("checkpoint")).expect("a checkpoint");
    assert!(open(&beside, &key).size() < signed, "{beside}");
    let (other, head) = (Api::of(&two), Api::of(&two).head());
    registry.rebuild();
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(other.head(), head);
    done(&two.client(), &["admin", "rebuild"]);
    // A restart does not help it.
    two.terminate().expect("the server ends");
    two.restart().expect("it starts, to be read");
    only_read(&two, in_use);
    goes_on(&one);
    open(&fs::read_to_string(&place).expect("a checkpoint"), &key);

    // Where locks do not reach, as over some networks, what stands there tells of the other.
    fs::write(&place, beside).expect("a file");
    fill(&Api::of(&one), 3);
    let said = until("the first is suspended", || Some(problem(&one.client())).filter(|why| !why.is_empty()));
    assert!(said.contains("another server signs as this log"), "{said}");
    let one_api = Api::of(&one);
    let refused = one_api.call(one_api.tags().set_tag(super::point("v1", 1)));
    assert_eq!(refused.expect_err("nothing is written").code(), tonic::Code::FailedPrecondition);
    assert_eq!(one.get("/log/checkpoint").expect("an answer").status, 503);
}

/// The second place cannot be written for a while: writes go on, the log says that they are not signed, and later they are.
#[test]
fn a_second_place_that_is_away_for_a_while() {
    let elsewhere = tempfile::tempdir().expect("a directory");
    let directory = elsewhere.path().join("mounted");
    let away = elsewhere.path().join("away");
    fs::create_dir(&directory).expect("a directory");
    let server = configured(&format!("checkpoint_copy = \"{}\"", directory.join("copy").display()));
    let (api, client) = (Api::of(&server), server.client());
    let signed = covering(&api, fill(&api, 3)).size;
    fs::rename(&directory, &away).expect("it can be moved");
    let head = fill(&api, 2);
    let said = until("a problem is told", || Some(problem(&client)).filter(|why| !why.is_empty()));
    assert!(said.contains("mounted"), "{said}");
    // A receipt is not waited for that nobody can promise, and may be asked for again.
    let receipt = elsewhere.path().join("r").to_str().expect("a plain path").to_owned();
    let tag =
        ["tag", "registry.example/a/b:1", "app:v2", "--reference", "--source=docker", "--receipt", &receipt];
    let refused = fails(&client, &tag, 1, "there is no receipt: it is not signed yet");
    assert!(refused.stderr.contains("ask again with 'tagtrail audit prove"), "{refused:?}");
    // Nothing is shown that is not kept.
    let shown = server.get("/log/checkpoint").expect("an answer");
    assert_eq!(open(&shown.text(), &key(&client)).size(), signed);
    let head = fill(&api, 2).max(head);
    fs::rename(&away, &directory).expect("it can be moved");
    let request = GetCheckpointRequest { covers_sequence: head };
    let signed = || api.call(api.audits().get_checkpoint(request)).ok();
    assert_eq!(until("it is signed again", signed).into_inner().size, head);
    assert_eq!(problem(&client), "");
    goes_on(&server);
}
