//! Flags as `oc` reads them, where that is not how clap does.

use std::ffi::OsString;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, Error};

use crate::failure::Failure;

/// Reads `--flag=VALUE` of a flag that is on or off, in Go's spellings.
pub(crate) fn on_off(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing \"{text}\": invalid syntax")),
    }
}

/// Puts a mistake on the command line into `oc`'s words.
pub(crate) fn mistake(error: &Error, command: &Command, arguments: &[OsString]) -> Failure {
    let path = path(command, arguments);
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
            format!("invalid argument \"{value}\" for \"{flag}\" flag{reason}")
        }
        ErrorKind::MissingRequiredArgument => format!("missing {argument}"),
        ErrorKind::MissingSubcommand => format!("{path} needs a command"),
        _ => error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned(),
    };
    Failure::Usage { message, hint: format!("See '{path} --help' for usage.") }
}

/// The commands named so far: `tagtrail set image-lookup`.
fn path(root: &Command, arguments: &[OsString]) -> String {
    let mut path = root.get_name().to_owned();
    let mut command = root;
    for word in arguments.iter().skip(1).filter_map(|word| word.to_str()) {
        if let Some(found) = command.find_subcommand(word) {
            path = format!("{path} {}", found.get_name());
            command = found;
        }
    }
    path
}
