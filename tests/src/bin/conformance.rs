//! Replays recorded cases and prints how they went:
//!
//! ```text
//! conformance [--every] [--lines] all | PREFIX...
//! ```
//!
//! `--every` shows every difference of a case; without it, the first one. What is set aside is listed at the end, or, with
//! `--lines`, told in lines for another program to count. Exit code 0: all cases agree.

#![expect(clippy::print_stdout, reason = "a table on stdout is what this program is for")]

use std::collections::VecDeque;
use std::env;
use std::fs::File;
use std::process::{Command, ExitCode, Output, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tagtrail_tests::tally::Tally;
use tagtrail_tests::{binary, case, namespace, replay};

/// Cases at a time. They wait more than they work: for the next second, for an import.
const AT_A_TIME: usize = 6;

/// Says that this process was started to play one case, and that its network is its own.
const INSIDE: &str = "--inside";
/// The same, on the machine's own network.
const IN_TURN: &str = "--in-turn";

fn main() -> Result<ExitCode> {
    let mut arguments: Vec<String> = env::args().skip(1).collect();
    let every = arguments.iter().any(|argument| argument == "--every");
    let lines = arguments.iter().any(|argument| argument == "--lines");
    arguments.retain(|argument| argument != "--every" && argument != "--lines");
    match arguments.first().map(String::as_str) {
        Some(INSIDE) => {
            namespace::enter()?;
            play(&arguments[1], every)
        }
        Some(IN_TURN) => play(&arguments[1], every),
        Some(_) => play_all(&arguments, every, lines),
        None => {
            println!("usage: conformance [--every] [--lines] all | PREFIX...");
            Ok(ExitCode::from(2))
        }
    }
}

/// Plays one case in this process and prints what differs.
fn play(name: &str, every: bool) -> Result<ExitCode> {
    let case = case::load(&[name])?.pop().with_context(|| format!("no case {name}"))?;
    let report = replay::play(&case)?;
    for departure in &report.departures {
        println!("{}", departure.line());
    }
    let shown = if every { report.differences.len() } else { 1 };
    for difference in report.differences.iter().take(shown) {
        println!("{}", difference.describe());
    }
    let mut steps: Vec<usize> = report.differences.iter().map(|difference| difference.step).collect();
    steps.dedup();
    if steps.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("{} of {} steps differ: {steps:?}", steps.len(), report.steps);
    Ok(ExitCode::FAILURE)
}

/// Plays cases side by side, each in a process of its own, and prints a table.
fn play_all(prefixes: &[String], every: bool, lines: bool) -> Result<ExitCode> {
    let names: Vec<String> = case::load(prefixes)?.into_iter().map(|case| case.name).collect();
    ensure!(!names.is_empty(), "no case starts with {}", prefixes.join(" or "));
    let queue = Mutex::new(names.iter().cloned().collect::<VecDeque<String>>());
    let played = Mutex::new(Vec::new());
    let workers = names.len().min(AT_A_TIME);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let next = || queue.lock().expect("no worker panics with the queue").pop_front();
                while let Some(name) = next() {
                    let start = Instant::now();
                    let outcome = apart(&name, every);
                    played.lock().expect("no worker panics here").push((name, outcome, start.elapsed()));
                }
            });
        }
    });
    let mut played = played.into_inner().expect("no worker panicked");
    played.sort_by(|a, b| a.0.cmp(&b.0));
    print_table(&played, lines)
}

type Played = (String, Result<Output>, Duration);

fn print_table(played: &[Played], lines: bool) -> Result<ExitCode> {
    let mut tally = Tally::default();
    for (name, outcome, _) in played {
        let output = outcome.as_ref().map_err(|error| anyhow::anyhow!("{name}: {error:#}"))?;
        tally.add(name, output.status.success(), &String::from_utf8_lossy(&output.stdout));
        if !output.status.success() {
            println!("==== {name}");
            println!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
    for (name, outcome, took) in played {
        let output = outcome.as_ref().expect("failures to start were returned above");
        let stdout = String::from_utf8_lossy(&output.stdout);
        let last = stdout.lines().last().unwrap_or("did not finish");
        let result = if output.status.success() { "pass" } else { "FAIL" };
        let remark = if output.status.success() { "" } else { last };
        println!("{result}  {name:28} {:5.1} s  {remark}", took.as_secs_f64());
    }
    if lines {
        tally.departures().for_each(|departure| println!("{}", departure.line()));
    } else {
        print!("{tally}");
    }
    Ok(if tally.passes() == tally.cases() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Plays one case in a process of its own: in a network namespace, or else when its turn has come.
fn apart(name: &str, every: bool) -> Result<Output> {
    let me = env::current_exe()?;
    let (mut command, _turn): (Command, Option<File>) = match namespace::command(&me) {
        Some(mut command) => {
            command.arg(INSIDE);
            (command, None)
        }
        None => {
            let mut command = Command::new(&me);
            command.arg(IN_TURN);
            (command, Some(namespace::take_turn()?))
        }
    };
    command.arg(name);
    if every {
        command.arg("--every");
    }
    // The binary is found, and built, out here: cargo may need the network and its own user.
    command.env("TAGTRAIL_BIN", binary::tagtrail());
    // What could not be done is told in sentences; where in this program it was noticed does not help.
    command.env("RUST_LIB_BACKTRACE", "0");
    Ok(command.stdin(Stdio::null()).output()?)
}
