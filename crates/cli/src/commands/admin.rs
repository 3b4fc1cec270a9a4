//! `tagtrail admin`: for operators.

use tagtrail_api::v1::RebuildViewRequest;

use crate::context::Context;
use crate::failure::Failure;

/// For operators.
#[derive(clap::Subcommand)]
pub(crate) enum Admin {
    /// Build the read model anew from the log
    Rebuild(RebuildArgs),
}

/// Build the read model anew from the log.
#[derive(clap::Args)]
pub(crate) struct RebuildArgs {
    /// Build it beside the live one and compare, instead of keeping it; differences are a failure
    #[arg(long)]
    verify: bool,
}

/// Serves operators.
pub(crate) async fn run(admin: Admin, context: &mut Context) -> Result<(), Failure> {
    let Admin::Rebuild(RebuildArgs { verify }) = admin;
    let client = context.client()?;
    let answer = client.admin().rebuild_view(RebuildViewRequest { verify }).await;
    let answer = answer.map_err(|status| client.refusal(&status))?.into_inner();
    let (events, rows, took) = (answer.events, answer.rows, answer.elapsed_ms);
    context.print(&format!("Replayed {events} events into {rows} rows in {took} ms.\n"))?;
    for difference in &answer.differences {
        context.print(&format!("{difference}\n"))?;
    }
    match (verify, answer.differences.len()) {
        (true, 0) => context.print("The live read model is the same.\n"),
        (_, 0) => Ok(()),
        (_, differences) => Err(Failure::client(format!(
            "the live read model differs from the log in at least {differences} places"
        ))),
    }
}
