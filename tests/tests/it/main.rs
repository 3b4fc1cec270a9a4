//! End to end: the real `tagtrail` binary against real registries and real kills.

mod conformance;
mod recorded;
mod registry;
