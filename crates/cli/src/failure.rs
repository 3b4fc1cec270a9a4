//! How everything that goes wrong is told: in the lines `oc` would print, and by the exit code.

use std::io;

/// Something went wrong, and this is what people read of it.
#[derive(Debug)]
pub(crate) enum Failure {
    /// This client refuses: `error: …`.
    Client(String),
    /// The command was given wrongly; where to read more.
    Usage {
        /// What was wrong.
        message: String,
        /// Where help stands, as a whole line.
        hint: String,
    },
    /// The server refuses, in its lines.
    Server {
        /// The line or lines to print.
        text: String,
        /// Whether it is that something does not exist.
        not_found: bool,
    },
    /// Nothing went wrong, and what was looked for could not be told.
    Undecided(String),
    /// An audit could not be done: nothing was found, and nothing was found to be well.
    Unchecked(Box<Failure>),
    /// Several things, in order.
    Several(Vec<Failure>),
    /// The output could not be written.
    Output(io::Error),
}

impl Failure {
    /// This client refuses.
    pub(crate) fn client(message: impl ToString) -> Self {
        Self::Client(message.to_string())
    }

    /// The server's words for it: `Error from server (NotFound): …`.
    pub(crate) fn server(word: &str, message: &str) -> Self {
        Self::Server { text: format!("Error from server ({word}): {message}"), not_found: word == "NotFound" }
    }

    /// `The ImageStream "x" is invalid: …`, one line for each of several causes.
    pub(crate) fn invalid(kind: &str, name: &str, message: &str) -> Self {
        let causes: Vec<&str> = message.lines().filter(|line| !line.is_empty()).collect();
        let message = match *causes {
            [] => String::new(),
            [one] => one.trim_start_matches("* ").to_owned(),
            _ => causes.iter().map(|cause| format!("\n* {}", cause.trim_start_matches("* "))).collect(),
        };
        Self::Server { text: format!("The {kind} \"{name}\" is invalid: {message}"), not_found: false }
    }

    /// `Ok`, or the one failure, or all of them.
    pub(crate) fn all(mut failures: Vec<Self>) -> Result<(), Self> {
        match failures.len() {
            0 => Ok(()),
            1 => Err(failures.remove(0)),
            _ => Err(Self::Several(failures)),
        }
    }

    /// The server's refusal, followed by what can be done about it.
    pub(crate) fn with_advice(self, advice: &str) -> Self {
        self.followed_by("; ", advice)
    }

    /// The server's refusal, followed by the moment it is about.
    pub(crate) fn with_moment(self, moment: &str) -> Self {
        self.followed_by(", ", moment)
    }

    fn followed_by(self, sign: &str, words: &str) -> Self {
        match self {
            Self::Server { text, not_found } => {
                Self::Server { text: format!("{text}{sign}{words}"), not_found }
            }
            other => other,
        }
    }

    /// Whether something does not exist.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Server { not_found: true, .. })
    }

    /// Whether it is only that nobody reads our output any more.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// The text for standard error, newline included.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Client(message) | Self::Undecided(message) => format!("error: {message}\n"),
            Self::Usage { message, hint } => format!("error: {message}\n{hint}\n"),
            Self::Server { text, .. } => format!("{text}\n"),
            Self::Several(failures) => failures.iter().map(Self::line_among_others).collect(),
            Self::Unchecked(why) => why.text(),
            Self::Output(error) => format!("error: cannot write the output: {error}\n"),
        }
    }

    /// What the process exits with: 1 as `oc` does, and 2 as `git bisect run` does where nothing could be decided. Of an audit, 1
    /// says that something is wrong, so that nothing else may.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Undecided(_) | Self::Unchecked(_) => 2,
            Self::Client(_)
            | Self::Usage { .. }
            | Self::Server { .. }
            | Self::Several(_)
            | Self::Output(_) => 1,
        }
    }

    /// Of several failures `oc` prints each as it is: only one alone is introduced as an error.
    fn line_among_others(&self) -> String {
        match self {
            Self::Client(message) => format!("{message}\n"),
            other => other.text(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_be_told_has_an_exit_code_of_its_own() {
        assert_eq!(Failure::client("no").exit_code(), 1);
        assert_eq!(Failure::server("NotFound", "x not found").exit_code(), 1);
        let undecided = Failure::Undecided("nobody knows".into());
        assert_eq!((undecided.exit_code(), undecided.text()), (2, "error: nobody knows\n".into()));
        let unchecked = Failure::Unchecked(Box::new(Failure::client("no such file")));
        assert_eq!((unchecked.exit_code(), unchecked.text()), (2, "error: no such file\n".into()));
    }

    #[test]
    fn failures_read_as_they_do_in_oc() {
        let check = |failure: Failure, want: &str| assert_eq!(failure.text(), want);
        check(Failure::client("no"), "error: no\n");
        check(Failure::server("NotFound", "x not found"), "Error from server (NotFound): x not found\n");
        check(Failure::invalid("ImageStream", "App", "a: b"), "The ImageStream \"App\" is invalid: a: b\n");
        let two = "The ImageStream \"x\" is invalid: \n* a: b\n* c: d\n";
        check(Failure::invalid("ImageStream", "x", "a: b\nc: d"), two);
        check(Failure::invalid("ImageStream", "x", "\n* a: b\n* c: d"), two);
        let there = Failure::server("AlreadyExists", "x already exists").with_advice("delete it");
        check(there, "Error from server (AlreadyExists): x already exists; delete it\n");
        let several = vec![Failure::client("no"), Failure::server("NotFound", "x not found")];
        check(Failure::Several(several), "no\nError from server (NotFound): x not found\n");
    }
}
