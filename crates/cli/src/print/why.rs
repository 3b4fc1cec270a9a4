//! The chain of causes that brought an image to a tag: `tagtrail why`.

use serde_json::{Value, json};
use tagtrail_api::v1::{Cause, Event, HistoryEntry, Observation, ShownMoment, WhyResponse};

use crate::places::Place;
use crate::print::age::{exact, rfc3339};
use crate::print::history::{self, pointed_to};

/// The chain, numbered from the tag's last move back. `current`: the namespace that need not be named.
pub(crate) fn in_words(place: &Place, answer: &WhyResponse, current: &str) -> String {
    let name = place.shown(current);
    let image = answer.causes.first().and_then(|cause| cause.entry.as_ref()?.to.as_ref());
    let image = image.map_or("<none>", |item| &item.docker_image_reference);
    let mut text = match &answer.at {
        Some(at) => format!("Tag {name} pointed to {image} at {}.\n", moment(at)),
        None => format!("Tag {name} points to {image}.\n"),
    };
    for (index, cause) in answer.causes.iter().enumerate() {
        link(&mut text, index + 1, cause, current);
    }
    text
}

fn link(text: &mut String, number: usize, cause: &Cause, current: &str) {
    let entry = cause.entry.clone().unwrap_or_default();
    let HistoryEntry { namespace, stream, tag, sequence, .. } = &entry;
    let place = Place { namespace: namespace.clone(), stream: stream.clone(), tag: tag.clone() };
    let name = place.shown(current);
    let who = entry.actor.as_ref().map_or("", |actor| &actor.name);
    let what = history::what(&entry);
    let time = history::time(&entry);
    *text += &format!("{number:>3}. {name}: {what}, by {who} at {time} (sequence {sequence})\n");
    let mut line = |words: &str| *text += &format!("     {words}\n");
    let was = entry.from.as_ref().map_or("<none>", pointed_to);
    let is = entry.to.as_ref().map_or("<none>", pointed_to);
    line(&format!("{was} -> {is}"));
    if !entry.reason.is_empty() {
        line(&format!("because: {}", one_line(&entry.reason)));
    }
    if let Some(wish) = &cause.wish {
        line(&asked(wish));
    }
    if let Some(seen) = &cause.observation {
        line(&observed(seen));
    }
    if let Some(told) = &cause.testimony {
        line(&format!("told by {} ({}), not observed", one_line(&told.document), told.document_digest));
    }
}

/// Who asked for it, where that was somebody else.
fn asked(wish: &Event) -> String {
    let who = wish.actor.as_ref().map_or("", |actor| &actor.name);
    let time = wish.recorded_at.as_ref().map(rfc3339).unwrap_or_default();
    let why = match wish.reason.as_str() {
        "" => String::new(),
        reason => format!(", because: {}", one_line(reason)),
    };
    format!("asked for by {who} at {time} (sequence {}, {}){why}", wish.sequence, wish.command)
}

/// What the registry gave.
fn observed(seen: &Observation) -> String {
    let time = seen.checked_at.as_ref().map(rfc3339).unwrap_or_default();
    let index = match seen.index.as_str() {
        "" => String::new(),
        index => format!(", chosen from the image index {index}"),
    };
    format!("the registry, asked for {} at {time}, gave {}{index}", seen.source, seen.digest)
}

fn moment(at: &ShownMoment) -> String {
    let time = at.time.as_ref().map(|time| format!(" ({})", rfc3339(time))).unwrap_or_default();
    format!("sequence {}{time}", at.sequence)
}

fn one_line(text: &str) -> String {
    text.replace('\n', " ")
}

/// The chain for programs.
pub(crate) fn in_json(place: &Place, answer: &WhyResponse) -> Value {
    let mut object = json!({ "namespace": place.namespace, "stream": place.stream, "tag": place.tag });
    if let Some(at) = &answer.at {
        object["at"] = json!({ "sequence": at.sequence, "time": at.time.as_ref().map(exact) });
    }
    object["causes"] = answer.causes.iter().map(cause_in_json).collect();
    object
}

