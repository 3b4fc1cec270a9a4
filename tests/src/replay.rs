//! Does what a recorded case did, with Tagtrail, and says where the outcome differs.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::case::{Case, Recorded, State, Step, Until};
use crate::client::Client;
use crate::compare::{Chance, canonical, canonical_state, difference};
use crate::registry::{Access, Registry, Storage};
use crate::server::{Options, Server};
use crate::wait;

/// The namespaces whose streams the recorder kept.
const NAMESPACES: [&str; 3] = ["test", "other", "prod"];

/// How long background imports may take. A failing import that is asked for again can look unfinished for ever
/// (spec §3.6, "stuck display"), so this is also what such a case costs.
const SETTLED_WITHIN: Duration = Duration::from_secs(3);

/// How long scheduled imports, two seconds apart here, may take to be seen.
const SCHEDULED_WITHIN: Duration = Duration::from_secs(20);

/// A difference that is meant, and where it is explained.
struct SetAside {
    case: &'static str,
    step: usize,
    field: &'static str,
    /// The heading in `docs/differences-from-openshift.md`.
    because: &'static str,
}

/// Differences that are meant. Steps count from 1.
const SET_ASIDE: &[SetAside] = &[];

/// What came of a case.
#[derive(Debug)]
pub struct Report {
    /// How many steps there were.
    pub steps: usize,
    /// Where the outcome differs, in order.
    pub differences: Vec<Difference>,
    /// Differences that are meant, with the reason.
    pub set_aside: Vec<String>,
}

/// One output, or one state, that is not as recorded.
#[derive(Debug)]
pub struct Difference {
    /// The step, counted from 1.
    pub step: usize,
    /// The command line, or what else the step was.
    pub what: String,
    /// `stdout`, `stderr`, `rc` or `state`.
    pub field: &'static str,
    /// A unified diff.
    pub diff: String,
}

impl Difference {
    /// The difference as a person reads it.
    pub fn describe(&self) -> String {
        format!("step {}: {}\n{} differs:\n{}", self.step, self.what, self.field, self.diff)
    }
}

/// Plays `case` on the ports it names: 5001 and 5002 (registries), 5999 (nothing), 7400 and 7401 (Tagtrail).
pub fn play(case: &Case) -> Result<Report> {
    let storage = if case.changes_upstream() { Storage::filled()? } else { Storage::shared()? };
    let registry = Registry::serve(&storage, 5001, Access::Anonymous)?;
    let _guarded = Registry::serve(&storage, 5002, Access::Password)?;
    for arguments in &case.setup.fill {
        let output = registry.fill(arguments)?;
        ensure!(output.status.success(), "fill_registry.py {arguments:?}: {output:?}");
    }
    let server =
        Server::start(Options { config: configuration(case), ports: Some((7400, 7401)), env: vec![] })?;
    let mut play = Play {
        case,
        registry,
        client: server.client(),
        before: State::new(),
        chance: Chance { tag_order: !case.setup.paced, ..Chance::default() },
        report: Report { steps: case.steps.len(), differences: vec![], set_aside: vec![] },
    };
    for (index, step) in case.steps.iter().enumerate() {
        play.step(index + 1, step).with_context(|| {
            format!("step {} of {}; the server's log:\n{}", index + 1, case.name, server.log())
        })?;
    }
    Ok(play.report)
}

/// The server's configuration: where the references of the cases lead.
fn configuration(case: &Case) -> String {
    let interval = if case.is_scheduled() { "2s" } else { "15m" };
    let mut toml = format!(
        "[repository]\n\
         internal = \"image-registry.openshift-image-registry.svc:5000\"\n\
         public = \"default-route-openshift-image-registry.apps-crc.testing\"\n\
         [import]\n\
         scheduled_interval = \"{interval}\"\n"
    );
    for host in ["docker.io", "quay.io"] {
        write!(
            toml,
            "[[registry]]\n\
             host = \"{host}\"\n\
             mirrors = [\"127.0.0.1:5001\"]\n\
             mirror_only = true\n\
             insecure = true\n"
        )
        .expect("a string takes all that is written");
    }
    toml
}

/// A case being played.
struct Play<'a> {
    case: &'a Case,
    registry: Registry,
    client: Client,
    /// The recorded state before the step at hand.
    before: State,
    chance: Chance,
    report: Report,
}

