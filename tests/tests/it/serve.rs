//! When a server does not start, it says why and touches nothing.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tagtrail_tests::binary;
use tagtrail_tests::process::free_port;
use tagtrail_tests::server::{Options, Server};

/// Starts a server that must not start, and gives what it says.
fn refused(data: &Path, arguments: &[&str]) -> String {
    let output = serve(data, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

fn serve(data: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary::tagtrail());
    command.arg("serve").arg("--data-dir").arg(data);
    let ports = [free_port().expect("a port"), free_port().expect("a port")];
    for (option, port) in ["--listen", "--http-listen"].into_iter().zip(ports) {
        if !arguments.contains(&option) {
            command.args([option, &format!("127.0.0.1:{port}")]);
        }
    }
    command.args(arguments).output().expect("tagtrail starts")
}

#[test]
fn a_second_server_on_the_same_data() {
    let server = Server::start(Options::default()).expect("the server starts");
    let said = refused(&server.data(), &[]);
    assert!(said.contains(&server.data().display().to_string()), "{said}");
    assert_eq!(server.client().head().expect("the first one goes on"), 0);
}

#[test]
fn a_directory_that_is_something_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("thesis.txt");
    fs::write(&file, "ten years of work").expect("a file");
    let said = refused(directory.path(), &[]);
    assert!(said.contains(&directory.path().display().to_string()), "{said}");
    let names: Vec<_> = fs::read_dir(directory.path()).expect("a directory").collect();
    assert_eq!(names.len(), 1, "{names:?}");
    assert_eq!(fs::read_to_string(&file).expect("the file"), "ten years of work");
}

#[test]
fn an_address_that_others_can_reach() {
    let directory = tempfile::tempdir().expect("a directory");
    let said = refused(&directory.path().join("data"), &["--listen", "0.0.0.0:0"]);
    assert!(said.contains("--allow-unauthenticated"), "{said}");
}

#[test]
fn a_configuration_with_a_mistake() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let config = directory.path().join("tagtrail.toml");
    let name = config.to_str().expect("a plain path");
    for (text, expected) in [
        ("[import]\nscheduled_interval = \"soon\"\n", "soon"),
        ("[import]\nscheduled_intervall = \"2s\"\n", "scheduled_intervall"),
        ("[import\n", "tagtrail.toml"),
        ("[[registry]]\nmirrors = []\n", "host"),
    ] {
        fs::write(&config, text).expect("a file");
        let said = refused(&data, &["--config", name]);
        assert!(said.contains(expected), "{text}: {said}");
    }
    let said = refused(&data, &["--config", "/no/such/file.toml"]);
    assert!(said.contains("/no/such/file.toml"), "{said}");
}

#[test]
fn it_ends_when_asked_to() {
    let mut server = Server::start(Options::default()).expect("the server starts");
    let printed = server.client().run(&["create", "imagestream", "app"]).expect("tagtrail");
    assert_eq!(printed.rc, 0, "{printed:?}");
    let status = server.terminate().expect("it ends");
    assert_eq!(status.code(), Some(0), "{}", server.log());
    server.restart().expect("it starts again");
    assert_eq!(server.client().head().expect("status"), 1);
}
