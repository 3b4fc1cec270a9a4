//! The fault list: what breaks, and what is promised then. `docs/reliability.md` is its table; a test's name begins with
//! the number of its row.
//!
//! | module      | the one idea                                                                          |
//! |-------------|---------------------------------------------------------------------------------------|
//! | `world`     | one workload for all faults: writers, watchers, a subscriber                          |
//! | `oracle`    | one judge for all faults: what was acknowledged is there, once, and nothing else is   |
//! | `disk`      | a small disk of its own, which can be full, fail, or lose its power                   |
//! | the others  | the faults                                                                            |

mod broker;
mod clock;
mod copies;
mod damage;
mod disk;
mod ends;
mod golden;
mod oracle;
mod scarce;
mod space;
mod world;

use std::env;
use std::io::Write as _;

/// A number from the environment, for longer runs.
fn from_environment(name: &str, otherwise: u32) -> u32 {
    env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Past the test harness, which keeps to itself what a passing test prints.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
