//! What opening looks at.

use bytes::Bytes;
use tagtrail_event_log::{LogId, MemoryLog};

use super::*;
use crate::config::Overrides;

/// A log of so many events, of which one may be another than it was.
fn log(changed: Option<u64>) -> Arc<dyn Log> {
    let log = MemoryLog::new(LogId::from_bytes([7; 16]));
    for sequence in 1..=700 {
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
    let config = Config::load(None, Overrides::default(), std::iter::empty()).expect("a configuration");
    let config = Config { data_dir: dir.path().join("data"), ..config };
    std::fs::create_dir(&config.data_dir).expect("a directory");
    let open = |log: Arc<dyn Log>, opening| {
        let mut opened = Audit::open(&config, log, opening, || [7; 32]).expect("it opens");
        opened.tree.sync().expect("the disk is well");
        opened.audit.suspended()
    };
    assert_eq!(open(log(None), Opening { created: true, doubtful: false }), None);
    let doubtful = Opening { created: false, doubtful: true };
    assert_eq!(open(log(None), doubtful), None);
    for changed in [1, 21, 256, 257, 500] {
        let why = open(log(Some(changed)), doubtful).expect("it is only read");
        assert!(why.contains(&format!("event {changed} is not the one that was hashed")), "{why}");
    }
}
