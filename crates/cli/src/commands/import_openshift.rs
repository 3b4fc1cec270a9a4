//! `tagtrail import-openshift FILE...`: image streams of OpenShift, with all that their tags have pointed to.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};

use prost::Message as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tagtrail_api::v1::{TakeTestimonyRequest, TakeTestimonyResponse, WriteOptions};
use tonic::Code;

use crate::client::Client;
use crate::context::Context;
use crate::failure::Failure;
use crate::places::Place;
use crate::told::documents::objects;
use crate::told::stream::{self, Told};

/// The largest document, in bytes. `oc get is -A -o yaml` of a large cluster has a tenth of it.
const DOCUMENT_BYTES: u64 = 64 << 20;
/// The largest request that the server takes for this, in bytes.
const REQUEST_BYTES: usize = 16 << 20;

const EXAMPLES: &str = "\
Examples:
  oc get is -o yaml > streams.yaml; tagtrail import-openshift streams.yaml
  oc get is -A -o json | tagtrail import-openshift -
  tagtrail import-openshift python.yaml --to-namespace archive --dry-run";

/// Take over image streams from OpenShift, with all of their history.
///
/// A FILE is what 'oc get is -o yaml' or '-o json' printed: one image stream, a list, or several documents. What a tag pointed
/// to has a time of its own, and says that it was told and not seen here. An image stream that is here already stays as it is.
/// One that was taken over from the same document before is not taken over twice.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A file of image streams, in YAML or JSON; - is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,
    /// Put the image streams into this namespace, as -n does [default: the one that the document names, else the current one]
    #[arg(long, value_name = "NAMESPACE")]
    to_namespace: Option<String>,
    /// Only check, change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Takes over image streams.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    if context.write.expected_revision.is_some() {
        return Err(Failure::client(
            "--expect-revision does not go with this: an image stream that is here already is never changed",
        ));
    }
    let typed = context.namespace_typed.then(|| context.namespace.clone());
    let namespace = args.to_namespace.filter(|text| !text.is_empty()).or(typed);
    let client = context.client()?;
    let mut import = Import { client, namespace, dry_run: args.dry_run, asked: 0, failures: Vec::new() };
    for path in &args.files {
        match import.file(path, context).await {
            Ok(()) => {}
            Err(End::File(failure)) => import.failures.push(failure),
            Err(End::Everything(failure)) => {
                import.failures.push(failure);
                break;
            }
        }
    }
    Failure::all(import.failures)
}

/// Why there is no going on.
enum End {
    /// With this file.
    File(Failure),
    /// At all.
    Everything(Failure),
}

/// What is under way.
struct Import {
    client: Client,
    /// Where all of them are to be, if they are not to be where they were.
    namespace: Option<String>,
    dry_run: bool,
    /// How many requests there were.
    asked: usize,
    failures: Vec<Failure>,
}

impl Import {
    async fn file(&mut self, path: &str, context: &mut Context) -> Result<(), End> {
        let name = if path == "-" { "standard input" } else { path };
        let document = Document::read(path, name).map_err(End::File)?;
        let mut streams = 0;
        for object in objects(&document.text) {
            let object = object.map_err(|why| End::File(Failure::client(format!("{name}: {why}"))))?;
            if stream::is_stream(&object) {
                streams += 1;
                self.stream(&object, &document, context).await?;
            } else {
                let what = stream::kind_and_name(&object).map_or_else(
                    || "what has no kind".to_owned(),
                    |(kind, name)| format!("{kind} \"{name}\""),
                );
                let line = format!("skipped {what} of {name}: it is no image stream");
                context.warn(&line).map_err(End::Everything)?;
            }
        }
        if streams == 0 {
            return Err(End::File(Failure::client(format!(
                "{name}: there is no image stream in it; give what 'oc get is -o yaml' prints"
            ))));
        }
        Ok(())
    }

