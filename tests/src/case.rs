//! A recorded run of the real image stream system. `tests/conformance/README.md` says what the fields mean.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::registry::data;

/// Image streams by `namespace/name`, as `get is NAME -o json` shows them, normalised.
pub type State = BTreeMap<String, Value>;

/// One file of `conformance/cases/`.
#[derive(Clone, Deserialize, Debug)]
pub struct Case {
    /// The file's name without `.json`.
    pub name: String,
    /// What the case shows.
    pub about: String,
    /// What was there before the first step.
    pub setup: Setup,
    /// What was done, in order.
    pub steps: Vec<Step>,
}

/// What differs between the starts of two cases.
#[derive(Clone, Deserialize, Debug)]
pub struct Setup {
    /// Calls of `fill_registry.py` beyond the standard content.
    pub fill: Vec<Vec<String>>,
    /// Each changing command was started just after a new second began.
    pub paced: bool,
}

/// One thing that was done, and what came of it.
#[derive(Clone, Deserialize, Debug)]
#[serde(untagged)]
pub enum Step {
    /// A command of `oc`.
    Command(Box<Recorded>),
    /// A call of `fill_registry.py`: the upstream registry changes.
    Fill {
        /// The call's arguments.
        fill: Vec<String>,
        /// What it printed.
        stdout: String,
        /// How it ended.
        rc: i32,
    },
    /// The recorder waited for something to happen by itself.
    Until {
        /// What it waited for.
        until: Until,
        /// The state when it had happened.
        state: State,
    },
}

/// A command and what it printed.
#[derive(Clone, Deserialize, Debug)]
pub struct Recorded {
    /// The arguments, without the program's name.
    pub argv: Vec<String>,
    /// What it could read.
    #[serde(default)]
    pub stdin: String,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// The exit code.
    pub rc: i32,
    /// Standard output, normalised by the recorder.
    pub stdout_norm: String,
    /// Standard error, normalised by the recorder.
    pub stderr_norm: String,
    /// The state after the command, and after the background imports it caused.
    pub state: State,
}

/// That a tag has this many history items, or this many conditions.
#[derive(Clone, Deserialize, Debug)]
pub struct Until {
    /// `namespace/name` of the stream.
    pub stream: String,
    /// The tag in it.
    pub tag: String,
    /// History items, at least.
    #[serde(default)]
    pub items: usize,
    /// Conditions, at least.
    #[serde(default)]
    pub conditions: usize,
}

/// Reads the cases whose names start with one of `prefixes`, in order; all of them for `all`.
pub fn load(prefixes: &[impl AsRef<str>]) -> Result<Vec<Case>> {
    let wanted = |name: &str| prefixes.iter().map(AsRef::as_ref).any(|p| p == "all" || name.starts_with(p));
    let mut paths = Vec::new();
    for entry in fs::read_dir(data("cases"))? {
        paths.push(entry?.path());
    }
    paths.sort();
    let mut cases = Vec::new();
    for path in paths {
        if path.file_stem().and_then(|name| name.to_str()).is_some_and(wanted) {
            let text = fs::read_to_string(&path)?;
            let case = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
            cases.push(case);
        }
    }
    Ok(cases)
}

impl Case {
    /// Whether the case changes what the registry holds.
    pub fn changes_upstream(&self) -> bool {
        !self.setup.fill.is_empty() || self.steps.iter().any(|step| matches!(step, Step::Fill { .. }))
    }

    /// Whether the case waits for scheduled imports, which then have to come soon.
    pub fn is_scheduled(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Until { .. }))
    }
}
