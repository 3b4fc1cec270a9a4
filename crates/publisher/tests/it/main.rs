//! The publisher against real brokers, one at a time or several, with files and syncs.

#![allow(clippy::unwrap_used)] // Tests say what they expect by what they unwrap.

mod bucket;
mod outages;
mod ownership;
mod republish;
mod steps;
mod support;
mod ways_in;
