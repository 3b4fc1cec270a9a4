//! Code that is not ours comes to the same verdict: `tests/verifier`, with the notes and trees of Go's checksum database.
//!
//! It is given a log as it is served, and as `audit mirror` copies it; checkpoints and receipts that were kept; and all of that
//! damaged, forged or from elsewhere. Our own `audit` has to agree with it each time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tagtrail_api::v1::GetCheckpointRequest;
use tagtrail_tests::binary;
use tagtrail_tests::chance::Chance;
use tagtrail_tests::client::Client;
use tagtrail_tests::server::{Options, Server};
use tagtrail_transparency::{Checkpoint, Hash, SigningKey};
use tokio::runtime::Runtime;

use crate::api::Api;
use crate::storm::storm;

/// More than two full tiles, and a third that is not full.
const EVENTS: u64 = 600;

/// What was kept of a log, and whose it is.
struct Kept {
    log: String,
    key: String,
    checkpoints: Vec<PathBuf>,
    receipts: Vec<PathBuf>,
}

impl Kept {
    /// What the foreign verifier says.
    fn verdict(&self) -> Result<String, String> {
        let mut verifier = Command::new(binary::verifier());
        for file in &self.checkpoints {
            verifier.arg("-checkpoint").arg(file);
        }
        for file in &self.receipts {
            verifier.arg("-receipt").arg(file);
        }
        let output = verifier.args([&self.log, &self.key]).output().expect("scripts/test-tools builds it");
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        match output.status.code() {
            Some(0) => Ok(said(&output.stdout)),
            Some(1) => Err(said(&output.stderr)),
            _ => panic!("{output:?}"),
        }
    }

    /// What our own auditor says: whether all is well with the log and the checkpoints, and with each of the receipts.
    fn own_verdict(&self, client: &Client) -> Result<(), String> {
        let text = |path: &PathBuf| path.to_str().expect("a plain path").to_owned();
        let mut verify: Vec<String> =
            ["audit", "verify", &self.log, "--vkey", &self.key].map(Into::into).into();
        for file in &self.checkpoints {
            verify.extend(["--checkpoint".into(), text(file)]);
        }
        let check = |file: &PathBuf| {
            vec!["audit".into(), "check".into(), text(file), "--vkey".into(), self.key.clone()]
        };
        for command in std::iter::once(verify).chain(self.receipts.iter().map(check)) {
            let printed = client.run(&command).expect("tagtrail runs");
            assert!(!printed.stderr.contains("panicked"), "{printed:?}");
            if printed.rc != 0 {
                return Err(printed.stdout + &printed.stderr);
            }
        }
        Ok(())
    }
}

/// Writes events from all sides until there are this many.
fn grow(server: &Server, api: &Api, to: u64) {
    for round in 0.. {
        if api.head() >= to {
            return;
        }
        let runtime = Runtime::new().expect("a runtime");
        runtime.block_on(storm(server, &format!("grow-{to}-{round}"), 8));
    }
}

