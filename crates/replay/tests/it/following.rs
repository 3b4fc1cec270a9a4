//! Following a server's log, and the alarm.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use tagtrail_event_log::codec;
use tagtrail_replay::mirror::{Follower, Look};
use tagtrail_replay::{Against, SourceError, Trust, Verdict, Wrong, source, verify};
use tagtrail_transparency::Policy;

use crate::history::{history, vkey};
use crate::web::{publish, serve};

fn policy() -> Policy {
    Policy::of_log(vkey())
}

fn audit(what: &str) -> Verdict {
    let source = source::open(what).unwrap();
    let trust = Trust::Given(Box::new(policy()));
    verify(&*source, Against { trust, checkpoints: Vec::new() }, &mut |_| ()).unwrap()
}

fn alarm(look: Result<Look, SourceError>) -> Wrong {
    match look {
        Err(SourceError::Wrong(wrong)) => *wrong,
        other => panic!("{other:?}"),
    }
}

fn evidence(dir: &Path) -> usize {
    fs::read_dir(dir.join("evidence")).map_or(0, Iterator::count)
}

/// The history with another reason in one of its events.
fn rewritten(sequence: u64) -> Vec<Bytes> {
    let mut payloads = history().payloads.clone();
    let payload = &mut payloads[sequence as usize - 1];
    let mut recorded = codec::decode(payload).unwrap();
    recorded.reason = "none".into();
    *payload = codec::encode(&recorded);
    payloads
}

#[test]
fn a_server_is_audited_from_afar() {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), &history().payloads);
    let verdict = audit(&serve(dir.path()));
    assert_eq!((verdict.is_fine(), verdict.size), (Some(true), history().size()), "{verdict:?}");
    // A tile that is not that of the events.
    let tile = dir.path().join("tile/0/000");
    let mut bytes = fs::read(&tile).unwrap();
    bytes[32 * 9] ^= 1;
    fs::write(&tile, &bytes).unwrap();
    let verdict = audit(&serve(dir.path()));
    let place = verdict.wrong.first().map(|wrong| (wrong.kind(), wrong.sequence()));
    assert_eq!(place, Some(("TileDiffers", Some(10))));
    // Entries that were not signed: the tiles tell which.
    publish(dir.path(), &history().payloads);
    let other = tempfile::tempdir().unwrap();
    publish(other.path(), &rewritten(77));
    fs::copy(other.path().join("tile/entries/000"), dir.path().join("tile/entries/000")).unwrap();
    let verdict = audit(&serve(dir.path()));
    assert!(
        verdict.wrong.iter().any(|w| w.kind() == "CheckpointInconsistent" && w.sequence() == Some(77)),
        "{verdict:?}"
    );
    // A bundle that ends too early.
    fs::write(dir.path().join("tile/entries/000"), [0, 1]).unwrap();
    assert_eq!(audit(&serve(dir.path())).wrong[0].kind(), "TileUnreadable");
    fs::remove_file(dir.path().join("tile/entries/000")).unwrap();
    assert_eq!(audit(&serve(dir.path())).wrong[0].kind(), "TileMissing");
}

#[test]
fn nobody_there_is_no_alarm() {
    let nowhere = source::open("http://127.0.0.1:1/log").map(|source| source.name().to_owned());
    assert!(matches!(nowhere, Err(SourceError::Unreadable(_))), "{nowhere:?}");
    let empty = tempfile::tempdir().unwrap();
    let nothing = source::open(&serve(empty.path())).map(|source| source.name().to_owned());
    assert!(matches!(nothing, Err(SourceError::Unreadable(_))), "{nothing:?}");
}

