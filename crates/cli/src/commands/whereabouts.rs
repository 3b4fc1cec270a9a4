//! `tagtrail where DIGEST`: every tag that points to an image, or ever did.

use tagtrail_api::v1::{WhereRequest, Whereabouts};

use crate::client::Client;
use crate::context::Context;
use crate::failure::Failure;
use crate::flags::At;
use crate::moment::MOMENTS;
use crate::places::beginning_of_digest;
use crate::print::tabs::{GET, Widths};
use crate::print::{json, whereabouts, yaml};
use crate::progress::Progress;

/// Show every tag that points to an image, or ever did.
///
/// It tells since when, and until when: in all namespaces, or with -n in that one. An image of an image index is found where
/// the index was.
#[derive(clap::Args)]
#[command(after_help = MOMENTS)]
pub(crate) struct Args {
    /// The image: a digest or at least the first 6 digits of one, or a reference that ends in @sha256:...
    #[arg(value_name = "DIGEST", value_parser = |text: &str| beginning_of_digest(text, 6))]
    digest: String,
    #[command(flatten)]
    at: At,
    /// json or yaml
    #[arg(short, long, value_name = "FORMAT", value_parser = ["json", "yaml"])]
    output: Option<String>,
}

/// Shows where an image is and was.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let request = WhereRequest {
        digest: args.digest.clone(),
        // A vulnerable image is looked for everywhere, whatever the namespace one works in.
        namespace: if context.namespace_typed { context.namespace.clone() } else { String::new() },
        at: args.at.when().to_wire(),
        ..WhereRequest::default()
    };
    let client = context.client()?;
    let pages = Pages { client: &client, request: Some(request) };
    match args.output.as_deref() {
        Some(format) => {
            let list = pages.all().await?.iter().map(whereabouts::in_json).collect();
            context.print(&if format == "json" { json::typed(&list) } else { yaml::document(&list) })
        }
        None => table(pages, &args.digest, context).await,
    }
}

struct Pages<'a> {
    client: &'a Client,
    /// What to ask next. `None`: there is no more.
    request: Option<WhereRequest>,
}

impl Pages<'_> {
    async fn next(&mut self) -> Result<Option<Vec<Whereabouts>>, Failure> {
        let Some(request) = self.request.take() else { return Ok(None) };
        let page = self.client.histories().r#where(request.clone()).await;
        let page = page.map_err(|status| self.client.refusal(&status))?.into_inner();
        if !page.next_page_token.is_empty() {
            self.request = Some(WhereRequest { page_token: page.next_page_token, ..request });
        }
        Ok(Some(page.tags))
    }

    async fn all(mut self) -> Result<Vec<Whereabouts>, Failure> {
        let (mut tags, mut progress) = (Vec::new(), Progress::new());
        while let Some(page) = self.next().await? {
            tags.extend(page);
            progress.say(&format!("{} found", tags.len()));
        }
        Ok(tags)
    }
}

async fn table(mut pages: Pages<'_>, digest: &str, context: &mut Context) -> Result<(), Failure> {
    let mut widths = Widths::new(GET);
    let mut rows = vec![whereabouts::headers()];
    let mut any = false;
    while let Some(page) = pages.next().await? {
        if page.is_empty() {
            continue;
        }
        any = true;
        rows.extend(page.iter().map(whereabouts::cells));
        context.print(&widths.table(&rows))?;
        context.flush()?;
        rows.clear();
    }
    if any { Ok(()) } else { context.warn(&format!("No tag points, or has pointed, to an image {digest}.")) }
}
