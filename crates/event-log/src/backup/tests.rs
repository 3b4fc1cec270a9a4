//! Backups of small logs: there and back, every byte of them changed, and every length of them.

use std::path::Path;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use tagtrail_domain::event::{Actor, Event, Fact, ImageRecorded, Run};
use tagtrail_domain::{Digest, Recorded, StreamKey, Timestamp};
use tagtrail_transparency::{Checkpoint, Frontier, SigningKey, hash};

use super::*;
use crate::blobs::BlobStore;
use crate::{Log, LogId, MemoryLog, Options, SledLog, Stored, codec};

const ID: LogId = LogId::from_bytes([7; 16]);
const OTHER: LogId = LogId::from_bytes([8; 16]);

fn key() -> SigningKey {
    SigningKey::from_seed(format!("test/{ID}"), &[3; 32]).unwrap()
}

/// A log in memory, and a directory with its blobs.
struct Given {
    log: MemoryLog,
    blobs: BlobStore,
    dir: tempfile::TempDir,
}

impl Given {
    fn new() -> Given {
        let dir = tempfile::tempdir().unwrap();
        Given { log: MemoryLog::new(ID), blobs: BlobStore::open(dir.path()).unwrap(), dir }
    }

    /// Appends one command: for each of its events a manifest, of the size given, or none.
    fn happens(&self, run: &[Option<usize>]) {
        let head = self.log.head();
        let events = (head + 1..).zip(run).map(|(sequence, blob)| {
            let fact = match blob {
                Some(size) => {
                    let bytes: Vec<u8> = (0..*size).map(|at| (at as u64 * 31 + sequence / 3) as u8).collect();
                    let manifest = self.blobs.put(&bytes).unwrap();
                    let config = self.blobs.put(b"the same for all").unwrap();
                    Fact::ImageRecorded(Box::new(image(&manifest, &config)))
                }
                None => Fact::LookupPolicySet { local: sequence.is_multiple_of(2) },
            };
            codec::encode(&recorded(sequence, (head + 1, run.len()), fact))
        });
        self.log.append(head, &[events.collect()]).unwrap();
    }

    fn tree(&self, size: u64) -> Frontier {
        let mut tree = Frontier::new();
        for stored in events_of(&self.log).iter().take(size as usize) {
            tree.push(hash::leaf(&stored.payload));
        }
        tree
    }

    /// A backup of the events from `first` to `last`.
    fn header(&self, first: u64, last: u64) -> Header {
        let checkpoint = Checkpoint::new(key().name(), last, self.tree(last).root()).unwrap();
        Header {
            log_id: ID,
            first,
            peaks: self.tree(first - 1).peaks().to_vec(),
            vkey: key().verifier().to_string(),
            checkpoint: checkpoint.sign(&key()).unwrap().to_string(),
        }
    }

    fn backup(&self, first: u64, last: u64) -> Vec<u8> {
        write(Vec::new(), &self.header(first, last), &self.log, &self.blobs, |_| ()).unwrap().0
    }
}

fn image(manifest: &str, config: &str) -> ImageRecorded {
    ImageRecorded {
        digest: Digest::parse(manifest).unwrap(),
        reference: "registry.example/app".into(),
        media_type: "application/vnd.oci.image.manifest.v1+json".into(),
        config: Some(Digest::parse(config).unwrap()),
        size: 7,
        platform: None,
        built_at: None,
        manifests: Vec::new(),
    }
}

fn recorded(sequence: u64, (first_sequence, length): (u64, usize), fact: Fact) -> Recorded {
    Recorded {
        sequence,
        revision: sequence,
        recorded_at: Timestamp { seconds: 1_700_000_000, nanos: 0 },
        run: Run { first_sequence, length: length as u32 },
        stream: StreamKey::parse("test", "app").unwrap(),
        actor: Actor { name: "me".into(), authenticated: false },
        reason: String::new(),
        command: "test".into(),
        request_id: String::new(),
        request_digest: Vec::new(),
        caused_by: 0,
        traceparent: String::new(),
        event: Event { stream_uid: "uid".into(), generation: 0, fact },
    }
}

fn events_of(log: &dyn Log) -> Vec<Stored> {
    log.read(1, usize::MAX, usize::MAX).unwrap()
}

fn small() -> Given {
    let given = Given::new();
    given.happens(&[None, Some(10)]);
    given.happens(&[None]);
    given.happens(&[Some(20), Some(0), None]);
    given
}

fn restore(dir: &Path, backups: &[&[u8]]) -> Result<Restored, RestoreError> {
    let mut restoring = Restoring::begin(dir, ID)?;
    for backup in backups {
        restoring.take(Reader::open(*backup, None)?, |_| ())?;
    }
    restoring.commit(None, |_| ())
}

fn verified(backup: &[u8]) -> Result<Contents, String> {
    let told = |error: BackupError| error.to_string();
    Reader::open(backup, None).map_err(told)?.verify(|_| ()).map_err(told)
}

