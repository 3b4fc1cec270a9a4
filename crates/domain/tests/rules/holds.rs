//! Holds: a held tag stays where it is, whatever would move it, and says once what that was.

use crate::language::{after, check, plans};

/// `a` is imported and on no schedule, `b` follows it.
const A: &str = "import p:a --from=x.io/a:1 --confirm = A";
const SCHEDULED: &str = "import p:a --from=x.io/a:1 --confirm --scheduled = A";
/// `c` follows `b`, which follows `a`; `b` is held.
const CHAIN: &str =
    "import p:a --from=x.io/a:1 --confirm = A; tag p:a p:b --alias; tag p:b p:c --alias; hold p:b";

#[test]
fn holding_and_releasing() {
    check(A, "hold p:a", "G1: a held");
    check(A, "hold p:a --by=ana --why=friday --until=9", "G1: a held by ana (friday) until 9");
    // Held as it is: nothing to do. On other terms: held anew.
    check(&format!("{A}; hold p:a --until=9"), "hold p:a --until=9", "");
    check(&format!("{A}; hold p:a --until=9"), "hold p:a", "G1: a held");
    check(&format!("{A}; hold p:a"), "hold p:a --by=ana", "G1: a held by ana");
    check(&format!("{A}; hold p:a"), "release p:a", "G1: a released");
    check(
        A,
        "hold p:a --until=2",
        "refused (malformed): the hold would end before it begins; give a time that is yet to come",
    );
    after(
        &format!("{A}; hold p:a --by=ana --until=9"),
        &["G1 checked", "a := x.io/a:1 g1 [x.io/a@A g1 t1] held by ana until 9 t2"],
    );
    after(&format!("{A}; hold p:a; release p:a"), &["G1 checked", "a := x.io/a:1 g1 [x.io/a@A g1 t1]"]);
}

#[test]
fn what_cannot_be_held_or_released() {
    let no_tag = "refused (not found): imagestreamtags.image.openshift.io \"p:b\" not found";
    let no_stream = "refused (not found): imagestreamtags.image.openshift.io \"p\" not found";
    check(A, "hold p:b", no_tag);
    check("", "hold p:b", no_stream);
    check("tag x.io/a:1 p:a", "hold p:a", "refused (usage): \"p:a\" does not point to an image yet");
    check(A, "release p:b", no_tag);
    check("", "release p:b", no_stream);
    check(A, "release p:a", "refused (usage): \"p:a\" is not held");
    check(&format!("{A}; hold p:a; release p:a"), "release p:a", "refused (usage): \"p:a\" is not held");
}

#[test]
fn a_hold_ends_when_its_time_is_up() {
    let until_3 = &format!("{A}; hold p:a --until=3");
    check(until_3, "expire p:a", "G1: a released, its time is up");
    // Meanwhile the world may have moved. That is no mistake of whoever looks at the clock.
    check(&format!("{A}; hold p:a --until=4"), "expire p:a", "");
    check(&format!("{A}; hold p:a"), "expire p:a", "");
    check(&format!("{until_3}; release p:a"), "expire p:a", "");
    check(&format!("{until_3}; hold p:a --until=9"), "expire p:a", "");
    check(&format!("{until_3}; untag p:a"), "expire p:a", "");
    check(&format!("{until_3}; delete p"), "expire p:a", "");
    // Nobody has looked yet: it is held until the event that releases it.
    check(
        &format!("{SCHEDULED}; hold p:a --until=3; create q; create r"),
        "schedule p = B",
        "G1: new B; a withheld x.io/a@B g2 by schedule; checked by schedule",
    );
}

#[test]
fn a_held_tag_is_not_set() {
    let held = |why: &str| {
        format!(
            "refused (held): \"test/p:a\" is held by ana{why}: nothing but a rollback moves it until it is released"
        )
    };
    let by_ana = &format!("{A}; hold p:a --by=ana");
    check(by_ana, "tag y.io/b:1 p:a", &held(""));
    check(by_ana, "tag x.io/a:1 p:a", &held(""));
    check(by_ana, "tag - p:a", &held(""));
    check(&format!("{by_ana}; import p:b --from=x.io/b:1 = B"), "tag p:b p:a", &held(""));
    check(&format!("{A}; hold p:a --by=ana --why=friday"), "tag - p:a", &held(" (friday)"));
    check(&format!("{A}; hold p:a; release p:a"), "tag - p:a", "G2: a := - g2");
    // What is written on it moves nothing.
    check(by_ana, "annotate p:a note=held", "G2: a := x.io/a:1 g1 note=held");
    after(
        &format!("{by_ana}; annotate p:a note=held"),
        &["G2 checked", "a := x.io/a:1 g1 note=held [x.io/a@A g1 t1] held by ana t2"],
    );
}

#[test]
fn imports_are_withheld() {
    let held = &format!("{A}; hold p:a");
    check(held, "import p:a = B", "G1: new B; a withheld x.io/a@B g2; checked");
    // Its history stays. How it is to be imported can be changed.
    check(held, "import p:a = A", "");
    check(held, "import p:a --scheduled = A", "G2: a := x.io/a:1 g1 scheduled; checked");
    check(
        held,
        "import p:a --preserve = L(AB)",
        "G2: a := x.io/a:1 g1 preserve; new B; new L; a withheld x.io/a@L g2; checked",
    );
    after(
        &format!("{held}; import p:a = B"),
        &["G1 checked", "a := x.io/a:1 g1 [x.io/a@A g1 t1] held t2 from x.io/a@B g2"],
    );
    // Of a whole repository only that tag stays.
    check(
        "import p --from=x.io/a --all --confirm = a:A b:B; hold p:a",
        "import p --from=x.io/a --all --confirm = a:C b:C",
        "G2: new C; a withheld x.io/a@C g2; b := x.io/a:b g2; b + x.io/a@C g2; checked",
    );
}

