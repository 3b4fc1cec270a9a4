//! A log that does not go on from what was signed is only read, until somebody accepts that it goes on as another one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tagtrail_tests::broker::{self, Broker};
use tagtrail_tests::faulty::Faulty;
use tagtrail_tests::server::{Options, Server};

use super::{copy, covering, done, fill, findings, goes_on, key, only_read, open, problem, status, until};
use crate::api::Api;

/// The second place of the checkpoint, where nobody says otherwise.
fn second_place(server: &Server) -> PathBuf {
    server.files().join("data.checkpoint")
}

/// Ends a server that has events of which an older copy of its data directory lacks some, and puts the copy back.
/// Gives how many events the copy has, and how many there were.
fn put_an_older_copy_back(server: &mut Server) -> (u64, u64) {
    let older = server.files().join("older");
    let before = fill(&Api::of(server), 4);
    server.terminate().expect("the server ends");
    copy(&server.data(), &older);
    server.restart().expect("it starts again");
    let after = fill(&Api::of(server), 6);
    server.terminate().expect("the server ends");
    copy(&older, &server.data());
    (before, after)
}

#[test]
fn an_older_copy_is_only_read_until_somebody_accepts_it() {
    let registry = Faulty::start().expect("a registry");
    let broker = Broker::start(broker::Options::default()).expect("a broker");
    let config = format!("[import]\nscheduled_interval = \"1s\"\n[nats]\nurl = \"{}\"\n", broker.url());
    let mut server = Server::start(Options { config, ..Options::default() }).expect("the server starts");
    let from = format!("--from={}/team/app:v1", registry.host());
    done(&server.client(), &["import-image", "base:v1", &from, "--confirm", "--insecure", "--scheduled"]);
    let old = status(&server.client());
    let old_key = key(&server.client());
    let old_id = server.client().json(&["status", "-o", "json"]).expect("status")["logId"].clone();
    let (before, after) = put_an_older_copy_back(&mut server);
    let last = fs::read_to_string(second_place(&server)).expect("the last checkpoint of the old log");

    server.restart().expect("it starts, to be read");
    let why = format!("this log has {before} events, and a checkpoint over {after} was signed");
    only_read(&server, &why);
    assert!(problem(&server.client()).contains("--accept-rollback"), "{}", problem(&server.client()));
    assert!(status(&server.client())["verifierKey"] == "", "nothing is signed");
    // Neither the schedule nor the publisher goes on, though the image has moved and events are not published.
    let asked = registry.asked();
    registry.rebuild();
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!((registry.asked(), server.client().head().expect("status")), (asked, before));
    let connected = server.client().json(&["status", "-o", "json"]).expect("status");
    assert_ne!(connected["publisher"]["connected"], true, "{connected}");
    // Not even on its way out does it sign.
    server.terminate().expect("the server ends");
    assert_eq!(fs::read_to_string(second_place(&server)).expect("a checkpoint"), last);
    server.restart().expect("it starts again");
    only_read(&server, &why);
    server.kill().expect("the server can be killed");

    server.restart_with(&["--accept-rollback=the disk was lost", "--as=alice"]).expect("it starts, to go on");
    let client = server.client();
    let events =
        client.run(&["events", "-A", "-o", "json", "--from", &(before + 1).to_string()]).expect("tagtrail");
    let told: Value = serde_json::from_str(events.stdout.lines().next().expect("an event")).expect("JSON");
    let fact = &told["logContinued"];
    assert_eq!(told["actor"]["name"], "alice", "{told}");
    assert_eq!(told["reason"], "the disk was lost", "{told}");
    assert_eq!((&fact["oldLogId"], &fact["oldOrigin"]), (&old_id, &old["origin"]), "{told}");
    assert_eq!((&fact["oldCheckpoint"], &fact["head"]), (&last.clone().into(), &before.into()), "{told}");
    assert_eq!(open(fact["oldCheckpoint"].as_str().expect("a text"), &old_key).size(), after);
    let new_id = client.json(&["status", "-o", "json"]).expect("status")["logId"].clone();
    let new_key = key(&client);
    assert!(new_id != old_id && new_key != old_key);
    assert!(new_key.contains(new_id.as_str().expect("a text")), "{new_key}");
    goes_on(&server);
    // What belongs to the old log is set aside, and nothing of it is lost.
    let of = old_id.as_str().expect("a text");
    for path in [server.data().join("log.key"), server.data().join("checkpoint"), second_place(&server)] {
        let aside = PathBuf::from(format!("{}.{of}", path.display()));
        assert!(path.exists() && aside.exists(), "{}", aside.display());
        assert_ne!(fs::read(&path).expect("a file"), fs::read(&aside).expect("a file"), "{}", path.display());
    }
    assert_eq!(
        fs::read_to_string(format!("{}.{of}", second_place(&server).display())).expect("a file"),
        last
    );
    // The schedule goes on.
    until("the image is looked for again", || (registry.asked() > asked).then_some(()));

    // A restart is like any other; so is one that would accept again.
    for arguments in [&[][..], &["--accept-rollback=again"], &[]] {
        server.terminate().expect("the server ends");
        server.restart_with(arguments).expect("it starts");
        assert_eq!(key(&server.client()), new_key);
        assert_eq!(problem(&server.client()), "");
    }
    goes_on(&server);
}

