//! Somebody lays hands on a log. Each way is either found, under its right name, or shown to do no harm.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use tagtrail_domain::event::{Fact, LogContinued, Recorded};
use tagtrail_domain::permitted::Checker;
use tagtrail_event_log::codec;
use tagtrail_replay::replay::{Until, replay};
use tagtrail_replay::source::Directory;
use tagtrail_replay::verify::Verdict;
use tagtrail_replay::{Against, SourceError, Trust, Wrong, source, verify};
use tagtrail_transparency::SigningKey;

use crate::fine::audit;
use crate::history::{Journal, Record, checkpoint, history, key, origin, segment_files, write_tree};

/// What an audit says, in a few words: `fine`, `unread`, or the name of each thing that is wrong with its first event.
fn told(verdict: &Result<Verdict, SourceError>) -> String {
    let name = |wrong: &Wrong| match wrong.sequence() {
        Some(sequence) => format!("{} {sequence}", wrong.kind()),
        None => wrong.kind().to_owned(),
    };
    match verdict {
        Ok(verdict) => match verdict.is_fine() {
            Some(true) => "fine".into(),
            Some(false) => verdict.wrong.iter().map(name).collect::<Vec<_>>().join(", "),
            None => "unread".into(),
        },
        Err(SourceError::Wrong(wrong)) => name(wrong),
        Err(SourceError::Unreadable(_)) => "unread".into(),
    }
}

/// Lays hands on a copy, and gives what an audit says of it that has the log's key but no kept checkpoint.
fn tampered(hands: impl FnOnce(&Path)) -> String {
    let copy = history().copy();
    hands(copy.path());
    told(&audit(copy.path(), []))
}

fn kinds(told: &str) -> BTreeSet<&str> {
    told.split(", ").map(|one| one.split(' ').next().unwrap()).collect()
}

/// Changes one bit of one byte at a time, each `step`th, and checks that each change is told by one of these names.
fn flip_all(path: &str, step: usize, names: &[&str]) -> BTreeSet<String> {
    let copy = history().copy();
    let file = copy.path().join(path);
    let good = fs::read(&file).unwrap();
    let mut seen = BTreeSet::new();
    for at in (0..good.len()).step_by(step) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(&file, &bad).unwrap();
        let told = told(&audit(copy.path(), []));
        assert!(kinds(&told).iter().any(|kind| names.contains(kind)), "{path}, byte {at}: {told}");
        seen.extend(kinds(&told).into_iter().map(ToOwned::to_owned));
    }
    seen
}

#[test]
fn flipped_bits_of_events() {
    let files = segment_files(history().dir());
    assert!(files.len() > 3, "several segments");
    for file in [&files[0], &files[1], files.last().unwrap()] {
        let path = format!("journal/{}", file.file_name().unwrap().to_str().unwrap());
        // What is left of the end of the newest segment may be an append that was never acknowledged; but these were signed.
        let seen = flip_all(&path, 211, &["JournalDamaged", "CheckpointNewerThanLog"]);
        assert!(seen.contains("JournalDamaged"), "{path}: {seen:?}");
    }
}

#[test]
fn flipped_bits_of_the_tree() {
    flip_all("tree/0", 61, &["TileDiffers"]);
    flip_all("tree/1", 3, &["TileDiffers"]);
    // Nothing that an audit reads.
    assert_eq!(flip_all("tree/synced", 9, &["fine"]).len(), 1);
}

#[test]
fn flipped_bits_of_the_checkpoint() {
    let names = ["CheckpointUnreadable", "CheckpointSignature", "OtherLog"];
    flip_all("checkpoint", 1, &names);
}

#[test]
fn flipped_bits_of_what_says_whose_it_is() {
    flip_all("FORMAT", 1, &["FormatUnreadable", "OtherLog", "fine"]);
    // With a key from elsewhere the log's own is not looked at.
    assert_eq!(flip_all("log.key", 7, &["fine"]).len(), 1);
}

/// Without another key the log's own is taken, and a damaged one is no key.
#[test]
fn flipped_bits_of_the_key() {
    let copy = history().copy();
    let file = copy.path().join("log.key");
    let good = fs::read(&file).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(&file, &bad).unwrap();
        let source = source::open(copy.path().to_str().unwrap()).unwrap();
        match Trust::of(None, &*source) {
            Err(SourceError::Wrong(wrong)) => assert_eq!(wrong.kind(), "KeyUnreadable"),
            // The newline, or a digit in capitals.
            Ok(Trust::Own(own)) => assert_eq!(*own, key().verifier(), "byte {at}"),
            other => panic!("byte {at}: {other:?}"),
        }
    }
}

