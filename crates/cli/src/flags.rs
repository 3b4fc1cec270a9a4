//! Flags as `oc` reads them, where that is not how clap does.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Command, Error};
use prost_types::Timestamp;
use tagtrail_api::v1::{GetInclusionProofRequest, WriteResult};

use crate::client::Client;
use crate::failure::Failure;
use crate::moment::{self, When};
use crate::places;

/// Reads `--flag=VALUE` of a flag that is on or off, in Go's spellings.
pub(crate) fn on_off(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing \"{text}\": invalid syntax")),
    }
}

// No doc comment: clap would take it for that of the command which has the flag.
#[derive(clap::Args)]
pub(crate) struct At {
    /// As everything was at a moment: a sequence such as 1234, a time such as 2026-11-27T14:03:05Z or 'yesterday 14:03',
    /// or '2h ago'
    #[arg(long, value_name = "MOMENT", value_parser = moment::past, allow_hyphen_values = true)]
    at: Option<When>,
}

impl At {
    /// The moment that is meant.
    pub(crate) fn when(&self) -> When {
        self.at.unwrap_or(When::Now)
    }
}

// As above.
#[derive(clap::Args)]
pub(crate) struct Until {
    /// Release it at this time without anybody asking: 2026-12-01T09:00:00Z, 'tomorrow 9:00', 'in 2h' [default: when
    /// somebody releases it]
    #[arg(long, value_name = "TIME", value_parser = moment::future, allow_hyphen_values = true, conflicts_with = "span")]
    until: Option<DateTime<Utc>>,
    /// Release it after so long, such as 2h or 3days
    #[arg(id = "span", long = "for", value_name = "DURATION", value_parser = span)]
    span: Option<Duration>,
}

// As above.
#[derive(clap::Args)]
pub(crate) struct Receipt {
    /// Keep a receipt in this file: what proves to anybody that the log has this event, without asking the server again
    /// (see 'audit check'). Waits until a checkpoint covers it, about a second
    #[arg(id = "receipt", long = "receipt", value_name = "FILE.tlog-proof")]
    file: Option<PathBuf>,
}

impl Receipt {
    /// Refuses a receipt for several writes, for a file holds one; and one that would take the place of another, which is evidence.
    ///
    /// # Errors
    /// [`Failure::Client`].
    pub(crate) fn for_writes(&self, count: usize) -> Result<(), Failure> {
        match &self.file {
            Some(_) if count > 1 => {
                Err(Failure::client("--receipt goes with one image stream or tag at a time"))
            }
            Some(file) if file.exists() => Err(Failure::client(format!(
                "{} is there already, and a receipt is not written over: give another name; nothing was done",
                file.display()
            ))),
            _ => Ok(()),
        }
    }

    /// Keeps the receipt for what was written, if one is wished. The write stays, whatever becomes of that.
    ///
    /// # Errors
    /// [`Failure::Client`], with how to ask for it again.
    pub(crate) async fn keep(&self, written: Option<&WriteResult>, client: &Client) -> Result<(), Failure> {
        let Some(file) = &self.file else { return Ok(()) };
        let sequence = match written.map(|written| written.sequence) {
            Some(sequence) if sequence > 0 => sequence,
            _ => {
                return Err(Failure::client(
                    "there is no receipt: nothing had to change, so nothing was written",
                ));
            }
        };
        let without = |why: String| {
            Failure::client(format!(
                "it is done (sequence {sequence}), but there is no receipt: {why}; ask again with 'tagtrail audit prove {sequence}'"
            ))
        };
        let answer = client.audits().get_inclusion_proof(GetInclusionProofRequest { sequence }).await;
        let answer = answer.map_err(|status| without(client.why(&status)))?.into_inner();
        std::fs::write(file, answer.receipt).map_err(|error| without(format!("{}: {error}", file.display())))
    }
}

/// Reads how long a hold is to last.
fn span(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| {
        "write how long, such as 30m, 2h or 3days; without --for and --until it lasts until somebody releases it".to_owned()
    })
}

impl Until {
    /// When it ends, as it goes to the server. `None`: not by itself.
    ///
    /// # Errors
    /// [`Failure::Client`] for a time that no clock reaches, or no time at all.
    pub(crate) fn to_wire(&self) -> Result<Option<Timestamp>, Failure> {
        let after = match self.span {
            Some(Duration::ZERO) => {
                return Err(Failure::client(
                    "a hold for no time at all is none: give --for at least a second",
                ));
            }
            Some(span) => Some(moment::from_now(span).map_err(Failure::client)?),
            None => None,
        };
        Ok(self.until.or(after).map(moment::timestamp))
    }
}

// As above.
#[derive(clap::Args)]
pub(crate) struct Expect {
    /// Only if the tag points to this image now: its whole digest, or none for a tag that points to nothing. Otherwise it is
    /// refused with what is there
    #[arg(long = "expect", value_name = "DIGEST|none", value_parser = places::expectation)]
    image: Option<String>,
}

impl Expect {
    /// As it goes to the server.
    pub(crate) fn to_wire(&self) -> String {
        self.image.clone().unwrap_or_default()
    }
}

/// What is only tried out: `--dry-run`, `--dry-run=client`, `--dry-run=server`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum DryRun {
    /// Nothing: the change is made.
    #[default]
    No,
    /// The server is not asked for the change, so that what it would refuse is not told.
    Client,
    /// The server checks the change and does not make it.
    Server,
}

