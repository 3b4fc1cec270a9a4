//! `tagtrail get --watch`: what there is, and then every change of it, as kubectl prints them.

use tagtrail_api::v1::watch_request::Begin;
use tagtrail_api::v1::watch_response::Answer;
use tagtrail_api::v1::{StreamChange, WatchRequest, WatchedStream};

use crate::commands::finder::Finder;
use crate::context::Context;
use crate::failure::Failure;
use crate::fields::FieldSelector;
use crate::follow::Follow;
use crate::kinds::{Kind, Targets};
use crate::print::age::Now;
use crate::print::output::View;
use crate::print::output::changes::{Change, Changes};
use crate::print::table::Object;

/// What is watched, and how it is shown.
pub(super) struct Watched<'a> {
    /// Of which kind all of them are.
    pub(super) kind: Kind,
    /// What was named.
    pub(super) targets: &'a Targets,
    /// The label selector; empty: all.
    pub(super) labels: &'a str,
    /// Which of them by their fields.
    pub(super) fields: FieldSelector,
    /// Whether what there is already is left out.
    pub(super) only: bool,
    /// Whether what happened is told beside each object.
    pub(super) events: bool,
    /// How objects are shown.
    pub(super) view: View,
}

/// Prints objects and their changes until it is interrupted.
pub(super) async fn run(
    watched: Watched<'_>,
    finder: Finder<'_>,
    context: &mut Context,
) -> Result<(), Failure> {
    let Watched { kind, targets, labels, fields, only, events, view } = watched;
    let history_limit = u32::from(!view.wants_history());
    let mut changes = Changes::new(view, events);
    let (name, several) = match targets {
        Targets::All(_) => (None, false),
        Targets::Named { list, .. } => (list.first().map(|(_, name)| name.as_str()), list.len() > 1),
    };
    if kind != Kind::Stream || several {
        // kubectl shows what there is before it asks for the watch.
        let mut objects = found(targets, labels, &finder).await?;
        objects.retain(|object| fields.matches(object));
        if !only {
            show(&mut changes, Change::Added, objects, context)?;
        }
        return Err(if several { one_at_a_time() } else { not_watched(kind) });
    }
    if let Some(name) = name {
        // One that is not there is told so; later it may come and go.
        finder.named(kind, name).await?;
    }
    let request = WatchRequest {
        begin: (!only).then_some(Begin::Snapshot(true)),
        namespace: finder.namespace.to_owned(),
        stream: name.unwrap_or_default().to_owned(),
        streams: true,
        label_selector: labels.to_owned(),
        history_limit,
        ..WatchRequest::default()
    };
    let mut follow = Follow::begin(finder.client, request).await?;
    let mut listed = Vec::new();
    loop {
        let WatchedStream { change, stream, .. } = match follow.next(context).await? {
            Answer::Stream(stream) => stream,
            Answer::Bookmark(bookmark) => {
                if bookmark.snapshot_end {
                    show(&mut changes, Change::Added, std::mem::take(&mut listed), context)?;
                }
                continue;
            }
            Answer::Event(_) => continue,
        };
        let Some(mut stream) = stream else { continue };
        finder.client.name_repository(&mut stream);
        let object = Object::Stream(stream);
        if !fields.matches(&object) {
            continue;
        }
        let change = match StreamChange::try_from(change) {
            Ok(StreamChange::Listed) => {
                listed.push(object);
                continue;
            }
            Ok(StreamChange::Added) => Change::Added,
            Ok(StreamChange::Deleted) => Change::Deleted,
            Ok(StreamChange::Modified | StreamChange::Unspecified) | Err(_) => Change::Modified,
        };
        show(&mut changes, change, vec![object], context)?;
    }
}

/// What cannot be watched at all, whatever there is.
pub(super) fn refused(words: &[String], targets: &Targets) -> Option<Failure> {
    let one_kind = match targets {
        Targets::All(kinds) => kinds.len() == 1,
        Targets::Named { list, .. } => list.iter().all(|(kind, _)| *kind == list[0].0),
    };
    // Elsewhere `all` is many kinds.
    (!one_kind || words.iter().any(|word| word == "all"))
        .then(|| Failure::client("you may only specify a single resource type"))
}

async fn found(targets: &Targets, labels: &str, finder: &Finder<'_>) -> Result<Vec<Object>, Failure> {
    let mut objects = Vec::new();
    match targets {
        Targets::All(kinds) => objects = finder.all(kinds[0], labels).await?,
        Targets::Named { list, .. } => {
            for (kind, name) in list {
                objects.push(finder.named(*kind, name).await?);
            }
        }
    }
    Ok(objects)
}

fn show(
    changes: &mut Changes,
    change: Change,
    objects: Vec<Object>,
    context: &mut Context,
) -> Result<(), Failure> {
    let mut text = String::new();
    let shown = changes.show(change, objects, Now::by_the_clock(), &mut text);
    context.print(&text)?;
    // Whoever reads this waits for it.
    context.flush()?;
    shown
}

fn one_at_a_time() -> Failure {
    Failure::client("you may only watch a single resource or type of resource at a time")
}

/// What client-go makes of a server that has no watch of a kind.
fn not_watched(kind: Kind) -> Failure {
    let why =
        format!("the server does not allow this method on the requested resource (get {})", kind.plural());
    Failure::server("MethodNotAllowed", &why)
}
