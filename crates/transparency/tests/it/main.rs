//! What the formats say byte for byte, and what holds for any tree, note and file.

#![allow(clippy::unwrap_used)] // Tests say what they expect by what they unwrap.

mod merkle;
mod notes;
mod policies;
mod random;
mod receipts;
mod support;
mod tiles;
