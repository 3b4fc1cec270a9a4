//! An alarm over a metric that nobody gives never rings: the rules for Prometheus name what a real server tells.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use regex::Regex;
use tagtrail_tests::broker::{self, Broker};
use tagtrail_tests::registry::Registry;
use tagtrail_tests::server::{Options, Server};
use tagtrail_tests::wait;

#[test]
fn every_metric_with_an_alarm_is_told() {
    let mut broker = Broker::start(broker::Options::default()).expect("a broker");
    let (registry, _storage) = Registry::start().expect("a registry");
    let config = format!(
        "[import]\nscheduled_interval = \"1s\"\n[nats]\nurl = \"{}\"\nbucket = \"tags\"\n\
         [[registry]]\nhost = \"{}\"\ninsecure = true\n",
        broker.url(),
        registry.host()
    );
    let server = Server::start(Options { config, ..Options::default() }).expect("a server");
    let from = format!("--from={}/team/app:v1.0.0", registry.host());
    let printed = server
        .client()
        .run(&["import-image", "app:v1", &from, "--confirm", "--scheduled"])
        .expect("tagtrail");
    assert_eq!(printed.rc, 0, "{}", printed.stderr);
    let connected = || (server.metric("tagtrail_nats_connected").ok()? >= 1.0).then_some(());
    wait::until(Duration::from_secs(30), connected).expect("a connection to the broker");
    broker.restart().expect("it comes back");

    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/prometheus/tagtrail.rules.yaml");
    let rules = fs::read_to_string(rules).expect("the rules");
    let name = Regex::new(r"\btagtrail_[a-z_]+").expect("a pattern");
    let named: BTreeSet<&str> = name.find_iter(&rules).map(|found| found.as_str()).collect();
    assert!(named.contains("tagtrail_publish_lag_seconds"), "{named:?}");
    let untold = || {
        let metrics = server.metrics().expect("metrics");
        let told = |name: &&str| metrics.lines().any(|line| line.starts_with(&format!("# TYPE {name} ")));
        named.iter().filter(|name| !told(name)).map(|name| (*name).to_owned()).collect::<Vec<_>>()
    };
    let all = wait::until(Duration::from_secs(30), || untold().is_empty().then_some(()));
    assert!(all.is_some(), "no server tells of {:?}", untold());
}
