//! `tagtrail bisect STREAM:TAG --good MOMENT`: walks the moves of a tag to the one that brought the first bad image.

mod search;

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus};

use tagtrail_api::v1::{GetStatusRequest, HistoryEntry, HistoryItem, ListEntriesRequest};

use self::search::{Search, Step, Verdict};
use crate::commands::history::Pages;
use crate::commands::why;
use crate::context::Context;
use crate::failure::Failure;
use crate::moment::{self, MOMENTS, When};
use crate::places::Place;
use crate::print::history::{Layout, pointed_to, time};
use crate::print::{self, tabs};

/// What a command that tests images has to know.
const TESTS: &str = "\
Each image is tested once. Without a COMMAND you are asked on the terminal. A COMMAND is told of the image by variables:
  TAGTRAIL_IMAGE       its digest
  TAGTRAIL_REFERENCE   where to pull it
  TAGTRAIL_SEQUENCE    the event that brought it to the tag
  TAGTRAIL_NAMESPACE, TAGTRAIL_STREAM, TAGTRAIL_TAG
It answers by its exit code, as with 'git bisect run': 0 is good, 125 cannot be tested, any other up to 127 is bad; from 128 \
on, or killed by a signal, it ends the search.

bisect itself exits with 0 if it has found the move, and with 2 if only images that cannot be tested are left.

  tagtrail bisect app:prod --good 'last tuesday 14:00' -- ./selftest.sh";

/// Find the move that brought the first bad image to a tag.
///
/// It lies between a moment at which the image of the tag was good and one at which it was bad. Each image between them is
/// tested at most once: by a command, or by asking on the terminal.
#[derive(clap::Args)]
#[command(after_help = format!("{TESTS}\n\n{MOMENTS}"))]
pub(crate) struct Args {
    /// The tag [default tag: latest]
    #[arg(value_name = "STREAM[:TAG]")]
    tag: String,
    /// A moment at which its image was good: a sequence, a time, or '2h ago'
    #[arg(long, value_name = "MOMENT", value_parser = moment::past, allow_hyphen_values = true)]
    good: When,
    /// A later one at which its image was bad [default: now]
    #[arg(long, value_name = "MOMENT", value_parser = moment::past, allow_hyphen_values = true)]
    bad: Option<When>,
    /// What tests an image, and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Searches.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let mut place = Place::of_any(&args.tag, &context.namespace)?;
    if place.tag.is_empty() {
        place.tag = "latest".into();
    }
    let bad = match args.bad {
        None | Some(When::Now) => head(context).await?,
        Some(bad) => bad,
    };
    in_order(args.good, bad)?;
    let name = place.shown(&context.namespace);
    let row = row(&place, &name, args.good, bad, context).await?;
    let mut search = Search::new(row.images.iter().map(|item| pointed_to(item).to_owned()).collect());
    loop {
        let at = match search.next() {
            Step::Test(at) => at,
            Step::Found(at) => return found(&place, &row, at, context).await,
            Step::OneOf(places) => return one_of(&name, &row, &places, context),
        };
        context.warn(&left(search.left()))?;
        let (image, brought) = (&row.images[at], &row.moves[at - 1]);
        let verdict = if args.command.is_empty() {
            asked(&name, image, brought, context)?
        } else {
            context.warn(&format!("Testing {}", image.docker_image_reference))?;
            tested(&args.command, &place, image, brought.sequence)?
        };
        search.tell(at, verdict);
    }
}

/// Now, as a moment that stays: what moves while the search goes on is no part of it.
async fn head(context: &Context) -> Result<When, Failure> {
    let client = context.client()?;
    let answer = client.admin().get_status(GetStatusRequest {}).await;
    Ok(When::Sequence(answer.map_err(|status| client.refusal(&status))?.into_inner().projected))
}

/// What a tag pointed to between two moments.
struct Row {
    /// The good one, and what each move led to.
    images: Vec<HistoryItem>,
    /// The moves, oldest first: one fewer than there are images.
    moves: Vec<HistoryEntry>,
}

/// Refuses moments of which the later is to be good, as far as that can be told without asking.
fn in_order(good: When, bad: When) -> Result<(), Failure> {
    let wrong = match (good, bad) {
        (When::Now, _) => true,
        (When::Sequence(good), When::Sequence(bad)) => good >= bad,
        (When::Time(good), When::Time(bad)) => good >= bad,
        _ => false,
    };
    if wrong { Err(not_in_order()) } else { Ok(()) }
}

