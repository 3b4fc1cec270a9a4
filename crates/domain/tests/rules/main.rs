//! The rules of image streams, read off OpenShift and told as tables: given, when, then. The language of the tables
//! is explained in `language`. "Case 12" is a case of the specification's §7.

mod expectations;
mod history;
mod holds;
mod imports;
mod language;
mod plans;
mod promote;
mod restore;
mod rollback;
mod streams;
mod tags;
mod testimony;
mod world_moved;
