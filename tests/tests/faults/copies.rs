//! Copies of the data directory: an old one put in the place of the newest, and two servers at one.

use std::fs;
use std::process::Command;
use std::time::Duration;

use tagtrail_tests::binary;
use tagtrail_tests::process::free_port;
use tagtrail_tests::server::Options;
use tonic::Code;

use crate::damage::copy;
use crate::world::{Manner, World};

/// It is only read, and says why, until somebody decides. When the newest copy is back, everything goes on.
#[test]
fn f06_an_old_copy_is_put_back() {
    let mut world = World::start(Options::default());
    let data = world.server.data();
    let (old, newest) = (data.with_file_name("old"), data.with_file_name("newest"));
    world.write_for(Duration::from_millis(200));
    world.check("the beginning");
    world.server.terminate().expect("it ends");
    copy(&data, &old);
    world.server.restart().expect("it starts");
    world.write_for(Duration::from_millis(200));
    world.check("what the copy lacks");

    world.server.terminate().expect("it ends");
    fs::rename(&data, &newest).expect("the newest is moved away");
    fs::rename(&old, &data).expect("the old one is put back");
    world.server.restart().expect("it starts, to be read");
    let refused = world.try_to_write("old-1").expect_err("nothing is written");
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert!(refused.message().contains("--accept-rollback"), "{refused}");
    world.read().expect_err("what the copy lacks cannot be read");

    world.server.terminate().expect("it ends");
    fs::remove_dir_all(&data).expect("the old one is gone");
    fs::rename(&newest, &data).expect("the newest is back");
    world.server.restart().expect("it starts");
    world.write_for(Duration::from_millis(200));
    world.check("the newest copy is back");
}

/// The second is told who has it, and the first notices nothing.
#[test]
fn f07_two_processes_on_one_directory() {
    let mut world = World::start(Options::default());
    world.storm(Manner::Insist, |world| {
        for _ in 0..3 {
            let mut second = Command::new(binary::tagtrail());
            second.args(["serve", "--data-dir"]).arg(world.server.data());
            for option in ["--listen", "--http-listen"] {
                second.args([option, &format!("127.0.0.1:{}", free_port().expect("a port"))]);
            }
            let output = second.output().expect("it runs");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{said}");
            let pid = world.server.pid().expect("the first one goes on");
            assert!(said.contains(&format!("in use by another process (process {pid})")), "{said}");
            std::thread::sleep(Duration::from_millis(200));
        }
    });
    world.check("a second process");
    assert!(world.acknowledged() > 20, "only {} writes were acknowledged", world.acknowledged());
}
