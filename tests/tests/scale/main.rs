//! Many tags at once, with the machine to themselves: what they promise is told in seconds, and other tests beside them would
//! be other work on the same clock.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use tagtrail_tests::client::Client;
use tagtrail_tests::process::free_port;
use tagtrail_tests::registry::{Access, Asked, Registry, Storage};
use tagtrail_tests::server::{Options, Server};

fn configured(import: &str) -> Server {
    let options = Options { config: format!("[import]\n{import}\n"), ..Options::default() };
    Server::start(options).expect("the server starts")
}

fn done(client: &Client, line: &str) {
    let printed = client.run(&line.split(' ').collect::<Vec<_>>()).expect("tagtrail runs");
    assert_eq!(printed.rc, 0, "{line}: {printed:?}");
}

const REPOSITORIES: usize = 20;
const TAGS: usize = 100;
/// So many tags has `team/app` in the standard content.
const OF_THEIR_OWN: usize = 8;
/// Requests a second.
const ENOUGH: usize = 125;
const TOO_FEW: usize = 100;

/// Two thousand tags on the schedule, each following a tag of its own.
fn two_thousand(config: &str) -> (Registry, Storage, Server) {
    let storage = Storage::filled().expect("the standard content");
    storage.copy_tag("team/app", "dev", (0..TAGS - OF_THEIR_OWN).map(|n| format!("t{n:02}"))).expect("tags");
    for n in 0..REPOSITORIES {
        storage.copy_repository("team/app", &format!("scale/r{n:02}")).expect("a repository");
    }
    let registry =
        Registry::serve(&storage, free_port().expect("a port"), Access::Anonymous).expect("a registry");
    let server = configured(&format!("max_images_per_repository = {TAGS}\n{config}"));
    let client = server.client();
    for n in 0..REPOSITORIES {
        let from = format!("{}/scale/r{n:02}", registry.host());
        done(&client, &format!("import-image r{n:02} --from={from} --all --confirm --scheduled --insecure"));
    }
    (registry, storage, server)
}

/// How often each tag was looked at, and no other request but pings.
fn looks_at_each(asked: &[Asked]) -> BTreeMap<&str, usize> {
    let mut looks = BTreeMap::new();
    for asked in asked.iter().filter(|asked| asked.path != "/v2/") {
        assert_eq!(asked.method, "HEAD", "an unchanged tag costs no pull: {asked:?}");
        *looks.entry(asked.path.as_str()).or_default() += 1;
    }
    looks
}

/// The most requests within any `seconds` seconds of the clock.
fn densest(asked: &[Asked], seconds: i64) -> usize {
    let starts = asked.iter().map(|asked| asked.second);
    starts
        .map(|start| asked.iter().filter(|a| (start..start + seconds).contains(&a.second)).count())
        .max()
        .unwrap_or(0)
}

/// The requests of whole seconds, from the next one on, for so long.
fn watched(registry: &Registry, time: Duration) -> Vec<Asked> {
    let second =
        || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs() as i64;
    let start = second() + 1;
    let end = start + time.as_secs() as i64;
    // And a second more, for what is written to the log.
    sleep(time + Duration::from_secs(2));
    let mut asked = registry.asked().expect("a log");
    asked.retain(|asked| (start..end).contains(&asked.second));
    asked
}

/// 2,000 tags in 20 repositories, each to be looked at every twenty seconds: 100 requests a second.
#[test]
fn two_thousand_tags_are_each_checked_once_in_their_interval() {
    let (registry, _storage, mut server) =
        two_thousand(&format!("scheduled_interval = '20s'\nrequests_per_second = {ENOUGH}"));
    sleep(Duration::from_secs(20));
    let head = server.client().head().expect("status");
    let asked = watched(&registry, Duration::from_secs(60));
    let looks = looks_at_each(&asked);
    assert_eq!(looks.len(), REPOSITORIES * TAGS, "none is forgotten");
    // The window cuts off a look at either end.
    let odd: Vec<_> = looks.iter().filter(|(_, looks)| !(2..=4).contains(*looks)).collect();
    assert!(odd.is_empty(), "three looks in three intervals: {odd:?}");
    assert!(densest(&asked, 1) <= 2 * ENOUGH, "a second's budget, and what was left of the one before");
    assert!(densest(&asked, 10) <= 11 * ENOUGH);
    assert_eq!(server.client().head().expect("status"), head, "nothing has moved and nothing is written");

    // What was due while the server was down comes spread over an interval, not as a storm.
    server.kill().expect("it can be killed");
    sleep(Duration::from_secs(22));
    server.restart().expect("it starts again");
    let asked = watched(&registry, Duration::from_secs(10));
    let looked = looks_at_each(&asked).len();
    assert!((400..=1_500).contains(&looked), "half an interval, about half of the tags: {looked}");
    assert_eq!(server.client().head().expect("status"), head);
}

/// The same with a budget of half as much as is needed: all are late, none is starved, and everybody can see why.
#[test]
fn two_thousand_tags_and_too_few_requests_to_give() {
    let (registry, _storage, server) =
        two_thousand(&format!("scheduled_interval = '10s'\nrequests_per_second = {TOO_FEW}"));
    let client = server.client();
    // The imports were more than the budget gives, too; and it takes a round until all are late.
    sleep(Duration::from_secs(35));
    let asked = watched(&registry, Duration::from_secs(40));
    let looks = looks_at_each(&asked);
    assert_eq!(looks.len(), REPOSITORIES * TAGS, "none is starved");
    let (fewest, most) = (looks.values().min().copied(), looks.values().max().copied());
    assert!(
        most <= fewest.map(|fewest| fewest + 1),
        "all are looked at equally often: {fewest:?} to {most:?}"
    );
    assert!(densest(&asked, 1) <= 2 * TOO_FEW);
    assert!(densest(&asked, 20) <= 21 * TOO_FEW);
    assert!(asked.len() >= 36 * TOO_FEW, "and what is given is used: {}", asked.len());
    let list = client.json(&["get", "schedule", "-o", "json"]).expect("the list");
    let items = list["items"].as_array().expect("a list");
    assert_eq!(items.len(), REPOSITORIES * TAGS);
    let late: Vec<&str> = items.iter().filter_map(|item| item["status"]["lateBecause"].as_str()).collect();
    assert!(late.len() > items.len() / 4, "{} are late", late.len());
    let why = format!("it waits for its turn at {}", registry.host());
    assert!(late.iter().all(|late| late.starts_with(&why)), "{:?}", late.first());
}
