//! Setting tags: sources, generations, what happens to the history at once, aliases (spec §2.2 to §2.5).

use crate::language::{after, check};

const IMPORTED: &str = "import p:a --from=x.io/a:1 --confirm = A";

#[test]
fn a_container_image() {
    check("", "tag x.io/a:1 p:a", "G1: created; a := x.io/a:1 g1"); // Case 11: the importer acts later.
    check("create p", "tag x.io/a:1 p:a", "G2: a := x.io/a:1 g2");
    check("create p", "tag docker:nope p:a", "G2: a := nope g2"); // Case 19.
    check("tag x.io/a:1 p:a", "background p = A", "G2: a := x.io/a:1 g2; new A; a + x.io/a@A g2; checked");
    // The same wish again means: look again.
    check(IMPORTED, "tag x.io/a:1 p:a", "G2: a := x.io/a:1 g2");
    // Case 13: a schedule, and the same image again: one item, its time unchanged.
    check(IMPORTED, "tag x.io/a:1 p:a --scheduled", "G2: a := x.io/a:1 g2 scheduled");
    after(
        &format!("{IMPORTED}; tag x.io/a:1 p:a --scheduled; background p = A"),
        &["G3 checked", "a := x.io/a:1 g3 scheduled [x.io/a@A g3 t1]"],
    );
    // Case 21, case 20: a tag that is set again starts afresh, without flags and annotations.
    check(
        "tag x.io/a:1 p:a --scheduled --insecure --local --preserve note=hi",
        "tag x.io/a:1 p:a",
        "G2: a := x.io/a:1 g2",
    );
}

#[test]
fn a_container_image_that_is_only_pointed_at() {
    check("", "tag x.io/a:1 p:a --reference", "G1: created; a := x.io/a:1 g1 reference; a + x.io/a:1 g1");
    check(
        "tag x.io/a:1 p:a --reference",
        "tag x.io/a:1 p:a --reference",
        "G2: a := x.io/a:1 g2 reference", // A new wish, but nothing that the history could tell.
    );
    check(
        "tag x.io/a:1 p:a --reference",
        "tag x.io/a:1 p:a --reference --preserve",
        "G2: a := x.io/a:1 g2 reference preserve; a = x.io/a:1 g2",
    );
    // Case 18: a copy of it is imported, for it points to no image that could be copied.
    check("tag x.io/a:1 p:a --reference", "tag p:a p:copy", "G2: copy := x.io/a:1 g2");
    check("tag x.io/a:1 p:a --reference", "background p", ""); // Nobody waits for it.
    check("tag x.io/a:1 p:a --reference --scheduled", "schedule p", "");
}

#[test]
fn a_tag_of_a_stream_is_copied() {
    // Case 10: permanent, to the image it points to now, in the stream it came from. (The source stays at g1.)
    check(IMPORTED, "tag p:a p:b", "G2: b := isimage p@A g2; b + x.io/a@A g2");
    // Case 16: twice is once.
    check(&format!("{IMPORTED}; tag p:a p:b"), "tag p:a p:b", "");
    // Case 12: its history grows.
    after(
        &format!("{IMPORTED}; import p:c --from=x.io/c:1 = C; tag p:a p:b; tag p:c p:b"),
        &[
            "G4 checked",
            "a := x.io/a:1 g1 [x.io/a@A g1 t1]",
            "b := isimage p@C g4 [x.io/c@C g4 t4, x.io/a@A g3 t3]",
            "c := x.io/c:1 g2 [x.io/c@C g2 t2]",
        ],
    );
    // A tag copied onto itself keeps its image and stops following its source.
    check(IMPORTED, "tag p:a p:a", "G2: a := isimage p@A g2; a = x.io/a@A g2");
    check(IMPORTED, "tag p:a q:x", "G1: created; x := isimage p@A g1; x + x.io/a@A g1");
}

