//! Backup, restore, export and import: the real server, under load and under kills, and what comes back.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tagtrail_api::v1::*;
use tagtrail_tests::client::{Client, Printed};
use tagtrail_tests::faulty::Faulty;
use tagtrail_tests::server::{Options, Server};
use tagtrail_tests::wait;
use tempfile::TempDir;
use tonic::Code;

use crate::api::Api;
use crate::pool::{HERE, Pool, image, set};

const WRITERS: usize = 4;

/// The same repository is shown, wherever the server is.
fn options() -> Options {
    Options { config: "[repository]\ninternal = \"registry.example\"\n".into(), ..Options::default() }
}

/// A server on a directory that there is already.
fn serve(dir: &Path) -> Server {
    let arguments = vec!["--data-dir".into(), dir.display().to_string()];
    Server::start(Options { arguments, ..options() }).expect("a restored log is served")
}

fn run(client: &Client, words: &[&str]) -> Printed {
    client.run(words).expect("tagtrail runs")
}

/// Runs a command that has to succeed, and gives what it printed.
fn ok(client: &Client, words: &[&str]) -> String {
    let printed = run(client, words);
    assert_eq!(printed.rc, 0, "{words:?}: {}{}", printed.stdout, printed.stderr);
    printed.stdout
}

/// Runs a command that has to be refused in these words, and gives them.
fn refused(client: &Client, words: &[&str], because: &str) {
    let printed = run(client, words);
    assert_ne!(printed.rc, 0, "{words:?}: {}", printed.stdout);
    assert!(printed.stderr.contains(because), "{words:?} says {}\nnot {because}", printed.stderr);
}

/// A path, as a word of the command line.
fn at(dir: &TempDir, name: &str) -> String {
    dir.path().join(name).display().to_string()
}

/// A server with some images, and tags that point to them.
fn given(images: usize) -> (Server, Api, Pool) {
    let registry = Faulty::start().expect("a registry");
    let server = Server::start(options()).expect("the server starts");
    let api = Api::of(&server);
    let pool = Pool::filled(&api, &registry, images);
    for digest in &pool.0 {
        api.ok(api.tags().set_tag(set("app", "prod", image(digest))));
    }
    (server, api, pool)
}

fn size_of(checkpoint: &str) -> u64 {
    let note = fs::read_to_string(checkpoint).expect("a checkpoint");
    note.lines().nth(1).and_then(|line| line.parse().ok()).expect("the second line is the size")
}

