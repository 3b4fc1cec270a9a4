//! `tagtrail annotate is|istag NAME KEY=VALUE… KEY-…`, in kubectl's words.

use crate::commands::metadata::{self, Change, Selection, What};
use crate::context::Context;
use crate::failure::Failure;
use crate::kinds::Kind;

/// Set or remove annotations of image streams or tags.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    selection: Selection,
}

/// Sets and removes annotations.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let selection = args.selection;
    let (targets, change) = selection.parse(What::Annotation)?;
    if selection.list {
        return metadata::list(&selection, &targets, context, What::Annotation).await;
    }
    let objects = metadata::find(&selection, &targets, context).await?;
    context.expect_writes(objects.len())?;
    let mut failures = Vec::new();
    for (index, object) in objects.into_iter().enumerate() {
        let object = match object {
            Ok(object) => object,
            Err(failure) => {
                failures.push(failure);
                continue;
            }
        };
        match annotate(&selection, &change, &object, index, context).await {
            Ok(line) => context.print(&line)?,
            Err(failure) => failures.push(failure),
        }
    }
    Failure::all(failures)
}

async fn annotate(
    selection: &Selection,
    change: &Change,
    object: &metadata::Object,
    index: usize,
    context: &mut Context,
) -> Result<String, Failure> {
    let declared = change.declared_otherwise(&object.annotations);
    if !declared.is_empty() && !selection.overwrite {
        return Err(Failure::client(format!(
            "--overwrite is false but found the following declared annotation(s): {}",
            declared
                .iter()
                .map(|(key, value)| format!("'{key}' already has a value ({value})"))
                .collect::<Vec<_>>()
                .join("; ")
        )));
    }
    let mut request = metadata::request(selection, object, index, context);
    request.set_annotations.clone_from(&change.set);
    request.remove_annotations.clone_from(&change.remove);
    metadata::update(request, context).await?;
    let kind = if object.tag.is_empty() { Kind::Stream } else { Kind::StreamTag };
    Ok(format!("{}/{} annotated{}\n", kind.singular(), object.name(), selection.dry_run.remark()))
}