#[test]
fn a_copy_from_another_stream() {
    let given = "import q:a --from=x.io/a:1 --confirm = A; import other/q:a --from=x.io/b:1 --confirm = B";
    check(given, "tag q:a p:x", "G1: created; x := isimage q@A g1; x + x.io/a@A g1");
    check(given, "tag other/q:a p:x", "G1: created; x := isimage other/q@B g1; x + x.io/b@B g1");
    check(given, "tag other/q@B p:x", "G1: created; x := isimage other/q@B g1; x + x.io/b@B g1");
    // Case 31: what was copied does not follow.
    check(
        &format!("{given}; tag q:a p:x --alias; tag x.io/a:1 q:a"),
        "background q = C",
        "G3: a := x.io/a:1 g3; new C; a + x.io/a@C g3; checked",
    );
    // Not even what was written by hand as if it should: it is resolved once.
    check(given, "tag q:a p:x --alias", "G1: created; x := istag q:a g1; x + x.io/a@A g1");
    check(given, "tag other/q:a p:x --alias", "G1: created; x := istag other/q:a g1; x + x.io/b@B g1");
    check(given, "tag q:none p:x --alias", "G1: created; x := istag q:none g1");
}

#[test]
fn an_image_of_a_stream() {
    let two = format!("{IMPORTED}; tag x.io/a:2 p:a; background p = B");
    // Rolling back is a new item, as of now (spec §2.11); the source is forgotten.
    check(&two, "tag p@A p:a", "G4: a := isimage p@A g4; a + x.io/a@A g4");
    after(
        &format!("{two}; tag p@A p:a"),
        &["G4 checked", "a := isimage p@A g4 [x.io/a@A g4 t4, x.io/a@B g3 t3, x.io/a@A g1 t1]"],
    );
    check(&two, "tag isimage:p@bb p:x", "G4: x := isimage p@bb g4; x + x.io/a@B g4"); // The start is enough.
    check(&two, "tag isimage:p@sha256:bb p:x", "G4: x := isimage p@sha256:bb g4; x + x.io/a@B g4");
    // The same digest from two places: the newest reference wins. (OpenShift: whichever its map gives last.)
    let twice = "import p:a --from=x.io/a:1 --confirm = A; import p:b --from=y.io/b:1 = A";
    check(twice, "tag p@A p:x", "G3: x := isimage p@A g3; x + y.io/b@A g3");
    check(
        &format!("{twice}; tag x.io/a:1 p:a; background p = A"),
        "tag p@A p:x",
        "G5: x := isimage p@A g5; x + x.io/a@A g5",
    );
    // What follows is not an image of the stream.
    let refused = |source: &str, why: &str| {
        format!(
            "refused (invalid ImageStream p): []: Internal error: imagestreams \"p\" is invalid: spec.tags[x].from.name: Invalid value: \"{source}\": {why}"
        )
    };
    let unknown = |id: &str| {
        format!("error generating tag event: imagestreamimage.image.openshift.io \"{id}\" not found")
    };
    check(&two, "tag p@C p:x", &refused("p@C", &unknown("C")));
    check(&two, "tag isimage:p@cc p:x", &refused("p@cc", &unknown("cc")));
    check(&format!("{two}; untag p:a"), "tag p@A p:x", &refused("p@A", &unknown("A")));
    check("", "tag p@A p:x", &refused("p@A", &unknown("A"))); // And no stream is left behind.
    // Case 24: the images of an index are known, but in no history.
    let index = "import p:a --from=x.io/a:1 --preserve --confirm = L(AB)";
    check(index, "tag p@L p:x", "G2: x := isimage p@L g2; x + x.io/a@L g2");
    check(index, "tag p@A p:x", &refused("p@A", &unknown("A")));
    let both = "import p:a --from=x.io/a:1 --confirm = G; import p:b --from=x.io/b:1 = H";
    check(
        both,
        "tag isimage:p@4 p:x",
        &refused(
            "p@4",
            "error generating tag event: Operation cannot be fulfilled on imagestreamimage.image.openshift.io \"4\": multiple images match the prefix \"4\": G, H",
        ),
    );
    check(
        &two,
        "tag isimage:p@A@B p:x",
        &refused("p@A@B", "must be of the form <tag>, <repo>:<tag>, <id>, or <repo>@<id>"),
    );
    check(
        &two,
        "tag isimage:q@A p:x",
        "refused (invalid ImageStream p): []: Internal error: imagestreams \"p\" is invalid: spec.tags[x].from.name: Not found: \"q@A\"",
    );
}