impl Play<'_> {
    fn step(&mut self, number: usize, step: &Step) -> Result<()> {
        match step {
            Step::Command(recorded) => self.command(number, recorded),
            Step::Fill { fill, stdout, rc } => {
                let output = self.registry.fill(fill)?;
                let what = format!("fill_registry.py {}", fill.join(" "));
                self.compare(
                    number,
                    &what,
                    "rc",
                    &rc.to_string(),
                    &output.status.code().unwrap_or(-1).to_string(),
                );
                // The recorder kept the digest without the end of its line.
                let printed = String::from_utf8_lossy(&output.stdout);
                self.compare(number, &what, "stdout", stdout, printed.trim_end());
                Ok(())
            }
            Step::Until { until, state } => {
                let what = format!("wait until {until:?}");
                wait::until(SCHEDULED_WITHIN, || self.state().ok().filter(|state| reached(state, until)));
                self.compare_state(number, &what, state)
            }
        }
    }

    fn command(&mut self, number: usize, recorded: &Recorded) -> Result<()> {
        let argv = &recorded.argv;
        let what = format!("tagtrail {}", argv.join(" "));
        let reads = matches!(argv.first().map(String::as_str), Some("get" | "describe"));
        if self.case.setup.paced && !reads {
            wait::for_a_new_second();
        }
        self.chance.block_order = imports_all_again(argv, &self.before);
        let printed = self.client.run_with(argv, &recorded.stdin)?;
        if sets_several_tags(argv) {
            self.chance.tag_order = true;
            self.chance.generations |= waits_for_import(argv, &recorded.state);
        }

        let chance = self.chance;
        let form = |text: &str| canonical(argv, text, chance);
        self.compare(number, &what, "rc", &recorded.rc.to_string(), &printed.rc.to_string());
        self.compare(number, &what, "stdout", &form(&recorded.stdout), &form(&printed.stdout));
        self.compare(number, &what, "stderr", &form(&recorded.stderr), &form(&printed.stderr));
        if !reads {
            wait::until(SETTLED_WITHIN, || self.state().ok().filter(settled));
        }
        self.compare_state(number, &what, &recorded.state)
    }

    /// Every stream of the recorder's namespaces.
    fn state(&self) -> Result<State> {
        let list = self.client.json(&["get", "is", "-A", "-o", "json"])?;
        let streams = list["items"].as_array().context("a list has items")?;
        let named = |stream: &Value| {
            let part = |field: &str| stream["metadata"][field].as_str().unwrap_or_default().to_owned();
            let (namespace, name) = (part("namespace"), part("name"));
            NAMESPACES.contains(&&*namespace).then(|| (format!("{namespace}/{name}"), stream.clone()))
        };
        Ok(streams.iter().filter_map(named).collect())
    }

    fn compare_state(&mut self, number: usize, what: &str, recorded: &State) -> Result<()> {
        let ours = canonical_state(&self.state()?, self.chance);
        self.compare(number, what, "state", &canonical_state(recorded, self.chance), &ours);
        self.before = recorded.clone();
        Ok(())
    }

    fn compare(&mut self, step: usize, what: &str, field: &'static str, recorded: &str, ours: &str) {
        let Some(diff) = difference(recorded, ours) else { return };
        let meant = |it: &&SetAside| it.case == self.case.name && it.step == step && it.field == field;
        match SET_ASIDE.iter().find(meant) {
            Some(it) => self.report.set_aside.push(format!("step {step}, {field}: {}", it.because)),
            None => self.report.differences.push(Difference { step, what: what.to_owned(), field, diff }),
        }
    }
}

/// Whether every tag that names a docker image has been looked at since it was set.
///
/// A tag that was set carries a generation above that of its newest item and of its condition until an import answers.
fn settled(state: &State) -> bool {
    state.values().all(|stream| {
        let tags = stream["spec"]["tags"].as_array().map_or(&[][..], Vec::as_slice);
        tags.iter().all(|tag| {
            let imported = tag["from"]["kind"] == "DockerImage" && tag["reference"] != true;
            !imported || tag["generation"].as_u64().unwrap_or(0) <= observed(stream, &tag["name"])
        })
    })
}

/// The generation in which the tag called `name` was last looked at.
fn observed(stream: &Value, name: &Value) -> u64 {
    let tags = stream["status"]["tags"].as_array().map_or(&[][..], Vec::as_slice);
    let Some(tag) = tags.iter().find(|tag| tag["tag"] == *name) else { return 0 };
    let first = |field: &str| tag[field][0]["generation"].as_u64().unwrap_or(0);
    first("items").max(first("conditions"))
}

fn reached(state: &State, until: &Until) -> bool {
    let Some(stream) = state.get(&until.stream) else { return false };
    let tags = stream["status"]["tags"].as_array().map_or(&[][..], Vec::as_slice);
    tags.iter().filter(|tag| tag["tag"] == *until.tag).any(|tag| {
        let count = |field: &str| tag[field].as_array().map_or(0, Vec::len);
        count("items") >= until.items && count("conditions") >= until.conditions
    })
}

fn positional(argv: &[String]) -> Vec<&str> {
    argv.iter().map(String::as_str).filter(|argument| !argument.starts_with('-')).collect()
}

/// `tag SOURCE DESTINATION DESTINATION ...`
fn sets_several_tags(argv: &[String]) -> bool {
    let words = positional(argv);
    words.first() == Some(&"tag") && words.len() > 3 && !argv.iter().any(|argument| argument == "-d")
}

/// Whether the source of a `tag` command is a docker image that was imported afterwards.
fn waits_for_import(argv: &[String], after: &State) -> bool {
    let source = positional(argv)[1];
    after.values().any(|stream| {
        let tags = stream["spec"]["tags"].as_array().map_or(&[][..], Vec::as_slice);
        tags.iter().any(|tag| tag["from"]["kind"] == "DockerImage" && tag["from"]["name"] == source)
    })
}

/// `import-image NAME --all` of a stream that was there before.
fn imports_all_again(argv: &[String], before: &State) -> bool {
    let words = positional(argv);
    words.first() == Some(&"import-image")
        && argv.iter().any(|argument| argument == "--all")
        && words.get(1).is_some_and(|name| before.contains_key(&format!("test/{name}")))
}
