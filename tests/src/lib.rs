//! What the end-to-end tests stand on: real processes, started, watched and ended.
//!
//! Nothing here knows how Tagtrail works inside. The tests see what a person sees: the `tagtrail` command, the gRPC
//! API, a real registry (Debian's `docker-registry`), a real NATS server, and the files of a data directory.
//!
//! | module       | idea                                                                        |
//! |--------------|-----------------------------------------------------------------------------|
//! | [`binary`]   | which `tagtrail` is tested, built when it is not there                      |
//! | [`process`]  | a child that never outlives its owner                                       |
//! | [`port`]     | a port that stays one's own while nobody listens on it                      |
//! | [`registry`] | a real registry with the standard content                                   |
//! | [`faulty`]   | a registry that lies, for faults a real one cannot be made to show          |
//! | [`host`]     | a host that answers as a test says, and writes down what it is sent         |
//! | [`broker`]   | a real `nats-server`                                                        |
//! | [`tls`]      | certificates for one test                                                   |
//! | [`server`]   | a real `tagtrail serve`                                                     |
//! | [`client`]   | a real `tagtrail` command line                                              |
//! | [`chance`]   | numbers that look random and are the same in every run                       |
//! | [`schema`]   | the JSON schema of events, as the proto would have it                       |
//! | [`case`]     | a recorded run of the real image stream system                              |
//! | [`replay`]   | the same run, done by Tagtrail                                              |
//! | [`meant`]    | where the two are meant to differ                                           |
//! | [`tally`]    | how many cases pass, and what is set aside                                  |
//! | [`normalise`], [`compare`] | what may differ between two runs, and what may not            |
//! | [`transcript`] | command lines and what they print, as text                          |
//! | [`namespace`]| a network of one's own, because recorded runs name fixed ports              |

pub mod binary;
pub mod broker;
pub mod case;
pub mod chance;
pub mod client;
pub mod compare;
pub mod faulty;
pub mod host;
pub mod meant;
pub mod namespace;
pub mod normalise;
pub mod port;
pub mod process;
pub mod registry;
pub mod replay;
pub mod schema;
pub mod server;
pub mod tally;
pub mod tls;
pub mod transcript;
pub mod wait;
