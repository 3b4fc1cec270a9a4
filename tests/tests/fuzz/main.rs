//! Every parser that meets foreign bytes, fed with what nobody would write.
//!
//! Inputs are made from kept samples (`tests/corpus/<parser>/`) by cutting, splicing and changing them; what a parser understands joins
//! the samples for as long as it runs. A parser must not panic, take long or take much memory, and where there is a way back it has to
//! lead to where one came from. `cargo-fuzz` and `bolero` find their way by the branches of the program, which needs a nightly
//! compiler; this runs wherever the tests run.
//!
//! | variable             | meaning                                                                        |
//! |----------------------|--------------------------------------------------------------------------------|
//! | `TAGTRAIL_FUZZ`      | only the parsers whose names contain this                                      |
//! | `TAGTRAIL_FUZZ_SECS` | for how long each of them is fed; 1 unless told                                |
//! | `TAGTRAIL_FUZZ_SEED` | where chance begins; 1 unless told, so that a test run is like the one before   |
//! | `TAGTRAIL_FUZZ_KEEP` | a file that each input is written to before it is tried, for what ends the process |
//!
//! An input that fails is written to `target/fuzz/` and named. Once that is mended it goes into the corpus: every sample is tried first,
//! as it is.

mod mutate;
mod parsers;
mod requests;
mod samples;

use std::cell::Cell;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mutate::Chance;

/// The longest input.
const INPUT_BYTES: usize = 32 << 10;
/// The longest that one input may take, on a busy machine and without optimizations.
const LONGEST: Duration = Duration::from_secs(5);
/// The most memory that the process may take for one input, in bytes, beyond what it had.
const MEMORY: u64 = 192 << 20;
/// How many inputs are tried between two looks at the memory.
const BATCH: usize = 64;
/// How many inputs that were understood join the samples.
const UNDERSTOOD: usize = 256;

/// A parser: its name, and a function that panics if something is wrong, and says whether the input was understood.
type Parser = (&'static str, fn(&[u8]) -> bool);

#[test]
fn every_parser() {
    let told = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let number = |name: &str| {
        told(name).map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
    };
    let only = told("TAGTRAIL_FUZZ").unwrap_or_default();
    let time = Duration::from_secs(number("TAGTRAIL_FUZZ_SECS").unwrap_or(1));
    let seed = number("TAGTRAIL_FUZZ_SEED").unwrap_or(1);
    let keep = told("TAGTRAIL_FUZZ_KEEP").map(PathBuf::from);
    eprintln!("TAGTRAIL_FUZZ_SEED={seed}");

    let parsers: Vec<Parser> = parsers::all().into_iter().filter(|(name, _)| name.contains(&only)).collect();
    assert!(!parsers.is_empty(), "there is no parser of that name");
    if parsers.iter().any(|(name, _)| *name == "request") {
        requests::begin();
    }
    let quiet = Quiet::new();
    let failures: Vec<String> =
        parsers.iter().filter_map(|parser| feed(*parser, seed, time, keep.as_deref()).err()).collect();
    drop(quiet);
    requests::stop();
    assert!(failures.is_empty(), "TAGTRAIL_FUZZ_SEED={seed}\n{}", failures.join("\n"));
}

/// Every folder of samples has its parser, so that none is forgotten when a parser gets another name.
#[test]
fn every_sample_has_its_parser() {
    let parsers = parsers::all();
    let names: Vec<&str> = parsers.iter().map(|(name, _)| *name).collect();
    for folder in fs::read_dir(corpus()).expect("the corpus") {
        let folder = folder.expect("it can be listed").file_name().into_string().expect("a name");
        assert!(names.contains(&folder.as_str()), "no parser is called {folder}");
    }
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// The samples of a parser, in the order of their names.
fn samples(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = corpus().join(name);
    let mut samples: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| {
            let path = entry.expect("it can be listed").path();
            (
                path.file_name().expect("a name").to_string_lossy().into_owned(),
                fs::read(&path).expect("a sample"),
            )
        })
        .collect();
    samples.sort();
    assert!(!samples.is_empty(), "{name} has no samples");
    samples
}

/// Feeds one parser. The error names the input that it failed on.
fn feed((name, parse): Parser, seed: u64, time: Duration, keep: Option<&Path>) -> Result<(), String> {
    let began = Instant::now();
    let mut chance = Chance::of(seed, name);
    let mut seeds = Vec::new();
    let mut understood = 0_usize;
    for (file, sample) in samples(name) {
        understood +=
            usize::from(attempt(name, parse, &sample, keep).map_err(|why| format!("{why}, sample {file}"))?);
        seeds.push(sample);
    }
    if understood == 0 {
        return Err(format!("{name} understands none of its samples"));
    }
    let own = seeds.len();
    let (mut tried, mut accepted) = (0_u64, 0_u64);
    while began.elapsed() < time {
        let mut batch = Vec::with_capacity(BATCH);
        let before = memory_peak(true);
        for _ in 0..BATCH {
            if began.elapsed() >= time {
                break;
            }
            let input = mutate::input(&mut chance, &seeds, INPUT_BYTES);
            let is_understood = attempt(name, parse, &input, keep)?;
            tried += 1;
            accepted += u64::from(is_understood);
            if is_understood && input.len() < INPUT_BYTES / 4 {
                // The first ones stay: they are the samples.
                if seeds.len() < own + UNDERSTOOD {
                    seeds.push(input.clone());
                } else {
                    seeds[own + chance.below(UNDERSTOOD)] = input.clone();
                }
            }
            batch.push(input);
        }
        if memory_peak(false).saturating_sub(before) > MEMORY {
            return Err(greedy(name, parse, &batch));
        }
    }
    eprintln!("{name}: {tried} inputs, {accepted} understood, {own} samples");
    Ok(())
}

/// Tries one input. Gives whether it was understood.
fn attempt(name: &str, parse: fn(&[u8]) -> bool, input: &[u8], keep: Option<&Path>) -> Result<bool, String> {
    if let Some(file) = keep {
        fs::write(file, input).expect("the file to keep inputs in");
    }
    let began = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| parse(input)));
    let took = began.elapsed();
    match outcome {
        Ok(_) if took > LONGEST => Err(failed(name, input, &format!("took {took:?}"))),
        Ok(understood) => Ok(understood),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panicked");
            Err(failed(name, input, &format!("{text} ({})", PLACE.take())))
        }
    }
}

