//! `tagtrail label is NAME KEY=VALUE… KEY-…`, in kubectl's words.

use std::collections::BTreeMap;

use crate::commands::metadata::{self, Change, Object, Selection, What};
use crate::context::Context;
use crate::failure::Failure;
use crate::kinds::Kind;

/// Set or remove labels of image streams.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    selection: Selection,
}

/// Sets and removes labels.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let selection = args.selection;
    let (targets, change) = selection.parse(What::Label)?;
    if selection.list {
        return metadata::list(&selection, &targets, context, What::Label).await;
    }
    let objects = metadata::find(&selection, &targets, context).await?;
    context.expect_writes(objects.len())?;
    let mut failures = Vec::new();
    for (index, object) in objects.into_iter().enumerate() {
        let object = match object {
            Ok(object) if object.tag.is_empty() => object,
            Ok(object) => {
                // A tag has no labels of its own: those it shows are its stream's.
                let why =
                    "metadata: Invalid value: \"\": may not update fields other than metadata.annotations";
                failures.push(Failure::invalid("ImageStreamTag", &object.name(), why));
                continue;
            }
            Err(failure) => {
                failures.push(failure);
                continue;
            }
        };
        match label(&selection, &change, &object, index, context).await {
            Ok(lines) => context.print(&lines)?,
            Err(failure) => failures.push(failure),
        }
    }
    Failure::all(failures)
}

async fn label(
    selection: &Selection,
    change: &Change,
    object: &Object,
    index: usize,
    context: &mut Context,
) -> Result<String, Failure> {
    let declared = change.declared_otherwise(&object.labels);
    if !declared.is_empty() && !selection.overwrite {
        let each = declared.iter().map(|(key, value)| {
            Failure::client(format!("'{key}' already has a value ({value}), and --overwrite is false"))
        });
        Failure::all(each.collect())?;
    }
    let mut text = String::new();
    for key in change.remove.iter().filter(|key| !object.labels.contains_key(*key)) {
        text += &format!("label \"{key}\" not found.\n");
    }
    let word = word(&object.labels, &change.applied(&object.labels), selection.overwrite);
    if word != NOT_LABELED {
        let mut request = metadata::request(selection, object, index, context);
        request.set_labels.clone_from(&change.set);
        request.remove_labels.clone_from(&change.remove);
        metadata::update(request, context).await?;
    }
    text += &format!("{}/{} {word}{}\n", Kind::Stream.singular(), object.name(), selection.dry_run.remark());
    Ok(text)
}

const NOT_LABELED: &str = "not labeled";

/// What happened, by kubectl's measure: labels that became shorter as JSON were taken away.
fn word(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
    overwrite: bool,
) -> &'static str {
    let length = |labels: &BTreeMap<String, String>| {
        // An object without labels has no such key at all.
        if labels.is_empty() { 0 } else { serde_json::json!({ "labels": labels }).to_string().len() }
    };
    if before == after {
        NOT_LABELED
    } else if !overwrite && length(after) < length(before) {
        "unlabeled"
    } else {
        "labeled"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_follows_what_changed() {
        let map = |text: &str| -> BTreeMap<String, String> {
            text.split_terminator(',')
                .map(|pair| pair.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned())).expect("a pair"))
                .collect()
        };
        assert_eq!(word(&map(""), &map("a=b"), false), "labeled");
        assert_eq!(word(&map("a=b"), &map("a=b"), false), "not labeled");
        assert_eq!(word(&map("a=b"), &map(""), false), "unlabeled");
        assert_eq!(word(&map("a=b"), &map(""), true), "labeled");
    }
}
