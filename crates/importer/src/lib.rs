//! An image reference in, an immutable image or a reasoned failure out.
//!
//! [`Importer::image`] follows spec §3.4: ping, token, manifest, the platform's manifest if that was a list, the
//! configuration. Nothing is believed: digests are computed from the bytes, sizes and counts end somewhere
//! (`limits`), addresses are checked as they are connected to (`guard`), and what goes wrong is told in the
//! words people know (`failure`, `go_net`, `go_json`).
//!
//! [`Importer::probe`] only asks whether a tag has moved. Background work takes its [`Importer::turn`] first.
//!
//! | module          | what it knows                                                         |
//! |-----------------|-----------------------------------------------------------------------|
//! | `registry`      | mirrors, blocked hosts: where to ask                                  |
//! | `auth`          | pings, challenges, tokens: how to be let in                           |
//! | `credentials`   | Docker's `config.json` and its helpers: with what                     |
//! | `pull_secrets`  | the same, handed over by the people of a namespace                    |
//! | `client`        | HTTP: time and size limits, redirects, second tries                   |
//! | `pace`          | a budget of requests for each host                                    |
//! | `manifest`      | manifests and configurations, bytes to facts                          |

mod auth;
mod client;
mod config;
mod credentials;
mod failure;
mod fetch;
mod few;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod go_json;
mod go_net;
mod guard;
mod limits;
mod manifest;
mod memory;
mod pace;
mod pull_secrets;
mod registry;
mod scrub;

pub use config::{Config, ConfigError, RegistryConfig, Timeouts};
pub use failure::{invalid_reference, is_blocked};
pub use fetch::{Fetched, ImageRequest, ImportMode, Importer, Probe, Wait};
pub use manifest::default_platform;
pub use pace::Turn;
pub use pull_secrets::{PullSecret, PullSecretError, PullSecrets};
