//! What differs: `tagtrail diff`. Lines begin with `+` for what is only in the second, `-` for what is only in the first,
//! and `~` for what is in both and not the same.

use serde_json::{Value, json};
use tagtrail_api::v1::{
    DiffImagesResponse, DiffKind, DiffStreamsResponse, HistoryItem, Image, ImageDiff, ShownMoment, TagDiff,
    TagSpec,
};

use crate::places::Place;
use crate::print::age::{exact, rfc3339};
use crate::print::describe::source;
use crate::print::history::pointed_to;
use crate::print::tabs::{self, LOOKUP};

/// What was compared, as it was typed.
#[derive(Clone, Copy)]
pub(crate) struct Sides<'a> {
    /// The first.
    pub(crate) from: &'a str,
    /// The second.
    pub(crate) to: &'a str,
}

/// Two moments of streams.
pub(crate) fn streams(answer: &DiffStreamsResponse, sides: Sides<'_>, namespace: &str) -> String {
    let side = |name: &str, at: Option<&ShownMoment>| {
        let time = at.and_then(|at| at.time.as_ref()).map(|time| format!(" ({})", rfc3339(time)));
        let at = at.map(|at| format!(", sequence {}{}", at.sequence, time.unwrap_or_default()));
        format!("{name}{}", at.unwrap_or_default())
    };
    let mut text = format!(
        "--- {}\n+++ {}\n",
        side(sides.from, answer.from.as_ref()),
        side(sides.to, answer.to.as_ref())
    );
    if answer.tags.is_empty() {
        return text + "Nothing differs.\n";
    }
    let rows: Vec<_> =
        answer.tags.iter().map(|tag| vec![sign(tag.kind(), &tag.tag), of_tag(tag, namespace)]).collect();
    text += &tabs::table(&rows, LOOKUP);
    text
}

/// How a tag differs.
fn of_tag(tag: &TagDiff, namespace: &str) -> String {
    let image = |item: Option<&HistoryItem>| item.map_or("<none>", pointed_to).to_owned();
    let (from, to) = (image(tag.from.as_ref()), image(tag.to.as_ref()));
    let spec = |spec: Option<&TagSpec>| source(spec, namespace);
    match tag.kind() {
        DiffKind::Added => to,
        DiffKind::Removed => from,
        DiffKind::Moved | DiffKind::Unspecified => format!("{from} -> {to}"),
        DiffKind::Changed => {
            let (from, to) = (spec(tag.from_spec.as_ref()), spec(tag.to_spec.as_ref()));
            if from == to { format!("{to}, with other settings") } else { format!("{from} -> {to}") }
        }
    }
}

/// Two images.
pub(crate) fn images(answer: &DiffImagesResponse, sides: Sides<'_>) -> String {
    let digest = |image: Option<&Image>| image.map_or(String::new(), |image| image.digest.clone());
    let side = |name: &str, digest: &str| {
        if name == digest { digest.to_owned() } else { format!("{name}, {digest}") }
    };
    let (from, to) = (digest(answer.from.as_ref()), digest(answer.to.as_ref()));
    let text = format!("--- {}\n+++ {}\n", side(sides.from, &from), side(sides.to, &to));
    if from == to {
        return text + "They are the same image.\n";
    }
    if answer.differences.is_empty() {
        return text + "Nothing differs but the digests.\n";
    }
    let row = |difference: &ImageDiff| {
        let ImageDiff { field, key, from, to, .. } = difference;
        let what = match difference.kind() {
            DiffKind::Added => to.clone(),
            DiffKind::Removed => from.clone(),
            DiffKind::Changed | DiffKind::Moved | DiffKind::Unspecified => {
                let or_nothing =
                    |text: &str| if text.is_empty() { "<none>".to_owned() } else { text.to_owned() };
                format!("{} -> {}", or_nothing(from), or_nothing(to))
            }
        };
        let cells = [field.as_str(), key, &what].into_iter().filter(|cell| !cell.is_empty());
        let mut cells: Vec<String> = cells.map(tabs::one_line).collect();
        cells[0] = sign(difference.kind(), &cells[0]);
        // What has no key has its words in the last column all the same.
        if cells.len() == 2 && key.is_empty() {
            cells.insert(1, String::new());
        }
        cells.resize(3, String::new());
        cells
    };
    let rows: Vec<_> = answer.differences.iter().map(row).collect();
    let table = tabs::table(&rows, LOOKUP);
    text + &table.lines().map(|line| format!("{}\n", line.trim_end())).collect::<String>()
}