/// Whoever knows the format computes all checksums anew. The tree still tells which event it was.
#[test]
fn changed_events_with_right_checksums() {
    for sequence in [1, 2, 57, 255, 256, 257, history().size()] {
        let told = tampered(|dir| {
            change(dir, sequence, |recorded| recorded.reason.push('!'));
        });
        // The others of its run say another reason.
        let known = BTreeSet::from(["CheckpointInconsistent", "RunBroken"]);
        assert!(kinds(&told).is_subset(&known), "{sequence}: {told}");
        assert!(told.contains(&format!("CheckpointInconsistent {sequence}")), "{sequence}: {told}");
    }
}

/// Changes an event in the journal, with all checksums right.
fn change(dir: &Path, sequence: u64, change: impl FnOnce(&mut Recorded)) -> Vec<Bytes> {
    let mut journal = Journal::read(dir);
    let mut records = journal.records();
    let mut due = sequence as usize;
    let event = records.iter_mut().find_map(|record| {
        if record.len() >= due {
            Some(&mut record[due - 1])
        } else {
            due -= record.len();
            None
        }
    });
    let event = event.unwrap();
    let mut recorded = codec::decode(&event.1).unwrap();
    change(&mut recorded);
    event.1 = codec::encode(&recorded);
    journal.set_records(records);
    journal.write();
    journal.payloads()
}

