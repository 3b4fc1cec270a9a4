//! The audit over real logs: fine ones, and ones that somebody has laid hands on.

#![allow(clippy::unwrap_used)] // Tests say what they expect by what they unwrap.

mod fine;
mod following;
mod history;
mod receipts;
mod tampering;
mod web;