#[test]
fn somebody_else_comes_to_the_same_verdict() {
    let server = Server::start(Options::default()).expect("the server starts");
    let (api, client) = (Api::of(&server), server.client());
    let files = server.files().to_owned();
    let newest = || {
        let request = GetCheckpointRequest { covers_sequence: api.head() };
        api.ok(api.audits().get_checkpoint(request))
    };
    let key = newest().verifier_key;
    let mut kept = Kept { log: server.log_url(), key, checkpoints: Vec::new(), receipts: Vec::new() };
    assert!(kept.verdict().expect("an empty log is one").starts_with("YES: 0 entries"));
    // A checkpoint and a receipt now and then.
    for (number, size) in [1, 100, 255, 400, EVENTS].into_iter().enumerate() {
        grow(&server, &api, size);
        let receipt = files.join(format!("{number}.tlog-proof"));
        let (image, tag) = ("registry.example/team/app:1", format!("kept:v{number}"));
        let write = ["tag", image, &tag, "--reference", "--source=docker", "--receipt"];
        let printed = client.run(&[&write[..], &[receipt.to_str().expect("a plain path")]].concat());
        assert_eq!(printed.as_ref().map(|printed| printed.rc).ok(), Some(0), "{printed:?}");
        let checkpoint = files.join(format!("{number}.checkpoint"));
        fs::write(&checkpoint, newest().checkpoint).expect("a file");
        kept.checkpoints.push(checkpoint);
        kept.receipts.push(receipt);
    }
    let size = newest().size;
    let said = kept.verdict().unwrap_or_else(|said| panic!("{said}"));
    assert!(said.starts_with(&format!("YES: {size} entries,")), "{said}");
    assert!(said.ends_with("5 earlier checkpoints, 5 receipts"), "{said}");
    // The same log, in files.
    let mirror = files.join("mirror");
    let copy = [
        "audit",
        "mirror",
        &server.log_url(),
        mirror.to_str().expect("a plain path"),
        "--once",
        "--vkey",
        &kept.key,
    ];
    let printed = client.run(&copy).expect("tagtrail runs");
    assert_eq!(printed.rc, 0, "{printed:?}");
    kept.log = mirror.to_str().expect("a plain path").to_owned();
    assert_eq!(kept.verdict().as_ref(), Ok(&said));
    kept.own_verdict(&client).expect("all is well");

    // One byte is changed, in any place of what was mirrored; and it is found, and well again when it is changed back.
    let mut chance = Chance(3);
    let partial = format!("{:03}.p/{}", size / 256, size % 256);
    let tiles =
        ["tile/0/000", "tile/0/001", &format!("tile/0/{partial}"), &format!("tile/1/000.p/{}", size / 256)];
    let entries = ["tile/entries/000", "tile/entries/001", &format!("tile/entries/{partial}")];
    for path in tiles.iter().chain(&entries).flat_map(|path| [*path; 2]) {
        let path = mirror.join(path);
        let good = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let place = usize::try_from(chance.below(good.len() as u64)).expect("a small number");
        let mut bad = good.clone();
        bad[place] ^= 1 << chance.below(8);
        found(&kept, &client, &path, &bad, &format!("byte {place} changed"));
        found(&kept, &client, &path, &good[..place], "cut");
    }
    //    what                     becomes
    let checkpoint = |from: &str, to: &str| (mirror.join("checkpoint"), from.to_owned(), to.to_owned());
    let receipt =
        |number: usize, from: &str, to: &str| (kept.receipts[number].clone(), from.to_owned(), to.to_owned());
    let origin = kept.key.split_once('+').expect("a key").0;
    for (path, from, to) in [
        checkpoint(&format!("\n{size}\n"), &format!("\n{}\n", size - 1)),
        checkpoint("tagtrail/", "tagtrai1/"),
        checkpoint("=\n\n", "=\n\n\n"),
        checkpoint("\u{2014} ", "\u{2014}  "),
        receipt(0, "index ", "index 1"),
        receipt(1, "extra ", "extra AAAA"),
        receipt(2, "c2sp.org/tlog-proof@v1\n", ""),
        receipt(3, &format!("\n\n{origin}"), &format!("\n{origin}")),
        receipt(4, "\n\u{2014} ", "\n\u{2014} x"),
    ] {
        let good = fs::read_to_string(&path).expect("text");
        let bad = good.replacen(&from, &to, 1);
        assert_ne!(bad, good, "{}: no {from:?} in {good}", path.display());
        found(&kept, &client, &path, bad.as_bytes(), &format!("{from:?} is {to:?}"));
    }
    // A receipt with the proof of another.
    let others = fs::read_to_string(&kept.receipts[3]).expect("text");
    let (head, proof) = others.split_once("index ").expect("an index");
    let mine = fs::read_to_string(&kept.receipts[2]).expect("text");
    let (my_head, my_proof) = mine.split_once("index ").expect("an index");
    found(&kept, &client, &kept.receipts[2], format!("{my_head}index {proof}").as_bytes(), "another's proof");
    found(&kept, &client, &kept.receipts[2], format!("{head}index {my_proof}").as_bytes(), "another's event");

    // Somebody has the key, and signs another history: what was kept does not fit it.
    let private = fs::read_to_string(server.data().join("log.key")).expect("the key");
    let thief: SigningKey = private.trim().parse().expect("a key");
    let sign = |size: u64, root: Hash| {
        let checkpoint = Checkpoint::new(thief.name(), size, root).expect("a checkpoint");
        checkpoint.sign(&thief).expect("it is the key's name").to_string()
    };
    for (path, note) in [
        (&kept.checkpoints[1], sign(100, Hash::from_bytes([7; 32]))),
        (&kept.checkpoints[4], sign(size + 1, Hash::from_bytes([7; 32]))),
        (&mirror.join("checkpoint"), sign(size, Hash::from_bytes([7; 32]))),
        (&mirror.join("checkpoint"), sign(size - 1, Hash::from_bytes([7; 32]))),
    ] {
        found(&kept, &client, path, note.as_bytes(), "signed by a thief");
    }
    // Another key is not the log's, though it may carry its name.
    for name in [origin, "other.example"] {
        let key = SigningKey::from_seed(name, &[7; 32]).expect("a key").verifier().to_string();
        let kept = Kept { key, log: kept.log.clone(), checkpoints: Vec::new(), receipts: Vec::new() };
        assert!(kept.verdict().is_err() && kept.own_verdict(&client).is_err(), "{name}");
    }
    assert_eq!(kept.verdict(), Ok(said));
}

/// With these bytes in a file, both say no; it is put right afterwards.
fn found(kept: &Kept, client: &Client, path: &Path, bad: &[u8], how: &str) {
    let good = fs::read(path).expect("a file");
    fs::write(path, bad).expect("a file");
    let (theirs, ours) = (kept.verdict(), kept.own_verdict(client));
    fs::write(path, good).expect("a file");
    assert!(theirs.is_err(), "{}, {how}: the foreign verifier says {theirs:?}", path.display());
    assert!(ours.is_err(), "{}, {how}: it is found by others, and not by us: {theirs:?}", path.display());
}
