//! Receipts: what proves a write, in a file that needs no server.

use std::fs;

use serde_json::Value;
use tagtrail_tests::faulty::Faulty;
use tagtrail_tests::server::{Options, Server};
use tagtrail_transparency::{Receipt, SigningKey};

use super::{covering, done, fails, fill, key};
use crate::api::Api;

#[test]
fn a_write_can_be_proved_to_anybody() {
    let registry = Faulty::start().expect("a registry");
    let mut server = Server::start(Options::default()).expect("the server starts");
    let client = server.client();
    let key = key(&client);
    let files = server.files().to_owned();
    let file = |name: &str| files.join(name).to_str().expect("a plain path").to_owned();
    let from = format!("--from={}/team/app:v1", registry.host());
    let image = "registry.example/team/app:1";
    let mut kept = Vec::new();
    let mut keeps = |name: &str, arguments: &[&str], kind: &str| {
        let path = file(name);
        done(&client, &[arguments, &["--receipt", &path]].concat());
        kept.push((path, kind.to_owned(), client.head().expect("status")));
    };
    //         command                                                            the newest event
    keeps("0", &["tag", image, "app:v1", "--reference", "--source=docker"], "tagMoved");
    keeps("1", &["import-image", "base:v1", &from, "--confirm", "--insecure"], "importFinished");
    keeps("2", &["promote", "base:prod=base:v1"], "tagMoved");
    keeps("3", &["tag", "-d", "app:v1"], "tagDeleted");

    // Nothing to prove, or too much: nothing is written into the file.
    let none = file("none.tlog-proof");
    let again = ["promote", "base:prod=base:v1", "--receipt", &none];
    fails(&client, &again, 1, "nothing had to change, so nothing was written");
    let two = ["tag", "base:v1", "base:a", "base:b", "--receipt", &none];
    fails(&client, &two, 1, "--receipt goes with one image stream or tag at a time");
    assert!(!fs::exists(&none).expect("the directory can be read"));
    // What was kept before stays as it is, and nothing is written at all.
    let (first, head) = (file("0"), client.head().expect("status"));
    let before = fs::read(&first).expect("a receipt");
    for command in [
        &["tag", image, "app:v3", "--reference", "--source=docker", "--receipt", &first] as &[&str],
        &["promote", "base:next=base:v1", "--receipt", &first],
        &["import-image", "base:v1", &from, "--confirm", "--insecure", "--receipt", &first],
    ] {
        fails(&client, command, 1, "a receipt is not written over");
    }
    fails(&client, &["audit", "prove", "1", "-o", &first], 2, "a proof is not written over");
    assert_eq!((fs::read(&first).expect("a receipt"), client.head().expect("status")), (before, head));
    // The write stays where the receipt cannot be kept, and may be asked for again.
    let before = client.head().expect("status");
    let nowhere = file("no/such/directory");
    let lost = ["tag", image, "app:v2", "--reference", "--source=docker", "--receipt", &nowhere];
    let said = fails(&client, &lost, 1, "there is no receipt");
    let sequence = client.head().expect("status");
    assert!(sequence > before, "{said:?}");
    let advice = format!("ask again with 'tagtrail audit prove {sequence}'");
    assert!(said.stderr.contains(&format!("it is done (sequence {sequence})")), "{said:?}");
    assert!(said.stderr.contains(&advice), "{said:?}");
    let (path, number, url) = (file("4"), sequence.to_string(), server.log_url());
    // The server says itself where its log is.
    assert_ne!(url, "http://127.0.0.1:7401/log");
    done(&client, &["audit", "prove", &number, "--vkey", &key, "-o", &path]);
    kept.push((path, "tagMoved".into(), sequence));
    let events = client.run(&["events", "-A", "-o", "json"]).expect("tagtrail runs").stdout;
    let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();

    // Nobody is asked any more.
    server.terminate().expect("the server ends");
    for (path, kind, sequence) in &kept {
        let words = done(&client, &["audit", "check", path, "--vkey", &key]);
        let place = usize::try_from(sequence - 1).expect("a small log");
        assert!(events[place][kind].is_object(), "{path}: {}", events[place]);
        assert!(words.contains(&format!("This is event {sequence} of the log")), "{words}");
    }
    let good = fs::read(&kept[0].0).expect("a receipt");
    fails(&client, &["audit", "check", &kept[0].0], 2, "--vkey");
    let origin = key.split_once('+').expect("a key").0;
    for name in [origin, "other.example/log"] {
        let other = SigningKey::from_seed(name, &[7; 32]).expect("a key").verifier().to_string();
        fails(&client, &["audit", "check", &kept[0].0, "--vkey", &other], 1, "");
    }
    // Cut anywhere, or with one byte changed, it proves nothing.
    let bad = file("bad.tlog-proof");
    let lengths = [0, 10, good.len() / 3, good.len() / 2, good.len() - 40, good.len() - 2];
    let mut damaged: Vec<_> = lengths.iter().map(|&length| good[..length].to_vec()).collect();
    for place in (0..good.len()).step_by(good.len() / 12) {
        let mut bytes = good.clone();
        bytes[place] ^= 1;
        damaged.push(bytes);
    }
    for bytes in damaged {
        fs::write(&bad, &bytes).expect("a file");
        let printed = client.run(&["audit", "check", &bad, "--vkey", &key]).expect("tagtrail runs");
        assert_ne!(printed.rc, 0, "{printed:?}\n{}", String::from_utf8_lossy(&bytes));
        assert!(!printed.stderr.contains("panicked"), "{printed:?}");
    }
    // And the proof of one event does not prove another.
    let other = fs::read(&kept[1].0).expect("a receipt");
    let entry = Receipt::parse(&other).expect("a receipt").extra().expect("an event").to_vec();
    let entry_file = file("entry");
    fs::write(&entry_file, entry).expect("a file");
    fails(&client, &["audit", "check", &kept[0].0, "--vkey", &key, "--entry", &entry_file], 1, "");
}

/// A log that is not signed any more gives no receipt. What was written stays, and the command says so.
#[test]
fn a_write_without_a_checkpoint_stays() {
    let server = Server::start(Options::default()).expect("the server starts");
    let (api, client) = (Api::of(&server), server.client());
    let before = fill(&api, 3);
    covering(&api, before);
    // Somebody else puts something in the place of the newest checkpoint.
    fs::write(server.files().join("data.checkpoint"), "not ours").expect("a file");
    let path = server.files().join("r").to_str().expect("a plain path").to_owned();
    let image = "registry.example/team/app:1";
    let tag = ["tag", image, "app:v2", "--reference", "--source=docker", "--receipt", &path];
    let said = fails(&client, &tag, 1, "there is no receipt: the log is not signed");
    let sequence = client.head().expect("status");
    assert!(sequence > before, "{said:?}");
    assert!(said.stderr.contains(&format!("it is done (sequence {sequence})")), "{said:?}");
    assert!(said.stderr.contains("another server signs as this log"), "{said:?}");
    assert!(!fs::exists(&path).expect("the directory can be read"));
    // From here on nothing is written.
    let tag = ["tag", image, "app:v3", "--reference", "--source=docker"];
    fails(&client, &tag, 1, "nothing can be written");
    assert_eq!(client.head().expect("status"), sequence);
}
