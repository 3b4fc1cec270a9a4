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
    let config = config(&dir);
    let open = |log: Arc<dyn Log>, opening: Opening| {
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

/// Where nothing gave reason to doubt, all is looked at while the server serves, and the log is only read from then on.
#[tokio::test]
async fn it_is_looked_at_beside_serving() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = config(&dir);
    let open = |log: Arc<dyn Log>, created| {
        let opening = Opening { created, doubtful: false };
        Audit::open(&config, log, opening, || [7; 32]).expect("it opens")
    };
    let run = async |opened: Opened| {
        let audit = opened.audit.clone();
        let (stop, stopped) = watch::channel(false);
        let signing = opened.start(stopped);
        tokio::select! {
            () = audit.until_suspended() => {}
            () = tokio::time::sleep(std::time::Duration::from_secs(2)) => {}
        }
        stop.send_replace(true);
        signing.await.expect("it ends");
        audit.suspended()
    };
    assert_eq!(run(open(log(None), true)).await, None);
    assert_eq!(run(open(log(None), false)).await, None);
    let opened = open(log(Some(21)), false);
    assert_eq!(opened.audit.suspended(), None, "its end is as it was");
    let why = run(opened).await.expect("it is only read");
    assert!(why.starts_with("event 21 is not the one that was hashed"), "{why}");
}