#[test]
fn references_to_the_internal_registry_follow_the_stream() {
    // Case 22: what is pulled from the source stream's own repository is pulled from here after the copy.
    let own = "import q:a --from=registry.internal:5000/test/q:a --confirm = A";
    check(
        own,
        "tag test/q:a other/p:x",
        "G1: created; x := isimage test/q@A g1; x + registry.internal:5000/other/p@A g1",
    );
    check(own, "tag q:a p:x", "G1: created; x := isimage q@A g1; x + registry.internal:5000/test/p@A g1");
    check(
        own,
        "tag q:a p:x --reference",
        "G1: created; x := isimage q@A g1 reference; x + registry.internal:5000/test/q@A g1",
    );
    // Not so for what only happens to be there.
    let foreign = "import q:a --from=registry.internal:5000/test/z:a --confirm = A";
    check(foreign, "tag q:a p:x", "G1: created; x := isimage q@A g1; x + registry.internal:5000/test/z@A g1");
}

#[test]
fn no_source_at_all() {
    check("", "tag - p:a", "G1: created; a := - g1");
    check("tag - p:a", "tag - p:a", "");
    check("tag - p:a", "tag x.io/a:1 p:a", "G2: a := x.io/a:1 g2");
    check(IMPORTED, "tag - p:a", "G2: a := - g2"); // What it pointed to stays.
}

#[test]
fn creating_a_tag_that_must_be_new() {
    check("", "tag x.io/a:1 p:a --create note=hi", "G1: created; a := x.io/a:1 g1 note=hi");
    check(
        IMPORTED,
        "tag x.io/b:1 p:a --create",
        "refused (exists): imagestreamtag.image.openshift.io \"p:a\" already exists",
    );
    // History alone is no tag that was set.
    check("import p --all --from=x.io/a --confirm = v1:!NotFound", "tag - p:v1 --create", "G2: v1 := - g2");
}

#[test]
fn what_changes_a_tag_and_what_only_its_stream() {
    let given = format!("{IMPORTED}; tag p:a p:b"); // b is at g2, the stream at G2.
    check(&given, "tag p:a p:b --local", "G3: b := isimage p@A g2 local");
    check(&given, "tag p:a p:b note=hi", "G3: b := isimage p@A g2 note=hi");
    check(&given, "tag p:a p:b --insecure", "G3: b := isimage p@A g2 insecure");
    // These three are a new wish.
    check(&given, "tag p:a p:b --preserve", "G3: b := isimage p@A g3 preserve; b = x.io/a@A g3");
    check(&given, "tag p:a p:b --reference", "G3: b := isimage p@A g3 reference; b = x.io/a@A g3");
    check(&given, "tag p:a p:b --alias", "G3: b := istag p:a g3; b = x.io/a@A g3; a = x.io/a@A g3");
    // Its own namespace, said or not said, is the same.
    check(&given, "tag test/p@A p:b", "G3: b := isimage test/p@A g2");
}

#[test]
fn a_new_kind_of_source_is_a_new_wish() {
    // A regression: the texts are equal, so OpenShift sees no change, and the alias would follow a tag that it never
    // looked at.
    check(
        &format!("{IMPORTED}; tag docker:p:a p:b"),
        "tag p:a p:b --alias",
        "G3: b := istag p:a g3; b + x.io/a@A g3; a = x.io/a@A g3",
    );
}

