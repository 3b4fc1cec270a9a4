//! `tagtrail get` (spec §4.4, §4.5): finds objects and shows them in one of many formats.

use crate::commands::finder::Finder;
use crate::commands::get_watch::{self, Watched};
use crate::context::Context;
use crate::failure::Failure;
use crate::fields::FieldSelector;
use crate::flags::{At, on_off};
use crate::kinds::{Kind, Targets};
use crate::moment::{MOMENTS, When};
use crate::print::output::{View, Wanted};
use crate::print::table::{Layout, Object};

/// Show objects: is (image streams), istag and itag (tags), isimage (images of a stream), image, schedule (tags that
/// are checked again), secret (credentials for registries, never their value).
#[derive(clap::Args)]
#[command(after_help = MOMENTS)]
#[expect(clippy::struct_excessive_bools, reason = "flags")]
pub(crate) struct Args {
    /// TYPE[,TYPE...] [NAME...], or TYPE/NAME...
    #[arg(value_name = "TYPE")]
    words: Vec<String>,
    /// wide, name, json, yaml, revision, jsonpath=..., jsonpath-as-json=..., jsonpath-file=..., custom-columns=...,
    /// custom-columns-file=..., go-template=... or go-template-file=...
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,
    /// The template, where -o says only jsonpath or go-template
    #[arg(long, value_name = "TEXT")]
    template: Option<String>,
    /// Print nothing for what a template asks for and is not there; with =false, fail
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", value_parser = on_off)]
    allow_missing_template_keys: bool,
    /// Look in all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only those with these labels: a=b,c!=d,e in (f,g),!h
    #[arg(short = 'l', long, value_name = "SELECTOR", allow_hyphen_values = true)]
    selector: Option<String>,
    /// Only those with these fields: metadata.name=app,metadata.namespace!=test
    #[arg(long, value_name = "SELECTOR")]
    field_selector: Option<String>,
    /// No headers
    #[arg(long)]
    no_headers: bool,
    /// With the labels in the last column
    #[arg(long)]
    show_labels: bool,
    /// With a column for each of these labels
    #[arg(short = 'L', long, value_name = "KEY,...", value_delimiter = ',')]
    label_columns: Vec<String>,
    /// With the kind before each name
    #[arg(long)]
    show_kind: bool,
    /// Taken because scripts give it: there are no managed fields
    #[arg(long)]
    show_managed_fields: bool,
    /// Taken because scripts give it: everything is fetched
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    chunk_size: Option<i64>,
    /// In the order of what this path finds, such as .metadata.name
    #[arg(long, value_name = "PATH")]
    sort_by: Option<String>,
    /// Say nothing of what is not there
    #[arg(long)]
    ignore_not_found: bool,
    #[command(flatten)]
    at: At,
    /// Show what there is, and then each change, until Ctrl-C
    #[arg(short, long)]
    watch: bool,
    /// Show only changes
    #[arg(long)]
    watch_only: bool,
    /// With what happened to each object: ADDED, MODIFIED or DELETED
    #[arg(long)]
    output_watch_events: bool,
}