/// Checks that a directory is the log that was given.
fn check_restored(dir: &Path, given: &Given) {
    let (log, report) = SledLog::open(dir, Options::new(OTHER)).unwrap();
    assert_eq!((log.id(), report.created), (ID, false));
    let events = events_of(&given.log);
    assert_eq!(events_of(&log), events);
    let blobs = BlobStore::read_only(dir);
    for stored in &events {
        for digest in crate::blobs::named_by(&codec::decode(&stored.payload).unwrap()) {
            assert_eq!(blobs.get(digest.as_str()).unwrap(), given.blobs.get(digest.as_str()).unwrap());
        }
    }
}

#[test]
fn what_was_backed_up_comes_back() {
    let given = small();
    let backup = given.backup(1, 6);
    assert!(is_one(&backup));
    let contents = verified(&backup).unwrap();
    assert_eq!((contents.range(), contents.events, contents.blobs), ("events 1 to 6".into(), 6, 4));
    let dir = tempfile::tempdir().unwrap();
    let restored = restore(&dir.path().join("new"), &[&backup]).unwrap();
    assert_eq!((restored.checkpoint.size(), restored.blobs, restored.lost), (6, 4, vec![]));
    check_restored(&dir.path().join("new"), &given);
    let kept = std::fs::read_to_string(dir.path().join("new/checkpoint")).unwrap();
    assert_eq!(kept, given.header(1, 6).checkpoint);
}

#[test]
fn one_goes_on_from_another() {
    let given = small();
    let (first, second, third) = (given.backup(1, 2), given.backup(3, 3), given.backup(4, 6));
    let nothing_new = given.backup(7, 6);
    let dir = tempfile::tempdir().unwrap();
    restore(&dir.path().join("whole"), &[&first, &second, &third, &nothing_new]).unwrap();
    check_restored(&dir.path().join("whole"), &given);

    let refused = |backups: &[&[u8]]| {
        let at = dir.path().join("refused");
        let error = restore(&at, backups).unwrap_err().to_string();
        assert!(!at.exists(), "nothing is left after: {error}");
        error
    };
    let told = refused(&[&second]);
    assert_eq!(told, "it begins with event 3: give the backup before it first, which ends with event 2");
    assert!(refused(&[&first, &third]).contains("event 3 is due: give the backups in order"));
    assert!(refused(&[&first, &first]).contains("event 3 is due"));
    assert_eq!(refused(&[]), "there is no backup to restore");
    // Another history of the same length.
    let other = Given::new();
    other.happens(&[None, None]);
    assert!(refused(&[&other.backup(1, 2), &second]).contains("one of the two is of a log that was changed"));
}

#[test]
fn an_empty_log_has_a_backup_too() {
    let given = Given::new();
    let dir = tempfile::tempdir().unwrap();
    restore(&dir.path().join("new"), &[&given.backup(1, 0)]).unwrap();
    check_restored(&dir.path().join("new"), &given);
}

#[test]
fn no_changed_byte_and_no_missing_one_goes_unnoticed() {
    let given = small();
    let good = given.backup(1, 6);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(verified(&bad).is_err(), "byte {at} of {}", good.len());
        assert!(verified(&good[..at]).is_err(), "cut after {at} bytes");
    }
    let told = verified(&[&good[..], b"?"].concat()).unwrap_err();
    assert_eq!(told, "it is damaged or cut off: something follows its end. Take another copy of it");
    assert_eq!(verified(&good[..good.len() - 1]).unwrap_err(), verified(&good[..5]).unwrap_err());
    assert_eq!(verified(b"a text").unwrap_err(), "it is no backup of tagtrail");
    assert!(verified(b"\xF7tagback\0\0\0\x02").unwrap_err().contains("format 2"));
}

#[test]
fn what_nobody_signed_is_refused() {
    let given = small();
    let written = |header: &Header| {
        write(Vec::new(), header, &given.log, &given.blobs, |_| ()).map(drop).unwrap_err().to_string()
    };
    let good = given.header(1, 6);
    let other = SigningKey::from_seed(key().name(), &[4; 32]).unwrap();
    let vkey = other.verifier().to_string();
    assert!(written(&Header { vkey, ..good.clone() }).contains("its checkpoint is not to be believed"));
    assert!(written(&Header { log_id: OTHER, ..good.clone() }).contains("and it is of the log 08080808"));
    let fewer = Checkpoint::new(key().name(), 6, given.tree(5).root()).unwrap();
    let checkpoint = fewer.sign(&key()).unwrap().to_string();
    assert!(written(&Header { checkpoint, ..good.clone() }).contains("not those that were signed"));
    assert!(written(&given.header(1, 5)).contains("in the middle of a command"));
    let peaks = given.tree(2).peaks().to_vec();
    assert!(written(&Header { first: 4, ..good.clone() }).contains("peaks"));
    assert!(written(&Header { first: 5, peaks, ..good.clone() }).contains("not those that were signed"));

    let backup = given.backup(1, 6);
    let refused = Reader::open(&backup[..], Some(&other.verifier())).err().unwrap().to_string();
    assert!(refused.contains("its checkpoint is not to be believed"), "{refused}");

    // The mark of a command's end is not hashed; the event itself says where it is.
    let moved = MemoryLog::new(ID);
    for stored in events_of(&given.log) {
        moved.append(moved.head(), &[vec![stored.payload]]).unwrap();
    }
    let told = write(Vec::new(), &good, &moved, &given.blobs, |_| ()).map(drop).unwrap_err().to_string();
    assert!(told.contains("event 1 is not marked as it says itself"), "{told}");
}