#[test]
fn refused_sources() {
    check("", "tag docker: p:x", "refused (invalid ImageStreamTag p:x): tag.from.name: Required value");
    check("", "tag istag: p:x", "refused (invalid ImageStreamTag p:x): tag.from.name: Required value");
    check(
        "",
        "tag docker:Bad:Ref:: p:x",
        "refused (invalid ImageStreamTag p:x): tag.from.name: Invalid value: \"Bad:Ref::\": invalid reference format",
    ); // Case 7, where the client did not look.
    check(
        "",
        "tag docker:team/App p:x",
        "refused (invalid ImageStreamTag p:x): tag.from.name: Invalid value: \"team/App\": repository name must be lowercase",
    );
    check("", "tag a:1 p:x", "refused (not found): imagestreams.image.openshift.io \"a\" not found");
    let nothing = "refused (usage): \"p:a\" is not currently pointing to an image, cannot use it as the source of a tag";
    check("tag x.io/a:1 p:a", "tag p:a p:x", nothing); // Case 17: not imported yet.
    check("tag x.io/a:1 p:a; background p = !NotFound", "tag p:a p:x", nothing);
    check("create p", "tag p:a p:x", nothing);
    check(
        "",
        "tag nope:1 p:x --alias",
        "refused (invalid ImageStream p): []: Internal error: imagestreams \"p\" is invalid: spec.tags[x].from.name: Not found: \"nope:1\"",
    );
    check(
        "create p",
        "tag istag:p:b:c p:x --alias",
        "refused (invalid ImageStream p): []: Internal error: imagestreams \"p\" is invalid: spec.tags[x].from.name: Invalid value: \"p:b:c\": must be of the form <tag>, <repo>:<tag>, <id>, or <repo>@<id>",
    );
    let scheduled = "refused (invalid ImageStreamTag p:x): tag.importPolicy.scheduled: Invalid value: true: only tags pointing to Docker repositories may be scheduled for background import";
    check(IMPORTED, "tag p@A p:x --scheduled", scheduled);
    check(IMPORTED, "tag p:a p:x --alias --scheduled", scheduled);
    check("", "tag - p:x --scheduled", scheduled);
    // Case 4: OpenShift's server takes any text for a tag; here there is no such tag, and nothing can follow one.
    check(
        "",
        "tag x.io/a:1 p:bad#tag",
        "refused (malformed): invalid tag \"bad#tag\" format, tags must start with an alphanumeric character followed by alphanumeric, '.' or '-' characters, and have a maximum of 128 characters",
    );
    check(
        "create p",
        "tag istag:p:bad#tag p:x --alias",
        "refused (invalid ImageStream p): []: Internal error: imagestreams \"p\" is invalid: spec.tags[x].from.name: Invalid value: \"p:bad#tag\": must be of the form <tag>, <repo>:<tag>, <id>, or <repo>@<id>",
    );
    // Case 6: a stream with a dot in its name reads as a registry, and then there is no image named.
    check(
        "",
        "tag docker:my.app:1 p:x",
        "refused (invalid ImageStreamTag p:x): tag.from.name: Required value",
    );
}

