//! Taking over what registries answered (spec §3.6).

use tagtrail_domain::limits;

use crate::language::{after, check};

#[test]
fn a_first_import_makes_stream_and_tag() {
    // Case 9.
    check(
        "",
        "import p:a --from=x.io/a:1 --confirm = A",
        "G1: created; a := x.io/a:1 g1; new A; a + x.io/a@A g1; checked",
    );
    check(
        "create p",
        "import p:a --from=x.io/a:1 = A",
        "G2: a := x.io/a:1 g2; new A; a + x.io/a@A g2; checked",
    );
    // The reference is kept as it was typed.
    check(
        "",
        "import p:a --from=centos/python --confirm = A",
        "G1: created; a := centos/python g1; new A; a + centos/python@A g1; checked",
    );
    check(
        "",
        "import p:a --from=x.io/a:1 --confirm --scheduled --insecure --local = A",
        "G1: created; a := x.io/a:1 g1 insecure scheduled local; new A; a + x.io/a@A g1; checked",
    );
}

#[test]
fn an_import_that_finds_nothing_new_writes_nothing() {
    let given = "import p:a --from=x.io/a:1 --confirm = A";
    check(given, "import p:a = A", ""); // Case 57.
    check("tag x.io/a:1 p:a --scheduled; background p = A", "schedule p = A", "");
    // Unless the stream was never looked after: the time of the check is worth an event once.
    check("create p", "background p", "");
    check("create p", "import p --all --from=x.io/nosuch --confirm", "G1: checked");
    check(
        "create p; import p --all --from=x.io/nosuch --confirm",
        "import p --all --from=x.io/nosuch --confirm",
        "",
    );
}

#[test]
fn an_import_that_finds_another_image() {
    let given = "import p:a --from=x.io/a:1 --confirm = A";
    check(given, "import p:a = B", "G2: a := x.io/a:1 g2; new B; a + x.io/a@B g2; checked");
    // An image is recorded once, whoever brings it.
    check(
        "import q:a --from=x.io/a:1 --confirm = A",
        given,
        "G1: created; a := x.io/a:1 g1; a + x.io/a@A g1; checked",
    );
    // What belongs to the tag stays: annotations (case 20) and the reference policy (case 46).
    check(
        "tag x.io/a:1 p:a --local note=hi; background p = A",
        "import p:a = B",
        "G3: a := x.io/a:1 g3 local note=hi; new B; a + x.io/a@B g3; checked",
    );
    check(
        "tag x.io/a:1 p:a; background p = A",
        "import p:a --local = B",
        "G3: a := x.io/a:1 g3; new B; a + x.io/a@B g3; checked",
    );
    check(
        "tag x.io/a:1 p:a --scheduled; background p = A",
        "schedule p = B",
        "G3: a := x.io/a:1 g3 scheduled; new B; a + x.io/a@B g3 by schedule; checked by schedule",
    );
}

#[test]
fn an_index_kept_whole_and_taken_apart() {
    // Case 44: its images are recorded first.
    let given = "import p:a --from=x.io/a:1 --preserve --confirm = L(AB)";
    check("", given, "G1: created; a := x.io/a:1 g1 preserve; new A; new B; new L; a + x.io/a@L g1; checked");
    // Case 45: a plain import takes one platform from now on.
    check(given, "import p:a = A", "G2: a := x.io/a:1 g2; a + x.io/a@A g2; checked");
    // A schedule keeps the tag's own mode (spec §3.8).
    check(
        "tag x.io/a:1 p:a --scheduled --preserve; background p = L(AB)",
        "schedule p = M(AB)",
        "G3: a := x.io/a:1 g3 scheduled preserve; new M; a + x.io/a@M g3 by schedule; checked by schedule",
    );
}

