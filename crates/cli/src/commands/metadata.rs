//! What `annotate` and `label` share: whose keys are meant, and what is to become of them.

use std::collections::BTreeMap;

use tagtrail_api::v1::{ImageStream, UpdateMetadataRequest};

use crate::commands::finder::Finder;
use crate::context::Context;
use crate::failure::Failure;
use crate::k8s;
use crate::kinds::Targets;
use crate::print::table;

/// Whose keys, and how.
#[derive(clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags")]
pub(crate) struct Selection {
    /// TYPE NAME... or TYPE/NAME..., then KEY=VALUE to set and KEY- to remove
    #[arg(value_name = "TYPE NAME KEY=VALUE")]
    words: Vec<String>,
    /// Change keys that have another value
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// All of the kind in the namespace
    #[arg(long)]
    all: bool,
    /// All with these labels: a=b,c!=d,e in (f,g),!h
    #[arg(short = 'l', long, value_name = "SELECTOR", allow_hyphen_values = true)]
    selector: Option<String>,
    /// Only show what is set
    #[arg(long)]
    pub(crate) list: bool,
    /// Only check, change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Keys to set and keys to remove.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// To set.
    pub(crate) set: BTreeMap<String, String>,
    /// To remove.
    pub(crate) remove: Vec<String>,
}

/// An image stream, or one of its tags, and what is noted on it.
pub(crate) struct Object {
    /// The stream.
    pub(crate) stream: String,
    /// The tag. Empty: the stream itself.
    pub(crate) tag: String,
    /// Its annotations.
    pub(crate) annotations: BTreeMap<String, String>,
    /// Its labels.
    pub(crate) labels: BTreeMap<String, String>,
}

impl Selection {
    /// Tells objects from keys: the first word that sets or removes a key ends the objects.
    pub(crate) fn parse(&self) -> Result<(Targets, Change), Failure> {
        let is_change = |word: &String| word.contains('=') || word.ends_with('-');
        let objects = self.words.iter().take_while(|word| !is_change(word)).count();
        let (objects, changes) = self.words.split_at(objects);
        if objects.is_empty() {
            return Err(Failure::client(
                "one or more resources must be specified as <resource> <name> or <resource>/<name>",
            ));
        }
        let targets = Targets::parse(objects).map_err(Failure::client)?;
        let everything = self.all || self.selector.is_some();
        match targets {
            Targets::All(_) if !everything => {
                return Err(Failure::client(
                    "one or more resources must be specified as <resource> <name> or <resource>/<name>",
                ));
            }
            Targets::Named { .. } if everything => {
                return Err(Failure::client("name cannot be provided when a selector is specified"));
            }
            _ => {}
        }
        Ok((targets, Change::parse(changes)?))
    }

    /// What to add to a message when nothing is changed.
    pub(crate) fn dry(&self) -> &'static str {
        if self.dry_run { " (dry run)" } else { "" }
    }
}

impl Change {
    fn parse(words: &[String]) -> Result<Self, Failure> {
        let mut change = Self::default();
        for word in words {
            match (word.split_once('='), word.strip_suffix('-')) {
                (Some((key, value)), _) if !key.is_empty() => {
                    change.set.insert(key.to_owned(), value.to_owned());
                }
                (None, Some(key)) if !key.is_empty() => change.remove.push(key.to_owned()),
                _ => {
                    return Err(Failure::client(format!(
                        "\"{word}\" must be KEY=VALUE to set a key or KEY- to remove it"
                    )));
                }
            }
        }
        Ok(change)
    }

    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }

    /// Keys that are to be set and to be removed, if there are any.
    pub(crate) fn set_and_removed(&self) -> Option<String> {
        let both: Vec<&str> =
            self.remove.iter().filter(|key| self.set.contains_key(*key)).map(String::as_str).collect();
        (!both.is_empty()).then(|| both.join(", "))
    }

    /// Keys that have another value than they are to have, and that value.
    pub(crate) fn declared_otherwise(&self, now: &BTreeMap<String, String>) -> Vec<(String, String)> {
        let other = |(key, value): (&String, &String)| {
            let present = now.get(key).filter(|present| *present != value)?;
            Some((key.clone(), present.clone()))
        };
        self.set.iter().filter_map(other).collect()
    }

    /// What there would be afterwards.
    pub(crate) fn applied(&self, now: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut after = now.clone();
        after.retain(|key, _| !self.remove.contains(key));
        after.extend(self.set.clone());
        after
    }
}

