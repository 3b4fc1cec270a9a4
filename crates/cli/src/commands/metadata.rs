//! What `annotate` and `label` share: whose keys are meant, and what is to become of them.

use std::collections::BTreeMap;

use tagtrail_api::v1::{ImageStream, UpdateMetadataRequest};

use crate::commands::finder::Finder;
use crate::context::Context;
use crate::failure::Failure;
use crate::flags::{DryRun, dry_run};
use crate::k8s;
use crate::kinds::Targets;
use crate::print::table;

/// Whose keys, and how.
#[derive(clap::Args)]
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
    /// Only check, change nothing: none, client or server
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "none", default_missing_value = "client", value_name = "KIND", value_parser = dry_run)]
    pub(crate) dry_run: DryRun,
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
    pub(crate) fn parse(&self, what: What) -> Result<(Targets, Change), Failure> {
        let is_change = |word: &String| {
            (word.contains('=') && !word.starts_with('=')) || (word.ends_with('-') && word != "-")
        };
        let objects = self.words.iter().take_while(|word| !is_change(word)).count();
        let (objects, changes) = self.words.split_at(objects);
        if let Some(late) = changes.iter().find(|word| !is_change(word)) {
            return Err(Failure::client(format!(
                "all resources must be specified before {} changes: {late}",
                what.word()
            )));
        }
        let change = Change::parse(changes, what)?;
        if self.all && self.selector.is_some() {
            return Err(Failure::client("cannot set --all and --selector at the same time"));
        }
        if objects.is_empty() {
            return Err(Failure::client(
                "one or more resources must be specified as <resource> <name> or <resource>/<name>",
            ));
        }
        if change.is_empty() && !self.list {
            return Err(Failure::client(format!("at least one {} update is required", what.word())));
        }
        change.is_one_way(what)?;
        let targets = Targets::parse(objects).map_err(Failure::client)?;
        let everything = self.all || self.selector.is_some();
        match (&targets, targets.with_selector()) {
            (Targets::All(_), _) if !everything => {
                Err(Failure::client("resource(s) were provided, but no name was specified"))
            }
            (_, Some(error)) if everything => Err(Failure::client(error)),
            _ => Ok((targets, change)),
        }
    }
}

/// What is noted: the two kinds of metadata, whose texts differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    /// Annotations.
    Annotation,
    /// Labels.
    Label,
}

impl What {
    fn word(self) -> &'static str {
        match self {
            Self::Annotation => "annotation",
            Self::Label => "label",
        }
    }
}

impl Change {
    fn parse(words: &[String], what: What) -> Result<Self, Failure> {
        let mut change = Self::default();
        for word in words {
            match word.split_once('=') {
                Some((key, value)) => {
                    if what == What::Label {
                        check_label(word, value)?;
                    }
                    change.set.insert(key.to_owned(), value.to_owned());
                }
                None => change.remove.push(word.trim_end_matches('-').to_owned()),
            }
        }
        Ok(change)
    }

