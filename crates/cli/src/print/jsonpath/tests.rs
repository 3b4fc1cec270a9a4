use serde_json::json;

use super::*;
use crate::print::rows;

#[test]
fn templates_print_what_kubectl_prints() {
    let root = &rows::objects()[0];
    let checked = rows::check(include_str!("../tables/jsonpath.txt"), |template| {
        match Template::parse(template).and_then(|template| template.print(root)) {
            Ok(text) => text,
            Err(error) => format!("error: {error}"),
        }
    });
    assert!(checked >= 200, "only {checked} rows");
}

#[test]
fn odd_values_are_treated_as_kubectl_treats_them() {
    let root = json!({
        "f": 1.5, "big": 12_345_678_901_i64, "kind": "K", "list": [], "lists": [[1, 2], [], [3]],
        "objs": [{"i": [1]}, {"i": []}, {"i": [3]}],
        "mixed": [{"n": 1}, {"n": "x"}, {"n": null}, {"n": true}, {"n": {}}, {"n": 1.5}],
        "b": [{"n": true}, {"n": false}],
    });
    let checked =
        rows::check(include_str!("../tables/jsonpath_odd.txt"), |template| {
            match Template::parse(template).and_then(|template| template.print(&root)) {
                Ok(text) => text,
                Err(error) => format!("error: {error}"),
            }
        });
    assert!(checked >= 25, "only {checked} rows");
}

#[test]
fn what_is_not_there_can_be_an_error() {
    let root = json!({"a": {"b": 1}, "list": [{"a": 1}, {}]});
    let check = |template: &str, want: &str| {
        let strict = Template::parse(template).expect(template).strict(true);
        let got = strict.print(&root).unwrap_or_else(|error| error.to_string());
        assert_eq!(got, want, "{template}");
    };
    check("{.a.b}", "1");
    check("{.nothing}", "nothing is not found");
    check("{.a.c}", "c is not found");
    check("{.list[*].a}", "1"); // One has it.
    check("{.list[1].a}", "a is not found");
    check("{.list[?(@.a==1)].a}", "a is not found"); // The filter has to look at the second, too.
    check("{.list[?(@.a)].a}", "1");
}

#[test]
fn paths_may_be_written_in_four_ways() {
    for text in [".a.b", "a.b", "{.a.b}", "{a.b}"] {
        assert_eq!(relaxed(text).as_deref(), Ok("{.a.b}"), "{text}");
    }
    assert_eq!(relaxed("").as_deref(), Ok(""));
    for text in ["{}", "{.a}{.b}", "{.a}x", "a{b}", "{a"] {
        assert!(relaxed(text).is_err(), "{text}");
    }
}

#[test]
fn values_are_written_as_go_writes_them() {
    let check = |value: Value, want: &str| assert_eq!(go::syntax(&value), want);
    check(
        json!({"b": [1, 1.5, true, null], "a": {}}),
        "map[string]interface {}{\"a\":map[string]interface {}{}, \"b\":[]interface {}{1, 1.5, true, interface {}(nil)}}",
    );
    check(json!("a\"b\\c\n\té\u{1b}"), "\"a\\\"b\\\\c\\n\\té\\x1b\"");
}
