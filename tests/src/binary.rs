//! Which `tagtrail` is tested, and where the tools are that tests need.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The `tagtrail` binary: `$TAGTRAIL_BIN`, else the one beside the running test, brought up to date with
/// `cargo build -p tagtrail-cli` once per test process, so that `cargo test -p tagtrail-tests` alone tests the code at hand.
///
/// # Panics
/// When it does not build: no test can say anything then.
pub fn tagtrail() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| env::var_os("TAGTRAIL_BIN").map_or_else(build, PathBuf::from)).clone()
}

fn build() -> PathBuf {
    let profile = output_directory();
    let target = target_directory();
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--package", "tagtrail-cli", "--target-dir"]).arg(target);
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile.ends_with("release") {
        build.arg("--release");
    }
    let status = build.stdin(Stdio::null()).status().expect("cargo is there, or TAGTRAIL_BIN names a binary");
    assert!(status.success(), "tagtrail does not build; see above");
    profile.join("tagtrail")
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

fn target_directory() -> PathBuf {
    let profile = output_directory();
    profile.parent().expect("a profile's directory lies in the target directory").to_owned()
}
