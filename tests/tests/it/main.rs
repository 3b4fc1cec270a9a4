//! End to end: the real `tagtrail` binary against real registries and real kills.

mod alarms;
mod api;
mod background;
mod bad_input;
mod broker;
mod conformance;
mod deploy_nats;
mod examples;
mod kill;
mod nats;
mod recorded;
mod registry;
mod schedule;
mod schema;
mod secrets;
mod selecting;
mod serve;
mod ssrf;
mod storm;
mod transcripts;
mod watch;
mod watching;
