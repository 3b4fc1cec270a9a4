//! `tagtrail version`: which version this is, and which the server is.

use tagtrail_api::v1::GetStatusRequest;

use crate::context::Context;
use crate::failure::Failure;

/// Say which version this is, and which the server is.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Do not ask the server
    #[arg(long)]
    client: bool,
}

/// Says which versions there are.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    context.print(&format!("Client Version: {}\n", env!("CARGO_PKG_VERSION")))?;
    if args.client {
        return Ok(());
    }
    let client = context.client()?;
    let status =
        client.admin().get_status(GetStatusRequest {}).await.map_err(|status| client.refusal(&status))?;
    context.print(&format!("Server Version: {}\n", status.into_inner().version))
}
