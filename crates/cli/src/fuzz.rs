//! What reads what people and other programs wrote, for the fuzz target: each parser under its name, with what has to hold of what it
//! understood. It says whether it understood anything.

use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::commands::admin::is_export;
use crate::moment::{self, When};
use crate::places::Place;
use crate::print::{columns, jsonpath, template};
use crate::told::{documents, stream};

/// A parser under its name.
pub type Parser = (&'static str, fn(&[u8]) -> bool);

/// Every parser of what is typed, and of documents.
pub const PARSERS: [Parser; 7] = [
    ("jsonpath", jsonpath),
    ("go-template", go_template),
    ("custom-columns", custom_columns),
    ("moment", moment),
    ("place", place),
    ("openshift-document", openshift_document),
    ("export", is_export),
];

/// An object as the commands show them.
static OBJECT: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "apiVersion": "image.openshift.io/v1",
        "kind": "ImageStream",
        "metadata": {"name": "app", "generation": 3, "labels": {"a.b/c": "d"}, "annotations": null},
        "spec": {"lookupPolicy": {"local": true}, "tags": [{"name": "v1"}, {"name": "v2", "generation": 2.5}]},
        "status": {"tags": []}
    })
});

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn jsonpath(bytes: &[u8]) -> bool {
    let Some(Ok(template)) = text(bytes).map(jsonpath::Template::parse) else { return false };
    for strict in [true, false] {
        let template = jsonpath::Template::parse(text(bytes).expect("looked at above"))
            .expect("the same")
            .strict(strict);
        if let Ok(found) = template.find(&OBJECT) {
            found.iter().for_each(|found| drop(jsonpath::line(found)));
        }
    }
    template.find(&OBJECT).is_ok()
}

fn go_template(bytes: &[u8]) -> bool {
    let Some(Ok(template)) = text(bytes).map(template::Template::parse) else { return false };
    let strict = template.strict(true);
    let printed = strict.print(&OBJECT);
    let lenient = strict.strict(false).print(&OBJECT);
    // What is printed where nothing may be missing is the same where something may.
    if let Ok(printed) = printed {
        assert_eq!(lenient.ok().as_ref(), Some(&printed));
    }
    true
}

fn custom_columns(bytes: &[u8]) -> bool {
    let Some(text) = text(bytes) else { return false };
    let objects = [OBJECT.clone(), json!({}), Value::Null];
    columns::order(text, &objects).ok();
    let parsed = [columns::Columns::parse(text), columns::Columns::parse_file(text)];
    let understood = parsed.iter().any(Result::is_ok);
    for columns in parsed.into_iter().flatten() {
        columns.print(&objects, false, &mut String::new()).ok();
    }
    understood
}

/// What is told of a moment is understood as the same moment.
fn moment(bytes: &[u8]) -> bool {
    let Some(text) = text(bytes) else { return false };
    moment::future(text).ok();
    moment::since(text).ok();
    let Ok(when) = moment::past(text) else { return false };
    when.to_wire();
    let again = match when {
        When::Now => return true,
        When::Sequence(sequence) => moment::past(&sequence.to_string()),
        When::Time(_) => moment::past(&when.to_string()),
    };
    assert_eq!(again.expect("what was told can be read").to_string(), when.to_string());
    true
}

/// A place is written as it is read.
fn place(bytes: &[u8]) -> bool {
    let Some(text) = text(bytes) else { return false };
    Place::of_any(text, "test").ok();
    let Ok(place) = Place::parse(text, "test") else { return false };
    let Place { namespace, stream, tag } = &place;
    let tag = if tag.is_empty() { String::new() } else { format!(":{tag}") };
    assert_eq!(Place::parse(&format!("{namespace}/{stream}{tag}"), "other").ok().as_ref(), Some(&place));
    true
}

fn openshift_document(bytes: &[u8]) -> bool {
    let Some(text) = text(bytes) else { return false };
    let mut understood = false;
    for object in documents::objects(text) {
        let Ok(object) = object else { return understood };
        stream::kind_and_name(&object);
        understood |= stream::is_stream(&object) && stream::read(&object).is_ok();
    }
    understood
}
