//! Takes out of an output what differs between any two runs: ages, times, uids, versions, addresses, names of programs.
//!
//! [`text`] does what the recorder of the cases did, and a test checks it against every recorded pair. [`lenient`] goes
//! on to what can differ between `oc` and `tagtrail` although both are right.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

static RULES: LazyLock<[(Regex, &str); 4]> = LazyLock::new(|| {
    let age = r"(?:[Ll]ess than a second|[Aa]bout a minute|[Aa]bout an hour|\d+ (?:second|minute|hour|day|week|month|year)s?) ago";
    [
        (pattern(age), "<AGE>"),
        (pattern(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)"), "<TIME>"),
        (pattern(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "<UID>"),
        (pattern(r#"(resourceVersion"?: ")\d+(")"#), "${1}<RV>${2}"),
    ]
});

static LENIENT: LazyLock<[(Regex, &str); 4]> = LazyLock::new(|| {
    [
        // A column is as wide as its widest age, and its heading with it.
        (pattern(r"<AGE> +"), "<AGE> "),
        (pattern(r"\bUPDATED +"), "UPDATED "),
        (pattern(r"https?://127\.0\.0\.1:(?:6443|7400)\b"), "<SERVER>"),
        (pattern(r#"(?m)(^|['"` ])(?:oc|tagtrail) "#), "${1}<PROGRAM> "),
    ]
});

/// `output` as the recorder normalised it.
pub fn text(output: &str) -> String {
    replace_all(output, &*RULES)
}

/// `output`, normalised, without what `oc` and `tagtrail` may differ in.
pub fn lenient(output: &str) -> String {
    replace_all(&text(output), &*LENIENT)
}

/// One image stream as the recorder kept it: without uid, resource version and kind, times as `<TIME>`.
pub fn stream(mut stream: Value) -> Value {
    if let Some(object) = stream.as_object_mut() {
        object.shift_remove("kind");
        object.shift_remove("apiVersion");
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            for name in ["uid", "resourceVersion", "managedFields"] {
                metadata.shift_remove(name);
            }
        }
    }
    replace_times(&mut stream);
    stream
}

fn replace_times(value: &mut Value) {
    match value {
        Value::String(string) => *string = text(string),
        Value::Array(values) => values.iter_mut().for_each(replace_times),
        Value::Object(fields) => fields.values_mut().for_each(replace_times),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn replace_all(output: &str, rules: &[(Regex, &str)]) -> String {
    let mut text = Cow::Borrowed(output);
    for (pattern, replacement) in rules {
        text = Cow::Owned(pattern.replace_all(&text, *replacement).into_owned());
    }
    text.into_owned()
}

fn pattern(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is a constant that the tests have compiled")
}
