//! `tagtrail audit verify`: the whole log, against its hashes, its signatures, its blobs and the rules.

use std::path::PathBuf;

use tagtrail_api::v1::GetStatusResponse;
use tagtrail_replay::verify::{Compared, Verdict};
use tagtrail_replay::{Against, Trust, shown, verify};
use tagtrail_transparency::VerifierKey;

use super::{AuditError, HELP, Keys, Progress, What, read, status};
use crate::context::Context;
use crate::failure::Failure;
use crate::moment::When;

/// Most things that are wrong that are told one by one.
const MOST_SHOWN: usize = 50;

/// Check the whole log: hashes, signatures, images, rules, and what is shown.
///
/// Hashes every event, builds the tree anew and compares it with the stored hashes and with every checkpoint; checks the
/// signatures, that no event is missing, and that each is one that the rules allow where it stands; and compares what the server
/// shows with what the events make of it. Keep a checkpoint (the file 'checkpoint' of a log) somewhere else and give it next
/// time: then nobody can change what is older without being found out.
///
/// Without --vkey or --policy, the key that the log itself names is taken, where it names one; and where nobody's signature and no
/// checkpoint of yours speaks for the events, that is exit code 2.
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    what: What,
    /// A checkpoint that was kept; may be given several times
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    #[command(flatten)]
    keys: Keys,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<(), AuditError> {
    let policy = args.keys.policy()?;
    let checkpoints = args.checkpoint.iter().map(|path| Ok((path.display().to_string(), read(path)?)));
    let checkpoints = checkpoints.collect::<Result<Vec<_>, Failure>>()?;
    let source = args.what.open(context)?;
    // An error is met again when it is asked what it shows.
    let server = if args.what.is_the_server() { status(context).ok() } else { None };
    if let (Some(server), Some(id)) = (&server, source.log_id())
        && server.log_id != id.to_string()
    {
        let text = format!(
            "{} is the log {id}, and the server {} keeps the log {}: name the log alone, without --log-url, or the server it is of",
            source.name(),
            context.server,
            server.log_id
        );
        return Err(Failure::client(text).into());
    }
    let trust = match Trust::of(policy, &*source)? {
        Trust::Nobody => server.map_or(Trust::Nobody, named_by),
        trust => trust,
    };
    let kept: Vec<String> = checkpoints.iter().map(|(name, _)| name.clone()).collect();
    let mut progress = Progress::new();
    let mut verdict = verify(&*source, Against { trust, checkpoints }, &mut |at| progress.say(at))?;
    drop(progress);
    let compared = if args.what.is_the_server() { compare_shown(&mut verdict, context) } else { None };
    let vouched = is_vouched_for(&verdict, &kept);
    context.print(&in_words(&verdict, compared, vouched))?;
    match verdict.is_fine() {
        Some(true) if vouched => Ok(()),
        Some(true) => Err(AuditError::Unchecked(Failure::Undecided(
            "nothing is wrong with the events as they are, but no signature was checked: give the log's key with --vkey, or a \
             checkpoint that you kept with --checkpoint"
                .into(),
        ))),
        Some(false) => Err(AuditError::Found(summary(&verdict))),
        None => Err(AuditError::Unchecked(Failure::Undecided(format!(
            "not all of it could be checked: {}",
            verdict.unread.unwrap_or_default()
        )))),
    }
}

/// The key that the server names.
fn named_by(server: GetStatusResponse) -> Trust {
    let key: Option<VerifierKey> = server.audit.unwrap_or_default().verifier_key.parse().ok();
    key.map_or(Trust::Nobody, |key| Trust::Own(Box::new(key)))
}

/// Whether a signature or a checkpoint that somebody kept speaks for the events. Nobody need speak for none.
fn is_vouched_for(verdict: &Verdict, kept: &[String]) -> bool {
    let signed = !matches!(verdict.trust, Trust::Nobody) && verdict.signed() > 0;
    let by_kept = verdict.checkpoints.iter().any(|compared| compared.agrees && kept.contains(&compared.name));
    signed || by_kept || verdict.size == 0
}