#[test]
fn a_lost_blob_is_told_and_not_made_up() {
    let given = small();
    let digest = format!("sha256:{:x}", Sha256::digest(b""));
    std::fs::remove_file(given.dir.path().join("blobs/sha256").join(&digest[7..])).unwrap();
    let backup = given.backup(1, 6);
    assert_eq!(verified(&backup).unwrap().lost, [digest.as_str()]);
    let dir = tempfile::tempdir().unwrap();
    let restored = restore(dir.path(), &[&backup]).unwrap();
    assert_eq!((restored.blobs, restored.lost), (3, vec![digest]));
}

#[test]
fn only_an_empty_directory_is_restored_into() {
    let given = small();
    let backup = given.backup(1, 6);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("thesis.tex"), "").unwrap();
    let told = restore(dir.path(), &[&backup]).unwrap_err().to_string();
    assert!(told.contains("is not empty (there is `thesis.tex`)"), "{told}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);

    // What fails leaves an empty directory empty.
    let dir = tempfile::tempdir().unwrap();
    assert!(restore(dir.path(), &[&backup[..backup.len() - 40]]).is_err());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    restore(dir.path(), &[&backup]).unwrap();
    assert!(restore(dir.path(), &[&backup]).is_err());
    check_restored(dir.path(), &given);
}

/// A restore that was killed after everything was written, and before it was read back.
#[test]
fn what_was_never_read_back_is_not_served() {
    let given = small();
    let dir = tempfile::tempdir().unwrap();
    let mut restoring = Restoring::begin(dir.path(), ID).unwrap();
    restoring.take(Reader::open(&given.backup(1, 6)[..], None).unwrap(), |_| ()).unwrap();
    std::mem::forget(restoring);
    let told = SledLog::open(dir.path(), Options::new(OTHER)).err().unwrap().to_string();
    assert!(told.contains("not a tagtrail data directory (it has no FORMAT file"), "{told}");
    let told = Restoring::begin(dir.path(), ID).err().unwrap().to_string();
    assert!(told.contains("What an interrupted restore has left"), "{told}");
}

#[test]
fn the_key_comes_along_if_it_is_the_right_one() {
    use std::os::unix::fs::PermissionsExt as _;
    let backup = small().backup(1, 6);
    let with = |key: &SigningKey| {
        let dir = tempfile::tempdir().unwrap();
        let mut restoring = Restoring::begin(&dir.path().join("new"), ID).unwrap();
        restoring.take(Reader::open(&backup[..], None).unwrap(), |_| ()).unwrap();
        (restoring.commit(Some(key), |_| ()).map(drop), dir)
    };
    let (restored, dir) = with(&key());
    restored.unwrap();
    let file = dir.path().join("new/log.key");
    assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), key().to_private_text());
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let (restored, dir) = with(&SigningKey::from_seed(key().name(), &[4; 32]).unwrap());
    assert!(restored.unwrap_err().to_string().contains("give the log's key, or none"));
    assert!(!dir.path().join("new").exists());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever happened, and wherever it was cut into backups, it comes back.
    #[test]
    fn every_log_comes_back(
        runs in vec(vec(proptest::option::of(0..3000_usize), 1..5), 0..12),
        cuts in vec(any::<prop::sample::Index>(), 0..3),
    ) {
        let given = Given::new();
        let mut ends = vec![0];
        for run in &runs {
            given.happens(run);
            ends.push(given.log.head());
        }
        let mut cuts: Vec<u64> = cuts.iter().map(|cut| *cut.get(&ends)).collect();
        cuts.push(given.log.head());
        cuts.sort_unstable();
        let mut from = 0;
        let backups: Vec<Vec<u8>> = cuts.iter().map(|to| {
            let backup = given.backup(from + 1, *to);
            from = *to;
            backup
        }).collect();
        let dir = tempfile::tempdir().unwrap();
        let backups: Vec<&[u8]> = backups.iter().map(Vec::as_slice).collect();
        restore(dir.path(), &backups).unwrap();
        check_restored(dir.path(), &given);
    }
}

/// The example of `docs/formats/backup.md`, so that the page stays true.
#[test]
fn the_page_describes_these_bytes() {
    let mut record = Vec::new();
    let stored = |sequence, last_of_run, payload| Stored {
        sequence,
        last_of_run,
        payload: Bytes::from_static(payload),
    };
    format::part(&mut record, &Part::Events(vec![stored(1, false, b"first"), stored(2, true, b"second")]));
    let page = include_str!("../../../../docs/formats/backup.md");
    let example = page.split("```hex\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let words =
        example.lines().flat_map(|line| line.split('#').next().unwrap_or_default().split_whitespace());
    let bytes: Vec<u8> = words.map(|word| u8::from_str_radix(word, 16).unwrap()).collect();
    assert_eq!(record, bytes);
}
