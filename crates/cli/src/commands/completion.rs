//! `tagtrail completion SHELL`: a script that makes the shell complete commands and flags.

use clap::Command;
use clap_complete::Shell;

use crate::context::Context;
use crate::failure::Failure;

/// Print a completion script: source <(tagtrail completion bash)
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

/// Prints the script.
pub(crate) fn run(args: &Args, mut command: Command, context: &mut Context) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "tagtrail", &mut script);
    context.print(&String::from_utf8_lossy(&script))
}
