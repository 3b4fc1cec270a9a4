//! How far something long has come: one line on standard error that is written over, and only where somebody looks.

use std::io::{self, IsTerminal as _, Write as _};

/// A line that tells how far something is. It goes away in the end.
pub(crate) struct Progress {
    watched: bool,
    written: bool,
}

impl Progress {
    /// Begins without a word.
    pub(crate) fn new() -> Self {
        Self { watched: io::stderr().is_terminal(), written: false }
    }

    /// Says how far it is, in place of what was said before.
    pub(crate) fn say(&mut self, text: &str) {
        if self.watched {
            // Whether anybody reads it makes no difference.
            _ = write!(io::stderr(), "{CLEAR}{text}");
            self.written = true;
        }
    }
}

/// Goes to the beginning of the line and empties it.
const CLEAR: &str = "\r\x1b[K";

impl Drop for Progress {
    fn drop(&mut self) {
        if self.written {
            _ = write!(io::stderr(), "{CLEAR}");
        }
    }
}
