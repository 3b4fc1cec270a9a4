//! Rollback: a tag points to what it pointed to before, and is held there; what it follows stays.

use crate::language::{after, check, plans};

/// `a` has pointed to `A` (event 4), and points to `B` (event 8).
const AB: &str = "import p:a --from=x.io/a:1 --confirm --scheduled = A; import p:a = B";

#[test]
fn a_tag_is_taken_back_and_held() {
    check(AB, "rollback p:a --to=A", "G2: a + x.io/a@A g2 back to 4; a held");
    check(AB, "rollback p:a --to=4", "G2: a + x.io/a@A g2 back to 4; a held");
    check(
        AB,
        "rollback p:a --to=A --by=ana --why=broken --until=9",
        "G2: a + x.io/a@A g2 back to 4; a held by ana (broken) until 9",
    );
    // What it follows and its schedule stay (OpenShift forgets both), and so does all of its history.
    let back = &format!("{AB}; rollback p:a --to=A");
    after(
        back,
        &[
            "G2 checked",
            "a := x.io/a:1 g2 scheduled [x.io/a@A g2 t3, x.io/a@B g2 t2, x.io/a@A g1 t1] held t3",
        ],
    );
    // So the next check does not undo it.
    check(back, "schedule p = B", "G2: a withheld x.io/a@B g3 by schedule; checked by schedule");
    check(
        &format!("{back}; release p:a"),
        "schedule p = B",
        "G3: a := x.io/a:1 g3 scheduled; a + x.io/a@B g3 by schedule; checked by schedule",
    );
    // To the same image by another reference: in place, as ever.
    check(
        &format!("{AB}; import p:a = A; tag y.io/b:1 p:a; background p = A"),
        "rollback p:a --to=4",
        "G5: a ~ x.io/a@A g5 back to 4; a held",
    );
    // What was only pointed at can be pointed at again.
    check(
        "tag x.io/a:1 p:a --reference; tag y.io/b:1 p:a --reference",
        "rollback p:a --to=3",
        "G2: a ~ x.io/a:1 g2 back to 3; a held",
    );
}

/// The spec of a tag that was taken back still names what it was taken away from. Setting it to just that did nothing.
#[test]
fn a_released_tag_can_be_set_to_what_its_spec_still_names() {
    let released = "import p:b --from=x.io/a:1 --confirm = A; tag p:b p:a; import p:b = B; tag p:b p:a; rollback p:a --to=A; release p:a";
    check(released, "tag p:b p:a", "G5: a := isimage p@B g5; a + x.io/a@B g5");
    check(&format!("{released}; tag p:b p:a"), "tag p:b p:a", "");
    let pointed =
        "tag x.io/a:1 p:a --reference; tag y.io/b:1 p:a --reference; rollback p:a --to=3; release p:a";
    check(pointed, "tag y.io/b:1 p:a --reference", "G3: a := y.io/b:1 g3 reference; a ~ y.io/b:1 g3");
}

#[test]
fn where_nothing_can_be_taken_back() {
    check(
        AB,
        "rollback p:a --to=B",
        "refused (usage): \"p:a\" points to x.io/a@B already; to keep it there, hold it",
    );
    check(
        AB,
        "rollback p:a --to=A --until=3",
        "refused (malformed): the hold would end before it begins; give a time that is yet to come",
    );
    check(
        &format!("{AB}; untag p:a"),
        "rollback p:a --to=A",
        "refused (not found): imagestreamtags.image.openshift.io \"p:a\" not found",
    );
    check(
        &format!("{AB}; untag p:a; tag x.io/a:1 p:a"),
        "rollback p:a --to=A",
        "refused (usage): \"p:a\" does not point to an image yet",
    );
    // What "back" means was found out before. If the tag has moved since, it means something else.
    check(AB, "rollback p:a --to=A --planned=8", "G2: a + x.io/a@A g2 back to 4; a held");
    check(
        &format!("{AB}; import p:a = C"),
        "rollback p:a --to=A --planned=8",
        "refused (conflict): Operation cannot be fulfilled on imagestreamtags.image.openshift.io \"p:a\": the tag has moved meanwhile; look again and retry",
    );
}

#[test]
fn a_rollback_answers_what_was_wished() {
    let waiting = &format!("{AB}; tag x.io/a:2 p:a");
    plans(waiting, "background p", "a from x.io/a:2");
    plans(&format!("{waiting}; rollback p:a --to=A; release p:a"), "background p", "");
    // A failure is over as well: the tag has got an image.
    let failed = &format!("{AB}; import p:a = !NotFound");
    after(
        &format!("{failed}; rollback p:a --to=A"),
        &[
            "G3 checked",
            "a := x.io/a:1 g3 scheduled [x.io/a@A g3 t4, x.io/a@B g2 t2, x.io/a@A g1 t1] held t4",
        ],
    );
}

#[test]
fn what_follows_goes_back_with_it() {
    let chain =
        "import p:a --from=x.io/a:1 --confirm = A; tag p:a p:b --alias; tag p:b p:c --alias; import p:a = B";
    check(
        chain,
        "rollback p:a --to=A",
        "G4: a + x.io/a@A g4 back to 8; a held; b + x.io/a@A g4 with a; c + x.io/a@A g4 with b",
    );
    // An alias goes back alone, with what follows it, and still follows.
    let back = &format!("{chain}; rollback p:b --to=A");
    check(chain, "rollback p:b --to=A", "G4: b + x.io/a@A g4 back to 11; b held; c + x.io/a@A g4 with b");
    check(
        back,
        "import p:a = C",
        "G5: a := x.io/a:1 g5; new C; a + x.io/a@C g5; b withheld x.io/a@C g5 with a; checked",
    );
    check(back, "release p:b", "G4: b released; b + x.io/a@B g4 with a; c + x.io/a@B g4 with b");
    // What is held on its own does not go back with it.
    check(
        &format!("{chain}; hold p:b"),
        "rollback p:a --to=A",
        "G4: a + x.io/a@A g4 back to 8; a held; b withheld x.io/a@A g4 with a",
    );
}

#[test]
fn a_held_tag_is_taken_back_as_well() {
    let abc = &format!("{AB}; import p:a = C");
    check(
        &format!("{abc}; rollback p:a --to=B --until=9"),
        "rollback p:a --to=A",
        "G3: a + x.io/a@A g3 back to 4; a held",
    );
    // What is kept from it still is.
    let kept = &format!("{AB}; hold p:a; schedule p = C");
    after(
        &format!("{kept}; rollback p:a --to=A"),
        &[
            "G2 checked",
            "a := x.io/a:1 g2 scheduled [x.io/a@A g2 t5, x.io/a@B g2 t2, x.io/a@A g1 t1] held t5 from x.io/a@C g3",
        ],
    );
    // Unless it was taken to just that: then it is where it would be.
    let forward = &format!("{AB}; rollback p:a --to=A; schedule p = B; rollback p:a --to=B");
    after(
        forward,
        &[
            "G2 checked",
            "a := x.io/a:1 g2 scheduled [x.io/a@B g2 t5, x.io/a@A g2 t3, x.io/a@B g2 t2, x.io/a@A g1 t1] held t5",
        ],
    );
    check(forward, "schedule p = B", "");
    check(forward, "schedule p = A", "G2: a withheld x.io/a@A g3 by schedule; checked by schedule");
}
