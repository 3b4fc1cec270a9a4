//! Nothing that was acknowledged is lost, and nothing is half done, however often the server is killed.
//!
//! Sixteen writers send commands of every kind, each with a request id of its own. In the middle of it the server gets
//! SIGKILL. It is started again on the same data, and the log has to account for every command:
//!
//! | what the writer heard    | what the log holds                                        |
//! |--------------------------|-----------------------------------------------------------|
//! | an acknowledgement       | the command's events, ending at the acknowledged sequence |
//! | a refusal                | nothing                                                   |
//! | nothing                  | all of the command's events or none of them               |
//!
//! A command of which nothing was heard is sent again, and then happens once: by its request id.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::time::Duration;

use tagtrail_api::v1::admin_service_client::AdminServiceClient;
use tagtrail_api::v1::event_service_client::EventServiceClient;
use tagtrail_api::v1::{Event, ReadEventsRequest, RebuildViewRequest};
use tagtrail_tests::chance::Chance;
use tagtrail_tests::compare::difference;
use tagtrail_tests::server::{Options, Server};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::storm::{Heard, Write, connect};

/// How often the server is killed, unless `TAGTRAIL_KILLS` says otherwise.
const KILLS: u32 = 200;
const WRITERS: u64 = 16;
/// The longest time between the first write of a storm and its end. Most are shorter.
const STORM_MS: u64 = 80;

#[test]
fn a_killed_server_keeps_its_word() {
    let kills =
        env::var("TAGTRAIL_KILLS").map_or(KILLS, |kills| kills.parse().expect("TAGTRAIL_KILLS is a number"));
    let runtime = Runtime::new().expect("a runtime");
    // Otherwise a stream's repository is shown at the server's address, which is another after each start.
    let config = "[repository]\ninternal = \"registry.example\"\n".to_owned();
    let mut server = Server::start(Options { config, ..Options::default() }).expect("the server starts");
    let mut books = Books::default();
    for round in 0..kills {
        let mut chance = Chance(u64::from(round) + 1);
        let heard = runtime.block_on(storm(&mut server, &mut chance, round));
        server.restart().unwrap_or_else(|error| panic!("after kill {round}: {error:#}"));
        runtime.block_on(books.check(&server, heard, round));
        // Comparing costs as much as the log is long, so not every time.
        if round % 20 == 0 || round + 1 == kills {
            let differences = runtime.block_on(compare_with_a_rebuild(&server));
            assert_eq!(differences, Vec::<String>::new(), "after kill {round}");
        }
    }
    // Otherwise this has shown nothing.
    assert!(books.acknowledged > u64::from(kills), "only {} writes were acknowledged", books.acknowledged);
    assert!(books.unanswered > u64::from(kills) / 2, "only {} writes were cut off", books.unanswered);

    let before = view(&server);
    server.terminate().expect("the server ends when asked to");
    fs::remove_dir_all(server.data().join("view")).expect("the view is a directory of its own");
    server.restart().expect("a server without a view starts");
    if let Some(diff) = difference(&before, &view(&server)) {
        panic!("a view from nothing is not the view there was:\n{diff}");
    }
}

/// Sends writes from all sides, kills the server in their midst, and gives what was heard of each.
async fn storm(server: &mut Server, chance: &mut Chance, round: u32) -> Vec<(Write, Heard)> {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let channel = connect(server).await;
        let mut chance = Chance(chance.next_number());
        writers.spawn(async move {
            let mut heard = Vec::new();
            for number in 0.. {
                let write = Write::any(&mut chance, format!("{round}-{writer}-{number}"));
                let answer = write.send(channel.clone()).await;
                let over = matches!(answer, Heard::Nothing);
                heard.push((write, answer));
                if over {
                    break;
                }
            }
            heard
        });
    }
    tokio::time::sleep(Duration::from_millis(chance.below(STORM_MS))).await;
    server.kill().expect("the server can be killed");
    writers.join_all().await.into_iter().flatten().collect()
}

/// Everything the log has held so far, as far as it is needed to check what comes.
#[derive(Default)]
struct Books {
    /// The newest sequence that was read.
    head: u64,
    acknowledged: u64,
    unanswered: u64,
}