    /// Whether there is nothing to do.
    fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }

    /// Refuses keys that are to be set and to be removed.
    fn is_one_way(&self, what: What) -> Result<(), Failure> {
        let both: Vec<&str> =
            self.remove.iter().filter(|key| self.set.contains_key(*key)).map(String::as_str).collect();
        match what {
            _ if both.is_empty() => Ok(()),
            What::Annotation => Err(Failure::client(format!(
                "can not both modify and remove the following annotation(s) in the same command: {}",
                both.join(", ")
            ))),
            What::Label => Err(Failure::client("can not both modify and remove a label in the same command")),
        }
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

/// What kubectl says of a label before it asks the server.
fn check_label(word: &str, value: &str) -> Result<(), Failure> {
    if value.contains('=') {
        return Err(Failure::client(format!("invalid label spec: {word}")));
    }
    let mut flaws = Vec::new();
    if value.len() > LABEL_VALUE_BYTES {
        flaws.push(format!("must be no more than {LABEL_VALUE_BYTES} bytes"));
    }
    let ends = |c: char| c.is_ascii_alphanumeric();
    let inside = |c: char| ends(c) || matches!(c, '-' | '_' | '.');
    let good = value.starts_with(ends) && value.ends_with(ends) && value.chars().all(inside);
    if !good && !value.is_empty() {
        flaws.push(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')".to_owned(),
        );
    }
    if flaws.is_empty() {
        return Ok(());
    }
    Err(Failure::client(format!("invalid label value: \"{word}\": {}", flaws.join(";"))))
}

/// Kubernetes' limit.
const LABEL_VALUE_BYTES: usize = 63;

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

    /// `ImageStream.image.openshift.io/app`: how a list of several objects names one.
    fn heading(&self) -> String {
        let kind = if self.tag.is_empty() { "ImageStream" } else { "ImageStreamTag" };
        format!("{kind}.image.openshift.io/{}", self.name())
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
    what: What,
) -> Result<(), Failure> {
    let objects = find(selection, targets, context).await?;
    let indent = if targets.is_single() { "" } else { " " };
    let mut failures = Vec::new();
    for object in objects {
        match object {
            Ok(object) => {
                if !indent.is_empty() {
                    context.print(&format!("Listing {}s for {}:\n", what.word(), object.heading()))?;
                }
                let entries = match what {
                    What::Annotation => &object.annotations,
                    What::Label => &object.labels,
                };
                for (key, value) in entries {
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
        dry_run: selection.dry_run.is_dry(),
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
        let change = Change::parse(&words, What::Annotation).expect("valid");
        let now: BTreeMap<String, String> =
            [("a", "old"), ("c", "1"), ("d", "2")].map(|(k, v)| (k.into(), v.into())).into();
        assert_eq!(change.declared_otherwise(&now), [("a".to_owned(), "old".to_owned())]);
        let after: Vec<String> =
            change.applied(&now).iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(after, ["a=b=c", "d=2", "x/y="]);
    }

    #[test]
    fn what_cannot_be_is_told_in_the_words_of_kubectl() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            selection: Selection,
        }
        let check = |what: What, words: &str, want: &str| {
            let words = ["label"].into_iter().chain(words.split_whitespace());
            let selection = <Line as clap::Parser>::parse_from(words).selection;
            let got = selection.parse(what).map(drop).map_err(|failure| failure.text());
            let want = if want.is_empty() { Ok(()) } else { Err(want) };
            let start = |text: &String| text.trim_start_matches("error: ").trim_end().to_owned();
            let got = got.map_err(|text| start(&text));
            match (&got, want) {
                (Err(got), Err(want)) => assert!(got.starts_with(want), "{got}\n{want}"),
                _ => assert_eq!(got, want.map_err(str::to_owned)),
            }
        };
        for (what, word) in [(What::Label, "label"), (What::Annotation, "annotation")] {
            let nowhere = "one or more resources must be specified as <resource> <name> or <resource>/<name>";
            check(what, "", nowhere);
            check(what, "a=b", nowhere);
            check(what, "is", &format!("at least one {word} update is required"));
            check(what, "is app", &format!("at least one {word} update is required"));
            check(what, "is app --list", "");
            check(what, "is a=b", "resource(s) were provided, but no name was specified");
            check(what, "is a=b --all", "");
            check(what, "is app a=b --all", "name cannot be provided when a selector is specified");
            check(what, "is a=b --all -l c", "cannot set --all and --selector at the same time");
            check(
                what,
                "is app a=b web",
                &format!("all resources must be specified before {word} changes: web"),
            );
            check(what, "is app a=b a/b-", "");
        }
        check(What::Label, "is app a=b a-", "can not both modify and remove a label in the same command");
        let both = "can not both modify and remove the following annotation(s) in the same command: a";
        check(What::Annotation, "is app a=b a-", both);
        check(What::Annotation, "is app a=b=c", "");
        check(What::Label, "is app a=b=c", "invalid label spec: a=b=c");
        check(
            What::Label,
            "is app a=-",
            "invalid label value: \"a=-\": a valid label must be an empty string",
        );
        check(What::Label, "is app a=", "");
        let long = format!("a={}", "x".repeat(64));
        let want = format!("invalid label value: \"{long}\": must be no more than 63 bytes");
        check(What::Label, &format!("is app {long}"), &want);
    }
}