#[test]
fn an_import_that_changes_only_how_to_import() {
    let given = "import p:a --from=x.io/a:1 --confirm = A";
    check(given, "import p:a --scheduled = A", "G2: a := x.io/a:1 g1 scheduled; checked");
    check(given, "import p:a --insecure = A", "G2: a := x.io/a:1 g1 insecure; checked");
    // An interval goes the way of the schedule: it stays unless given anew, and is no reason to look again.
    let often = "import p:a --from=x.io/a:1 --confirm --scheduled --interval=5m = A";
    check(often, "import p:a = A", "");
    check(often, "import p:a --interval=1h = A", "G2: a := x.io/a:1 g1 scheduled every 1h; checked");
    check(often, "import p --all --interval=1h = A", "G2: a := x.io/a:1 g1 scheduled every 1h; checked");
    check(&format!("{often}; import p:a --interval=1h = A"), "background p", "");
    check(
        given,
        "import p:a --scheduled --interval=5m = A",
        "G2: a := x.io/a:1 g1 scheduled every 5m; checked",
    );
    let unscheduled = "refused (usage): an interval (5m) is only for a tag that is looked at again and again; give --scheduled as well";
    check(given, "import p:a --interval=5m = A", unscheduled);
    check(given, "import p:b --from=x.io/b:1 --interval=5m = B", unscheduled);
    check(often, "import p --all --from=x.io/a --confirm --interval=5m = v1:B", unscheduled);
    check("", "import p:a --from=x.io/a:1 --confirm --interval=5m = A", unscheduled);
    // The mode is part of the question, so the importer is asked once more (spec §2.2), and then all is quiet.
    check(given, "import p:a --preserve = A", "G2: a := x.io/a:1 g2 preserve; checked");
    let asked = format!("{given}; import p:a --preserve = A");
    check(&asked, "background p = A", "G3: a := x.io/a:1 g3 preserve; a = x.io/a@A g3; checked");
    check(&format!("{asked}; background p = A"), "background p", "");
}

#[test]
fn a_failure() {
    // Case 41: the stream is made all the same, and the tag with it.
    check(
        "",
        "import p:a --from=x.io/a:1 --confirm = !Unauthorized",
        "G1: created; a := x.io/a:1 g1; a !Unauthorized g1; checked",
    );
    let given = "import p:a --from=x.io/a:1 --confirm = A";
    // Case 33: history is never touched.
    check(given, "import p:a = !InternalError", "G2: a := x.io/a:1 g2; a !InternalError g2; checked");
    let failed = format!("{given}; import p:a = !InternalError");
    after(&failed, &["G2 checked", "a := x.io/a:1 g2 [x.io/a@A g1 t1] !InternalError g2 t2"]);
    // Case 34: the same failure again is not news, whatever time it is.
    check(&failed, "import p:a = !InternalError", "");
    check(&failed, "background p", ""); // And nobody waits for anything.
    // Another reason, or another message, is.
    check(&failed, "import p:a = !NotFound", "G3: a := x.io/a:1 g3; a !NotFound g3; checked");
    check(&failed, "import p:a = !InternalError:other", "G3: a := x.io/a:1 g3; a !InternalError g3; checked");
    // The policy asked for is not taken over.
    check(&failed, "import p:a --scheduled = !NotFound", "G3: a := x.io/a:1 g3; a !NotFound g3; checked");
    // Good again: renewed, if it is the image it was.
    check(&failed, "import p:a = A", "G3: a := x.io/a:1 g3; a = x.io/a@A g3; checked");
    check(&failed, "import p:a = B", "G3: a := x.io/a:1 g3; new B; a + x.io/a@B g3; checked");
}

#[test]
fn the_same_failure_after_a_new_wish() {
    // Case 37: OpenShift shows both "importing latest image" and the old failure, and so do we: the repetition is
    // no news, so the wish stays open until the tag is imported or set anew.
    let given = "tag x.io/a:1 p:a; background p = !NotFound; tag x.io/a:1 p:a";
    check(given, "background p = !NotFound", "");
    after(
        &format!("{given}; background p = !NotFound"),
        &["G3 checked", "a := x.io/a:1 g3 [] !NotFound g2 t2"],
    );
}