impl DryRun {
    /// Whether nothing is changed.
    pub(crate) fn is_dry(self) -> bool {
        self != Self::No
    }

    /// What to add to a message of success.
    pub(crate) fn remark(self) -> &'static str {
        match self {
            Self::No => "",
            Self::Client => " (dry run)",
            Self::Server => " (server dry run)",
        }
    }
}

/// kubectl looks at this flag after all the others, and tells of it in a sentence of its own.
const BAD_DRY_RUN: &str = "Invalid dry-run value";

/// Reads the value of `--dry-run`: kubectl's words, and those of the time when it was on or off.
pub(crate) fn dry_run(text: &str) -> Result<DryRun, String> {
    match text {
        "client" => Ok(DryRun::Client),
        "server" => Ok(DryRun::Server),
        "none" => Ok(DryRun::No),
        _ => match on_off(text) {
            Ok(true) => Ok(DryRun::Client),
            Ok(false) => Ok(DryRun::No),
            Err(_) => Err(format!("{BAD_DRY_RUN} ({text}). Must be \"none\", \"server\", or \"client\".")),
        },
    }
}

/// Reads `help tag` as `tag --help`.
pub(crate) fn help_as_a_flag(mut arguments: Vec<OsString>) -> Vec<OsString> {
    if arguments.get(1).is_some_and(|word| word == "help") {
        arguments.remove(1);
        arguments.push("--help".into());
    }
    arguments
}

/// Lets flags that are on or off be written `--flag=true` and `--flag=false`, as Go's flags can be.
pub(crate) fn switches(root: &Command, arguments: Vec<OsString>) -> Result<Vec<OsString>, Failure> {
    let (path, command) = named(root, &arguments);
    let is_switch = |name: &str| {
        let mut flags = command.get_arguments();
        flags.any(|flag| flag.get_long() == Some(name) && matches!(flag.get_action(), ArgAction::SetTrue))
    };
    let mut plain: Vec<OsString> = Vec::with_capacity(arguments.len());
    let mut arguments = arguments.into_iter();
    for word in arguments.by_ref() {
        let parts = word.to_str().and_then(|text| text.strip_prefix("--")?.split_once('='));
        let Some((name, value)) = parts.filter(|(name, _)| is_switch(name)) else {
            let end = word == "--";
            plain.push(word);
            if end {
                break;
            }
            continue;
        };
        let flag = OsString::from(format!("--{name}"));
        let on = on_off(value).map_err(|why| {
            usage(format!("invalid argument \"{value}\" for \"--{name}\" flag: {why}"), &path)
        })?;
        // The last word counts.
        plain.retain(|earlier| *earlier != flag);
        plain.extend(on.then_some(flag));
    }
    plain.extend(arguments);
    Ok(plain)
}

/// Puts a mistake on the command line into `oc`'s words.
pub(crate) fn mistake(error: &Error, command: &Command, arguments: &[OsString]) -> Failure {
    let (path, _) = named(command, arguments);
    let text = |kind: ContextKind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        Some(ContextValue::StyledStr(text)) => StyledStr::to_string(text),
        _ => String::new(),
    };
    let argument = text(ContextKind::InvalidArg);
    let flag = argument.split([' ', '=', '[']).next().unwrap_or_default().to_owned();
    let message = match error.kind() {
        ErrorKind::InvalidSubcommand => {
            format!("unknown command \"{}\" for \"{path}\"", text(ContextKind::InvalidSubcommand))
        }
        ErrorKind::UnknownArgument if flag.starts_with("--") => format!("unknown flag: {flag}"),
        ErrorKind::UnknownArgument if flag.starts_with('-') => {
            format!("unknown shorthand flag: '{}' in {flag}", flag.chars().nth(1).unwrap_or('-'))
        }
        ErrorKind::UnknownArgument => format!("unexpected argument \"{argument}\""),
        ErrorKind::InvalidValue | ErrorKind::NoEquals if text(ContextKind::InvalidValue).is_empty() => {
            format!("flag needs an argument: {flag}")
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let value = text(ContextKind::InvalidValue);
            let reason =
                std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
            if let Some(source) = std::error::Error::source(error).map(ToString::to_string)
                && source.starts_with(BAD_DRY_RUN)
            {
                return Failure::client(source);
            }
            let valid = text(ContextKind::ValidValue);
            let reason = if valid.is_empty() { reason } else { format!(": it is one of {valid}") };
            if flag.starts_with('-') {
                format!("invalid argument \"{value}\" for \"{flag}\" flag{reason}")
            } else {
                format!("invalid {flag} \"{value}\"{reason}")
            }
        }
        ErrorKind::MissingRequiredArgument => format!("missing {argument}"),
        ErrorKind::MissingSubcommand => format!("{path} needs a command"),
        _ => error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned(),
    };
    usage(message, &path)
}

fn usage(message: String, path: &str) -> Failure {
    Failure::Usage { message, hint: format!("See '{path} --help' for usage.") }
}

/// The command the words name, and its full name: `tagtrail set image-lookup`.
fn named<'a>(root: &'a Command, arguments: &[OsString]) -> (String, &'a Command) {
    let words = arguments.iter().skip(1).filter_map(|word| word.to_str());
    words.fold((root.get_name().to_owned(), root), |(path, command), word| {
        match command.find_subcommand(word) {
            Some(found) => (format!("{path} {}", found.get_name()), found),
            None => (path, command),
        }
    })
}
