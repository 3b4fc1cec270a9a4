//! Joins the parts: the log, the read model, the importer, the one writer, and gRPC in front.
//!
//! | module       | the one idea                                                        |
//! |--------------|---------------------------------------------------------------------|
//! | `config`     | what the server is told                                             |
//! | `outside`    | the time and fresh ids, from one place                              |
//! | `admission`  | who is let in, and who is told to come back later                   |
//! | `writer`     | the one writer: decide, append, make visible, answer                |
//! | `past`       | streams as they were, read from the log                             |
//! | `moment`     | which events count, where somebody asks how things were             |
//! | `watch`      | following the log                                                   |
//! | `importing`  | asking registries, never inside the writer                          |
//! | `secrets`    | credentials of a namespace, beside the log                          |
//! | `work`       | what is to be done without anybody asking                           |
//! | `publishing` | how far publishing to NATS is                                      |
//! | `background` | doing it: imports that were asked for, and checks                   |
//! | `audit`      | the log proves itself: the tree over it, and signed checkpoints     |
//! | `images`     | images as people see them                                           |
//! | `convert`    | the words of the wire                                               |
//! | `grpc`       | the services, a file each; alone knows status codes                 |
//! | `http`       | `/metrics`, `/healthz`, `/readyz`; the log's files under `/log/`     |

mod admission;
mod audit;
mod background;
pub mod config;
mod convert;
mod grpc;
mod http;
mod images;
mod importing;
mod metrics;
mod moment;
mod outside;
mod past;
mod publishing;
mod secrets;
mod start;
mod watch;
mod work;
mod writer;

pub use config::{Accepted, Config, ConfigError, Overrides};
pub use start::{ServeError, serve};