/// Compares what the server shows with what the events make of it. Gives how many streams that were.
fn compare_shown(verdict: &mut Verdict, context: &Context) -> Option<usize> {
    if verdict.permitted != verdict.size || verdict.size == 0 {
        return None; // What the events make is not known.
    }
    let asked = || -> Result<_, Failure> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Output)?;
        runtime.block_on(async {
            let client = context.client()?.at(When::Sequence(verdict.size));
            client.list_streams("", "", 1).await
        })
    };
    match asked() {
        Ok(streams) => {
            let count = streams.len();
            verdict.wrong.extend(shown::differences(&verdict.streams, streams, verdict.size));
            Some(count)
        }
        Err(failure) => {
            let why = failure.text();
            verdict.unread =
                Some(format!("what the server shows ({})", why.trim_start_matches("error: ").trim_end()));
            None
        }
    }
}

fn summary(verdict: &Verdict) -> String {
    let count = verdict.wrong.len();
    let first = verdict.wrong.first().map(|wrong| match wrong.sequence() {
        Some(sequence) => format!("{}, event {sequence}", wrong.kind()),
        None => wrong.kind().to_owned(),
    });
    let first = first.unwrap_or_default();
    match count {
        1 => format!("something is wrong: {first}"),
        _ => format!("{count} things are wrong, the first of them: {first}"),
    }
}

/// The verdict for people.
pub(in crate::commands) fn in_words(verdict: &Verdict, streams: Option<usize>, vouched: bool) -> String {
    let mut text = String::new();
    let mut line = |label: &str, words: &str| text.push_str(&format!("{label:<12} {words}\n"));
    let Verdict { source, size, root, hashes, blobs, permitted, .. } = verdict;
    line("Log", &format!("{source}: {size} events, root {root}"));
    for Compared { name, checkpoint, agrees } in &verdict.checkpoints {
        let word = if *agrees { "agrees" } else { "does not agree" };
        line(
            "Checkpoint",
            &format!("{name}, of {} at {} events: {word}", checkpoint.origin(), checkpoint.size()),
        );
    }
    line("Key", &verdict.trust.in_words());
    if *hashes > 0 {
        line("Tree", &format!("{hashes} stored hashes were compared with those of the events"));
    }
    if *blobs > 0 {
        line("Images", &format!("{blobs} manifests and configurations are what their names say"));
    }
    line("Rules", &format!("{permitted} events are such as the rules allow, without a gap"));
    if let Some(streams) = streams {
        line("Shown", &format!("{streams} image streams were compared with their events, at event {size}"));
    }
    let unsigned = size.saturating_sub(verdict.signed());
    if unsigned > 0 && !verdict.checkpoints.is_empty() && verdict.wrong.is_empty() {
        line(
            "Note",
            &format!(
                "the newest {unsigned} events are newer than every checkpoint, so nobody has signed them yet"
            ),
        );
    }
    for remark in &verdict.remarks {
        line("Note", remark);
    }
    line("Took", &format!("{:.1} s, {} events a second", verdict.elapsed.as_secs_f64(), verdict.rate()));
    for wrong in verdict.wrong.iter().take(MOST_SHOWN) {
        text.push_str(&format!("\n{}: {wrong}\n", wrong.kind()));
    }
    if let Some(more @ 1..) = verdict.wrong.len().checked_sub(MOST_SHOWN) {
        text.push_str(&format!("\n... and {more} more.\n"));
    }
    if verdict.is_fine() == Some(true) {
        text.push_str(match verdict.trust {
            Trust::Given(_) => "\nAll is well.\n",
            Trust::Own(_) if verdict.signed() > 0 => "\nAll is well, if the log's own key is the one it always had.\n",
            Trust::Own(_) | Trust::Nobody if vouched && verdict.size > 0 => {
                "\nAll is well, up to the checkpoint that you kept and that agrees.\n"
            }
            Trust::Own(_) | Trust::Nobody => {
                "\nNothing is wrong with the events as they are. Nobody answers for it that they are what they were.\n"
            }
        });
    }
    text
}