fn cause_in_json(cause: &Cause) -> Value {
    let mut object = json!({ "entry": history::in_json(&cause.entry.clone().unwrap_or_default()) });
    if let Some(wish) = &cause.wish {
        // As `events -o json` has it.
        object["wish"] =
            serde_json::from_str(&tagtrail_api::json::event(wish)).expect("an event's JSON can be read");
    }
    if let Some(seen) = &cause.observation {
        object["observation"] = json!({
            "checkedAt": seen.checked_at.as_ref().map(exact),
            "source": seen.source,
            "digest": seen.digest,
            "index": (!seen.index.is_empty()).then_some(&seen.index),
        });
    }
    if let Some(told) = &cause.testimony {
        let text = |text: &str| Value::from((!text.is_empty()).then_some(text));
        object["testimony"] = json!({
            "document": told.document,
            "documentDigest": told.document_digest,
            "namespace": text(&told.namespace),
            "name": text(&told.name),
            "uid": text(&told.uid),
            "resourceVersion": text(&told.resource_version),
        });
    }
    object
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;
    use tagtrail_api::v1::{Actor, TestimonyTaken};

    use super::*;
    use crate::print::history::tests::{digest, item, moved};

    fn chain() -> WhyResponse {
        let alias = HistoryEntry {
            sequence: 9,
            cause: "alias".into(),
            followed_tag: "dev".into(),
            reason: "release\n2".into(),
            ..moved()
        };
        let import = HistoryEntry { tag: "dev".into(), from: None, ..moved() };
        let wish = Event {
            sequence: 5,
            recorded_at: Some(Timestamp::default()),
            actor: Some(Actor { name: "bob".into(), authenticated: false }),
            reason: "try it".into(),
            command: "tag".into(),
            ..Event::default()
        };
        let seen = Observation {
            checked_at: Some(Timestamp::default()),
            source: "quay.io/a/b:1".into(),
            digest: digest("bb"),
            index: digest("cc"),
        };
        let first = Cause { entry: Some(alias), ..Cause::default() };
        let last = Cause { entry: Some(import), wish: Some(wish), observation: Some(seen), testimony: None };
        WhyResponse { causes: vec![first, last], at: None }
    }

    #[test]
    fn the_chain_leads_back_to_the_registry() {
        let place = Place::of_tag("test/app:prod", "here").expect("a tag");
        let (aa, bb, cc) = (digest("aa"), digest("bb"), digest("cc"));
        let begin = "1970-01-01T00:00:00Z";
        let want = format!(
            "Tag app:prod points to quay.io/a/b@{bb}.
  1. app:prod: alias of dev, by ana at 1970-01-01T00:00:01Z (sequence 9)
     {aa} -> {bb}
     because: release 2
  2. app:dev: import, by ana at 1970-01-01T00:00:01Z (sequence 7)
     <none> -> {bb}
     asked for by bob at {begin} (sequence 5, tag), because: try it
     the registry, asked for quay.io/a/b:1 at {begin}, gave {bb}, chosen from the image index {cc}
"
        );
        assert_eq!(in_words(&place, &chain(), "test"), want);
        let told = TestimonyTaken {
            document: "old.yaml".into(),
            document_digest: digest("dd"),
            ..TestimonyTaken::default()
        };
        let cause = Cause { entry: Some(moved()), testimony: Some(told), ..Cause::default() };
        let answer = WhyResponse { causes: vec![cause], at: None };
        let want = format!("     told by old.yaml ({}), not observed\n", digest("dd"));
        assert!(in_words(&place, &answer, "test").ends_with(&want));
        assert_eq!(in_json(&place, &answer)["causes"][0]["testimony"]["document"], "old.yaml");
        let at = Some(ShownMoment { sequence: 12, time: Some(Timestamp::default()) });
        let then = in_words(&place, &WhyResponse { at, ..chain() }, "here");
        let first = then.lines().next();
        let want = format!("Tag test/app:prod pointed to quay.io/a/b@{bb} at sequence 12 ({begin}).");
        assert_eq!(first, Some(&*want));
    }

    #[test]
    fn programs_read_the_same_chain() {
        let place = Place::of_tag("app:prod", "test").expect("a tag");
        let value = in_json(&place, &chain());
        assert_eq!(value["causes"][0]["entry"]["cause"], "alias");
        assert_eq!(value["causes"][0].get("wish"), None);
        assert_eq!(value["causes"][1]["wish"]["actor"]["name"], "bob");
        assert_eq!(value["causes"][1]["observation"]["source"], "quay.io/a/b:1");
        assert_eq!(value["causes"][1]["entry"]["to"], item("bb").expect("an item").image);
    }
}