/// Says which of these inputs takes too much memory.
fn greedy(name: &str, parse: fn(&[u8]) -> bool, batch: &[Vec<u8>]) -> String {
    for input in batch {
        let before = memory_peak(true);
        parse(input);
        let took = memory_peak(false).saturating_sub(before);
        if took > MEMORY / 2 {
            return failed(name, input, &format!("took {} MiB", took >> 20));
        }
    }
    failed(name, &batch.concat(), "took too much memory over several inputs")
}

fn failed(name: &str, input: &[u8], why: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/fuzz");
    fs::create_dir_all(&folder).expect("target/fuzz can be made");
    let file = folder.join(format!("{name}-{:016x}", mutate::hash(input)));
    fs::write(&file, input).expect("target/fuzz can be written");
    let shown: String = String::from_utf8_lossy(input).chars().take(200).collect();
    format!("{name}: {why}\n  {shown:?}\n  kept in {}", file.display())
}

/// The most memory that the process has had in use since it was last asked to begin anew, in bytes. 0 where the system does not tell.
fn memory_peak(anew: bool) -> u64 {
    if anew {
        fs::write("/proc/self/clear_refs", "5").ok();
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    line.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) << 10
}

thread_local! {
    /// Where the last panic was.
    static PLACE: Cell<String> = const { Cell::new(String::new()) };
}

type Hook = Box<dyn Fn(&std::panic::PanicHookInfo<'_>) + Sync + Send>;

/// While it lives, panics say nothing: each is reported once, with its input.
struct Quiet(Option<Hook>);

impl Quiet {
    fn new() -> Self {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(|info| {
            PLACE.set(info.location().map(ToString::to_string).unwrap_or_default());
        }));
        Self(Some(usual))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // In the middle of a panic the hook cannot be changed, and need not be.
        if !std::thread::panicking() {
            std::panic::set_hook(self.0.take().expect("it is there until now"));
        }
    }
}