impl Object {
    fn of_stream(stream: &ImageStream) -> Self {
        let ImageStream { name, annotations, labels, .. } = stream.clone();
        Self { stream: name, tag: String::new(), annotations, labels }
    }

    fn of_tag(stream: &ImageStream, tag: &str) -> Self {
        let spec = stream.tags.iter().find(|known| known.name == tag).and_then(|known| known.spec.as_ref());
        let annotations = spec.map(|spec| k8s::entries(&spec.annotations)).unwrap_or_default();
        Self { stream: stream.name.clone(), tag: tag.to_owned(), annotations, labels: stream.labels.clone() }
    }

    /// `app` or `app:v1`.
    pub(crate) fn name(&self) -> String {
        if self.tag.is_empty() { self.stream.clone() } else { format!("{}:{}", self.stream, self.tag) }
    }
}

/// Finds the objects that are meant.
pub(crate) async fn find(
    selection: &Selection,
    targets: &Targets,
    context: &Context,
) -> Result<Vec<Result<Object, Failure>>, Failure> {
    let client = context.client()?;
    let finder = Finder { client: &client, namespace: &context.namespace, whole: false };
    let mut found = Vec::new();
    let object = |object: table::Object| match object {
        table::Object::Stream(stream) => Ok(Object::of_stream(&stream)),
        table::Object::StreamTag(tag) | table::Object::ImageTag(tag) => {
            Ok(Object::of_tag(&tag.stream.clone().unwrap_or_default(), &tag.tag))
        }
        _ => Err(Failure::client("an image never changes: note it on its image stream or tag")),
    };
    match targets {
        Targets::Named { list, .. } => {
            for (kind, name) in list {
                found.push(finder.named(*kind, name).await.and_then(object));
            }
        }
        Targets::All(kinds) => {
            for kind in kinds {
                let all = finder.all(*kind, selection.selector.as_deref().unwrap_or_default()).await?;
                found.extend(all.into_iter().map(object));
            }
        }
    }
    Ok(found)
}

/// Prints what is set, one key a line; the names above them where there are several objects.
pub(crate) async fn list(
    selection: &Selection,
    targets: &Targets,
    context: &mut Context,
    keys: impl Fn(&Object) -> BTreeMap<String, String>,
) -> Result<(), Failure> {
    let objects = find(selection, targets, context).await?;
    let indent = if objects.len() > 1 { " " } else { "" };
    let mut failures = Vec::new();
    for object in objects {
        match object {
            Ok(object) => {
                if !indent.is_empty() {
                    context.print(&format!("Listing labels for {}:\n", object.name()))?;
                }
                for (key, value) in keys(&object) {
                    context.print(&format!("{indent}{key}={value}\n"))?;
                }
            }
            Err(failure) => failures.push(failure),
        }
    }
    Failure::all(failures)
}

/// A request about an object, without any change yet.
pub(crate) fn request(
    selection: &Selection,
    object: &Object,
    index: usize,
    context: &Context,
) -> UpdateMetadataRequest {
    UpdateMetadataRequest {
        namespace: context.namespace.clone(),
        name: object.stream.clone(),
        tag: object.tag.clone(),
        overwrite: selection.overwrite,
        dry_run: selection.dry_run,
        write: Some(context.write_options(index)),
        ..UpdateMetadataRequest::default()
    }
}

/// Has the server do it.
pub(crate) async fn update(request: UpdateMetadataRequest, context: &Context) -> Result<(), Failure> {
    let client = context.client()?;
    match client.streams().update_metadata(request).await {
        Ok(_) => Ok(()),
        Err(status) => Err(client.refusal(&status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_set_and_removed() {
        let words: Vec<String> = ["a=b=c", "x/y=", "c-"].map(str::to_owned).into();
        let change = Change::parse(&words).expect("valid");
        let now: BTreeMap<String, String> =
            [("a", "old"), ("c", "1"), ("d", "2")].map(|(k, v)| (k.into(), v.into())).into();
        assert_eq!(change.declared_otherwise(&now), [("a".to_owned(), "old".to_owned())]);
        let after: Vec<String> =
            change.applied(&now).iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(after, ["a=b=c", "d=2", "x/y="]);
        assert_eq!(change.set_and_removed(), None);
        assert!(Change::parse(&["novalue".to_owned()]).is_err());
    }
}