fn not_in_order() -> Failure {
    Failure::client("--good has to be a moment before --bad: what is looked for is the move that broke it")
}

async fn row(place: &Place, name: &str, good: When, bad: When, context: &Context) -> Result<Row, Failure> {
    let (first, since) = pointed_at(place, name, good, "good", context).await?;
    let (last, until) = pointed_at(place, name, bad, "bad", context).await?;
    if since >= until {
        return Err(not_in_order());
    }
    if pointed_to(&first) == pointed_to(&last) {
        let image = pointed_to(&first);
        return Err(Failure::client(format!(
            "\"{name}\" points to the same image at both moments, {image}: it cannot be good and bad"
        )));
    }
    let client = context.client()?;
    let request = ListEntriesRequest {
        namespace: place.namespace.clone(),
        name: place.stream.clone(),
        tag: place.tag.clone(),
        kinds: vec!["tag-moved".into(), "tag-restored".into()],
        since: good.to_wire(),
        until: bad.to_wire(),
        ..ListEntriesRequest::default()
    };
    let mut moves = Pages { client: &client, request: Some(request), left: u64::MAX }.all().await?;
    moves.retain(|entry| entry.to.is_some());
    moves.reverse();
    if moves.is_empty() {
        // The tag has changed, and nothing has moved it.
        return Err(client.nonsense());
    }
    let images = std::iter::once(first).chain(moves.iter().filter_map(|entry| entry.to.clone())).collect();
    Ok(Row { images, moves })
}

/// What a tag pointed to at a moment, and the sequence of that moment.
async fn pointed_at(
    place: &Place,
    name: &str,
    at: When,
    what: &str,
    context: &Context,
) -> Result<(HistoryItem, u64), Failure> {
    let client = context.client()?.at(at);
    let nothing = || {
        Failure::client(format!(
            "\"{name}\" points to nothing at the {what} moment, {at}: give one at which it points to a {what} image ('tagtrail history {name}' shows its moves)"
        ))
    };
    let found = match client.tag(&place.namespace, &place.stream, &place.tag, true).await {
        Err(failure) if failure.is_not_found() => {
            ever(place, context).await?;
            return Err(nothing());
        }
        other => other?,
    };
    let mut statuses = found.stream.map(|stream| stream.statuses).unwrap_or_default();
    let item =
        statuses.iter_mut().find_map(|status| (!status.items.is_empty()).then(|| status.items.remove(0)));
    let sequence = client.shown().map_or(u64::MAX, |shown| shown.sequence);
    item.map(|item| (item, sequence)).ok_or_else(nothing)
}

/// Refuses a tag that never was.
async fn ever(place: &Place, context: &Context) -> Result<(), Failure> {
    let client = context.client()?;
    let request = ListEntriesRequest {
        namespace: place.namespace.clone(),
        name: place.stream.clone(),
        tag: place.tag.clone(),
        page_size: 1,
        ..ListEntriesRequest::default()
    };
    let answer = client.histories().list_entries(request).await;
    answer.map(|_| ()).map_err(|status| client.refusal(&status))
}

/// How far it is, in `git`'s words.
fn left(moves: usize) -> String {
    let steps = usize::BITS - moves.leading_zeros();
    let plural = |number: usize, word: &str| {
        if number == 1 { format!("1 {word}") } else { format!("{number} {word}s") }
    };
    let (moves, steps) = (plural(moves, "image"), plural(steps as usize, "step"));
    format!("Bisecting: {moves} left to test after this (roughly {steps})")
}

