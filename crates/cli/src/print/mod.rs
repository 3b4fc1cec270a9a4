//! From what the server says to what people read. Nothing here asks anybody anything.

pub(crate) mod age;
pub(crate) mod columns;
pub(crate) mod describe;
pub(crate) mod diff;
pub(crate) mod events;
pub(crate) mod go;
pub(crate) mod history;
pub(crate) mod hold;
pub(crate) mod image;
pub(crate) mod json;
pub(crate) mod jsonpath;
pub(crate) mod output;
#[cfg(test)]
pub(crate) mod rows;
pub(crate) mod schedule;
pub(crate) mod secret;
pub(crate) mod sections;
pub(crate) mod size;
pub(crate) mod table;
pub(crate) mod tabs;
pub(crate) mod template;
pub(crate) mod whereabouts;
pub(crate) mod why;
pub(crate) mod yaml;
