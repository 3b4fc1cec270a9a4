//! The command `tagtrail`.

use std::process::ExitCode;

/// Most of what the program does with memory is done by sled, which copies a page of rows for each change of one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tagtrail_cli::run()
}