/// Finds objects and shows them.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let watches = args.watch || args.watch_only;
    if args.output_watch_events && !watches {
        return Err(Failure::client(
            "--output-watch-events option can only be used with --watch or --watch-only",
        ));
    }
    let targets = Targets::parse(&args.words).map_err(Failure::client)?;
    let view = view(&args)?;
    let at = args.at.when();
    if watches && at != When::Now {
        return Err(Failure::client(
            "--at shows what was, and a watch what comes: give one of them, or see what came since with 'tagtrail history --since'",
        ));
    }
    targets.have_a_past(at)?;
    let client = context.client()?.at(at);
    let namespace = if args.all_namespaces { String::new() } else { context.namespace.clone() };
    let finder = Finder { client: &client, namespace: &namespace, whole: view.wants_history() };

    let selects = args.selector.is_some() || args.field_selector.is_some();
    if let (true, Some(error)) = (selects, targets.with_selector()) {
        return Err(Failure::client(error));
    }
    if args.all_namespaces && matches!(targets, Targets::Named { .. }) {
        return Err(Failure::client("a resource cannot be retrieved by name across all namespaces"));
    }
    if watches {
        return watch(&args, &targets, view, finder, context).await;
    }
    let mut objects = Vec::new();
    let mut failures = Vec::new();
    match &targets {
        Targets::Named { list, .. } => {
            for (kind, name) in list {
                match finder.named(*kind, name).await {
                    Ok(object) => objects.push(object),
                    Err(failure) if failure.is_not_found() && args.ignore_not_found => {}
                    Err(failure) => failures.push(failure),
                }
            }
        }
        Targets::All(kinds) => {
            let labels = args.selector.as_deref().unwrap_or_default();
            for kind in kinds {
                let fields = FieldSelector::parse(args.field_selector.as_deref(), *kind, labels)?;
                let mut found = finder.all(*kind, labels).await?;
                found.retain(|object| fields.matches(object));
                objects.extend(found);
            }
        }
    }
    if view.is_table() && objects.is_empty() && failures.is_empty() && !args.ignore_not_found {
        let place = match &targets {
            Targets::All(kinds) if args.all_namespaces || kinds.contains(&Kind::Image) => String::new(),
            _ => format!(" in {} namespace.", context.namespace),
        };
        context.warn(&format!("No resources found{place}"))?;
    }
    let single = targets.is_single();
    // `all` may be many kinds elsewhere, so kubectl names them even where there is one.
    let several = has_several_kinds(&targets, &objects) || args.words.iter().any(|word| word == "all");
    let view = view.naming_kinds(args.show_kind || several);
    // One object that is not there leaves nothing to show; of several, the others are shown.
    if !(objects.is_empty() && (single || args.ignore_not_found)) {
        let mut text = String::new();
        let shown = view.render(objects, single, client.now(), &mut text);
        context.print(&text)?;
        failures.extend(shown.err());
    }
    Failure::all(failures)
}

/// Shows objects and their changes.
async fn watch(
    args: &Args,
    targets: &Targets,
    view: View,
    finder: Finder<'_>,
    context: &mut Context,
) -> Result<(), Failure> {
    if args.sort_by.is_some() {
        context.warn(if args.watch {
            "warning: --watch requested, --sort-by will be ignored for watch events received"
        } else {
            "warning: --watch-only requested, --sort-by will be ignored"
        })?;
    }
    if let Some(refused) = get_watch::refused(&args.words, targets) {
        return Err(refused);
    }
    let labels = args.selector.as_deref().unwrap_or_default();
    let kind = match targets {
        Targets::All(kinds) => kinds[0],
        Targets::Named { list, .. } => list[0].0,
    };
    let fields = FieldSelector::parse(args.field_selector.as_deref(), kind, labels)?;
    let watched = Watched {
        kind,
        targets,
        labels,
        fields,
        only: args.watch_only,
        events: args.output_watch_events,
        view: view.naming_kinds(args.show_kind),
    };
    get_watch::run(watched, finder, context).await
}

/// Whether the rows have to say of what kind they are: kubectl looks at what it lists, and at what it found by name.
fn has_several_kinds(targets: &Targets, found: &[Object]) -> bool {
    match targets {
        Targets::All(kinds) => kinds.iter().any(|kind| *kind != kinds[0]),
        Targets::Named { .. } => found.iter().any(|object| object.kind() != found[0].kind()),
    }
}

