//! Imports that nobody waits for: they survive kills, follow the schedule, and write nothing when there is no news.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use tagtrail_api::v1::event::Fact;
use tagtrail_api::v1::{Event, MoveCause};
use tagtrail_tests::client::{Client, Printed};
use tagtrail_tests::faulty::{Fault, Faulty};
use tagtrail_tests::server::{Options, Server};
use tagtrail_tests::wait;

use crate::api::Api;

/// Longer than any import here takes; the interval of the schedule is one second.
const SOON: Duration = Duration::from_secs(20);

fn every_second() -> Options {
    Options { config: "[import]\nscheduled_interval = \"1s\"\n".into(), ..Options::default() }
}

fn run(client: &Client, line: &str) -> Printed {
    client.run(&line.split(' ').collect::<Vec<_>>()).expect("tagtrail runs")
}

fn done(client: &Client, line: &str) {
    let printed = run(client, line);
    assert_eq!(printed.rc, 0, "{line}: {printed:?}");
}

/// `tag` with the one image of a registry as the source, as a background import.
fn tag(registry: &Faulty, name: &str) -> String {
    format!("tag {}/team/app:v1 {name} --insecure", registry.host())
}

/// The images of a tag of the stream `app`, newest first.
fn images(client: &Client, tag: &str) -> Vec<String> {
    let stream = client.json(&["get", "is", "app", "-o", "json"]).expect("the stream");
    let tags = stream["status"]["tags"].as_array().cloned().unwrap_or_default();
    let items = tags.iter().find(|status| status["tag"] == tag).map(|status| status["items"].clone());
    let items = items.and_then(|items| items.as_array().cloned()).unwrap_or_default();
    items.iter().map(|item| item["image"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Waits until the newest image of `app:v1` is the registry's.
fn follows(client: &Client, registry: &Faulty) {
    let newest = || images(client, "v1").first().cloned();
    let arrived = wait::until(SOON, || (newest() == Some(registry.digest())).then_some(()));
    assert!(arrived.is_some(), "{:?} is not {}", images(client, "v1"), registry.digest());
}

fn pending(client: &Client) -> Value {
    client.json(&["status", "-o", "json"]).expect("status")["pendingImports"].clone()
}

fn moves(events: &[Event]) -> Vec<&Event> {
    events.iter().filter(|event| matches!(event.fact, Some(Fact::TagMoved(_)))).collect()
}

/// The wish is durable when `tag` answers. Killed before the registry has answered, the next start asks again.
#[test]
fn a_kill_between_the_wish_and_the_import() {
    let registry = Faulty::start().expect("a registry");
    let mut server = Server::start(Options::default()).expect("the server starts");
    registry.turn(Fault::Silent);
    let start = Instant::now();
    done(&server.client(), &tag(&registry, "app:v1"));
    assert!(start.elapsed() < Duration::from_secs(5), "`tag` does not wait for the registry");
    let asked = wait::until(SOON, || (registry.asked() > 0).then_some(()));
    assert!(asked.is_some(), "the import has begun");
    assert_eq!(pending(&server.client()), 1);
    let described = run(&server.client(), "describe is app").stdout;
    assert!(described.contains("~ importing latest image ..."), "{described}");
    let wish = server.client().head().expect("status");

    for kill in 1..=2 {
        server.kill().expect("the server can be killed");
        server.restart().expect("it starts again");
        let again = registry.asked();
        let asked = wait::until(SOON, || (registry.asked() > again).then_some(()));
        assert!(asked.is_some(), "the import was taken up after kill {kill}");
        assert_eq!(server.client().head().expect("status"), wish, "after kill {kill}");
    }
    server.kill().expect("the server can be killed");
    registry.turn(Fault::None);
    server.restart().expect("it starts again");
    follows(&server.client(), &registry);
    assert_eq!(images(&server.client(), "v1").len(), 1);

    let events = Api::of(&server).events_after(wish);
    assert!(!events.is_empty());
    for event in &events {
        let actor = event.actor.clone().unwrap_or_default();
        assert_eq!((actor.name.as_str(), actor.authenticated), ("tagtrail", true));
        assert_eq!((event.command.as_str(), event.caused_by), ("background-import", wish));
    }
    assert_eq!(moves(&events).len(), 1);
}

/// Asked to end, the server does not wait for a registry that is silent.
#[test]
fn an_end_between_the_wish_and_the_import() {
    let registry = Faulty::start().expect("a registry");
    let mut server = Server::start(Options::default()).expect("the server starts");
    registry.turn(Fault::Silent);
    done(&server.client(), &tag(&registry, "app:v1"));
    wait::until(SOON, || (registry.asked() > 0).then_some(())).expect("the import has begun");
    let start = Instant::now();
    assert_eq!(server.terminate().expect("it ends").code(), Some(0), "{}", server.log());
    assert!(start.elapsed() < Duration::from_secs(5), "it took {:?}", start.elapsed());
    registry.turn(Fault::None);
    server.restart().expect("it starts again");
    follows(&server.client(), &registry);
}

/// A wish that is replaced while a registry is silent: what comes of the first one is dropped.
#[test]
fn a_wish_that_is_replaced_meanwhile() {
    let (slow, quick) = (Faulty::start().expect("a registry"), Faulty::start().expect("a registry"));
    quick.rebuild();
    let server = Server::start(Options::default()).expect("the server starts");
    let client = server.client();
    slow.turn(Fault::Silent);
    done(&client, &tag(&slow, "app:v1"));
    wait::until(SOON, || (slow.asked() > 0).then_some(())).expect("the import has begun");
    done(&client, &tag(&quick, "app:v1"));
    slow.turn(Fault::None);
    follows(&client, &quick);
    assert_eq!(images(&client, "v1"), [quick.digest()]);
    wait::until(SOON, || (pending(&client) == 0).then_some(())).expect("nothing is left to do");
    assert_eq!(images(&client, "v1"), [quick.digest()]);
}

#[test]
fn waiting_for_an_import() {
    let registry = Faulty::start().expect("a registry");
    let server = Server::start(Options::default()).expect("the server starts");
    let client = server.client();
    done(&client, &(tag(&registry, "app:v1") + " --wait"));
    assert_eq!(images(&client, "v1"), [registry.digest()]);

    registry.turn(Fault::InternalError);
    let printed = run(&client, &(tag(&registry, "app:v2") + " --wait"));
    assert_eq!(printed.rc, 1, "{printed:?}");
    assert!(printed.stderr.contains("the import of app:v2 failed: ") && printed.stderr.contains("500"));
    // A failure that repeats is not news, and not waited for without end either.
    let printed = run(&client, &(tag(&registry, "app:v2") + " --wait"));
    assert_eq!(printed.rc, 1, "{printed:?}");
    assert!(printed.stderr.contains("the import of app:v2 failed: "), "{printed:?}");

    registry.turn(Fault::Silent);
    let start = Instant::now();
    let printed = run(&client, &(tag(&registry, "app:v3") + " --wait=1s"));
    assert_eq!(printed.rc, 1, "{printed:?}");
    let words = "error: the import of app:v3 is still under way after 1s; it goes on\n";
    assert_eq!(printed.stderr, words);
    assert!(start.elapsed() >= Duration::from_secs(1) && start.elapsed() < Duration::from_secs(8));
    registry.turn(Fault::None);
    wait::until(SOON, || (images(&client, "v3") == [registry.digest()]).then_some(())).expect("it went on");

    // Where there is nothing to import there is nothing to wait for.
    done(&client, "tag app:v1 app:copy --wait");
    assert_eq!(images(&client, "copy"), [registry.digest()]);
}

#[test]
fn the_schedule_finds_what_moved_and_writes_nothing_else() {
    let registry = Faulty::start().expect("a registry");
    let mut server = Server::start(every_second()).expect("the server starts");
    done(&server.client(), &(tag(&registry, "app:v1") + " --scheduled --wait"));
    let quiet = |client: &Client, when: &str| {
        let (head, asked) = (client.head().expect("status"), registry.asked());
        sleep(Duration::from_millis(3_300));
        assert!(registry.asked() >= asked + 2, "{when}: looked {} times", registry.asked() - asked);
        assert_eq!(client.head().expect("status"), head, "{when}: a look without news writes nothing");
    };
    quiet(&server.client(), "after the first import");

    let head = server.client().head().expect("status");
    registry.rebuild();
    follows(&server.client(), &registry);
    let events = Api::of(&server).events_after(head);
    let moved = moves(&events);
    assert_eq!(moved.len(), 1);
    let Some(Fact::TagMoved(fact)) = &moved[0].fact else { unreachable!("it is a move") };
    assert_eq!(fact.cause(), MoveCause::ScheduledImport);
    assert_eq!(moved[0].command, "scheduled-import");
    assert!(events.iter().any(|event| matches!(&event.fact, Some(Fact::ImportFinished(f)) if f.scheduled)));
    quiet(&server.client(), "after a move");

    // A failure is news once.
    let head = server.client().head().expect("status");
    registry.turn(Fault::InternalError);
    wait::until(SOON, || (server.client().head().ok()? > head).then_some(())).expect("the failure is noted");
    let (noted, asked) = (server.client().head().expect("status"), registry.asked());
    wait::until(SOON, || (registry.asked() > asked + 1).then_some(())).expect("it goes on looking");
    assert_eq!(server.client().head().expect("status"), noted, "a failure that repeats is not news");
    registry.turn(Fault::None);
    registry.rebuild();
    follows(&server.client(), &registry);
    assert_eq!(images(&server.client(), "v1").len(), 3);

    // Schedules are found again by the next start.
    server.kill().expect("the server can be killed");
    registry.rebuild();
    server.restart().expect("it starts again");
    follows(&server.client(), &registry);
    quiet(&server.client(), "after a restart");

    // And end with the tag.
    done(&server.client(), "tag -d app:v1");
    sleep(Duration::from_millis(500));
    let asked = registry.asked();
    sleep(Duration::from_millis(2_500));
    assert_eq!(registry.asked(), asked, "nobody asked for it any more");
}
