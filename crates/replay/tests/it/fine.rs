//! Logs that are as they must be.

use tagtrail_domain::StreamKey;
use tagtrail_domain::event::{Event, Fact, LogContinued, Recorded, Run};
use tagtrail_event_log::continuation::continue_as;
use tagtrail_event_log::{LogId, codec};
use tagtrail_replay::diff::{Parting, diff};
use tagtrail_replay::replay::{Until, cloud_event, replay};
use tagtrail_replay::source::{self, Directory, Source};
use tagtrail_replay::verify::Verdict;
use tagtrail_replay::{Against, SourceError, Trust, shown, verify};
use tagtrail_transparency::{Policy, SigningKey};

use crate::history::{self, Journal, history, name, vkey};

/// Audits with the log's key, as somebody has it who got it elsewhere, and with the checkpoints that were kept.
pub(crate) fn audit(
    dir: &std::path::Path,
    kept: impl IntoIterator<Item = u64>,
) -> Result<Verdict, SourceError> {
    let source = source::open(dir.to_str().unwrap())?;
    let trust = Trust::Given(Box::new(Policy::of_log(vkey())));
    let checkpoints = kept.into_iter().map(|size| (format!("kept-{size}"), history().kept[&size].clone()));
    verify(&*source, Against { trust, checkpoints: checkpoints.collect() }, &mut |_| ())
}

#[test]
fn a_log_that_nobody_touched_is_fine() {
    let history = history();
    let verdict = audit(history.dir(), history.kept.keys().copied()).unwrap();
    assert_eq!(verdict.wrong, []);
    assert_eq!(verdict.is_fine(), Some(true), "{verdict:?}");
    assert_eq!(
        (verdict.size, verdict.signed(), verdict.permitted),
        (history.size(), history.size(), history.size())
    );
    assert_eq!(verdict.checkpoints.len(), 3);
    assert!(verdict.checkpoints.iter().all(|compared| compared.agrees));
    // Each leaf, and one hash above.
    assert_eq!(verdict.hashes, history.size() + history.size() / 256);
    assert!(verdict.blobs > 10);
    for (key, state) in history.model.streams() {
        assert_eq!(verdict.streams.get(key), Some(state));
    }
}

#[test]
fn looking_changes_nothing() {
    let list = |dir: &std::path::Path| {
        let mut files = Vec::new();
        let mut left = vec![dir.to_owned()];
        while let Some(dir) = left.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    left.push(path);
                } else {
                    files.push((path.clone(), std::fs::read(&path).unwrap()));
                }
            }
        }
        files.sort();
        files
    };
    let copy = history().copy();
    let before = list(copy.path());
    audit(copy.path(), []).unwrap();
    assert_eq!(list(copy.path()), before);
}

/// The key is taken from the directory where there is no other, and that is said.
#[test]
fn whose_word_was_taken_is_said() {
    let directory = Directory::open(history().dir()).unwrap();
    let own = Trust::of(None, &directory).unwrap();
    assert!(own.in_words().contains("that the log itself names"), "{}", own.in_words());
    let verdict = verify(&directory, Against { trust: own, checkpoints: Vec::new() }, &mut |_| ()).unwrap();
    assert_eq!(verdict.is_fine(), Some(true));
    let copy = history().copy();
    std::fs::remove_file(copy.path().join("log.key")).unwrap();
    let directory = Directory::open(copy.path()).unwrap();
    let nobody = Trust::of(None, &directory).unwrap();
    assert!(nobody.in_words().contains("no signature was checked"), "{}", nobody.in_words());
}

/// A log before its first checkpoint and without a tree, as one is that an older server wrote.
#[test]
fn a_log_without_tree_and_checkpoint_is_checked_as_far_as_that_goes() {
    let copy = history().copy();
    std::fs::remove_dir_all(copy.path().join("tree")).unwrap();
    std::fs::remove_file(copy.path().join("checkpoint")).unwrap();
    let verdict = audit(copy.path(), []).unwrap();
    // Who brings a key is not told that all is well where nobody has signed.
    assert_eq!((verdict.is_fine(), verdict.wrong.len(), verdict.signed(), verdict.hashes), (None, 0, 0, 0));
    assert!(verdict.unread.is_some_and(|why| why.contains("nobody has signed")));
    let directory = Directory::open(copy.path()).unwrap();
    let nobody = Against { trust: Trust::Nobody, checkpoints: Vec::new() };
    let verdict = verify(&directory, nobody, &mut |_| ()).unwrap();
    assert_eq!((verdict.is_fine(), verdict.permitted), (Some(true), history().size()));
    assert!(verdict.remarks.iter().any(|remark| remark.contains("nobody has signed")));
    // A kept checkpoint is as good as its own, as far as it goes: who takes its own away says nothing of what is newer.
    let newest = *history().kept.keys().max().unwrap();
    assert!(newest < history().size());
    let verdict = audit(copy.path(), history().kept.keys().copied()).unwrap();
    assert_eq!((verdict.is_fine(), verdict.signed()), (None, newest));
    let own = vec![("own".to_owned(), std::fs::read(history().dir().join("checkpoint")).unwrap())];
    let trust = Trust::Given(Box::new(Policy::of_log(vkey())));
    let verdict = verify(&directory, Against { trust, checkpoints: own }, &mut |_| ()).unwrap();
    assert_eq!((verdict.is_fine(), verdict.signed()), (Some(true), history().size()));
}