fn view(args: &Args) -> Result<View, Failure> {
    let layout = Layout {
        wide: false,
        namespaces: args.all_namespaces,
        label_columns: args.label_columns.clone(),
        labels: args.show_labels,
        kinds: false,
        no_headers: args.no_headers,
    };
    let wanted = Wanted {
        output: args.output.as_deref().unwrap_or_default(),
        template: args.template.as_deref().unwrap_or_default(),
        sort_by: args.sort_by.as_deref().unwrap_or_default(),
        strict: !args.allow_missing_template_keys,
    };
    View::parse(wanted, layout)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::Value;

    use super::*;
    use crate::print::table;
    use crate::recorded::{self, Step};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
        #[arg(short, long, default_value = "test")]
        namespace: String,
    }

    /// Prints what `get` would have printed from the recorded state.
    fn replay(step: &Step) -> String {
        let line = Line::try_parse_from(&step.argv).unwrap_or_else(|error| panic!("{}: {error}", step.place));
        let targets = Targets::parse(&line.args.words).expect("recorded words");
        let mut streams = step.state.clone();
        streams.retain(|stream| line.args.all_namespaces || stream.namespace == line.namespace);
        let all = |kind: Kind| -> Vec<Object> {
            match kind {
                Kind::Stream => streams.iter().cloned().map(Object::Stream).collect(),
                Kind::StreamTag => {
                    streams.iter().flat_map(|s| table::tags_of(s, true)).map(Object::StreamTag).collect()
                }
                Kind::ImageTag => {
                    streams.iter().flat_map(|s| table::tags_of(s, false)).map(Object::ImageTag).collect()
                }
                Kind::StreamImage | Kind::Image | Kind::Scheduled | Kind::Secret => Vec::new(),
            }
        };
        let objects: Vec<Object> = match &targets {
            Targets::All(kinds) => kinds.iter().flat_map(|kind| all(*kind)).collect(),
            Targets::Named { list, .. } => list
                .iter()
                .flat_map(|(kind, name)| all(*kind).into_iter().find(|o| o.name() == *name))
                .collect(),
        };
        let several = has_several_kinds(&targets, &objects);
        let mut text = String::new();
        view(&line.args)
            .and_then(|view| {
                let view = view.naming_kinds(several);
                view.render(objects, targets.is_single(), recorded::now(), &mut text)
            })
            .unwrap_or_else(|failure| panic!("{}: {}", step.place, failure.text()));
        recorded::normalised(&text)
    }

    /// The order of rows, and of tags set within one second, is the recorder's; so are columns behind an age.
    fn loosely(text: &str) -> Vec<String> {
        let sorted = |cell: &str| {
            let mut tags: Vec<&str> = cell.split(',').collect();
            tags.sort_unstable();
            tags.join(",")
        };
        let mut lines: Vec<String> = text
            .lines()
            .map(|line| {
                line.split(' ').filter(|cell| !cell.is_empty()).map(sorted).collect::<Vec<_>>().join(" ")
            })
            .collect();
        lines.sort();
        lines
    }

    #[test]
    fn everything_recorded_is_printed_the_same() {
        let mut seen = 0;
        for step in recorded::steps() {
            let get = step.argv[0] == "get" && step.rc == 0 && !step.stdout.is_empty();
            let with_image =
                step.stdout.contains("dockerImageMetadata") || step.argv.contains(&"isimage".to_owned());
            // Which tags are cut off depends on times the state does not tell.
            if !get || with_image || step.stdout.contains("more...") {
                continue;
            }
            seen += 1;
            let (got, want) = (replay(&step), &step.stdout);
            let exact =
                step.argv.iter().any(|word| word.starts_with("json") || word == "yaml" || word == "name");
            if exact && !step.argv[1].contains("tag") {
                assert_eq!(&got, want, "{}", step.place);
            } else {
                assert_eq!(loosely(&got), loosely(want), "{}", step.place);
            }
        }
        assert!(seen > 60, "only {seen} recorded outputs were replayed");
    }

    #[test]
    fn objects_with_images_are_printed_the_same() {
        let mut seen = 0;
        for step in recorded::steps() {
            if step.argv[0] != "get"
                || !step.argv.contains(&"json".to_owned())
                || !step.raw.contains("dockerImageMetadata")
            {
                continue;
            }
            let mut want: Value = serde_json::from_str(&step.raw).expect("JSON");
            let name = want["metadata"]["name"].as_str().expect("a name").to_owned();
            let tags = step.state.iter().flat_map(|stream| table::tags_of(stream, true));
            let mut tag =
                tags.into_iter().find(|tag| Object::StreamTag(tag.clone()).name() == name).expect("the tag");
            tag.image = Some(recorded::image(&want["image"]));
            // Times and ids are those of the recording, taken over.
            for pointer in [
                "/metadata/uid",
                "/metadata/resourceVersion",
                "/metadata/creationTimestamp",
                "/image/metadata/uid",
                "/metadata/annotations",
                "/status/items/0/created",
            ] {
                if let Some(value) = want.pointer_mut(pointer) {
                    *value = Value::Null;
                }
            }
            let object =
                if want["kind"] == "ImageTag" { Object::ImageTag(tag) } else { Object::StreamTag(tag) };
            let mut got = object.to_json();
            for pointer in [
                "/metadata/uid",
                "/metadata/resourceVersion",
                "/metadata/creationTimestamp",
                "/image/metadata/uid",
                "/metadata/annotations",
                "/status/items/0/created",
            ] {
                if let Some(value) = got.pointer_mut(pointer) {
                    *value = Value::Null;
                }
            }
            assert_eq!(crate::print::json::pretty(&got), crate::print::json::pretty(&want), "{}", step.place);
            seen += 1;
        }
        assert_eq!(seen, 4);
    }
}