#[test]
fn an_alias_follows() {
    // Case 25. The source is confirmed with the alias's generation,
    check(IMPORTED, "tag p:a p:al --alias", "G2: al := istag p:a g2; al + x.io/a@A g2; a = x.io/a@A g2");
    // but not while it waits for an import, which would then count as done.
    let waiting = format!("{IMPORTED}; tag x.io/a:2 p:a");
    check(&waiting, "tag p:a p:al --alias", "G3: al := istag p:a g3; al + x.io/a@A g3");
    check("create p", "tag p:a p:al --alias", "G2: al := istag p:a g2"); // Of a tag to come.
    check("", "tag p:a p:al --alias", "G1: created; al := istag p:a g1");
    check("", "tag istag:a p:al --alias", "G1: created; al := istag a g1"); // The legacy form.
    let given = format!("{IMPORTED}; tag p:a p:al --alias");
    check(&given, "tag p:a p:al --alias", "");
    // Case 26: whichever way its tag moves, and with the same time.
    check(
        &format!("{given}; tag x.io/a:2 p:a"),
        "background p = B",
        "G4: a := x.io/a:2 g4; new B; a + x.io/a@B g4; al + x.io/a@B g4 with a; checked",
    );
    check(
        &format!("{given}; tag x.io/z:1 p:z; background p = Z"),
        "tag p:z p:a",
        "G5: a := isimage p@Z g5; a + x.io/z@Z g5; al + x.io/z@Z g5 with a",
    );
    check(
        &given,
        "tag x.io/r:1 p:a --reference",
        "G3: a := x.io/r:1 g3 reference; a + x.io/r:1 g3; al + x.io/r:1 g3 with a",
    );
    // A new look that found nothing new renews both, and keeps their times.
    after(
        &format!("{given}; tag x.io/a:1 p:a; background p = A"),
        &["G4 checked", "a := x.io/a:1 g4 [x.io/a@A g4 t1]", "al := istag p:a g2 [x.io/a@A g4 t1]"],
    );
    // A failure moves nothing.
    check(
        &format!("{given}; tag x.io/a:2 p:a"),
        "background p = !NotFound",
        "G4: a := x.io/a:2 g4; a !NotFound g4; checked",
    );
}

#[test]
fn aliases_of_aliases_follow_all_the_way() {
    // Case 27, and the chain of §2.4. OpenShift does one hop, and the rest by chance.
    let given =
        format!("{IMPORTED}; tag p:a p:mid --alias; tag p:mid p:top --alias; tag p:top p:away --alias");
    check(
        &format!("{given}; tag x.io/a:2 p:a"),
        "background p = B",
        "G6: a := x.io/a:2 g6; new B; a + x.io/a@B g6; mid + x.io/a@B g6 with a; top + x.io/a@B g6 with mid; away + x.io/a@B g6 with top; checked",
    );
    // One in the middle that is set anew takes the rest with it.
    check(
        &format!("{given}; import p:z --from=x.io/z:1 = Z"),
        "tag p:z p:mid --alias",
        "G6: mid := istag p:z g6; mid + x.io/z@Z g6; z = x.io/z@Z g6; top + x.io/z@Z g6 with mid; away + x.io/z@Z g6 with top",
    );
}

#[test]
fn an_interval_of_its_own() {
    check(
        "",
        "tag x.io/a:1 p:a --scheduled --interval=5m",
        "G1: created; a := x.io/a:1 g1 scheduled every 5m",
    );
    // It goes the way of the schedule: gone when the tag is set without it.
    let given = "tag x.io/a:1 p:a --scheduled --interval=5m; background p = A";
    check(given, "tag x.io/a:1 p:a --scheduled", "G3: a := x.io/a:1 g3 scheduled");
    check(given, "schedule p = A", "");
    check(
        given,
        "schedule p = B",
        "G3: a := x.io/a:1 g3 scheduled every 5m; new B; a + x.io/a@B g3 by schedule; checked by schedule",
    );
    // And only for what is scheduled.
    let unscheduled = "refused (usage): an interval (5m) is only for a tag that is looked at again and again; give --scheduled as well";
    check("", "tag x.io/a:1 p:a --interval=5m", unscheduled);
    check(given, "tag x.io/a:1 p:a --interval=5m", unscheduled);
    check(given, "tag p:a p:b --interval=5m", unscheduled);
    check("create p", "tag p:a p:b --alias --interval=5m", unscheduled);
}