#[test]
fn a_replay_gives_the_streams_at_any_moment() {
    let history = history();
    let directory = Directory::open(history.dir()).unwrap();
    let mut events = 0;
    let model = replay::<SourceError>(&directory, &Trust::Nobody, Until::End, |_, _| {
        events += 1;
        Ok(())
    });
    assert_eq!((model.unwrap().model, events), (history.model.clone(), history.size()));
    // In the middle of a run: to its end.
    let mut last = None;
    let mut visit = |step: &tagtrail_replay::replay::Step<'_>, _: &tagtrail_domain::Model| {
        last = Some((step.recorded.sequence, step.ends_run));
        Ok::<_, SourceError>(())
    };
    replay(&directory, &Trust::Nobody, Until::Sequence(1), &mut visit).unwrap();
    let (first_run_ends, ends) = last.unwrap();
    assert!(ends && first_run_ends > 1);
    let mut any = false;
    let empty = replay::<SourceError>(&directory, &Trust::Nobody, Until::Sequence(0), |_, _| {
        any = true;
        Ok(())
    });
    assert_eq!((empty.unwrap().model.streams().count(), any), (0, false));
}

#[test]
fn events_are_exported_as_cloud_events() {
    let directory = Directory::open(history().dir()).unwrap();
    let log = directory.log_id().unwrap().to_string();
    let mut lines = Vec::new();
    let visited = replay::<SourceError>(&directory, &Trust::Nobody, Until::End, |step, _| {
        lines.push(cloud_event(&log, &step.event).unwrap());
        Ok(())
    });
    visited.unwrap();
    let first: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(first["id"], format!("{log}-1"));
    assert_eq!(first["source"], format!("/tagtrail/logs/{log}"));
    assert_eq!(first["type"], "tagtrail.v1.stream-created");
    assert_eq!(first["subject"], "test/s0");
    assert_eq!(first["sequence"], "00000000000000000001");
    assert_eq!(first["data"]["sequence"], 1);
    assert_eq!(lines.len() as u64, history().size());
}

/// What is shown is compared part by part.
#[test]
fn what_is_shown_otherwise_is_named() {
    let model = &history().model;
    let streams = model.streams().map(|(key, state)| (key.clone(), state.clone())).collect();
    let shown =
        || -> Vec<_> { model.streams().filter_map(|(key, state)| shown::shown(key, state)).collect() };
    assert_eq!(shown::differences(&streams, shown(), 7), []);
    let check = |what: &str, change: &dyn Fn(&mut tagtrail_api::v1::ImageStream)| {
        let mut there = shown();
        change(&mut there[0]);
        let found = shown::differences(&streams, there, 7);
        let told: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert!(told.iter().any(|told| told.contains(what)), "{what}: {told:?}");
    };
    check("generation", &|stream| stream.generation += 1);
    check("points to", &|stream| stream.statuses[0].items[0].docker_image_reference.push('x'));
    check("items of", &|stream| stream.statuses[0].history_length += 1);
    check("hold of", &|stream| {
        let held = stream.statuses.iter_mut().find(|status| status.hold.is_some());
        held.expect("one is held").hold = None;
    });
    check("tags with a history", &|stream| drop(stream.statuses.pop()));
    check("annotations", &|stream| drop(stream.annotations.insert("a".into(), "b".into())));
    check("no event is of it", &|stream| stream.name = "other".into());
    check("it is not shown at all", &|stream| stream.name = "other".into());
}

