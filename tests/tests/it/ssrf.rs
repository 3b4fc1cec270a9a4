//! A server that others can reach connects to nothing that only it can reach, whoever asks, and whatever leads there.

use serde_json::Value;
use tagtrail_tests::client::Client;
use tagtrail_tests::faulty::digest;
use tagtrail_tests::host::{Answer, Host, Request};
use tagtrail_tests::process::free_port;
use tagtrail_tests::server::{Options, Server};

/// Where a hop may lead, each to a path that nobody has.
fn targets(v4: &Host, v6: &Host) -> Vec<String> {
    let (port, port6) = (v4.port(), v6.port());
    vec![
        format!("http://127.0.0.1:{port}/x"),
        format!("http://localhost:{port}/x"),
        format!("http://2130706433:{port}/x"),
        format!("http://0x7f.1:{port}/x"),
        format!("http://[::1]:{port6}/x"),
        format!("http://[::ffff:127.0.0.1]:{port}/x"),
        format!("http://0.0.0.0:{port}/x"),
        "http://169.254.169.254/latest/meta-data/".into(),
        "http://10.0.0.1/x".into(),
    ]
}

/// A registry that the configuration allows, and that leads elsewhere. The repository says at which hop, the tag says to
/// which target.
fn registry(request: &Request, targets: &[String]) -> Answer {
    let path = request.target.as_str();
    let target = |number: &str| number.parse::<usize>().ok().and_then(|number| targets.get(number).cloned());
    let parts: Vec<&str> = path.trim_start_matches("/v2/").split('/').collect();
    match *parts.as_slice() {
        ["manifest", "a", "manifests", tag] => Answer::redirect(target(tag).expect("a target")),
        ["realm", "a", "manifests", tag] => {
            let realm = format!("Bearer realm=\"{}\",service=\"s\"", target(tag).expect("a target"));
            Answer::new(401, "").header("WWW-Authenticate", realm)
        }
        ["blob", "a", "manifests", tag] => {
            // The digest of the configuration tells which target: it is that of the number.
            let kind = "application/vnd.oci.image.manifest.v1+json";
            let config = format!(
                r#"{{"digest":"{}","size":1,"mediaType":"application/vnd.oci.image.config.v1+json"}}"#,
                digest(tag.as_bytes())
            );
            let manifest =
                format!(r#"{{"schemaVersion":2,"mediaType":"{kind}","config":{config},"layers":[]}}"#);
            Answer::new(200, manifest).header("Content-Type", kind)
        }
        ["blob", "a", "blobs", wanted] => {
            let number = (0..targets.len()).find(|number| digest(number.to_string().as_bytes()) == wanted);
            Answer::redirect(&*targets[number.expect("a target")])
        }
        ["list", number, "tags", "list"] => Answer::redirect(target(number).expect("a target")),
        ["link", number, "tags", "list"] => {
            let next = format!("<{}>; rel=\"next\"", target(number).expect("a target"));
            Answer::new(200, r#"{"tags":["v1"]}"#).header("Link", next)
        }
        _ => Answer::new(200, "{}"),
    }
}

/// Asks for what only the server could reach, in every way there is.
fn check(start: impl FnOnce(String) -> Options) {
    let v4 = Host::start(|_| Answer::new(200, "{}")).expect("a host");
    let v6 = Host::start_at("[::1]:0", |_| Answer::new(200, "{}")).expect("a host");
    let targets = targets(&v4, &v6);
    let leads = targets.clone();
    let allowed = Host::start(move |request| registry(request, &leads)).expect("a registry");
    let block =
        format!("[[registry]]\nhost = \"{}\"\nprivate_network = true\ninsecure = true\n", allowed.host());
    let server = Server::start(start(block)).expect("a server");
    let client = server.client();

    // The guard sees a name without its port.
    for (host, named) in [(v4.host(), v4.host()), (format!("localhost:{}", v4.port()), "localhost".into())] {
        refused(&client, &format!("{host}/o/a:v1"), &format!("registry {named} is at "));
        let failure = of_repository(&client, &format!("{host}/o/a"));
        assert_eq!(failure["kind"], "FAILURE_KIND_FORBIDDEN", "{failure}");
    }
    for (number, target) in targets.iter().enumerate() {
        for hop in ["manifest", "realm", "blob"] {
            let from = format!("{}/{hop}/a:{number}", allowed.host());
            refused(&client, &from, "which is not a public address");
            assert!(allowed.asked().iter().any(|request| request.target.contains(hop)), "{hop} to {target}");
        }
        let failure = of_repository(&client, &format!("{}/list/{number}", allowed.host()));
        assert_eq!(failure["kind"], "FAILURE_KIND_FORBIDDEN", "{target}: {failure}");
        // A link is not even looked at: a tag list stays where it is.
        let failure = of_repository(&client, &format!("{}/link/{number}", allowed.host()));
        assert!(
            failure["message"].as_str().is_some_and(|m| m.contains("goes on at another host")),
            "{failure}"
        );
    }
    for inner in [&v4, &v6] {
        assert!(inner.asked().is_empty(), "somebody was let in: {:?}", inner.asked());
    }
}

/// An import of one image says why it is refused.
fn refused(client: &Client, from: &str, expected: &str) {
    let stream = format!("s{}:v1", client.head().expect("status"));
    let from = format!("--from={from}");
    let printed =
        client.run(&["import-image", &stream, &from, "--insecure", "--confirm"]).expect("tagtrail runs");
    assert_eq!(printed.rc, 1, "{from}: {printed:?}");
    let told = printed.stderr.lines().next().unwrap_or_default();
    let frame =
        told.strip_prefix("error: tag ").and_then(|told| told.split_once(" failed: forbidden: registry "));
    assert!(frame.is_some() && told.contains(expected), "{from}: {told}");
    let remedy = "set import.allow_private_networks, or allow this registry in the configuration";
    assert!(told.ends_with(remedy), "{from}: {told}");
}

/// Why the import of a whole repository failed: the newest event of that kind says it.
fn of_repository(client: &Client, from: &str) -> Value {
    let stream = format!("s{}", client.head().expect("status"));
    let from = format!("--from={from}");
    let printed = client
        .run(&["import-image", &stream, &from, "--all", "--insecure", "--confirm"])
        .expect("tagtrail runs");
    assert_eq!(printed.rc, 1, "{from}: {printed:?}");
    let printed = client.run(&["events", "--stream", &stream, "-o", "json"]).expect("tagtrail runs");
    let failures: Vec<Value> = serde_json::Deserializer::from_str(&printed.stdout)
        .into_iter::<Value>()
        .flat_map(|event| found(&event.expect("JSON"), "failure"))
        .collect();
    failures.last().cloned().unwrap_or_else(|| panic!("{from}: no failure in {}", printed.stdout))
}

/// All values of this key, however deep.
fn found(value: &Value, key: &str) -> Vec<Value> {
    match value {
        Value::Object(map) => {
            let own = map.get(key).cloned();
            own.into_iter().chain(map.values().flat_map(|value| found(value, key))).collect()
        }
        Value::Array(list) => list.iter().flat_map(|value| found(value, key)).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn private_networks_are_out_of_reach_where_that_is_configured() {
    check(|registry| Options {
        config: format!("[import]\nallow_private_networks = false\n{registry}"),
        ..Options::default()
    });
}

#[test]
fn private_networks_are_out_of_reach_of_a_server_that_others_can_reach() {
    let ports = (free_port().expect("a port"), free_port().expect("a port"));
    let listen = format!("--listen=0.0.0.0:{}", ports.0);
    check(|registry| Options {
        config: registry,
        ports: Some(ports),
        arguments: vec![listen, "--allow-unauthenticated".into()],
        ..Options::default()
    });
}
