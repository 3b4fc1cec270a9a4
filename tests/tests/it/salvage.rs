//! `admin salvage`: a data directory that no server opens any more is put in order as far as that can be done, and what it
//! costs is said exactly.

use std::fs;
use std::path::{Path, PathBuf};

use tagtrail_api::v1::SetTagRequest;
use tagtrail_tests::client::Printed;
use tagtrail_tests::faulty::Faulty;
use tagtrail_tests::server::{Options, Server};

use crate::api::Api;
use crate::pool::{Pool, image, set};

/// Changes a bit in the middle of a file.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).expect("it can be read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).expect("it can be written");
}

fn segment(data: &Path) -> PathBuf {
    data.join("journal/00000000000000000001.seg")
}

fn salvage(server: &Server, arguments: &[&str]) -> Printed {
    let data = server.data().display().to_string();
    let words = ["admin", "salvage", "--data-dir", &data];
    server.client().run(&[&words, arguments].concat()).expect("tagtrail runs")
}

/// A server that has ended, and how many events its log has. An image was imported into it.
fn ended(registry: &Faulty) -> (Server, u64) {
    let mut server = Server::start(Options::default()).expect("the server starts");
    let api = Api::of(&server);
    let pool = Pool::filled(&api, registry, 2);
    for number in 0..10 {
        let wish = set("app", "live", image(&pool.0[number % 2]));
        api.ok(api.tags().set_tag(SetTagRequest { write: None, ..wish }));
    }
    let head = api.head();
    server.terminate().expect("the server ends");
    (server, head)
}

#[test]
fn one_copy_brings_back_the_other() {
    let registry = Faulty::start().expect("a registry");
    let (mut server, head) = ended(&registry);
    flip(&segment(&server.data()));
    let printed = salvage(&server, &[]);
    assert_eq!(printed.rc, 0, "{printed:?}");
    assert!(printed.stdout.contains("opened log"), "{printed:?}");
    assert!(printed.stdout.contains("All is well"), "{printed:?}");
    server.restart().expect("it starts");
    assert_eq!(Api::of(&server).head(), head);
}

#[test]
fn what_neither_copy_has_is_named() {
    let registry = Faulty::start().expect("a registry");
    let (mut server, head) = ended(&registry);
    let data = server.data();
    flip(&segment(&data));
    fs::remove_dir_all(data.join("log")).expect("sled's copy is lost");
    assert!(server.restart().is_err(), "an acknowledged event is lost");

    let before = fs::read(segment(&data)).expect("the journal");
    let told = salvage(&server, &["--dry-run"]);
    assert_eq!(told.rc, 0, "{told:?}");
    assert!(told.stdout.contains("lost in both copies") || told.stdout.contains("are lost"), "{told:?}");
    assert!(told.stdout.ends_with("Nothing was changed.\n"), "{told:?}");
    assert_eq!(fs::read(segment(&data)).expect("the journal"), before);

    let done = salvage(&server, &[]);
    // It is done; and the checkpoint tells that it is not all.
    assert_eq!(done.rc, 1, "{done:?}");
    assert!(done.stdout.contains("CheckpointNewerThanLog"), "{done:?}");
    assert!(
        fs::read(data.join("journal.damaged-1/00000000000000000001.seg")).is_ok_and(|bytes| bytes == before)
    );
    server.restart().expect("it starts, to be read");
    let kept = Api::of(&server).head();
    assert!(0 < kept && kept < head, "{kept} of {head}");
    let problem = server.client().json(&["status", "-o", "json"]).expect("status");
    let problem = problem["audit"]["problem"].as_str().unwrap_or_default().to_owned();
    assert!(problem.contains("--accept-rollback"), "{problem}");
}

#[test]
fn lost_images_are_named() {
    let registry = Faulty::start().expect("a registry");
    let (server, _) = ended(&registry);
    let blobs = server.data().join("blobs/sha256");
    let lost = fs::read_dir(&blobs).expect("blobs").next().expect("a blob").expect("an entry").path();
    fs::remove_file(&lost).expect("it is lost");
    let printed = salvage(&server, &[]);
    let name = lost.file_name().expect("a name").to_string_lossy();
    assert_eq!(printed.rc, 1, "{printed:?}");
    assert!(printed.stdout.contains("MissingBlob") && printed.stdout.contains(&*name), "{printed:?}");
}
