//! What a template can call.

use std::cmp::Ordering;

use serde_json::Value;

use super::{TemplateError, error};
use crate::print::go;

/// The functions there are.
pub(super) const NAMES: [&str; 15] = [
    "and", "eq", "exists", "ge", "gt", "index", "le", "len", "lt", "ne", "not", "or", "print", "printf",
    "println",
];

/// Whether a value counts as true: what is empty or zero does not.
pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(value) => value.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// Calls a function.
///
/// # Errors
/// [`TemplateError`] for values it does not take.
pub(super) fn call(name: &str, arguments: &[Value]) -> Result<Value, TemplateError> {
    let wrong = || error(format!("wrong number of args for {name}"));
    let first = arguments.first();
    let last = || arguments.last().cloned().ok_or_else(wrong);
    match name {
        "and" => arguments.iter().find(|value| !is_true(value)).cloned().map_or_else(last, Ok),
        "or" => arguments.iter().find(|value| is_true(value)).cloned().map_or_else(last, Ok),
        "lt" | "le" | "gt" | "ge" => {
            let [left, right] = arguments else { return Err(wrong()) };
            let order = order(left, right)
                .ok_or_else(|| error(format!("error calling {name}: incompatible types for comparison")))?;
            Ok(match name {
                "lt" => order.is_lt(),
                "le" => order.is_le(),
                "gt" => order.is_gt(),
                _ => order.is_ge(),
            }
            .into())
        }
        "exists" => {
            let (from, keys) = arguments.split_first().ok_or_else(wrong)?;
            let found = keys.iter().try_fold(from, |value, key| value.get(key.as_str()?));
            Ok(found.is_some().into())
        }
        "printf" => match arguments.split_first() {
            Some((Value::String(format), values)) => Ok(printf(format, values).into()),
            _ => Err(wrong()),
        },
        "not" => Ok((!is_true(first.ok_or_else(wrong)?)).into()),
        "eq" => Ok(arguments.get(1..).ok_or_else(wrong)?.iter().any(|value| Some(value) == first).into()),
        "ne" => Ok((arguments.get(1).ok_or_else(wrong)? != &arguments[0]).into()),
        "len" => match first.ok_or_else(wrong)? {
            Value::Array(items) => Ok(items.len().into()),
            Value::Object(map) => Ok(map.len().into()),
            Value::String(text) => Ok(text.len().into()),
            value => Err(error(format!("len of {}", go::text(value)))),
        },
        "index" => {
            let (from, keys) = arguments.split_first().ok_or_else(wrong)?;
            keys.iter().try_fold(from.clone(), |value, key| match (value, key) {
                (Value::Object(map), Value::String(key)) => Ok(map.get(key).cloned().unwrap_or_default()),
                (Value::Array(items), Value::Number(at)) => {
                    let item = at.as_u64().and_then(|at| items.get(usize::try_from(at).ok()?)).cloned();
                    item.ok_or_else(|| error(format!("index out of range: {at}")))
                }
                (value, key) => {
                    Err(error(format!("can't index {} with {}", go::text(&value), go::text(key))))
                }
            })
        }
        "print" => {
            // Two values that are no texts have a space between them.
            let mut text = String::new();
            for (at, value) in arguments.iter().enumerate() {
                if at > 0 && !value.is_string() && !arguments[at - 1].is_string() {
                    text.push(' ');
                }
                text += &go::text(value);
            }
            Ok(text.into())
        }
        "println" => {
            let texts: Vec<String> = arguments.iter().map(go::text).collect();
            Ok((texts.join(" ") + "\n").into())
        }
        _ => Err(error(format!("function \"{name}\" not defined"))),
    }
}

fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Number(a), Value::Number(b)) if a.is_f64() == b.is_f64() => {
            a.as_f64().partial_cmp(&b.as_f64())
        }
        _ => None,
    }
}

/// The largest width that Go's `fmt` heeds.
const MOST_WIDE: usize = 1_000_000;

/// Go's `Printf`, for the verbs `%s`, `%v`, `%d`, `%t` and `%q` with a width and `-` or `0`.
fn printf(format: &str, values: &[Value]) -> String {
    let mut out = String::new();
    let mut values = values.iter();
    let mut rest = format;
    while let Some((plain, verb)) = rest.split_once('%') {
        out += plain;
        let flags = verb.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(verb.len());
        let (flags, verb) = verb.split_at(flags);
        let Some(letter) = verb.chars().next() else { return out + "%!(NOVERB)" };
        rest = &verb[letter.len_utf8()..];
        if letter == '%' {
            out.push('%');
            continue;
        }
        let Some(value) = values.next() else {
            out += &format!("%!{letter}(MISSING)");
            continue;
        };
        let text = match (letter, value) {
            ('v', _) | ('s', Value::String(_)) | ('d', Value::Number(_)) | ('t', Value::Bool(_)) => {
                go::text(value)
            }
            ('q', Value::String(text)) => go::quoted(text),
            (_, Value::Null) => format!("%!{letter}(<nil>)"),
            _ => format!("%!{letter}({}={})", go::type_of(value), go::text(value)),
        };
        // As Go does it: what is wider than a million is no width.
        let width = flags.trim_start_matches('-').parse().ok().filter(|width| *width <= MOST_WIDE);
        let missing = width.unwrap_or(0).saturating_sub(text.chars().count());
        match flags.chars().next() {
            Some('-') => out.extend([text, " ".repeat(missing)]),
            Some('0') if value.is_number() => out.extend(["0".repeat(missing), text]),
            _ => out.extend([" ".repeat(missing), text]),
        }
    }
    out += rest;
    let extra: Vec<String> =
        values.map(|value| format!("{}={}", go::type_of(value), go::text(value))).collect();
    if extra.is_empty() { out } else { out + &format!("%!(EXTRA {})", extra.join(", ")) }
}
