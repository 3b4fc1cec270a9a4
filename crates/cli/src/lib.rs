//! The `tagtrail` command: the words and the output of `oc`. A file per command; each prints what the server says.
//!
//! | module     | what it knows                                                   |
//! |------------|-----------------------------------------------------------------|
//! | `app`      | the grammar of the command line, and who is asked about what    |
//! | `commands` | one file per command                                            |
//! | `client`   | calls, pages, and what a refusal of the server means            |
//! | `follow`   | a watch that goes on over lost connections                      |
//! | `failure`  | how everything that goes wrong is told                          |
//! | `kinds`    | the words for kinds of objects, and names of them               |
//! | `moment`   | moments as people write them                                    |
//! | `places`   | streams, tags and digests as people write them                  |
//! | `progress` | how far something long has come                                 |
//! | `told`     | image streams that OpenShift printed                            |
//! | `k8s`      | the objects as the Kubernetes API would show them               |
//! | `print`    | text: tables, descriptions, JSON, YAML, templates. Pure.        |

use std::process::ExitCode;

mod app;
mod client;
mod commands;
mod config;
mod context;
mod failure;
mod fields;
mod flags;
mod follow;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod k8s;
mod kinds;
mod moment;
mod places;
mod print;
mod progress;
#[cfg(test)]
mod recorded;
mod told;

/// Runs the command that this process was started with. 0: it was done; 1: it was not, or an
/// audit found something wrong; 2: `bisect` or an audit could not tell.
#[must_use]
pub fn run() -> ExitCode {
    app::run()
}