/// What a replay prints is what was signed, or it ends with what is wrong: also where less is asked for than was changed.
#[test]
fn a_replay_of_something_else() {
    for (until, found) in [(Until::End, "RunBroken"), (Until::Sequence(10), "CheckpointInconsistent")] {
        let copy = history().copy();
        let replayed = |dir: &Path| {
            let source = Directory::open(dir).unwrap();
            replay::<SourceError>(&source, &Trust::Own(Box::new(key().verifier())), until, |_, _| Ok(()))
        };
        assert_eq!(replayed(copy.path()).unwrap().signed, history().size());
        change(copy.path(), 150, |recorded| recorded.reason = "none".into());
        match replayed(copy.path()) {
            Err(SourceError::Wrong(wrong)) => assert_eq!(wrong.kind(), found),
            Ok(_) => panic!("it was changed"),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Also the tree is built anew. Without the key, the checkpoint is left: it tells that something is another, and checkpoints that
/// were kept tell between which.
#[test]
fn a_tree_built_anew_without_the_key() {
    let sequence = 150;
    let copy = history().copy();
    let payloads = change(copy.path(), sequence, |recorded| recorded.reason = "none".into());
    write_tree(copy.path(), &payloads);
    let verdict = audit(copy.path(), []);
    assert!(told(&verdict).contains("CheckpointInconsistent 1"), "{}", told(&verdict));
    let kept: Vec<u64> = history().kept.keys().copied().collect();
    let verdict = audit(copy.path(), kept.clone()).unwrap();
    let ranges: Vec<_> = verdict
        .wrong
        .iter()
        .filter_map(|wrong| match wrong {
            Wrong::CheckpointInconsistent { first, last, .. } => Some((*first, *last)),
            _ => None,
        })
        .collect();
    assert_eq!(ranges, [(kept[0] + 1, kept[1]), (kept[0] + 1, history().size())]);
    let agrees: Vec<bool> = verdict.checkpoints.iter().map(|compared| compared.agrees).collect();
    assert_eq!(agrees, [true, false, false]);
}

/// Somebody without the log's key makes another, and signs all that he built with it.
#[test]
fn a_log_signed_with_another_key() {
    let other = SigningKey::from_seed(origin(), &[8; 32]).unwrap();
    let copy = history().copy();
    let payloads = change(copy.path(), 150, |recorded| recorded.reason = "none".into());
    write_tree(copy.path(), &payloads);
    fs::write(copy.path().join("checkpoint"), checkpoint(&payloads, &other)).unwrap();
    fs::write(copy.path().join("log.key"), other.to_private_text()).unwrap();
    let with_key = told(&audit(copy.path(), []));
    assert!(with_key.contains("CheckpointSignature"), "{with_key}");
    // Without the key from elsewhere, whoever kept a checkpoint finds that it is not of this key.
    let source = source::open(copy.path().to_str().unwrap()).unwrap();
    let trust = || Trust::of(None, &*source).unwrap();
    let kept = history().kept.iter().map(|(size, note)| (size.to_string(), note.clone())).collect();
    let verdict = verify(&*source, Against { trust: trust(), checkpoints: kept }, &mut |_| ());
    assert!(told(&verdict).contains("CheckpointSignature"), "{}", told(&verdict));
    // Who has neither is told on whose word all this rests. The event itself breaks no rule but that of its run.
    assert!(trust().in_words().contains("whoever could change the log could change that too"));
}

#[test]
fn records_taken_away_repeated_and_moved() {
    let with = |change: &dyn Fn(&mut Vec<Record>)| {
        tampered(|dir| {
            let mut journal = Journal::read(dir);
            let mut records = journal.records();
            change(&mut records);
            journal.set_records(records);
            journal.write();
        })
    };
    let starts: Vec<u64> = Journal::read(history().dir())
        .records()
        .iter()
        .scan(1, |next, record| {
            let first = *next;
            *next += record.len() as u64;
            Some(first)
        })
        .collect();
    for at in [0, 7, 40] {
        let first = starts[at];
        let told = with(&|records| drop(records.remove(at)));
        assert!(told.contains(&format!("WrongSequence {first}")), "taken away: {told}");
        assert!(told.contains("CheckpointNewerThanLog"), "taken away: {told}");
        let told = with(&|records| {
            let again = records[at].clone();
            records.insert(at + 1, again);
        });
        assert!(told.contains(&format!("WrongSequence {}", starts[at + 1])), "repeated: {told}");
        assert!(told.contains(&format!("CheckpointInconsistent {}", starts[at + 1])), "repeated: {told}");
        let told = with(&|records| records.swap(at, at + 1));
        assert!(told.contains(&format!("WrongSequence {first}")), "swapped: {told}");
        assert!(told.contains(&format!("CheckpointInconsistent {first}")), "swapped: {told}");
    }
    // Two events of one run change places.
    let told = with(&|records| {
        let long = records.iter_mut().find(|record| record.len() > 2).unwrap();
        let (one, two) = (long[0].1.clone(), long[1].1.clone());
        (long[0].1, long[1].1) = (two, one);
    });
    assert!(
        kinds(&told).contains("WrongSequence") && kinds(&told).contains("CheckpointInconsistent"),
        "{told}"
    );
    // The end of a run is marked elsewhere.
    let told = with(&|records| {
        let long = records.iter_mut().find(|record| record.len() > 2).unwrap();
        long[0].0 = true;
    });
    assert_eq!(kinds(&told), BTreeSet::from(["RunBroken"]), "{told}");
}

/// Cut off at every record, with the tree cut to fit: the checkpoint remembers.
#[test]
fn a_log_cut_off() {
    let records = Journal::read(history().dir()).records();
    for left in [0, 1, 30, records.len() - 1] {
        let events: usize = records[..left].iter().map(Vec::len).sum();
        let cut = |dir: &Path| {
            let mut journal = Journal::read(dir);
            journal.set_records(records[..left].to_vec());
            journal.write();
        };
        let told = tampered(cut);
        assert!(told.contains(&format!("CheckpointNewerThanLog {}", events + 1)), "{told}");
        assert!(told.contains(&format!("TreeNewerThanLog {}", events + 1)), "{told}");
        let told = tampered(|dir| {
            cut(dir);
            write_tree(dir, &history().payloads[..events]);
        });
        assert_eq!(kinds(&told), BTreeSet::from(["CheckpointNewerThanLog"]), "{told}");
        // Whoever takes the checkpoint away as well is found out only by one that was kept.
        let copy = history().copy();
        cut(copy.path());
        write_tree(copy.path(), &history().payloads[..events]);
        fs::remove_file(copy.path().join("checkpoint")).unwrap();
        let kept = *history().kept.keys().max().unwrap();
        let told = told_of(copy.path(), kept);
        assert_eq!(told.contains("CheckpointNewerThanLog"), kept > events as u64, "{told}");
    }
    // In the middle of a record.
    let told = tampered(|dir| {
        let last = segment_files(dir).pop().unwrap();
        let length = fs::metadata(&last).unwrap().len();
        fs::OpenOptions::new().write(true).open(&last).unwrap().set_len(length - 5).unwrap();
    });
    assert!(kinds(&told).contains("CheckpointNewerThanLog"), "{told}");
}

fn told_of(dir: &Path, kept: u64) -> String {
    told(&audit(dir, [kept]))
}

/// An old copy with everything that belongs to it is put back: fine in itself, and behind what was signed since.
#[test]
fn an_old_copy_put_back() {
    let (old, note) = history().kept.first_key_value().unwrap();
    let newest = *history().kept.keys().max().unwrap();
    let copy = history().copy();
    let mut journal = Journal::read(copy.path());
    let mut events = 0;
    let records = journal.records().into_iter().take_while(|record| {
        events += record.len() as u64;
        events <= *old
    });
    let records = records.collect();
    journal.set_records(records);
    journal.write();
    write_tree(copy.path(), &history().payloads[..*old as usize]);
    fs::write(copy.path().join("checkpoint"), note).unwrap();
    assert_eq!(told(&audit(copy.path(), [])), "fine");
    assert_eq!(told_of(copy.path(), newest), format!("CheckpointNewerThanLog {}", old + 1));
}

#[test]
fn segments_taken_away_and_swapped() {
    let told = tampered(|dir| {
        let files = segment_files(dir);
        let (one, two) = (fs::read(&files[1]).unwrap(), fs::read(&files[2]).unwrap());
        fs::write(&files[1], two).unwrap();
        fs::write(&files[2], one).unwrap();
    });
    assert!(kinds(&told).contains("JournalDamaged"), "{told}");
    for which in [0, 2] {
        let told = tampered(|dir| fs::remove_file(&segment_files(dir)[which]).unwrap());
        assert!(kinds(&told).contains("JournalDamaged"), "{told}");
    }
    let told = tampered(|dir| fs::remove_file(segment_files(dir).last().unwrap()).unwrap());
    assert!(kinds(&told).contains("CheckpointNewerThanLog"), "{told}");
    let told = tampered(|dir| segment_files(dir).iter().for_each(|file| fs::remove_file(file).unwrap()));
    assert_eq!(told, "JournalDamaged 1");
}

#[test]
fn tiles_taken_away() {
    let told = tampered(|dir| fs::remove_file(dir.join("tree/1")).unwrap());
    assert!(kinds(&told).contains("TileMissing"), "{told}");
    let told = tampered(|dir| {
        let file = fs::OpenOptions::new().write(true).open(dir.join("tree/0")).unwrap();
        file.set_len(32 * 290).unwrap();
    });
    assert_eq!(told, "TileMissing 291");
}

#[test]
fn blobs_taken_away_and_changed() {
    let blob = |dir: &Path| {
        let mut files: Vec<_> =
            fs::read_dir(dir.join("blobs/sha256")).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.remove(3)
    };
    let told = tampered(|dir| fs::remove_file(blob(dir)).unwrap());
    assert_eq!(kinds(&told), BTreeSet::from(["MissingBlob"]), "{told}");
    let told = tampered(|dir| fs::write(blob(dir), "another").unwrap());
    assert_eq!(kinds(&told), BTreeSet::from(["BlobDamaged"]), "{told}");
}

/// The operator himself lies: he has the key, and signs a log that the rules do not allow. That it was signed does not help.
#[test]
fn events_against_the_rules_signed_with_the_log_s_own_key() {
    let events: Vec<Recorded> =
        history().payloads.iter().map(|payload| codec::decode(payload).unwrap()).collect();
    let check =
        |what: &str, kind: &str, wanted: &dyn Fn(&Recorded) -> bool, hands: &dyn Fn(&mut Recorded)| {
            let sequence = events.iter().find(|recorded| wanted(recorded)).expect(what).sequence;
            let told = tampered(|dir| {
                let payloads = change(dir, sequence, hands);
                write_tree(dir, &payloads);
                fs::write(dir.join("checkpoint"), checkpoint(&payloads, &key())).unwrap();
            });
            assert_eq!(told, format!("{kind} {sequence}"), "{what}");
        };
    let moved = |recorded: &Recorded| match &recorded.event.fact {
        Fact::TagMoved(moved) => moved.previous.is_some(),
        _ => false,
    };
    check("another previous item", "RuleBroken", &moved, &|recorded| {
        let Fact::TagMoved(moved) = &mut recorded.event.fact else { unreachable!() };
        moved.previous = None;
    });
    check("an image that was never recorded", "RuleBroken", &moved, &|recorded| {
        let Fact::TagMoved(moved) = &mut recorded.event.fact else { unreachable!() };
        let never = format!("sha256:{}", "ab".repeat(32));
        moved.item.image = Some(tagtrail_domain::Digest::parse(&never).unwrap());
    });
    check("a time before the one before", "RuleBroken", &|recorded| recorded.sequence == 200, &|recorded| {
        recorded.recorded_at.seconds -= 1_000_000;
    });
    check("another revision", "WrongRevision", &|recorded| recorded.sequence == 100, &|recorded| {
        recorded.revision += 1;
    });
    check("another number", "WrongSequence", &|recorded| recorded.sequence == 100, &|recorded| {
        recorded.sequence += 1;
    });
    check(
        "somebody else in the same run",
        "RunBroken",
        &|recorded| recorded.run.first_sequence + 1 == recorded.sequence,
        &|recorded| {
            recorded.actor.name = "eve".into();
        },
    );
    check(
        "a request carried out twice",
        "RuleBroken",
        &|recorded| recorded.run.length == 1 && recorded.sequence > 100,
        &|recorded| {
            recorded.request_id = "request-1".into();
        },
    );
    check("another life", "RuleBroken", &|recorded| recorded.sequence == 100, &|recorded| {
        recorded.event.stream_uid = "uid-of-another".into();
    });
}

/// Something that is no event at all, signed all the same.
#[test]
fn bytes_that_are_no_event() {
    let told = tampered(|dir| {
        let mut journal = Journal::read(dir);
        let mut records = journal.records();
        records.last_mut().unwrap().last_mut().unwrap().1 = Bytes::from_static(b"\xff\xff\xff");
        journal.set_records(records);
        journal.write();
        let payloads = journal.payloads();
        write_tree(dir, &payloads);
        fs::write(dir.join("checkpoint"), checkpoint(&payloads, &key())).unwrap();
    });
    assert_eq!(told, format!("Undecodable {}", history().size()));
}

/// Two checkpoints of one size, both signed: whoever has both has caught the log.
#[test]
fn two_stories_of_one_size() {
    let copy = history().copy();
    let other = change(copy.path(), 150, |recorded| recorded.reason = "none".into());
    let untouched = source::open(history().dir().to_str().unwrap()).unwrap();
    let trust = Trust::Own(Box::new(key().verifier()));
    let kept = vec![("kept".to_owned(), checkpoint(&other, &key()))];
    let verdict = verify(&*untouched, Against { trust, checkpoints: kept }, &mut |_| ());
    assert_eq!(kinds(&told(&verdict)), BTreeSet::from(["CheckpointInconsistent", "Fork"]));
}

/// Whoever writes a log can write anything into it: an audit may refuse it, and must not fall over it.
#[test]
fn whatever_an_event_says_it_is_looked_at() {
    let mut checker = Checker::default();
    let mut refused = 0;
    for (payload, number) in history().payloads.iter().zip(0_usize..) {
        for flip in 0..24 {
            let mut bytes = payload.to_vec();
            let at = (number * 31 + flip * 97) % bytes.len();
            bytes[at] ^= 1 << (flip % 8);
            if let Ok(recorded) = codec::decode(&bytes) {
                refused += usize::from(checker.clone().take(&recorded).is_err());
            }
        }
        let good = codec::decode(payload).unwrap();
        for extreme in [i64::MIN, -1, i64::MAX] {
            let mut recorded = good.clone();
            recorded.event.generation = extreme;
            assert!(checker.clone().take(&recorded).is_err());
            let mut recorded = good.clone();
            recorded.run.first_sequence = extreme as u64;
            assert!(checker.clone().take(&recorded).is_err());
            let continued = LogContinued {
                old_log_id: String::new(),
                old_origin: String::new(),
                old_checkpoint: String::new(),
                head: extreme as u64,
            };
            let mut recorded = good.clone();
            recorded.event.fact = Fact::LogContinued(Box::new(continued));
            assert!(checker.clone().take(&recorded).is_err());
        }
        checker.take(&good).unwrap();
    }
    assert!(refused > 500, "{refused}");
}