/// The same log in two histories. Put back an older copy, take the second place away so that nobody knows, let it go on: and
/// the old second place comes back.
#[test]
fn another_history_is_named() {
    let mut server = Server::start(Options::default()).expect("the server starts");
    let (before, after) = put_an_older_copy_back(&mut server);
    let last = fs::read(second_place(&server)).expect("a checkpoint");
    fs::remove_file(second_place(&server)).expect("it can be removed");
    server.restart().expect("it starts");
    goes_on(&server);
    let other = fill(&Api::of(&server), after - before + 5);
    covering(&Api::of(&server), other);
    server.terminate().expect("the server ends");
    fs::write(second_place(&server), &last).expect("a file");
    server.restart().expect("it starts, to be read");
    only_read(&server, &format!("the first {after} events are not those that were signed"));
    assert!(problem(&server.client()).contains("this is another history"), "{}", problem(&server.client()));
    // It can go on as another log.
    server.terminate().expect("the server ends");
    server.restart_with(&["--accept-rollback"]).expect("it starts, to go on");
    goes_on(&server);
}

#[test]
fn a_checkpoint_that_is_not_this_logs() {
    let mut server = Server::start(Options::default()).expect("the server starts");
    let stranger = Server::start(Options::default()).expect("the server starts");
    fill(&Api::of(&server), 3);
    fill(&Api::of(&stranger), 1);
    let signed = |server: &Server| covering(&Api::of(server), Api::of(server).head());
    signed(&server);
    server.terminate().expect("the server ends");
    let place = second_place(&server);
    let ours = fs::read_to_string(&place).expect("a checkpoint");
    let line = ours.lines().position(|line| line.starts_with('\u{2014}')).expect("a signature");
    let unsigned: String = ours.split_inclusive('\n').take(line).collect();
    //   what stands there                                       is
    for (text, why) in [
        (signed(&stranger).checkpoint, "holds a checkpoint of another log"),
        (ours.replacen("\n3\n", "\n2\n", 1), "holds no checkpoint that this log's key has signed"),
        (unsigned, "holds no checkpoint"),
        (ours[..ours.len() / 2].to_owned(), "holds no checkpoint"),
        (String::new(), "holds no checkpoint"),
        ("\0".repeat(200), "holds no checkpoint"),
    ] {
        assert_ne!(text, ours);
        fs::write(&place, &text).expect("a file");
        server.restart().expect("it starts, to be read");
        only_read(&server, why);
        server.terminate().expect("the server ends");
        assert_eq!(fs::read_to_string(&place).expect("a file"), text, "it is left as it is");
    }
    fs::write(&place, &ours).expect("a file");
    server.restart().expect("it starts");
    goes_on(&server);
}

