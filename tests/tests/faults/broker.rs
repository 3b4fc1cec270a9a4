//! The broker dies, is silent, and comes back with nothing. Writing goes on meanwhile, and in the end it has the whole log, in
//! order, each event under one id.

use std::time::Duration;

use tagtrail_tests::server::Options;

use crate::world::{Manner, World};

#[test]
fn f09_the_broker_dies_hangs_and_forgets() {
    let mut world = World::start(Options::default());
    let a_while = || std::thread::sleep(Duration::from_millis(400));
    world.storm(Manner::Insist, |world| {
        a_while();
        world.broker.kill().expect("it can be killed");
        a_while();
        world.broker.restart().expect("it starts again");
        a_while();
    });
    world.check("a dead broker");
    world.storm(Manner::Insist, |world| {
        world.broker.pause().expect("it can be stopped");
        std::thread::sleep(Duration::from_secs(2));
        world.broker.resume().expect("it goes on");
        a_while();
    });
    world.check("a silent broker");
    let before = world.repeated();
    world.storm(Manner::Insist, |world| {
        world.broker.kill().expect("it can be killed");
        world.broker.wipe().expect("its files are gone");
        a_while();
        world.broker.restart().expect("it starts with nothing");
        // The server dies as well, before it has sent everything again.
        a_while();
        world.server.kill().expect("it can be killed");
        world.server.restart().expect("it starts again");
        a_while();
    });
    world.check("a broker that came back with nothing");
    assert!(world.repeated() > before, "nothing was sent again: this has shown nothing");
}