#[test]
fn two_logs_are_compared() {
    let (history, copy) = (history(), history().copy());
    let open = |dir: &std::path::Path| Directory::open(dir).unwrap();
    let compare = |copy: &std::path::Path| diff(&open(history.dir()), &open(copy), &mut |_| ()).unwrap();
    assert_eq!(compare(copy.path()), Parting::Never { size: history.size() });
    let mut journal = Journal::read(copy.path());
    let mut records = journal.records();
    let gone = records.pop().unwrap().len() as u64;
    journal.set_records(records.clone());
    journal.write();
    assert_eq!(compare(copy.path()), Parting::Longer { size: history.size() - gone, second: false });
    records[40][0].1 = b"another".as_slice().into();
    let sequence = records[..40].iter().map(Vec::len).sum::<usize>() as u64 + 1;
    journal.set_records(records);
    journal.write();
    let original = history.payloads[sequence as usize - 1].clone();
    let payloads = Box::new([original, b"another".as_slice().into()]);
    assert_eq!(compare(copy.path()), Parting::At { sequence, payloads });
}

/// What the log's own reader of streams says, from the end of the history.
#[test]
fn a_description_is_made_from_the_events() {
    let key: StreamKey = name(0);
    let description = shown::description(&history().model, &key).unwrap();
    assert_eq!(description.stream.unwrap().name, "s0");
    assert!(description.tags.iter().any(|tag| tag.items.len() > 1));
    assert_eq!(history::origin(), format!("tagtrail/{}", history::ID));
}

/// A log that lost events goes on under a new id. Checkpoints of what it was count up to where it did so.
#[test]
fn a_log_that_goes_on_under_a_new_id() {
    let copy = history().copy();
    // Fewer blobs to look at do not matter here; the journal is written anew.
    let head = history().size();
    let kept = *history().kept.keys().max().unwrap();
    let new = LogId::from_bytes([0xB0; 16]);
    let new_key = SigningKey::from_seed(format!("tagtrail/{new}"), &[9; 32]).unwrap();
    let continued = LogContinued {
        old_log_id: history::ID.to_string(),
        old_origin: history::origin(),
        old_checkpoint: String::new(),
        head,
    };
    let newest = codec::decode(history().payloads.last().unwrap()).unwrap();
    let recorded = Recorded {
        sequence: head + 1,
        revision: 1,
        run: Run { first_sequence: head + 1, length: 1 },
        stream: StreamKey::of_log(),
        request_id: String::new(),
        event: Event {
            stream_uid: String::new(),
            generation: 0,
            fact: Fact::LogContinued(Box::new(continued)),
        },
        ..newest
    };
    let event = codec::encode(&recorded);
    continue_as(copy.path(), new, head, event.clone()).unwrap();
    let mut payloads = history().payloads.clone();
    payloads.push(event);
    history::write_tree(copy.path(), &payloads);
    std::fs::write(copy.path().join("checkpoint"), history::checkpoint(&payloads, &new_key)).unwrap();

    let policy = format!("log {}\nlog {}\nquorum none\n", new_key.verifier(), vkey());
    let audit = |checkpoints: Vec<(String, Vec<u8>)>| {
        let trust = Trust::Given(Box::new(Policy::parse(policy.as_bytes()).unwrap()));
        let source = Directory::open(copy.path()).unwrap();
        verify(&source, Against { trust, checkpoints }, &mut |_| ()).unwrap()
    };
    let verdict = audit(vec![("kept".into(), history().kept[&kept].clone())]);
    assert_eq!(verdict.is_fine(), Some(true), "{:?}", verdict.wrong);
    assert_eq!((verdict.checkpoints.len(), verdict.signed()), (2, head + 1));
    // A checkpoint of what came after, and was given up.
    payloads.push(history().payloads[3].clone());
    let lost = history::checkpoint(&payloads, &history::key());
    let verdict = audit(vec![("lost".into(), lost)]);
    let told: Vec<_> = verdict.wrong.iter().map(|wrong| (wrong.kind(), wrong.sequence())).collect();
    assert_eq!(told, [("GivenUp", Some(head + 1))]);
    // A log that it never was.
    let other = SigningKey::from_seed("tagtrail/other", &[7; 32]).unwrap();
    let trust = Trust::Nobody;
    let source = Directory::open(copy.path()).unwrap();
    let checkpoints = vec![("other".to_owned(), history::checkpoint(&history().payloads, &other))];
    let verdict = verify(&source, Against { trust, checkpoints }, &mut |_| ()).unwrap();
    assert_eq!(verdict.wrong.iter().map(|wrong| wrong.kind()).collect::<Vec<_>>(), ["OtherLog"]);
}
