//! The command `tagtrail`.

use std::process::ExitCode;

fn main() -> ExitCode {
    tagtrail_cli::run()
}
