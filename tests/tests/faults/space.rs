//! No room on the disk, errors from the disk, and no power for it.

use std::time::Duration;

use tagtrail_tests::chance::Chance;
use tagtrail_tests::server::Options;
use tagtrail_tests::wait;
use tonic::Code;

use crate::disk::Disk;
use crate::world::{Manner, World};
use crate::{from_environment, say};

const SOON: Duration = Duration::from_secs(30);

fn world_on(disk: &Disk) -> World {
    World::start(Options { data_dir: Some(disk.path("data")), ..Options::default() })
}

/// Writing is refused before anything fails; reading goes on, through a restart too; and when there is room again, writing goes
/// on by itself.
#[test]
fn f03_a_full_disk() {
    let Some(disk) = Disk::or_skip(Disk::in_memory(128), "f03") else { return };
    let mut world = world_on(&disk);
    world.write_for(Duration::from_millis(300));
    world.storm(Manner::Insist, |world| {
        disk.fill(Duration::from_millis(10));
        std::thread::sleep(Duration::from_secs(1));
        let refused = world.try_to_write("full-1").expect_err("there is no room");
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        assert!(refused.message().contains("the disk is full"), "{refused}");
        world.read().expect("reading goes on");
        assert!(world.server.log().contains("the disk is full"), "the operator is told");

        world.server.kill().expect("it can be killed");
        world.server.restart().expect("it starts on a full disk");
        world.read().expect("reading goes on");
        let refused = world.try_to_write("full-2").expect_err("there is no room");
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");

        disk.free();
        let goes_on = wait::until(SOON, || world.try_to_write("room-1").ok());
        assert!(goes_on.is_some(), "writing does not go on");
        std::thread::sleep(Duration::from_millis(300));
    });
    world.check("a full disk");
}

/// All at once, in the middle of writing: it refuses, or it ends and says so. Nothing is lost either way, and it starts on the
/// full disk.
#[test]
fn f03_a_disk_that_is_full_at_once() {
    let Some(disk) = Disk::or_skip(Disk::in_memory(128), "f03") else { return };
    let mut world = world_on(&disk);
    for round in 1..=3 {
        world.storm(Manner::Insist, |world| {
            std::thread::sleep(Duration::from_millis(200));
            disk.fill(Duration::ZERO);
            if let Some(status) = world.server.ended(Duration::from_secs(1)) {
                assert_eq!(status.code(), Some(1), "{}", world.server.log());
                assert!(world.server.log().contains("No space left on device"), "{}", world.server.log());
            }
            world.server.kill().expect("it can be killed, if it still runs");
            world.server.restart().expect("it starts on a full disk");
            world.read().expect("reading goes on");
            disk.free();
            let goes_on = wait::until(SOON, || world.try_to_write(&format!("room-{round}")).ok());
            assert!(goes_on.is_some(), "writing does not go on");
        });
        world.check(&format!("a disk that was full at once, round {round}"));
    }
}

/// The disk takes nothing more, in the middle of writing: each write and each sync fails. It stops, says so, and is not tried
/// again; the next start finds what was acknowledged.
#[test]
fn f04_errors_on_write() {
    let Some(disk) = Disk::or_skip(Disk::ext4(128), "f04") else { return };
    let mut world = world_on(&disk);
    for round in 1..=3 {
        world.storm(Manner::GiveUp, |world| {
            std::thread::sleep(Duration::from_millis(200));
            shut_down(&disk, world);
            world.server.resume().expect("it goes on");
            stops(world);
        });
        disk.replug();
        world.server.restart().unwrap_or_else(|error| panic!("round {round}: {error:#}"));
        world.check(&format!("errors on write, round {round}"));
    }
}

/// The disk takes what is written and fails when it is synced.
#[test]
fn f04_errors_on_sync() {
    let Some(disk) = Disk::or_skip(Disk::thin(256, 96), "f04") else { return };
    let mut world = world_on(&disk);
    world.storm(Manner::GiveUp, |world| {
        std::thread::sleep(Duration::from_millis(200));
        disk.below().fill(Duration::ZERO);
        stops(world);
    });
    disk.below().free();
    disk.replug();
    world.server.restart().unwrap_or_else(|error| panic!("after errors on sync: {error:#}"));
    world.check("errors on sync");
}

/// Takes the disk away while the server stands still. A sync that is under way when ext4 is shut down may say that it succeeded,
/// which no disk without power can; so none is.
fn shut_down(disk: &Disk, world: &World) {
    world.server.pause().expect("it stands still");
    disk.shut_down();
}

/// The server ends by itself and says why. Which of its files met the error first is chance.
fn stops(world: &mut World) {
    let ended = world.server.ended(SOON).unwrap_or_else(|| panic!("it goes on:\n{}", world.server.log()));
    assert_eq!(ended.code(), Some(1), "{}", world.server.log());
    let log = world.server.log();
    assert!(log.contains("error: the log could not be written any more; start the server again"), "{log}");
    // Ext4 may make itself read-only before anybody hears of the error that made it do so.
    assert!(log.contains("Input/output error") || log.contains("Read-only file system"), "{log}");
}

/// `TAGTRAIL_FAULT_CUTS=100` for a longer run.
#[test]
fn f15_power_cuts() {
    let Some(disk) = Disk::or_skip(Disk::ext4(256), "f15") else { return };
    let mut world = world_on(&disk);
    let cuts = from_environment("TAGTRAIL_FAULT_CUTS", 8);
    let mut chance = Chance(15);
    for cut in 1..=cuts {
        let wait = Duration::from_millis(100 + chance.below(400));
        world.storm(Manner::GiveUp, |world| {
            std::thread::sleep(wait);
            shut_down(&disk, world);
            world.server.kill().expect("it can be killed");
        });
        disk.replug();
        world.server.restart().unwrap_or_else(|error| panic!("after cut {cut}: {error:#}"));
        world.settle(&format!("power cut {cut}"));
        if cut % 5 == 0 || cut == cuts {
            world.check(&format!("power cut {cut}"));
        }
    }
    say(&format!("f15: {cuts} power cuts, {} acknowledged writes, none lost", world.acknowledged()));
}