    async fn stream(
        &mut self,
        object: &Value,
        document: &Document<'_>,
        context: &mut Context,
    ) -> Result<(), End> {
        let told = match stream::read(object) {
            Ok(told) => told,
            Err(why) => {
                let name = stream::kind_and_name(object).map(|(_, name)| name).unwrap_or_default();
                self.failures.push(Failure::client(format!(
                    "{}: the image stream \"{name}\" cannot be read: {why}",
                    document.name
                )));
                return Ok(());
            }
        };
        let place = self.place(&told, &context.namespace);
        let write = context.write_options(self.asked);
        self.asked += 1;
        let request = TakeTestimonyRequest {
            namespace: place.namespace.clone(),
            name: place.stream.clone(),
            write: Some(identified(write, &told, &place, document)),
            resource_version: told.resource_version,
            stream: Some(told.stream),
            document: document.name.to_owned(),
            document_digest: document.digest.clone(),
            dry_run: self.dry_run,
        };
        let bytes = request.encoded_len();
        if bytes > REQUEST_BYTES {
            self.failures.push(Failure::client(format!(
                "{}: the image stream \"{}\" takes {bytes} bytes to tell; {REQUEST_BYTES} are the most: leave out the oldest items of its longest histories",
                document.name, place.stream
            )));
            return Ok(());
        }
        match self.client.imports().take_testimony(request).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                if answer.there {
                    let line = message(&place, &answer, self.dry_run, &context.namespace);
                    context.print(&line).and_then(|()| context.flush()).map_err(End::Everything)?;
                    for left_out in &told.left_out {
                        let line = format!("left out of {}: {left_out}", place.shown(&context.namespace));
                        context.warn(&line).map_err(End::Everything)?;
                    }
                } else {
                    self.failures.push(Failure::client(deleted_since(&place, &context.namespace)));
                }
                Ok(())
            }
            Err(status) => {
                let failure = self.client.refusal(&status);
                match status.code() {
                    // Whoever is not there for one is not there for the next.
                    Code::Unavailable => Err(End::Everything(failure)),
                    Code::AlreadyExists => {
                        let advice = "it stays as it is; --to-namespace puts this one elsewhere";
                        self.failures.push(failure.with_advice(advice));
                        Ok(())
                    }
                    _ => {
                        self.failures.push(failure);
                        Ok(())
                    }
                }
            }
        }
    }

    fn place(&self, told: &Told, current: &str) -> Place {
        let theirs = Some(&told.stream.namespace).filter(|text| !text.is_empty());
        let namespace = self.namespace.as_ref().or(theirs).map_or_else(|| current.to_owned(), String::clone);
        Place { namespace, stream: told.stream.name.clone(), tag: String::new() }
    }
}

/// A request that is not done twice: an id that the same stream of the same document has each time. Another reason is another
/// request, and then the image stream is there already.
fn identified(write: WriteOptions, told: &Told, place: &Place, document: &Document<'_>) -> WriteOptions {
    if !write.request_id.is_empty() {
        return write;
    }
    let mut hash = Sha256::new();
    let stream = &told.stream;
    for part in
        [&document.digest, &place.namespace, &place.stream, &stream.namespace, &stream.uid, &write.reason]
    {
        hash.update(part);
        hash.update([0]);
    }
    WriteOptions { request_id: format!("import-openshift-{}", &hex(&hash.finalize())[..32]), ..write }
}

/// What became of an image stream, in a line as `oc` has it.
fn message(place: &Place, answer: &TakeTestimonyResponse, dry_run: bool, current: &str) -> String {
    let name = format!("imagestream.image.openshift.io/{}", place.stream);
    if answer.result.is_some_and(|result| result.repeated) {
        return format!("{name} unchanged\n");
    }
    let into = if place.namespace == current { String::new() } else { format!(" into {}", place.namespace) };
    let count = |number: u32, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let (tags, items) = (count(answer.tags, "tag"), count(answer.items, "history item"));
    let left_out = match answer.items_left_out {
        0 => String::new(),
        number => format!("; the oldest {number} of its histories were left out"),
    };
    let dry = if dry_run { " (dry run)" } else { "" };
    format!("{name} imported{into} ({tags}, {items}{left_out}){dry}\n")
}