/// Tests an image by a command.
fn tested(
    command: &[OsString],
    place: &Place,
    image: &HistoryItem,
    sequence: u64,
) -> Result<Verdict, Failure> {
    let (program, arguments) = command.split_first().expect("there is a command");
    let status = Command::new(program)
        .args(arguments)
        .env("TAGTRAIL_IMAGE", &image.image)
        .env("TAGTRAIL_REFERENCE", &image.docker_image_reference)
        .env("TAGTRAIL_SEQUENCE", sequence.to_string())
        .env("TAGTRAIL_NAMESPACE", &place.namespace)
        .env("TAGTRAIL_STREAM", &place.stream)
        .env("TAGTRAIL_TAG", &place.tag)
        .status();
    let name = program.to_string_lossy();
    let status = status.map_err(|error| Failure::client(format!("cannot run {name}: {error}")))?;
    verdict(status).ok_or_else(|| {
        let end = match (status.code(), status.signal()) {
            (Some(code), _) => format!("ended with exit code {code}"),
            (None, Some(signal)) => format!("was killed by signal {signal}"),
            (None, None) => "ended without an exit code".into(),
        };
        Failure::client(format!(
            "the search was given up: {name} {end} when it tested {}, which tells nothing of the image; let it exit with 0 if the image is good, 125 if it cannot be tested, and any other code up to 127 if it is bad",
            image.docker_image_reference
        ))
    })
}

/// What the exit code says, as with `git bisect run`. `None`: nothing, the search ends.
fn verdict(status: ExitStatus) -> Option<Verdict> {
    match status.code()? {
        0 => Some(Verdict::Good),
        125 => Some(Verdict::Skip),
        1..=127 => Some(Verdict::Bad),
        _ => None,
    }
}

/// Tests an image by asking whoever sits there.
fn asked(
    name: &str,
    image: &HistoryItem,
    brought: &HistoryEntry,
    context: &mut Context,
) -> Result<Verdict, Failure> {
    let who = brought.actor.as_ref().map_or("", |actor| &actor.name);
    context.warn(&format!(
        "{name} was {} from sequence {} on ({}, by {who})",
        image.docker_image_reference,
        brought.sequence,
        time(brought)
    ))?;
    answer(&mut io::stdin().lock(), &mut io::stderr())
}

/// Reads an answer, and asks again for as long as it is none.
fn answer(answers: &mut impl io::BufRead, questions: &mut impl io::Write) -> Result<Verdict, Failure> {
    loop {
        write!(questions, "Is it good? [good/bad/skip/quit] ").map_err(Failure::Output)?;
        questions.flush().map_err(Failure::Output)?;
        let mut line = String::new();
        let read = answers.read_line(&mut line);
        let read = read.map_err(|error| Failure::client(format!("cannot read the answer: {error}")))?;
        match line.trim().to_lowercase().as_str() {
            "g" | "good" => return Ok(Verdict::Good),
            "b" | "bad" => return Ok(Verdict::Bad),
            "s" | "skip" => return Ok(Verdict::Skip),
            "q" | "quit" => return Err(Failure::client("the search was given up")),
            _ if read == 0 => return Err(Failure::client("the search ends, for there is no further answer")),
            _ => {}
        }
    }
}

/// Shows the move, and what caused it: an import names the server, and who wished for it stands further back.
async fn found(place: &Place, row: &Row, at: usize, context: &mut Context) -> Result<(), Failure> {
    let (name, reference) = (place.shown(&context.namespace), &row.images[at].docker_image_reference);
    context.print(&format!("The first bad image of {name} is {reference}. This move brought it:\n\n"))?;
    context.print(&table(&row.moves[at - 1..at]))?;
    let answer = why::asked(place, When::Sequence(row.moves[at - 1].sequence), context.client()?).await?;
    let causes = print::why::in_words(place, &answer, &context.namespace);
    context.print(&format!("\n{causes}"))
}

fn one_of(name: &str, row: &Row, places: &[usize], context: &mut Context) -> Result<(), Failure> {
    let moves: Vec<HistoryEntry> = places.iter().rev().map(|at| row.moves[at - 1].clone()).collect();
    context
        .print(&format!("One of these moves brought the first bad image of {name}:\n\n{}", table(&moves)))?;
    Err(Failure::Undecided(
        "only images that cannot be tested are left: the first bad one could not be told".into(),
    ))
}

