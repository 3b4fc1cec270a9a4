//! What the formats say byte for byte, and what holds for any tree, note and file.

#![allow(clippy::unwrap_used)] // Tests say what they expect by what they unwrap.

mod merkle;
mod notes;
mod random;
mod support;
mod tiles;