fn deleted_since(place: &Place, current: &str) -> String {
    let name = place.shown(current);
    format!(
        "the image stream {name} was taken over from this document before, and has been deleted since: 'tagtrail restore {name}' brings it back; with a --request-id of your own it is taken over again"
    )
}

/// A file that was read.
struct Document<'p> {
    name: &'p str,
    text: String,
    /// Of all of its bytes: what `sha256sum` says.
    digest: String,
}

impl<'p> Document<'p> {
    fn read(path: &str, name: &'p str) -> Result<Self, Failure> {
        let cannot = |why: &dyn std::fmt::Display| Failure::client(format!("cannot read {name}: {why}"));
        let file: Box<dyn Read> = match path {
            "-" => Box::new(io::stdin()),
            path => Box::new(File::open(path).map_err(|error| cannot(&error))?),
        };
        let mut bytes = Vec::new();
        let read = file.take(DOCUMENT_BYTES + 1).read_to_end(&mut bytes).map_err(|error| cannot(&error))?;
        if read as u64 > DOCUMENT_BYTES {
            return Err(cannot(&format!(
                "it has more than {DOCUMENT_BYTES} bytes; split it, for example by namespace"
            )));
        }
        let digest = format!("sha256:{}", hex(&Sha256::digest(&bytes)));
        let text = String::from_utf8(bytes).map_err(|_| cannot(&"it is no text (UTF-8)"))?;
        Ok(Self { name, text, digest })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a text cannot fail.
        _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use tagtrail_api::v1::WriteResult;

    use super::*;

    fn place(namespace: &str) -> Place {
        Place { namespace: namespace.into(), stream: "python".into(), tag: String::new() }
    }

    #[test]
    fn a_line_tells_what_became_of_a_stream() {
        let check = |place: Place, dry_run: bool, answer: TakeTestimonyResponse, want: &str| {
            let want = format!("imagestream.image.openshift.io/python {want}\n");
            assert_eq!(message(&place, &answer, dry_run, "here"), want);
        };
        let answer = TakeTestimonyResponse { tags: 3, items: 17, there: true, ..Default::default() };
        check(place("here"), false, answer, "imported (3 tags, 17 history items)");
        check(place("prod"), false, answer, "imported into prod (3 tags, 17 history items)");
        check(place("here"), true, answer, "imported (3 tags, 17 history items) (dry run)");
        let one = TakeTestimonyResponse { tags: 1, items: 1, items_left_out: 9, ..answer };
        let left_out = "imported (1 tag, 1 history item; the oldest 9 of its histories were left out)";
        check(place("here"), false, one, left_out);
        let result = Some(WriteResult { repeated: true, ..WriteResult::default() });
        check(place("prod"), false, TakeTestimonyResponse { result, ..answer }, "unchanged");
    }

    #[test]
    fn the_same_stream_of_the_same_document_is_one_request() {
        let told = |uid: &str| {
            let stream = serde_json::json!({ "metadata": { "name": "python", "uid": uid } });
            stream::read(&stream).expect("a stream")
        };
        let id = |uid: &str, namespace: &str, digest: &str, reason: &str| {
            let document = Document { name: "f", text: String::new(), digest: digest.into() };
            let write = WriteOptions { reason: reason.into(), ..WriteOptions::default() };
            identified(write, &told(uid), &place(namespace), &document).request_id
        };
        let one = id("1", "here", "sha256:1", "");
        assert_eq!(one, id("1", "here", "sha256:1", ""));
        assert!(one.starts_with("import-openshift-") && one.len() <= 128);
        for other in [
            id("2", "here", "sha256:1", ""),
            id("1", "prod", "sha256:1", ""),
            id("1", "here", "sha256:2", ""),
            id("1", "here", "sha256:1", "why"),
        ] {
            assert_ne!(one, other);
        }
        let own = WriteOptions { request_id: "mine".into(), ..WriteOptions::default() };
        let document = Document { name: "f", text: String::new(), digest: String::new() };
        assert_eq!(identified(own, &told("1"), &place("here"), &document).request_id, "mine");
    }
}