/// Registries put ports, times and request ids into their messages: each check would find another failure.
#[test]
fn a_check_that_nobody_wished_for_compares_the_kind_of_failure() {
    let failed = "tag x.io/a:1 p:a; background p = !InternalError:port-1";
    let scheduled = "tag x.io/a:1 p:a --scheduled; background p = !InternalError:port-1";
    check(failed, "retry p = !InternalError:port-2", "");
    check(scheduled, "schedule p = !InternalError:port-2", "");
    // What is shown stays.
    let again = format!("{failed}; retry p = !InternalError:port-2");
    after(&again, &["G2 checked", "a := x.io/a:1 g2 [] !InternalError g2 t2"]);
    // Another kind, or another reason, is news.
    check(
        failed,
        "retry p = !InternalError:port-1:busy",
        "G3: a := x.io/a:1 g3; a !InternalError g3; checked",
    );
    check(failed, "retry p = !NotFound:port-1", "G3: a := x.io/a:1 g3; a !NotFound g3; checked");
    // Who wished for it hears what there is to say, whoever carries it out.
    check(failed, "import p:a = !InternalError:port-2", "G3: a := x.io/a:1 g3; a !InternalError g3; checked");
    let wished = format!("{failed}; tag x.io/b:1 p:a");
    let answered = "G4: a := x.io/b:1 g4; a !InternalError g4; checked";
    check(&wished, "background p = !InternalError:port-2", answered);
    check(&wished, "retry p = !InternalError:port-2", answered);
    check(&format!("{wished}; retry p = !InternalError:port-2"), "retry p = !InternalError:port-3", "");
}

#[test]
fn several_tags_of_which_some_fail() {
    let given =
        "import p:a --from=x.io/a:1 --confirm = A; import p:b --from=x.io/b:1 = B; tag p:b p:al --alias";
    check(
        given,
        "import p --all = !NotFound C",
        "G4: a := x.io/a:1 g4; a !NotFound g4; b := x.io/b:1 g4; new C; b + x.io/b@C g4; al + x.io/b@C g4 with b; checked",
    );
}

#[test]
fn a_whole_repository() {
    // Case 43.
    check(
        "",
        "import p --all --from=x.io/a --confirm = latest:A v1:B +2",
        "G1: created; latest := x.io/a:latest g1; new A; latest + x.io/a@A g1; v1 := x.io/a:v1 g1; new B; v1 + x.io/a@B g1; checked +2",
    );
    // A tag of it that fails is not set; a tag that was there keeps its spec and shows the failure.
    let failed = "import p --all --from=x.io/a --confirm = v1:!NotFound v2:A";
    check("", failed, "G1: created; v1 !NotFound g1; v2 := x.io/a:v2 g1; new A; v2 + x.io/a@A g1; checked");
    after(failed, &["G1 checked", "v1 := no spec [] !NotFound g1 t1", "v2 := x.io/a:v2 g1 [x.io/a@A g1 t1]"]);
    check(
        failed,
        "import p --all --from=x.io/a --confirm = v1:B v2:!NotFound",
        "G2: v1 := x.io/a:v1 g2; new B; v1 + x.io/a@B g2; v2 := x.io/a:v2 g2; v2 !NotFound g2; checked",
    );
    // A failure without spec does not change the spec of the stream, but stands for the generation to come.
    check(
        "create p",
        "import p --all --from=x.io/a --confirm = v1:!NotFound",
        "G1: v1 !NotFound g2; checked",
    );
}

#[test]
fn a_whole_repository_that_fails() {
    // Case 42: there is a stream, and nothing is shown in it. OpenShift keeps nothing else.
    let failed = "import p --all --from=x.io/nosuch --confirm = !NotFound";
    check("", failed, "G1: created; all of x.io/nosuch !NotFound; checked");
    after(failed, &["G1 checked"]);
    // It is an answer to somebody who asked, so it is kept each time, and says nothing of the stream.
    check(failed, failed, "G1: all of x.io/nosuch !NotFound");
    after(&format!("{failed}; {failed}"), &["G1 checked"]);
    check("create p", failed, "G1: all of x.io/nosuch !NotFound; checked");
    check("create p; delete p", failed, "G1: created; all of x.io/nosuch !NotFound; checked");
    // An answer that comes too late is none.
    check(
        &format!("create p; ask {failed}; delete p; create p"),
        "land",
        "refused (conflict): Operation cannot be fulfilled on imagestream.image.openshift.io \"p\": the image stream was updated while the image was imported; import it again",
    );
}

