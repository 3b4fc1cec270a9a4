//! Does what a recorded case did, with Tagtrail, and says where the outcome differs.

use std::fmt::Write as _;
use std::ptr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::case::{Case, Recorded, State, Step, Until};
use crate::client::Client;
use crate::compare::{Chance, canonical, canonical_state, difference};
use crate::meant::Meant;
use crate::registry::{Access, Registry, Storage};
use crate::server::{Options, Server};
use crate::tally::Departure;
use crate::wait;

/// The namespaces whose streams the recorder kept.
const NAMESPACES: [&str; 3] = ["test", "other", "prod"];

/// How long background imports may take.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);

/// How long scheduled imports, two seconds apart here, may take to be seen.
const SCHEDULED_WITHIN: Duration = Duration::from_secs(20);

/// What came of a case.
#[derive(Debug)]
pub struct Report {
    /// How many steps there were.
    pub steps: usize,
    /// Where the outcome differs, in order.
    pub differences: Vec<Difference>,
    /// What was meant to differ, and did.
    pub meant: Vec<&'static Meant>,
    /// In which fields it did.
    pub departures: Vec<Departure>,
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
    let server = Server::start(Options {
        config: configuration(case),
        ports: Some((7400, 7401)),
        ..Options::default()
    })?;
    let mut play = Play {
        case,
        registry,
        client: server.client(),
        before: State::new(),
        chance: Chance { tag_order: !case.setup.paced, ..Chance::default() },
        report: Report { steps: case.steps.len(), differences: vec![], meant: vec![], departures: vec![] },
    };
    for (index, step) in case.steps.iter().enumerate() {
        play.step(index + 1, step).with_context(|| {
            format!("step {} of {}; the server's log:\n{}", index + 1, case.name, server.log())
        })?;
    }
    play.nothing_is_meant_in_vain();
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
        let rc = self.as_meant((number, &what, "rc"), recorded.rc, Meant::exit_code);
        let stdout = self
            .as_meant((number, &what, "stdout"), recorded.stdout.clone(), |meant, text| meant.output(&text));
        let stderr = self.as_meant((number, &what, "stderr"), recorded.stderr.clone(), Meant::complaint);
        self.compare(number, &what, "rc", &rc.to_string(), &printed.rc.to_string());
        self.compare(number, &what, "stdout", &form(&stdout), &form(&printed.stdout));
        self.compare(number, &what, "stderr", &form(&stderr), &form(&printed.stderr));
        if !reads {
            wait::until(SETTLED_WITHIN, || self.nothing_is_imported().ok().filter(|settled| *settled))
                .with_context(|| format!("{what}: imports are still under way after {SETTLED_WITHIN:?}"))?;
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
        let theirs = self.as_meant((number, what, "state"), recorded.clone(), Meant::state);
        self.compare(number, what, "state", &canonical_state(&theirs, self.chance), &ours);
        self.before = recorded.clone();
        Ok(())
    }

    fn compare(&mut self, step: usize, what: &str, field: &'static str, recorded: &str, ours: &str) {
        let Some(diff) = difference(recorded, ours) else { return };
        match Meant::of(&self.case.name, step).find(|meant| meant.leaves_out(field)) {
            Some(meant) => self.depart((step, what, field), meant),
            None => self.report.differences.push(Difference { step, what: what.to_owned(), field, diff }),
        }
    }

    /// What was recorded in a step, as Tagtrail is meant to show it.
    fn as_meant<T: Clone + PartialEq>(
        &mut self,
        (step, what, field): (usize, &str, &str),
        recorded: T,
        change: impl Fn(&Meant, T) -> T,
    ) -> T {
        let mut expected = recorded;
        for meant in Meant::of(&self.case.name, step) {
            let changed = change(meant, expected.clone());
            if changed != expected {
                self.depart((step, what, field), meant);
            }
            expected = changed;
        }
        expected
    }

    fn depart(&mut self, (step, what, field): (usize, &str, &str), meant: &'static Meant) {
        self.report.meant.push(meant);
        self.report.departures.push(Departure {
            case: self.case.name.clone(),
            step,
            field: field.to_owned(),
            set_aside: meant.sets_aside(),
            because: meant.because.to_owned(),
            what: what.to_owned(),
        });
    }

    /// Something that is meant to differ and does not is a difference too.
    fn nothing_is_meant_in_vain(&mut self) {
        for meant in Meant::in_case(&self.case.name) {
            if !self.report.meant.iter().any(|met| ptr::eq(*met, meant)) {
                let diff = format!("{meant:?} was not needed");
                let what = "what is meant to differ".to_owned();
                self.report.differences.push(Difference { step: 0, what, field: "state", diff });
            }
        }
    }

    fn nothing_is_imported(&self) -> Result<bool> {
        Ok(self.client.json(&["status", "-o", "json"])?["pendingImports"] == 0)
    }
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
