//! SIGKILL at each step of publishing: whatever was under way, the stream ends up with every event once, in order.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use tagtrail_publisher::{Observer, Publisher, Step};
use tagtrail_tests::broker::Broker;
use tokio::sync::watch;

use crate::support::{Running, all, events_in, fill, open, position_file, settings};

/// Set for a process that is to publish until it kills itself: the directory, the broker's address, the step, the event.
const PUBLISH: &str = "TAGTRAIL_TEST_PUBLISH";

/// How many events there are: more than one window, so that there is always something behind.
const EVENTS: u64 = 300;

/// Kills its own process at one step.
struct Killer {
    step: String,
    event: u64,
}

impl Observer for Killer {
    fn step(&self, step: Step) {
        let (name, event) = match step {
            Step::Sending(event) => ("sending", event),
            Step::Sent(event) => ("sent", event),
            Step::Acknowledged(event) => ("acknowledged", event),
            Step::Remembering(event) => ("remembering", event),
            Step::Remembered(event) => ("remembered", event),
            _ => return,
        };
        // Positions are remembered now and then: the first that is far enough.
        let reached = event == self.event || (name.starts_with("remember") && event >= self.event);
        if name == self.step && reached {
            let pid = rustix::process::getpid();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            std::thread::sleep(std::time::Duration::from_secs(60));
        }
    }
}

/// Not a test by itself: the process that kills itself.
#[test]
fn publisher_process() {
    let Ok(told) = std::env::var(PUBLISH) else { return };
    let [dir, url, step, event] = told.split('|').collect::<Vec<_>>()[..] else { panic!("{told}") };
    let dir = Path::new(dir);
    let connection = tagtrail_publisher::Connection { url: url.into(), ..Default::default() };
    let settings = tagtrail_publisher::Settings { connection, stream: Default::default(), bucket: None };
    let killer = Killer { step: step.into(), event: event.parse().unwrap() };
    let log = open(dir);
    let visible = log.follow();
    let publisher = Publisher::new(settings, log, visible, position_file(dir), Arc::new(killer));
    let (_stop, stopped) = watch::channel(false);
    tokio::runtime::Runtime::new().unwrap().block_on(publisher.run(stopped));
}

/// What becomes of the remembered position between the kill and the next start.
#[derive(Clone, Copy, PartialEq, Debug)]
enum File {
    Kept,
    Lost,
}

async fn killed(at: &str, event: u64, file: File) {
    let broker = Broker::start(Default::default()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    {
        let log = open(dir.path());
        fill(&*log, EVENTS);
    }
    let told = format!("{}|{}|{at}|{event}", dir.path().display(), broker.url());
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "steps::publisher_process", "--nocapture"])
        .env(PUBLISH, told)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(9),
        "killed {at} {event}: {status}"
    );
    if file == File::Lost {
        std::fs::remove_file(position_file(dir.path())).ok();
    }
    let log = open(dir.path());
    let running = Running::start(settings(&broker), log.clone(), dir.path());
    running.published(EVENTS).await;
    fill(&*log, EVENTS + 10);
    running.published(EVENTS + 10).await;
    let heard = format!("{:?}", running.heard_steps());
    running.stop().await;
    let events = events_in(&broker, "TAGTRAIL").await;
    assert_eq!(events, all(EVENTS + 10), "killed {at} {event}, file {file:?}: {heard}\n{}", broker.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_where_the_stream_ends() {
    use File::{Kept, Lost};
    //     step            event  position file
    killed("sending", 1, Kept).await; // Nothing was published.
    killed("sending", 150, Kept).await;
    killed("sending", 150, Lost).await;
    killed("sent", 1, Kept).await;
    killed("sent", 150, Kept).await; // Up to 150 may have arrived, or less.
    killed("sent", EVENTS, Lost).await;
    killed("acknowledged", 1, Kept).await;
    killed("acknowledged", 150, Lost).await;
    killed("acknowledged", EVENTS, Kept).await;
    killed("remembering", 1, Kept).await; // Published, and not remembered.
    killed("remembering", EVENTS, Kept).await;
    killed("remembered", 1, Kept).await;
    killed("remembered", EVENTS, Kept).await;
    killed("remembered", EVENTS, Lost).await;
}