#[test]
fn each_image_is_withheld_once() {
    let held = &format!("{SCHEDULED}; hold p:a");
    let b = &format!("{held}; schedule p = B");
    check(held, "schedule p = A", "");
    check(held, "schedule p = B", "G1: new B; a withheld x.io/a@B g2 by schedule; checked by schedule");
    check(b, "schedule p = B", "");
    check(b, "import p:a = B", "");
    check(b, "schedule p = C", "G1: new C; a withheld x.io/a@C g2 by schedule; checked by schedule");
    // Gone back upstream: it points to that, so nothing is withheld any more; and then it may be again.
    check(b, "schedule p = A", "G1: a withheld x.io/a@A g2 by schedule; checked by schedule");
    let back = &format!("{b}; schedule p = A");
    after(back, &["G1 checked", "a := x.io/a:1 g1 scheduled [x.io/a@A g1 t1] held t2"]);
    check(back, "schedule p = A", "");
    check(back, "schedule p = B", "G1: a withheld x.io/a@B g2 by schedule; checked by schedule");
    // On other terms it is kept from the same.
    after(
        &format!("{b}; hold p:a --by=ana"),
        &["G1 checked", "a := x.io/a:1 g1 scheduled [x.io/a@A g1 t1] held by ana t4 from x.io/a@B g2"],
    );
    // Released and held again, it is told anew.
    check(
        &format!("{b}; release p:a; hold p:a"),
        "schedule p = B",
        "G1: a withheld x.io/a@B g2 by schedule; checked by schedule",
    );
}

#[test]
fn a_failure_is_shown_on_a_held_tag() {
    let failed = &format!("{SCHEDULED}; hold p:a; schedule p = !NotFound");
    check(
        &format!("{SCHEDULED}; hold p:a"),
        "schedule p = !NotFound",
        "G1: a !NotFound g1; checked by schedule",
    );
    after(failed, &["G1 checked", "a := x.io/a:1 g1 scheduled [x.io/a@A g1 t1] !NotFound g1 t3 held t2"]);
    check(failed, "schedule p = !NotFound", "");
    check(failed, "schedule p = A", "G1: a no failure; checked by schedule");
    check(
        failed,
        "schedule p = B",
        "G1: new B; a withheld x.io/a@B g2 by schedule; a no failure; checked by schedule",
    );
    check(&format!("{A}; hold p:a"), "import p:a = !NotFound", "G1: a !NotFound g1; checked");
}

#[test]
fn a_held_alias_does_not_follow() {
    check(
        CHAIN,
        "import p:a = B",
        "G4: a := x.io/a:1 g4; new B; a + x.io/a@B g4; b withheld x.io/a@B g4 with a; checked",
    );
    // What follows the held tag stays with it.
    let moved = &format!("{CHAIN}; import p:a = B");
    after(
        moved,
        &[
            "G4 checked",
            "a := x.io/a:1 g4 [x.io/a@B g4 t5, x.io/a@A g2 t1]",
            "b := istag p:a g2 [x.io/a@A g3 t1] held t4 from x.io/a@B g4",
            "c := istag p:b g3 [x.io/a@A g3 t1]",
        ],
    );
    // Released, it catches up at once, and what follows it.
    check(moved, "release p:b", "G4: b released; b + x.io/a@B g4 with a; c + x.io/a@B g4 with b");
    check(
        &format!("{CHAIN}; import p:a = B; import p:a = A"),
        "release p:b",
        "G5: b released; b = x.io/a@A g5 with a; c = x.io/a@A g5 with b",
    );
    check(CHAIN, "release p:b", "G3: b released; b = x.io/a@A g2 with a; c = x.io/a@A g2 with b");
    check(&format!("{moved}; untag p:a"), "release p:b", "G5: b released");
    // An alias whose time is up catches up as well.
    check(
        &format!("{A}; tag p:a p:b --alias; hold p:b --until=4; import p:a = B"),
        "expire p:b",
        "G3: b released, its time is up; b + x.io/a@B g3 with a",
    );
}

#[test]
fn a_new_alias_does_not_confirm_a_held_tag() {
    check(A, "tag p:a p:b --alias", "G2: b := istag p:a g2; b + x.io/a@A g2; a = x.io/a@A g2");
    check(&format!("{A}; hold p:a"), "tag p:a p:b --alias", "G2: b := istag p:a g2; b + x.io/a@A g2");
}

#[test]
fn a_held_tag_waits_for_no_import() {
    let waiting = "import p:a --from=x.io/a:1 --confirm = A; tag x.io/a:2 p:a";
    plans(waiting, "background p", "a from x.io/a:2");
    plans(&format!("{waiting}; hold p:a"), "background p", "");
    // The wish is open again when it is released.
    plans(&format!("{waiting}; hold p:a; release p:a"), "background p", "a from x.io/a:2");
    // An answer on its way is withheld, and counts as none.
    let late = &format!("{waiting}; ask background p = B; hold p:a");
    check(late, "land", "G2: new B; a withheld x.io/a@B g3; checked");
    plans(&format!("{late}; land; release p:a"), "background p", "a from x.io/a:2");
}

#[test]
fn a_hold_ends_with_the_tag() {
    let held = &format!("{A}; hold p:a");
    check(held, "untag p:a", "G2: a deleted, was x.io/a@A g1");
    check(&format!("{held}; untag p:a"), "tag - p:a", "G3: a := - g3");
    check(held, "delete p", "G1: deleted [a]");
    check(&format!("{held}; delete p"), "tag - p:a", "G1: created; a := - g1");
}
