//! What does not fit the log is thrown away and rebuilt, whatever has happened to it.
