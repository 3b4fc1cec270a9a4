//! What opening looks at.

use bytes::Bytes;
use tagtrail_event_log::{LogId, MemoryLog};

use super::*;
use crate::config::Overrides;

fn config(dir: &tempfile::TempDir) -> Config {
    let mut config = Config::load(None, Overrides::default(), std::iter::empty()).expect("a configuration");
    config.data_dir = dir.path().join("data");
    config.audit.checkpoint_copy = None;
    std::fs::create_dir(&config.data_dir).expect("a directory");
    config
}

/// More than what opening looks at from the end.
const EVENTS: u64 = 700;

/// A log of so many events, of which one may be another than it was.
fn log(events: u64, changed: Option<u64>) -> Arc<dyn Log> {
    let log = MemoryLog::new(LogId::from_bytes([7; 16]));
    for sequence in 1..=events {
        let text = if changed == Some(sequence) {
            format!("changed {sequence}")
        } else {
            format!("event {sequence}")
        };
        log.append(log.head(), &[vec![Bytes::from(text)]]).expect("it is in memory");
    }
    Arc::new(log)
}

/// Looking at the end of the log is not enough where one of its copies was made anew: the event that differs is far from it.
#[test]
fn an_older_event_that_is_another() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = config(&dir);
    let open = |log: Arc<dyn Log>, opening: Opening| {
        let mut opened = Audit::open(&config, log, opening, || [7; 32]).expect("it opens");
        opened.tree.sync().expect("the disk is well");
        opened.audit.suspended()
    };
    assert_eq!(open(log(EVENTS, None), Opening { created: true, doubtful: false }), None);
    let doubtful = Opening { created: false, doubtful: true };
    assert_eq!(open(log(EVENTS, None), doubtful), None);
    for changed in [1, 21, 256, 257, 500] {
        let why = open(log(EVENTS, Some(changed)), doubtful).expect("it is only read");
        assert!(why.contains(&format!("event {changed} is not the one that was hashed")), "{why}");
    }
}

/// Where nothing gave reason to doubt, all is looked at while the server serves, and the log is only read from then on.
#[tokio::test]
async fn it_is_looked_at_beside_serving() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = config(&dir);
    let open = |log: Arc<dyn Log>, created| {
        let mut opened =
            Audit::open(&config, log, Opening { created, doubtful: false }, || [7; 32]).expect("it opens");
        opened.tree.sync().expect("the disk is well");
        opened.audit
    };
    let looked_over = async |audit: Arc<Audit>| {
        assert_eq!(audit.suspended(), None, "its end is as it was");
        let (_stop, stopped) = watch::channel(false);
        signing::look_over(audit.clone(), stopped).await;
        audit.suspended()
    };
    assert_eq!(looked_over(open(log(EVENTS, None), true)).await, None);
    let why = looked_over(open(log(EVENTS, Some(21)), false)).await.expect("it is only read");
    assert!(why.starts_with("event 21 is not the one that was hashed"), "{why}");
}

/// A hash above leaves that are well: the tree is damaged, and the events are nobody's other history.
#[test]
fn a_damaged_tree_is_no_other_history() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = config(&dir);
    // So many that the first leaves are under a hash of the second level that is not the newest one: opening looks at that.
    let log = log(2 * 256 * 256 + 300, None);
    let opened = |opening| {
        let mut opened = Audit::open(&config, log.clone(), opening, || [7; 32]).expect("it opens");
        opened.tree.sync().expect("the disk is well");
        opened
    };
    drop(opened(Opening { created: true, doubtful: false }));
    let level = config.data_dir.join("tree/1");
    let mut bytes = std::fs::read(&level).expect("a level");
    bytes[3 * 32] ^= 1;
    std::fs::write(&level, bytes).expect("a level");
    let opened = opened(Opening { created: false, doubtful: true });
    assert_eq!(opened.audit.suspended(), None);
    assert!(opened.findings.iter().any(|found| found.contains("delete tree/")), "{:?}", opened.findings);
}