#[test]
fn aliases_that_lead_back_to_themselves_are_refused() {
    let refused = |tag: &str, source: &str, why: &str| {
        format!(
            "refused (invalid ImageStreamTag p:{tag}): tag.from.name: Invalid value: \"p:{source}\": {why}"
        )
    };
    let around = |tag: &str, source: &str, way: &str| {
        let why = format!(
            "it leads back to \"p:{tag}\" ({way}), so none of these tags would ever move again; let one of them follow an image instead"
        );
        refused(tag, source, &why)
    };
    // Case 28. OpenShift accepts it.
    let itself =
        "a tag cannot follow itself: it would never move again; let it follow an image or another tag";
    check(IMPORTED, "tag p:a p:a --alias", &refused("a", "a", itself));
    check("", "tag p:a p:a --alias", &refused("a", "a", itself)); // And no stream is left behind.
    check("", "tag istag:a p:a --alias --create", &refused("a", "a", itself)); // The legacy form.
    check("", "tag test/p:a p:a --alias --reference", &refused("a", "a", itself));
    let given = format!("{IMPORTED}; tag p:a p:b --alias");
    check(&given, "tag p:b p:a --alias", &around("a", "b", "p:a -> p:b -> p:a"));
    check(
        &format!("{given}; tag p:b p:c --alias; tag test/p:c p:d --alias"),
        "tag istag:d p:a --alias",
        &around("a", "d", "p:a -> p:d -> p:c -> p:b -> p:a"),
    );
    // Over tags that are still to come.
    check(
        "tag p:b p:a --alias; tag p:c p:b --alias",
        "tag p:a p:c --alias",
        &around("c", "a", "p:c -> p:a -> p:b -> p:c"),
    );
    // Of a long way the ends are told.
    let chain: String = (1..50).map(|n| format!("tag p:t{} p:t{n} --alias; ", n - 1)).collect();
    check(
        &chain,
        "tag p:t49 p:t0 --alias",
        &around("t0", "t49", "p:t0 -> p:t49 -> p:t48 -> p:t47 -> p:t46 -> p:t45 -> ... -> p:t1 -> p:t0"),
    );
    // What only looks like one: a copy, another stream, a container image of the same text, a tag set free before.
    check(&given, "tag p:b p:a", "G3: a := isimage p@A g3; a = x.io/a@A g3; b = x.io/a@A g3 with a");
    check("create q", "tag q:a p:a --alias", "G1: created; a := istag q:a g1");
    check("create other/p", "tag other/p:a p:a --alias", "G1: created; a := istag other/p:a g1");
    check("", "tag docker:p:a p:a", "G1: created; a := p:a g1");
    check(
        &format!("{given}; tag p@A p:b"),
        "tag p:b p:a --alias",
        "G4: a := istag p:b g4; a = x.io/a@A g4; b = x.io/a@A g4",
    );
}

#[test]
fn circles_of_an_older_log_end_where_they_began() {
    // Older versions accepted them, and a log is read for ever.
    let two = format!("{IMPORTED}; tag p:a p:b --alias; follows p:b p:a");
    after(&two, &["G3 checked", "a := istag p:b g3 [x.io/a@A g2 t1]", "b := istag p:a g2 [x.io/a@A g2 t1]"]);
    // A tag may come to follow one of them, and leave again; they move when one of them is set free.
    let three = format!("{two}; tag p:b p:c --alias; import p:z --from=x.io/z:1 = Z");
    check(&three, "tag p:c p:d --alias", "G6: d := istag p:c g6; d + x.io/a@A g6; c = x.io/a@A g6");
    check(
        &three,
        "tag p:z p:b",
        "G6: b := isimage p@Z g6; b + x.io/z@Z g6; a + x.io/z@Z g6 with b; c + x.io/z@Z g6 with b",
    );
    // Whatever still moves one of them goes around once.
    let itself = format!("{IMPORTED}; follows p:a p:a");
    check(&itself, "tag x.io/r:1 p:a --reference", "G3: a := x.io/r:1 g3 reference; a + x.io/r:1 g3");
    check(
        &format!("{itself}; tag p:a p:b --alias; follows p:b p:a"),
        "ask import p:a --from=x.io/a:1 = B",
        "refused (usage): tag \"a\" on the image stream is a reference to same tag",
    );
}