fn sign(kind: DiffKind, name: &str) -> String {
    let sign = match kind {
        DiffKind::Added => '+',
        DiffKind::Removed => '-',
        DiffKind::Moved | DiffKind::Changed | DiffKind::Unspecified => '~',
    };
    format!("{sign} {name}")
}

fn word(kind: DiffKind) -> &'static str {
    match kind {
        DiffKind::Unspecified => "unknown",
        DiffKind::Added => "added",
        DiffKind::Removed => "removed",
        DiffKind::Moved => "moved",
        DiffKind::Changed => "changed",
    }
}

/// Two moments of streams, for programs.
pub(crate) fn streams_in_json(answer: &DiffStreamsResponse, from: &Place, to: &Place) -> Value {
    let side = |place: &Place, at: Option<&ShownMoment>| {
        json!({
            "namespace": place.namespace,
            "stream": place.stream,
            "sequence": at.map(|at| at.sequence),
            "time": at.and_then(|at| at.time.as_ref()).map(exact),
        })
    };
    let image = |item: Option<&HistoryItem>| item.map(|item| pointed_to(item).to_owned());
    let reference = |item: Option<&HistoryItem>| item.map(|item| item.docker_image_reference.clone());
    let tag = |tag: &TagDiff| {
        let source = |spec: Option<&TagSpec>| spec.map(|spec| source(Some(spec), ""));
        json!({
            "tag": tag.tag,
            "kind": word(tag.kind()),
            "from": image(tag.from.as_ref()),
            "to": image(tag.to.as_ref()),
            "fromReference": reference(tag.from.as_ref()),
            "toReference": reference(tag.to.as_ref()),
            "fromSource": source(tag.from_spec.as_ref()),
            "toSource": source(tag.to_spec.as_ref()),
        })
    };
    json!({
        "from": side(from, answer.from.as_ref()),
        "to": side(to, answer.to.as_ref()),
        "tags": answer.tags.iter().map(tag).collect::<Vec<_>>(),
    })
}