/// Backups taken while others write are of one moment each: what comes back is the log as it was then, and the one that
/// lives goes on from it.
#[test]
fn a_backup_under_load_is_the_log_at_one_moment() {
    let (server, api, pool) = given(6);
    let (client, dir) = (server.client(), tempfile::tempdir().expect("a directory"));
    let over = AtomicBool::new(false);
    let (before, after) = thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (server, pool, over) = (&server, &pool, &over);
            scope.spawn(move || {
                let api = Api::of(server);
                for number in 0.. {
                    let digest = &pool.0[number % pool.0.len()];
                    let name = format!("app-{writer}-{}", number % 3);
                    api.ok(api.tags().set_tag(set(&name, "prod", image(digest))));
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
        }
        thread::sleep(Duration::from_millis(500));
        let before = api.head();
        for (number, since) in [(0, None), (1, Some(0)), (2, Some(1))] {
            let file = at(&dir, &format!("{number}.backup"));
            match since {
                None => ok(&client, &["admin", "backup", &file]),
                Some(since) => {
                    ok(&client, &["admin", "backup", &file, "--since", &at(&dir, &format!("{since}.backup"))])
                }
            };
        }
        let after = api.head();
        over.store(true, Ordering::Relaxed);
        (before, after)
    });

    let [first, second, third] = ["0.backup", "1.backup", "2.backup"].map(|name| at(&dir, name));
    let (one, all) = (at(&dir, "one"), at(&dir, "all"));
    ok(&client, &["admin", "restore", &first, "--data-dir", &one]);
    let key = server.data().join("log.key").display().to_string();
    ok(&client, &["admin", "restore", &first, &second, &third, "--data-dir", &all, "--key", &key]);
    let (small, large) = (size_of(&format!("{one}/checkpoint")), size_of(&format!("{all}/checkpoint")));
    assert!(before <= small && small < large && large <= after, "{before} {small} {large} {after}");

    // Whole, as rules and signatures go; and the live log goes on from both.
    let vkey = api.ok(api.audits().get_checkpoint(GetCheckpointRequest { covers_sequence: 0 })).verifier_key;
    let url = server.log_url();
    for restored in [&one, &all] {
        let text = ok(&client, &["audit", "verify", restored, "--vkey", &vkey]);
        assert!(text.contains("12 manifests and configurations are what their names say"), "{text}");
        let checkpoint = format!("{restored}/checkpoint");
        let text = ok(&client, &["audit", "verify", &url, "--vkey", &vkey, "--checkpoint", &checkpoint]);
        assert!(text.contains("All is well."), "{text}");
    }
    let text = ok(&client, &["audit", "verify", &first, "--vkey", &vkey]);
    assert!(text.contains("All is well.") && text.contains("12 manifests"), "{text}");
    let text = ok(&client, &["audit", "diff", &first, &all]);
    assert!(
        text.contains(&format!("The {small} events of {first} are the first {small} of {all}")),
        "{text}"
    );
    refused(&client, &["audit", "verify", &second], "goes on from another backup");

    // It is shown as it was shown, and goes on from there.
    let again = serve(Path::new(&all));
    let shown = |client: &Client| ok(client, &["describe", "is", "-A", "--at", &large.to_string()]);
    let events = |client: &Client| {
        let all = ok(client, &["events", "-A", "-o", "json"]);
        all.lines().take(usize::try_from(large).expect("few")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(shown(&client), shown(&again.client()));
    assert_eq!(events(&client), events(&again.client()));
    let other = Api::of(&again);
    assert_eq!(other.head(), large);
    other.ok(other.tags().set_tag(set("app", "later", image(&pool.0[0]))));
    ok(&again.client(), &["audit", "verify", &all, "--vkey", &vkey]);
}

/// A restored log without its key is read, and nothing more, until the key is there.
#[test]
fn without_the_key_it_is_only_read() {
    let (mut server, api, pool) = given(2);
    let (client, dir) = (server.client(), tempfile::tempdir().expect("a directory"));
    let (file, new) = (at(&dir, "a.backup"), at(&dir, "new"));
    ok(&client, &["admin", "backup", &file]);
    let shown = ok(&client, &["describe", "is", "app", "--at", &api.head().to_string()]);
    server.terminate().expect("the server ends");
    let told = run(&client, &["admin", "restore", &file, "--data-dir", &new]).stderr;
    assert!(told.contains("the key that signs is not in a backup"), "{told}");

    let mut again = serve(Path::new(&new));
    let api = Api::of(&again);
    let at_head = api.head().to_string();
    assert_eq!(ok(&again.client(), &["describe", "is", "app", "--at", &at_head]), shown);
    let write = || set("app", "later", image(&pool.0[0]));
    let why = "the key that did it is not in";
    api.refused(api.tags().set_tag(write()), Code::FailedPrecondition, why);
    refused(&again.client(), &["admin", "backup", &at(&dir, "b.backup")], why);
    assert!(!dir.path().join("b.backup").exists() && !dir.path().join("b.backup.partial").exists());

    again.terminate().expect("the server ends");
    fs::copy(server.data().join("log.key"), format!("{new}/log.key")).expect("a key");
    again.restart().expect("the server starts");
    let api = Api::of(&again);
    api.ok(api.tags().set_tag(write()));
    ok(&again.client(), &["admin", "backup", &at(&dir, "b.backup"), "--since", &file]);
}

/// What is damaged, cut off, not the next one, or in the way is refused, and nothing is left of it.
#[test]
fn what_cannot_be_restored_leaves_nothing() {
    let (server, api, _pool) = given(2);
    let (client, dir) = (server.client(), tempfile::tempdir().expect("a directory"));
    let (file, new) = (at(&dir, "a.backup"), at(&dir, "new"));
    ok(&client, &["admin", "backup", &file]);
    let restore = |file: &str, because: &str| {
        refused(&client, &["admin", "restore", file, "--data-dir", &new], because);
        assert!(!Path::new(&new).exists(), "nothing is left");
    };
    let good = fs::read(&file).expect("a backup");
    let bad = at(&dir, "bad.backup");
    for at in (0..good.len()).step_by(good.len() / 40) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        fs::write(&bad, &bytes).expect("a file");
        restore(&bad, "bad.backup: it is");
        fs::write(&bad, &good[..at]).expect("a file");
        restore(&bad, "bad.backup: it is");
    }
    // The eyes of an auditor see the same.
    let printed = run(&client, &["audit", "verify", &bad]);
    assert_eq!(printed.rc, 1, "{}", printed.stderr);
    assert!(printed.stderr.contains("BackupDamaged"), "{}", printed.stderr);

    let other = Server::start(options()).expect("the server starts");
    let stranger = Api::of(&other);
    let vkey = stranger
        .ok(stranger.audits().get_checkpoint(GetCheckpointRequest { covers_sequence: 0 }))
        .verifier_key;
    let not_theirs = ["admin", "restore", &file, "--data-dir", &new, "--vkey", &vkey];
    refused(&client, &not_theirs, "its checkpoint is not to be believed");
    refused(
        &other.client(),
        &["admin", "backup", &at(&dir, "c.backup"), "--since", &file],
        "cannot begin with",
    );

    // Nothing is ever written over.
    refused(&client, &["admin", "backup", &file], "is there already, and is not written over");
    assert_eq!(fs::read(&file).expect("a backup"), good);
    fs::create_dir(&new).expect("a directory");
    fs::write(format!("{new}/thesis.tex"), "").expect("a file");
    refused(
        &client,
        &["admin", "restore", &file, "--data-dir", &new],
        "is not empty (there is `thesis.tex`)",
    );
    let live = server.data().display().to_string();
    refused(&client, &["admin", "restore", &file, "--data-dir", &live], "is not empty");

    // A backup begins with a whole command.
    let within = api
        .events_after(0)
        .into_iter()
        .find(|event| event.run.as_ref().is_some_and(|run| run.first_sequence < event.sequence));
    let within = within.expect("an import is several events").sequence.to_string();
    let words = ["admin", "backup", &at(&dir, "d.backup"), "--incremental-from", &within];
    refused(&client, &words, "is in the middle of a command");
}

/// Lines of JSON make the same log again; what is wrong in them is named by its line.
#[test]
fn what_is_exported_comes_in_again() {
    let (server, api, _pool) = given(3);
    let (client, dir) = (server.client(), tempfile::tempdir().expect("a directory"));
    let (file, new) = (at(&dir, "all.jsonl"), at(&dir, "new"));
    ok(&client, &["admin", "export", &file]);
    ok(&client, &["admin", "import", &file, "--data-dir", &new]);
    let live = server.data().display().to_string();
    let size = api.head();
    let text = ok(&client, &["audit", "diff", &new, &live]);
    assert_eq!(text, format!("Both have the same {size} events.\n"));
    let text = ok(&client, &["audit", "verify", &new, "--checkpoint", &format!("{live}/checkpoint")]);
    assert!(text.contains("6 manifests and configurations"), "{text}");

    let lines = fs::read_to_string(&file).expect("an export");
    // The events are those that `events` prints.
    let events: Vec<String> = lines
        .lines()
        .filter_map(|line| line.strip_prefix(r#"{"event":"#)?.split_once(r#","lastOfRun":"#))
        .map(|(event, _)| event.to_owned())
        .collect();
    let printed = ok(&client, &["events", "-A", "-o", "json"]);
    assert_eq!(events, printed.lines().collect::<Vec<_>>());
    // A backup gives the same lines.
    let backup = at(&dir, "a.backup");
    ok(&client, &["admin", "backup", &backup]);
    assert_eq!(ok(&client, &["admin", "export", "--backup", &backup]), lines);

    let import = |text: &str, because: &str| {
        let bad = at(&dir, "bad.jsonl");
        let other = at(&dir, "other");
        fs::write(&bad, text).expect("a file");
        refused(&client, &["admin", "import", &bad, "--data-dir", &other], because);
        assert!(!Path::new(&other).exists(), "nothing is left");
    };
    let without = |number: usize| {
        let kept = lines.split_inclusive('\n').enumerate().filter(|(at, _)| at + 1 != number);
        kept.map(|(_, line)| line).collect::<String>()
    };
    import(&without(1), "bad.jsonl, line 1: ");
    import(&without(2), "line 2: event 2 stands where event 1 is due");
    import(&without(lines.lines().count()), "without a last line that says so");
    import(&lines[..lines.len() - 2], "it is cut off");
    import(&format!("{lines}\n"), "something follows the end");
    let first_blob = lines.lines().position(|line| line.starts_with(r#"{"blob""#)).expect("a blob") + 1;
    import(&without(first_blob), &format!("line {first_blob}: the blob"));
    import(
        &lines.replacen("\"lastOfRun\":true", "\"lastOfRun\":false", 1),
        "is not marked as it says itself",
    );
    let part = ok(&client, &["admin", "export", "--to", "3"]);
    assert_eq!(part.lines().filter(|line| line.starts_with(r#"{"event""#)).count(), 3);
    import(&part, "export it without --from and --to");
}

/// A backup is there whole or not at all: the server may be killed, or the reader may go away, in the middle.
#[test]
fn a_server_killed_in_the_middle_leaves_no_file() {
    let mut server = Server::start(options()).expect("the server starts");
    let client = server.client();
    fill(&server);
    let dir = tempfile::tempdir().expect("a directory");
    let (file, partial) = (at(&dir, "a.backup"), at(&dir, "a.backup.partial"));
    let log = dir.path().join("backup.log");
    let begun = |log: &Path| {
        let backup = client.start(&["admin", "backup", &file], log).expect("tagtrail starts");
        let started = || fs::metadata(&partial).ok().filter(|file| file.len() > 0).map(drop);
        wait::until(Duration::from_secs(20), started).expect("bytes come");
        backup.pause().expect("it stands still");
        backup
    };

    // Whoever stands still holds up nobody, neither a write nor the end of the server.
    let backup = begun(&log);
    let api = Api::of(&server);
    let name = "meanwhile".to_owned();
    api.ok(api.streams().create_image_stream(CreateImageStreamRequest {
        namespace: HERE.into(),
        name,
        ..Default::default()
    }));
    server.terminate().expect("a server ends although somebody reads");
    backup.resume().expect("it goes on");
    ended(backup, &file, &partial);

    server.restart().expect("the server starts");
    let client = server.client();
    let backup = client.start(&["admin", "backup", &file], &log).expect("tagtrail starts");
    let started = || fs::metadata(&partial).ok().filter(|file| file.len() > 0).map(drop);
    wait::until(Duration::from_secs(20), started).expect("bytes come");
    backup.pause().expect("it stands still");
    server.kill().expect("it can be killed");
    backup.resume().expect("it goes on");
    ended(backup, &file, &partial);

    // And the next one is whole.
    server.restart().expect("the server starts");
    let client = server.client();
    fs::write(&partial, "left by a kill").expect("a file");
    ok(&client, &["admin", "backup", &file]);
    assert!(!Path::new(&partial).exists());
    ok(&client, &["audit", "verify", &file]);
    let mut beginning = [0; 8];
    fs::File::open(&file).and_then(|mut file| file.read_exact(&mut beginning)).expect("a file");
    assert_eq!(&beginning, b"\xF7tagback");
}

/// Waits for a backup that has to fail.
fn ended(mut backup: tagtrail_tests::process::Process, file: &str, partial: &str) {
    let status = wait::until(Duration::from_secs(30), || backup.ended()).expect("it ends");
    assert!(!status.success(), "{}", backup.log());
    assert!(!Path::new(file).exists() && !Path::new(partial).exists(), "{}", backup.log());
}

/// Some megabytes that cannot be made smaller, in reasons.
fn fill(server: &Server) {
    const WRITES: u64 = 500;
    thread::scope(|scope| {
        for writer in 0..4_u64 {
            scope.spawn(move || {
                let api = Api::of(server);
                let mut state = writer + 1;
                for number in 0..WRITES {
                    let mut letter = || {
                        state = state
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1_442_695_040_888_963_407);
                        char::from(b'0' + (state >> 33) as u8 % 64)
                    };
                    let reason: String = (0..4000).map(|_| letter()).collect();
                    let write = Some(WriteOptions { reason, ..Default::default() });
                    let name = format!("app-{writer}-{number}");
                    api.ok(api.streams().create_image_stream(CreateImageStreamRequest {
                        namespace: HERE.into(),
                        name,
                        write,
                        ..Default::default()
                    }));
                }
            });
        }
    });
}