#[test]
fn the_index_that_an_image_was_chosen_from() {
    let given = "import p:a --from=x.io/a:1 --confirm = A<L";
    check("", given, "G1: created; a := x.io/a:1 g1; new A; a + x.io/a@A g1 <L; checked");
    // The same image from another index is the same item: nothing is new, and nothing is written.
    check(given, "import p:a = A<M", "");
    check(given, "import p:a = A", "");
    check(given, "import p:a = B<L", "G2: a := x.io/a:1 g2; new B; a + x.io/a@B g2 <L; checked");
    // Where the item is written anyway, it says what was found.
    check(
        &format!("{given}; tag x.io/a:1 p:a"),
        "background p = A<M",
        "G3: a := x.io/a:1 g3; a = x.io/a@A g3 <M; checked",
    );
    // It goes with the item, wherever that is copied to.
    check(given, "tag p:a p:b --alias", "G2: b := istag p:a g2; b + x.io/a@A g2 <L; a = x.io/a@A g2 <L");
    check(given, "tag p:a q:b", "G1: created; b := isimage p@A g1; b + x.io/a@A g1 <L");
    check(
        &format!("{given}; tag p:a p:b --alias"),
        "import p:a = B<M",
        "G3: a := x.io/a:1 g3; new B; a + x.io/a@B g3 <M; b + x.io/a@B g3 <M with a; checked",
    );
    // An index that is kept whole was chosen from nothing.
    check(
        given,
        "import p:a --preserve = L(A)",
        "G2: a := x.io/a:1 g2 preserve; new L; a + x.io/a@L g2; checked",
    );
}

#[test]
fn a_whole_repository_may_name_a_tag_that_follows_another() {
    let given = "tag x.io/a:dev p:dev; import p:dev = A; tag p:dev p:v1 --alias";
    check(given, "import p --all --from=x.io/a --confirm = v1:A", "");
    check(
        given,
        "import p --all --from=x.io/a --confirm = v1:B",
        "G4: v1 := x.io/a:v1 g4; new B; v1 + x.io/a@B g4; checked",
    );
    check(
        given,
        "import p --all --from=x.io/a --confirm --scheduled = v1:A",
        "refused (invalid ImageStream p): spec.tags[v1].importPolicy.scheduled: Invalid value: true: only tags pointing to Docker repositories may be scheduled for background import",
    );
}

#[test]
fn a_tag_that_is_only_pointed_at_can_be_imported_by_hand() {
    // With another import mode, OpenShift would put the bare reference on top again.
    check(
        "tag x.io/a:1 p:a --reference",
        "import p:a = A",
        "G2: a := x.io/a:1 g2 reference; new A; a + x.io/a@A g2; checked",
    );
    check(
        "tag x.io/a:1 p:a --reference",
        "import p:a --preserve = A",
        "G2: a := x.io/a:1 g2 reference preserve; new A; a + x.io/a@A g2; checked",
    );
}

#[test]
fn what_a_registry_says_is_kept_within_bounds() {
    check("create p", "import p:a --from=x.io/a:1 = !Odd:", "G2: a := x.io/a:1 g2; a !Odd g2; checked");
    // A message of any length is cut, and so is still the same message the next time.
    let long =
        format!("import p:a --from=x.io/a:1 --confirm = !Odd:{}", "ü".repeat(limits::FAILURE_MESSAGE_BYTES));
    check(&long, &long, "");
}

#[test]
fn very_many_tags() {
    let tags = |count: usize| (0..count).map(|n| format!("tag x.io/a:{n} p:t{n}; ")).collect::<String>();
    check(
        &tags(limits::TAGS_PER_COMMAND + 1),
        "import p --all",
        "refused (usage): the image stream has 1001 tags to import, at most 1000 can be imported at once; import them tag by tag",
    );
    check(
        &tags(limits::TAGS_PER_STREAM),
        "tag x.io/a:1 p:more",
        "refused (too many tags): the image stream \"p\" would have 10001 tags, at most 10000 are possible; delete tags or use another image stream",
    );
    // A server may be stricter, and not retroactively.
    check(
        "tag x.io/a:1 p:one; tag x.io/a:1 p:two; tag x.io/a:1 p:three",
        "tag x.io/a:1 p:four --most-tags=2",
        "refused (too many tags): the image stream \"p\" would have 4 tags, at most 2 are possible; delete tags or use another image stream",
    );
    // The closing event lists what fits it; the moves are events of their own.
    let mut names: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    names.sort();
    let told = |(i, n): (usize, &String)| {
        let new = if i == 0 { "new A; " } else { "" };
        format!("t{n} := x.io/a:{n} g301; {new}t{n} + x.io/a@A g301; ")
    };
    let moves: String = names.iter().enumerate().map(told).collect();
    check(
        &tags(300),
        &format!("import p --all = {}", "A ".repeat(300)),
        &format!("G301: {moves}checked, the first 250 told"),
    );
}