/// Two images, for programs.
pub(crate) fn images_in_json(answer: &DiffImagesResponse) -> Value {
    let side = |image: Option<&Image>| {
        let image = image.cloned().unwrap_or_default();
        json!({ "digest": image.digest, "reference": image.docker_image_reference })
    };
    let text = |text: &str| Value::from((!text.is_empty()).then_some(text));
    let difference = |difference: &ImageDiff| {
        json!({
            "field": difference.field,
            "key": text(&difference.key),
            "kind": word(difference.kind()),
            "from": text(&difference.from),
            "to": text(&difference.to),
        })
    };
    json!({
        "from": side(answer.from.as_ref()),
        "to": side(answer.to.as_ref()),
        "differences": answer.differences.iter().map(difference).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;
    use tagtrail_api::v1::{SourceKind, TagSource};

    use super::*;
    use crate::print::history::tests::{digest, item};

    const SIDES: Sides<'static> = Sides { from: "app@7", to: "app" };

    fn spec(name: &str) -> Option<TagSpec> {
        let kind = SourceKind::DockerImage.into();
        let source = Some(TagSource { kind, name: name.into(), ..TagSource::default() });
        Some(TagSpec { source, ..TagSpec::default() })
    }

    fn tags() -> DiffStreamsResponse {
        let tag = |tag: &str, kind: DiffKind, from, to| {
            let kind = kind.into();
            TagDiff { tag: tag.into(), kind, from, to, ..TagDiff::default() }
        };
        let changed = TagDiff {
            from_spec: spec("a:1"),
            to_spec: spec("a:2"),
            ..tag("o", DiffKind::Changed, item("aa"), item("aa"))
        };
        let same = TagDiff { from_spec: spec("a:1"), ..changed.clone() };
        let same = TagDiff { to_spec: same.from_spec.clone(), tag: "same".into(), ..same };
        DiffStreamsResponse {
            tags: vec![
                tag("dev", DiffKind::Moved, item("aa"), item("bb")),
                tag("empty", DiffKind::Added, None, None),
                tag("gone", DiffKind::Removed, item("aa"), None),
                tag("new", DiffKind::Added, None, item("bb")),
                changed,
                same,
            ],
            from: Some(ShownMoment { sequence: 7, time: Some(Timestamp::default()) }),
            to: Some(ShownMoment { sequence: 9, time: None }),
        }
    }

    #[test]
    fn tags_come_go_and_move() {
        let (aa, bb) = (digest("aa"), digest("bb"));
        let head = "--- app@7, sequence 7 (1970-01-01T00:00:00Z)\n+++ app, sequence 9\n";
        let want = format!(
            "{head}~ dev    {aa} -> {bb}
+ empty  <none>
- gone   {aa}
+ new    {bb}
~ o      tagged from a:1 -> tagged from a:2
~ same   tagged from a:1, with other settings
"
        );
        assert_eq!(streams(&tags(), SIDES, "test"), want);
        let none = DiffStreamsResponse { tags: Vec::new(), ..tags() };
        assert_eq!(streams(&none, SIDES, "test"), format!("{head}Nothing differs.\n"));
    }

    #[test]
    fn images_differ_in_many_ways() {
        let image = |begin: &str| Some(Image { digest: digest(begin), ..Image::default() });
        let difference = |kind: DiffKind, words: [&str; 4]| {
            let [field, key, from, to] = words.map(str::to_owned);
            ImageDiff { field, key, kind: kind.into(), from, to }
        };
        let answer = DiffImagesResponse {
            from: image("aa"),
            to: image("bb"),
            differences: vec![
                difference(DiffKind::Changed, ["size", "", "1kB", "2kB"]),
                difference(DiffKind::Added, ["layers", "sha256:1", "", "1kB"]),
                difference(DiffKind::Removed, ["environment", "PATH", "/bin", ""]),
                difference(DiffKind::Added, ["volumes", "/data", "", ""]),
                difference(DiffKind::Changed, ["user", "", "", "root"]),
            ],
        };
        let (aa, bb) = (digest("aa"), digest("bb"));
        let sides = Sides { from: "app:v1", to: &bb };
        let head = format!("--- app:v1, {aa}\n+++ {bb}\n");
        let want = format!(
            "{head}~ size                   1kB -> 2kB
+ layers       sha256:1  1kB
- environment  PATH      /bin
+ volumes      /data
~ user                   <none> -> root
"
        );
        assert_eq!(images(&answer, sides), want);
        let twins = DiffImagesResponse { differences: Vec::new(), ..answer.clone() };
        assert_eq!(images(&twins, sides), format!("{head}Nothing differs but the digests.\n"));
        let same = DiffImagesResponse { from: image("bb"), ..twins };
        assert!(images(&same, sides).ends_with("They are the same image.\n"));
        let value = images_in_json(&answer);
        assert_eq!(
            value["differences"][0],
            json!({ "field": "size", "key": null, "kind": "changed", "from": "1kB", "to": "2kB" })
        );
    }

    #[test]
    fn programs_read_the_same() {
        let place = |text: &str| Place::parse(text, "test").expect("a place");
        let value = streams_in_json(&tags(), &place("app"), &place("app"));
        assert_eq!(
            value["from"],
            json!({ "namespace": "test", "stream": "app", "sequence": 7, "time": "1970-01-01T00:00:00Z" })
        );
        assert_eq!(value["tags"][0]["kind"], "moved");
        assert_eq!(value["tags"][0]["to"], digest("bb"));
        assert_eq!(value["tags"][1]["to"], Value::Null);
        assert_eq!(value["tags"][4]["toSource"], "tagged from a:2");
    }
}