/// Moves as `tagtrail history` shows them.
fn table(moves: &[HistoryEntry]) -> String {
    let layout = Layout::default();
    let rows = std::iter::once(layout.headers()).chain(moves.iter().map(|entry| layout.cells(entry)));
    tabs::table(&rows.collect::<Vec<_>>(), tabs::GET)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::print::history::tests::item;

    #[test]
    fn exit_codes_are_those_of_git() {
        let check = |status: i32, want| assert_eq!(verdict(ExitStatus::from_raw(status)), want, "{status}");
        let exit = |code: i32| code << 8;
        check(exit(0), Some(Verdict::Good));
        check(exit(1), Some(Verdict::Bad));
        check(exit(124), Some(Verdict::Bad));
        check(exit(125), Some(Verdict::Skip));
        check(exit(126), Some(Verdict::Bad));
        check(exit(127), Some(Verdict::Bad));
        check(exit(128), None);
        check(exit(255), None);
        // Killed by a signal.
        check(9, None);
    }

    #[test]
    fn a_command_is_told_of_the_image() {
        let place = Place::of_tag("prod/app:live", "here").expect("a tag");
        let image = item("aa").expect("an item");
        let check = |test: &str, want: Verdict| {
            let command = ["sh", "-c", test].map(OsString::from);
            assert_eq!(tested(&command, &place, &image, 7).expect(test), want, "{test}");
        };
        check(&format!("test $TAGTRAIL_IMAGE = {}", image.image), Verdict::Good);
        check(&format!("test $TAGTRAIL_REFERENCE = {}", image.docker_image_reference), Verdict::Good);
        check("test $TAGTRAIL_SEQUENCE/$TAGTRAIL_STREAM:$TAGTRAIL_TAG = 7/app:live", Verdict::Good);
        check("test $TAGTRAIL_NAMESPACE = prod", Verdict::Good);
        check("exit 125", Verdict::Skip);
        check("false", Verdict::Bad);
        let refused = |words: &[&str]| {
            let command: Vec<OsString> = words.iter().map(OsString::from).collect();
            tested(&command, &place, &image, 7).expect_err("no verdict").text()
        };
        assert!(refused(&["/no/such/program"]).starts_with("error: cannot run /no/such/program: "));
        let ended = refused(&["sh", "-c", "exit 200"]);
        assert!(
            ended.starts_with("error: the search was given up: sh ended with exit code 200 when"),
            "{ended}"
        );
        let killed = refused(&["sh", "-c", "kill -9 $$"]);
        assert!(killed.contains("sh was killed by signal 9 when"), "{killed}");
    }

    #[test]
    fn an_answer_is_asked_for_until_there_is_one() {
        let check = |lines: &str, want: Result<Verdict, &str>| {
            let mut asked = Vec::new();
            let got = answer(&mut lines.as_bytes(), &mut asked).map_err(|failure| failure.text());
            let want = want.map_err(|why| format!("error: {why}\n"));
            assert_eq!(got, want, "{lines:?}");
            let times = String::from_utf8(asked).expect("text").matches("Is it good?").count();
            assert_eq!(
                times,
                lines.lines().count().max(1) + usize::from(lines.ends_with("x\n")),
                "{lines:?}"
            );
        };
        check("good\n", Ok(Verdict::Good));
        check("B\n", Ok(Verdict::Bad));
        check(" skip \n", Ok(Verdict::Skip));
        check("yes\nno\ngood\n", Ok(Verdict::Good));
        check("quit\n", Err("the search was given up"));
        check("", Err("the search ends, for there is no further answer"));
        check("x\n", Err("the search ends, for there is no further answer"));
    }

    #[test]
    fn good_comes_before_bad() {
        let time = |seconds| When::Time(chrono::DateTime::from_timestamp(seconds, 0).expect("a time"));
        for (good, bad, fine) in [
            (When::Sequence(3), When::Sequence(9), true),
            (When::Sequence(3), When::Now, true),
            (time(3), When::Sequence(9), true),
            (time(3), time(9), true),
            (When::Sequence(9), When::Sequence(9), false),
            (time(9), time(3), false),
            (When::Now, When::Sequence(9), false),
        ] {
            assert_eq!(in_order(good, bad).is_ok(), fine, "{good:?} {bad:?}");
        }
    }

    #[test]
    fn it_tells_how_far_it_is() {
        for (moves, want) in [
            (0, "Bisecting: 0 images left to test after this (roughly 0 steps)"),
            (1, "Bisecting: 1 image left to test after this (roughly 1 step)"),
            (5, "Bisecting: 5 images left to test after this (roughly 3 steps)"),
        ] {
            assert_eq!(left(moves), want);
        }
    }
}
