//! `tagtrail history`: everything that ever happened to tags, newest first.

use tagtrail_api::kind::Kind;
use tagtrail_api::v1::{HistoryEntry, ListEntriesRequest};

use crate::client::Client;
use crate::context::Context;
use crate::failure::Failure;
use crate::flags::At;
use crate::moment::{self, When};
use crate::places::{Place, beginning_of_digest};
use crate::print::history::{self, Layout};
use crate::print::tabs::{GET, Widths};
use crate::print::{json, yaml};
use crate::progress::Progress;

/// Show everything that ever happened to a tag or an image stream.
///
/// Newest first: moves, failed imports, deletions, holds; over deletions and new beginnings of the same name. What was withheld
/// from a held tag says so: TO is where the tag would have gone.
#[derive(clap::Args)]
#[command(after_help = moment::MOMENTS)]
pub(crate) struct Args {
    /// The image stream, or one tag of it
    #[arg(value_name = "STREAM[:TAG]")]
    target: Option<String>,
    /// All image streams of the namespace
    #[arg(long, conflicts_with = "target")]
    all: bool,
    /// All image streams of all namespaces
    #[arg(short = 'A', long, conflicts_with = "target")]
    all_namespaces: bool,
    /// Only what this actor did, as WHO has it
    #[arg(long = "actor", value_name = "NAME")]
    by: Option<String>,
    /// Only what came from or led to this image: a digest or at least the first 6 digits of one
    #[arg(long, value_name = "DIGEST", value_parser = |text: &str| beginning_of_digest(text, 6))]
    digest: Option<String>,
    /// Only these kinds: stream-deleted, tag-moved, tag-deleted, tag-restored, tag-held, tag-released, move-withheld,
    /// import-failed, log-continued, which are all that are shown otherwise; or stream-created, testimony-taken, tag-set,
    /// tag-confirmed, import-recovered
    #[arg(long = "kind", value_name = "KIND,...", value_delimiter = ',')]
    kinds: Vec<Kind>,
    /// Only what happened after this moment; of a whole second, after its beginning
    #[arg(long, value_name = "MOMENT", value_parser = moment::since, allow_hyphen_values = true)]
    since: Option<When>,
    /// Only what happened up to this moment
    #[arg(long, value_name = "MOMENT", value_parser = moment::past, allow_hyphen_values = true, conflicts_with = "at")]
    until: Option<When>,
    #[command(flatten)]
    at: At,
    /// Only the newest so many
    #[arg(long, value_name = "NUMBER", value_parser = limit)]
    limit: Option<u64>,
    /// wide, json or yaml
    #[arg(short, long, value_name = "FORMAT", value_parser = ["wide", "json", "yaml"])]
    output: Option<String>,
}

/// Shows what happened.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let request = request(&args, &context.namespace)?;
    let client = context.client()?;
    let pages = Pages { client: &client, request: Some(request), left: args.limit.unwrap_or(u64::MAX) };
    match args.output.as_deref() {
        Some(format @ ("json" | "yaml")) => documents(pages, format, context).await,
        output => {
            let layout = Layout {
                namespaces: args.all_namespaces,
                streams: args.all || args.all_namespaces,
                wide: output == Some("wide"),
            };
            table(pages, layout, context).await
        }
    }
}

/// Reads how many are wanted.
fn limit(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "give a whole number, 1 or more; without --limit, all are shown".to_owned())
}

fn request(args: &Args, namespace: &str) -> Result<ListEntriesRequest, Failure> {
    let place = match args.target.as_deref() {
        Some(text) => Place::of_any(text, namespace)?,
        None if args.all_namespaces => {
            Place { namespace: String::new(), stream: String::new(), tag: String::new() }
        }
        None if args.all => {
            Place { namespace: namespace.to_owned(), stream: String::new(), tag: String::new() }
        }
        None => {
            return Err(Failure::client(
                "give an image stream or a tag of one: STREAM or STREAM:TAG; or --all for all of the namespace",
            ));
        }
    };
    let until = args.until.unwrap_or_else(|| args.at.when());
    let since = args.since;
    let empty = match (since, until) {
        (Some(When::Now), _) => true,
        (Some(When::Sequence(since)), When::Sequence(until)) => since >= until,
        (Some(When::Time(since)), When::Time(until)) => since >= until,
        _ => false,
    };
    if empty {
        return Err(Failure::client(
            "--since is not before --until: nothing can have happened between them; without --until, everything up to now is shown",
        ));
    }
    Ok(ListEntriesRequest {
        namespace: place.namespace,
        name: place.stream,
        tag: place.tag,
        actor: args.by.clone().unwrap_or_default(),
        digest: args.digest.clone().unwrap_or_default(),
        kinds: args.kinds.iter().map(Kind::to_string).collect(),
        since: since.and_then(When::to_wire),
        until: until.to_wire(),
        page_size: 0,
        page_token: String::new(),
    })
}

/// Entries, page by page, up to a limit.
pub(super) struct Pages<'a> {
    /// The server.
    pub(super) client: &'a Client,
    /// What to ask next. `None`: there is no more.
    pub(super) request: Option<ListEntriesRequest>,
    /// How many entries may still come.
    pub(super) left: u64,
}