impl Books {
    /// Reads what is new in the log and accounts for everything that was heard.
    async fn check(&mut self, server: &Server, heard: Vec<(Write, Heard)>, round: u32) {
        let mut runs = self.read_runs(server, round).await;
        for (write, heard) in heard {
            let id = &write.id;
            match heard {
                Heard::Done(0) => assert!(!runs.contains_key(id), "kill {round}: {id} changed nothing"),
                Heard::Done(sequence) => {
                    let last =
                        runs.get(id).unwrap_or_else(|| panic!("kill {round}: {id}, acknowledged, is lost"));
                    assert_eq!(*last, sequence, "kill {round}: {id} is not where it was acknowledged");
                    self.acknowledged += 1;
                }
                Heard::Refused => assert!(!runs.contains_key(id), "kill {round}: {id} was refused, and done"),
                Heard::Nothing => {
                    self.unanswered += 1;
                    let first = runs.get(id).copied();
                    let repeat = write.send(connect(server).await).await;
                    match (first, repeat) {
                        (Some(last), Heard::Done(sequence)) => {
                            assert_eq!(sequence, last, "kill {round}: {id} was done twice");
                        }
                        (None, Heard::Done(_) | Heard::Refused) => {}
                        (Some(_), _) => panic!("kill {round}: {id} is done, and its repeat is refused"),
                        (None, Heard::Nothing) => {
                            panic!("kill {round}: no answer to {id} from a living server")
                        }
                    }
                }
            }
        }
        // The repeats have added to the log; no other request may be in it twice.
        for (id, last) in self.read_runs(server, round).await {
            assert!(runs.insert(id.clone(), last).is_none(), "kill {round}: {id} is in the log twice");
        }
    }

    /// The new runs by request id, each with its last sequence; every one is whole, and there is no gap.
    async fn read_runs(&mut self, server: &Server, round: u32) -> HashMap<String, u64> {
        let mut client = EventServiceClient::new(connect(server).await);
        let mut runs = HashMap::new();
        let mut open: Option<(u64, u64, String)> = None;
        loop {
            let request = ReadEventsRequest { from_sequence: self.head + 1, ..Default::default() };
            let page = client.read_events(request).await.expect("the log can be read").into_inner();
            for event in &page.events {
                assert_eq!(event.sequence, self.head + 1, "kill {round}: a gap");
                self.head = event.sequence;
                let (first, last) = run_of(event);
                let run = (first, last, event.request_id.clone());
                match open.take() {
                    None => assert_eq!(first, event.sequence, "kill {round}: a run without its start"),
                    Some(begun) => assert_eq!(begun, run, "kill {round}: a run is cut off at {first}"),
                }
                if event.sequence < last {
                    open = Some(run);
                } else {
                    let twice = runs.insert(event.request_id.clone(), last);
                    assert_eq!(twice, None, "kill {round}: {} is in the log twice", event.request_id);
                }
            }
            if self.head >= page.head {
                assert_eq!(self.head, page.head, "kill {round}: the head is not the last event");
                assert_eq!(open, None, "kill {round}: the log ends in the middle of a run");
                return runs;
            }
            assert!(!page.events.is_empty(), "kill {round}: the log ends before its head {}", page.head);
        }
    }
}

/// The first and the last sequence of the run to which an event belongs.
fn run_of(event: &Event) -> (u64, u64) {
    let run = event.run.as_ref().expect("every event names its run");
    (run.first_sequence, run.first_sequence + u64::from(run.length) - 1)
}

async fn compare_with_a_rebuild(server: &Server) -> Vec<String> {
    let mut client = AdminServiceClient::new(connect(server).await);
    let request = RebuildViewRequest { verify: true };
    client.rebuild_view(request).await.expect("the view is rebuilt").into_inner().differences
}

/// All streams, as a person sees them.
fn view(server: &Server) -> String {
    let list = server.client().json(&["get", "is", "-A", "-o", "json"]).expect("the streams are listed");
    format!("{list:#}")
}
