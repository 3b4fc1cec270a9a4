//! Which `tagtrail` is tested, and where the tools are that tests need.

use std::collections::BTreeSet;
use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock};

/// The `tagtrail` binary: `$TAGTRAIL_BIN`, else the one beside the running test, brought up to date with
/// `cargo build -p tagtrail-cli` once per test process, so that `cargo test -p tagtrail-tests` alone tests the code at hand.
///
/// # Panics
/// When it does not build: no test can say anything then.
pub fn tagtrail() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| env::var_os("TAGTRAIL_BIN").map_or_else(build, PathBuf::from)).clone()
}

/// One of the examples in Rust, brought up to date in the same way.
///
/// # Panics
/// When it does not build.
pub fn example(name: &str) -> PathBuf {
    static BUILT: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut built = BUILT.lock().expect("nobody panics while building");
    // Whoever builds the binary first builds the examples with it.
    if env::var_os("TAGTRAIL_BIN").is_none() && built.insert(name.to_owned()) {
        cargo_build(&["--package", "tagtrail-tests", "--example", name]);
    }
    output_directory().join("examples").join(name)
}

fn build() -> PathBuf {
    cargo_build(&["--package", "tagtrail-cli"]);
    output_directory().join("tagtrail")
}

fn cargo_build(what: &[&str]) {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--target-dir"]).arg(target_directory()).args(what);
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    if output_directory().ends_with("release") {
        build.arg("--release");
    }
    let status = build.stdin(Stdio::null()).status().expect("cargo is there, or TAGTRAIL_BIN names a binary");
    assert!(status.success(), "{} does not build; see above", what.join(" "));
}

/// `target/<profile>`: where cargo puts binaries. The tests keep their reusable data in a directory beside it.
pub fn output_directory() -> PathBuf {
    let me = env::current_exe().expect("a running program has a path");
    let directory = me.parent().expect("a program lies in a directory");
    // Tests are built one directory deeper than binaries.
    if directory.ends_with("deps") { directory.parent().unwrap_or(directory) } else { directory }.to_owned()
}

/// Where `scripts/test-tools` puts what it does not find on the system.
pub fn tools_directory() -> PathBuf {
    target_directory().join("tools")
}

/// The Python that has the packages of `tests/requirements.txt`: `$TAGTRAIL_TEST_PYTHON`, else the one that
/// `scripts/test-tools` has made.
pub fn python() -> PathBuf {
    let made = || tools_directory().join("python").join("bin").join("python");
    env::var_os("TAGTRAIL_TEST_PYTHON").map_or_else(made, PathBuf::from)
}

/// The verifier of `tests/verifier`, which `scripts/test-tools` has built: it checks a log with code that is not ours.
pub fn verifier() -> PathBuf {
    tools_directory().join("verifier").join("verifier")
}

fn target_directory() -> PathBuf {
    let profile = output_directory();
    profile.parent().expect("a profile's directory lies in the target directory").to_owned()
}