/// A backup that was made right after a rollback was accepted is put back later: its newest event tells that the log goes on under
/// a new id, and that is not the rollback that is accepted now. The log must not go on as itself, with a key of which nobody
/// knows.
#[test]
fn a_second_rollback_is_another_one() {
    let mut server = Server::start(Options::default()).expect("the server starts");
    put_an_older_copy_back(&mut server);
    server.restart_with(&["--accept-rollback=the first"]).expect("it starts, to go on");
    let (second_key, head) = (key(&server.client()), server.client().head().expect("status"));
    covering(&Api::of(&server), head);
    server.terminate().expect("the server ends");
    let backup = server.files().join("backup");
    copy(&server.data(), &backup);
    server.restart().expect("it starts");
    fill(&Api::of(&server), 3);
    server.terminate().expect("the server ends");
    copy(&backup, &server.data());
    server.restart().expect("it starts, to be read");
    only_read(&server, &format!("this log has {head} events"));
    server.terminate().expect("the server ends");
    server.restart_with(&["--accept-rollback=the second"]).expect("it starts, to go on");
    let third_key = key(&server.client());
    assert_ne!(third_key.split_once('+').expect("a key").0, second_key.split_once('+').expect("a key").0);
    assert_eq!(server.client().head().expect("status"), head + 1, "an event tells of it");
    goes_on(&server);
}

/// Killed after the log had become another one, and before what belongs to the old one was set aside: asked again, it does the
/// rest, and tells nothing twice.
#[test]
fn accepted_but_killed_on_the_way() {
    let mut server = Server::start(Options::default()).expect("the server starts");
    let key_file = server.data().join("log.key");
    let (_, after) = put_an_older_copy_back(&mut server);
    let belongings = [key_file, server.data().join("checkpoint"), second_place(&server)];
    let old = belongings.each_ref().map(|path| fs::read(path).expect("it is there"));
    server.restart_with(&["--accept-rollback"]).expect("it starts, to go on");
    let (id, head) = (status(&server.client())["origin"].clone(), server.client().head().expect("status"));
    server.kill().expect("the server can be killed");
    for set_aside in 0..belongings.len() {
        for (number, (path, bytes)) in belongings.iter().zip(&old).enumerate() {
            if number < set_aside {
                fs::remove_file(path).ok();
            } else {
                fs::write(path, bytes).expect("a file");
            }
        }
        fs::set_permissions(&belongings[0], fs::Permissions::from_mode(0o600)).ok();
        server.restart().expect("it starts, to be read");
        assert_ne!(problem(&server.client()), "", "{set_aside} set aside of {after} events");
        server.terminate().expect("the server ends");
        server.restart_with(&["--accept-rollback"]).expect("it starts, to go on");
        assert_eq!(
            (&status(&server.client())["origin"], server.client().head().expect("status")),
            (&id, head)
        );
        assert_eq!(problem(&server.client()), "");
        server.kill().expect("the server can be killed");
    }
    server.restart().expect("it starts");
    goes_on(&server);
}

#[test]
fn nothing_to_accept() {
    let mut server = Server::start(Options::default()).expect("the server starts");
    fill(&Api::of(&server), 3);
    let before = key(&server.client());
    server.terminate().expect("the server ends");
    let long = format!("--accept-rollback={}", "x".repeat(4_097));
    let refused = server.restart_with(&[&long]).expect_err("a reason has an end");
    assert!(refused.to_string().contains("the reason has 4097 bytes, and may have 4096"), "{refused}");
    server.restart_with(&["--accept-rollback=by mistake"]).expect("it starts");
    assert_eq!(key(&server.client()), before);
    assert!(server.log().contains("there is no rollback to accept"), "{}", server.log());
    assert_eq!(findings(&server.client()), "[]");
    goes_on(&server);
}

/// A log whose key and checkpoints are all gone is not signed by another key as if nothing had been.
#[test]
fn a_key_that_is_lost_with_all_it_signed() {
    let mut server = Server::start(Options::default()).expect("the server starts");
    let head = fill(&Api::of(&server), 5);
    covering(&Api::of(&server), head);
    server.terminate().expect("the server ends");
    let data = server.data();
    for file in [data.join("log.key"), data.join("checkpoint"), data.with_extension("checkpoint")] {
        fs::remove_file(file).expect("it can be removed");
    }
    server.restart().expect("it starts, to be read");
    only_read(&server, "the key that did it is not in");
    assert!(!data.join("log.key").exists(), "no other key is made");
}