/// At every size that ends a run, also where a full tile takes the place of a partial one.
#[test]
fn a_mirror_follows() {
    let (server, mirror) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let url = serve(server.path());
    let ends: Vec<usize> = (1..=history().payloads.len())
        .filter(|size| {
            let recorded = codec::decode(&history().payloads[size - 1]).unwrap();
            recorded.sequence + 1 == recorded.run.first_sequence + u64::from(recorded.run.length)
        })
        .collect();
    let mut before = 0;
    for size in ends.iter().copied().step_by(7).chain(ends.last().copied()) {
        publish(server.path(), &history().payloads[..size]);
        // Each time anew, as after a restart.
        let mut follower = Follower::open(&url, mirror.path(), (before == 0).then(policy)).unwrap();
        assert!(matches!(follower.trust(), Trust::Given(_)) || before > 0, "the key is kept");
        let grown = Look::Grown { from: before, to: size as u64 };
        match follower.look().unwrap() {
            Look::Same { .. } => assert_eq!(before, size as u64),
            look => assert_eq!(look, grown),
        }
        assert_eq!(follower.look().unwrap(), Look::Same { size: size as u64 });
        before = size as u64;
        let verdict = audit(mirror.path().to_str().unwrap());
        assert_eq!((verdict.is_fine(), verdict.size), (Some(true), before), "{verdict:?}");
    }
    assert_eq!(evidence(mirror.path()), 0);
    // What was made here is what the server gives away, file by file.
    for path in ["tile/0/000", "tile/entries/000"] {
        assert_eq!(
            fs::read(mirror.path().join(path)).unwrap(),
            fs::read(server.path().join(path)).unwrap(),
            "{path}"
        );
    }
    assert!(!mirror.path().join("tile/0/000.p").exists(), "its place is taken");
}

#[test]
fn a_fork_raises_the_alarm() {
    let (server, mirror) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let url = serve(server.path());
    let seen = *history().kept.keys().max().unwrap() as usize;
    publish(server.path(), &history().payloads[..seen]);
    let mut follower = Follower::open(&url, mirror.path(), Some(policy())).unwrap();
    follower.look().unwrap();
    // It goes on from another past, signed with the same key.
    publish(server.path(), &rewritten(50));
    let wrong = alarm(follower.look());
    assert!(matches!(wrong, Wrong::CheckpointInconsistent { first: 50, last: 50, .. }), "{wrong:?}");
    assert_eq!(evidence(mirror.path()), 1);
    // Another past of the same length.
    publish(server.path(), &rewritten(50)[..seen]);
    assert_eq!(alarm(follower.look()).kind(), "Fork");
    // Fewer events.
    let old = *history().kept.keys().min().unwrap() as usize;
    publish(server.path(), &history().payloads[..old]);
    let wrong = alarm(follower.look());
    assert!(
        matches!(wrong, Wrong::RolledBack { size, seen: before, .. } if (size, before) == (old as u64, seen as u64))
    );
    publish(server.path(), &rewritten(50)[..old]);
    assert_eq!(alarm(follower.look()).kind(), "CheckpointInconsistent");
    // Signed by somebody else.
    fs::write(
        server.path().join("checkpoint"),
        "tagtrail/x\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n",
    )
    .unwrap();
    assert_eq!(alarm(follower.look()).kind(), "CheckpointUnreadable");
    // None of it was taken.
    let verdict = audit(mirror.path().to_str().unwrap());
    assert_eq!((verdict.is_fine(), verdict.size), (Some(true), seen as u64), "{verdict:?}");
    // And the true story goes on.
    publish(server.path(), &history().payloads);
    assert_eq!(follower.look().unwrap(), Look::Grown { from: seen as u64, to: history().size() });
    assert_eq!(audit(mirror.path().to_str().unwrap()).is_fine(), Some(true));
}

/// A server that gives away other events than those it signed.
#[test]
fn events_that_were_not_signed_are_not_taken() {
    let (server, mirror) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let url = serve(server.path());
    publish(server.path(), &rewritten(290));
    fs::write(
        server.path().join("checkpoint"),
        crate::history::checkpoint(&history().payloads, &crate::history::key()),
    )
    .unwrap();
    let mut follower = Follower::open(&url, mirror.path(), Some(policy())).unwrap();
    assert_eq!(alarm(follower.look()).kind(), "CheckpointInconsistent");
    assert!(!mirror.path().join("checkpoint").exists());
}

/// Somebody lays hands on the mirror itself: it does not go on from there.
#[test]
fn a_damaged_mirror_is_not_gone_on_from() {
    let (server, mirror) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    publish(server.path(), &history().payloads);
    let url = serve(server.path());
    Follower::open(&url, mirror.path(), Some(policy())).unwrap().look().unwrap();
    let partial = mirror.path().join(format!("tile/0/001.p/{}", history().size() - 256));
    let mut bytes = fs::read(&partial).unwrap();
    bytes[5] ^= 1;
    fs::write(&partial, &bytes).unwrap();
    let opened = Follower::open(&url, mirror.path(), Some(policy()));
    assert!(matches!(opened, Err(SourceError::Wrong(_))), "{opened:?}");
}
