//! `tagtrail events`: reads the log.

use tagtrail_api::v1::{Event, ReadEventsRequest};

use crate::context::Context;
use crate::failure::Failure;
use crate::print::events;

/// Read the events of the namespace, oldest first.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The first sequence to show
    #[arg(long, value_name = "SEQUENCE", default_value_t = 1)]
    from: u64,
    /// Only events of this image stream, also after it was deleted
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,
    /// The whole log: the events of all namespaces
    #[arg(short = 'A', long, conflicts_with = "stream")]
    all_namespaces: bool,
    /// json: one object a line
    #[arg(short, long, value_name = "FORMAT", value_parser = ["json"])]
    output: Option<String>,
}

/// Reads the log up to its end.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let client = context.client()?;
    let namespace = if args.all_namespaces { String::new() } else { context.namespace.clone() };
    let mut request = ReadEventsRequest {
        from_sequence: args.from,
        namespace,
        stream: args.stream.unwrap_or_default(),
        ..ReadEventsRequest::default()
    };
    let line: fn(&Event) -> String = if args.output.is_some() { events::json_line } else { events::line };
    loop {
        let page = client.events().read_events(request.clone()).await;
        let page = page.map_err(|status| client.refusal(&status))?.into_inner();
        for event in &page.events {
            context.print(&line(event))?;
        }
        if page.next_sequence > page.head {
            return Ok(());
        }
        request.from_sequence = page.next_sequence;
    }
}
