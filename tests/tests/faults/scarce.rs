//! Too few file descriptors, too little memory.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tagtrail_tests::server::{Options, Server};
use tagtrail_tests::wait;
use tonic::Code;

use crate::say;
use crate::world::{Manner, World};

const SOON: Duration = Duration::from_secs(30);

/// So many connections that the server has no descriptor left, and some that it cannot take.
fn crowd(server: &Server) -> Vec<TcpStream> {
    let address = server.url().trim_start_matches("http://").parse().expect("an address");
    let connect = |_| TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok();
    let crowd: Vec<TcpStream> = (0..100).map_while(connect).collect();
    let open =
        || fs::read_dir(format!("/proc/{}/fd", server.pid().expect("it runs"))).expect("a directory").count();
    let full = wait::until(SOON, || (open() >= 95).then_some(()));
    assert!(full.is_some(), "only {} descriptors are used: this has shown nothing", open());
    crowd
}

/// Connections take all descriptors there are. Nothing that was acknowledged is lost, and when they go, it goes on.
#[test]
fn f13_too_few_file_descriptors() {
    let under = ["prlimit", "--nofile=96"].map(str::to_owned).to_vec();
    let mut world = World::start(Options { under, ..Options::default() });
    world.storm(Manner::Insist, |world| {
        std::thread::sleep(Duration::from_millis(200));
        let crowd = crowd(&world.server);
        std::thread::sleep(Duration::from_secs(2));
        drop(crowd);
        let again = wait::until(SOON, || world.read().ok());
        assert!(again.is_some(), "nobody can read any more");
    });
    world.check("too few descriptors");

    // A server that can accept nobody rests. (It used to try again at once, for ever: a whole processor for nothing.)
    let (crowd, image) = world.image_while(|| crowd(&world.server));
    // Whoever is still connected is not told that an image is lost, because its file cannot be opened now.
    let refused = image.expect_err("no descriptor is left for its file");
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    let before = world.server.processor_time().expect("it runs");
    std::thread::sleep(Duration::from_secs(2));
    let used = world.server.processor_time().expect("it runs") - before;
    assert!(used < Duration::from_secs(1), "{used:?} of 2 s of processor time, for nobody");
    drop(crowd);

    // And a start that has not enough of them says so.
    world.server.terminate().expect("it ends");
    world.server.options().under = ["prlimit", "--nofile=16"].map(str::to_owned).to_vec();
    let error = world.server.restart().expect_err("16 are too few");
    assert!(format!("{error:#}").contains("Too many open files"), "{error:#}");
    world.server.options().under.clear();
    world.server.restart().expect("it starts");
    world.check("a start with too few descriptors");
}

/// A cage for a server that takes so little more memory that the kernel ends it soon: a cgroup. It is gone when dropped.
struct Cage(PathBuf);

impl Cage {
    fn new(server: &Server, name: &str) -> Result<Cage, String> {
        let roots = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
        let mut failed = String::new();
        for (root, limit) in roots {
            let cage = Cage(Path::new(root).join(format!("tagtrail-{}-{name}", std::process::id())));
            let made = || {
                fs::create_dir(&cage.0)?;
                fs::write(cage.0.join(limit), "1048576")?;
                fs::write(cage.0.join("cgroup.procs"), server.pid().unwrap_or_default().to_string())
            };
            match made() {
                Ok(()) => return Ok(cage),
                Err(error) => failed += &format!("{}: {error}; ", cage.0.display()),
            }
        }
        Err(failed)
    }
}

impl Drop for Cage {
    fn drop(&mut self) {
        // The kernel takes a moment to see that it is empty.
        if self.0.exists() {
            wait::until(Duration::from_secs(2), || fs::remove_dir(&self.0).ok());
        }
    }
}

/// No memory is to be had any more: the kernel ends it as by a kill, and nothing is lost.
#[test]
fn f14_no_memory() {
    let mut world = World::start(Options::default());
    for round in 1..=4 {
        let caged = world.storm(Manner::GiveUp, |world| {
            std::thread::sleep(Duration::from_millis(100));
            let cage = Cage::new(&world.server, &round.to_string())?;
            let ended = world.server.ended(SOON);
            world.server.kill().expect("it can be killed");
            drop(cage);
            Ok::<_, String>(ended)
        });
        let ended = match caged {
            Ok(ended) => {
                ended.unwrap_or_else(|| panic!("round {round}: it needs no memory: this has shown nothing"))
            }
            Err(missing) => return say(&format!("f14 is skipped: memory cannot be limited here: {missing}")),
        };
        assert!(!ended.success(), "{ended}");
        world.server.restart().unwrap_or_else(|error| panic!("round {round}: {error:#}"));
        world.settle(&format!("no memory, round {round}"));
    }
    world.check("no memory");
}