impl Pages<'_> {
    /// The most entries the server gives at a time.
    const LARGEST: u64 = 1_000;

    /// The next page, which may be empty.
    ///
    /// # Errors
    /// Whatever the server says.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<HistoryEntry>>, Failure> {
        let Some(mut request) = self.request.take().filter(|_| self.left > 0) else { return Ok(None) };
        request.page_size = u32::try_from(self.left.min(Self::LARGEST)).unwrap_or_default();
        let page = self.client.histories().list_entries(request.clone()).await;
        let mut page = page.map_err(|status| self.client.refusal(&status))?.into_inner();
        page.entries.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= page.entries.len() as u64;
        if !page.next_page_token.is_empty() {
            self.request = Some(ListEntriesRequest { page_token: page.next_page_token, ..request });
        }
        Ok(Some(page.entries))
    }

    /// All that are left, with word of how far it is.
    ///
    /// # Errors
    /// Whatever the server says.
    pub(super) async fn all(mut self) -> Result<Vec<HistoryEntry>, Failure> {
        let (mut entries, mut progress) = (Vec::new(), Progress::new());
        while let Some(page) = self.next().await? {
            entries.extend(page);
            if let (Some(_), Some(last)) = (&self.request, entries.last()) {
                progress.say(&format!("{} entries, back to {}", entries.len(), history::time(last)));
            }
        }
        Ok(entries)
    }
}

/// A table that grows with every page, so that the newest can be read while the older ones are looked for.
async fn table(mut pages: Pages<'_>, layout: Layout, context: &mut Context) -> Result<(), Failure> {
    let mut widths = Widths::new(GET);
    let mut rows = vec![layout.headers()];
    let mut any = false;
    while let Some(page) = pages.next().await? {
        if page.is_empty() {
            continue;
        }
        any = true;
        rows.extend(page.iter().map(|entry| layout.cells(entry)));
        context.print(&widths.table(&rows))?;
        context.flush()?;
        rows.clear();
    }
    if any { Ok(()) } else { context.warn("Nothing has happened that fits.") }
}

/// One document: whoever reads it needs all of it.
async fn documents(pages: Pages<'_>, format: &str, context: &mut Context) -> Result<(), Failure> {
    let list = pages.all().await?.iter().map(history::in_json).collect();
    context.print(&if format == "json" { json::typed(&list) } else { yaml::document(&list) })
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tagtrail_api::v1::{Moment, moment};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn asked(line: &str) -> Result<ListEntriesRequest, String> {
        let words = std::iter::once("history").chain(line.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        request(&line.args, "test").map_err(|failure| failure.text())
    }

    #[test]
    fn the_words_say_what_is_asked() {
        let check = |line: &str, want: ListEntriesRequest| assert_eq!(asked(line), Ok(want), "{line}");
        let at = |sequence| Some(Moment { when: Some(moment::When::Sequence(sequence)) });
        let app = || ListEntriesRequest {
            namespace: "test".into(),
            name: "app".into(),
            ..ListEntriesRequest::default()
        };
        check("app", app());
        check("app:v1", ListEntriesRequest { tag: "v1".into(), ..app() });
        check("prod/app:v1", ListEntriesRequest { namespace: "prod".into(), tag: "v1".into(), ..app() });
        check("is/app", app());
        check(
            "istag/prod/app:v1",
            ListEntriesRequest { namespace: "prod".into(), tag: "v1".into(), ..app() },
        );
        check("--all", ListEntriesRequest { name: String::new(), ..app() });
        check("-A", ListEntriesRequest::default());
        check("app --actor ana", ListEntriesRequest { actor: "ana".into(), ..app() });
        check("app --digest 1e42ab", ListEntriesRequest { digest: "1e42ab".into(), ..app() });
        check(
            "app --kind tag-moved,tag-held",
            ListEntriesRequest { kinds: vec!["tag-moved".into(), "tag-held".into()], ..app() },
        );
        check("app --since 3 --until 9", ListEntriesRequest { since: at(3), until: at(9), ..app() });
        check("app --at 9", ListEntriesRequest { until: at(9), ..app() });
        check("app --until now", app());
    }

    #[test]
    fn what_means_nothing_is_refused() {
        let check = |line: &str, words: &str| {
            let refused = asked(line).expect_err(line);
            assert!(refused.contains(words), "{line}: {refused}");
        };
        check("", "STREAM or STREAM:TAG; or --all");
        check("app --all", "cannot be used with");
        check("app -A", "cannot be used with");
        check("app --at 3 --until 4", "cannot be used with");
        check("app --since 9 --until 9", "--since is not before --until");
        check("app --since now", "--since is not before --until");
        check("app --digest 1e4", "it is no digest");
        check("app --kind moved", "there is no kind \"moved\"");
        check("app --limit 0", "give a whole number, 1 or more");
        check("app --limit x", "give a whole number, 1 or more");
        check("app:", "is neither an image stream nor a tag of one");
    }
}
