//! Expectations: a wish that is carried out only if the tag points to what it is expected to point to.

use crate::language::check;

/// `a` points to `A`, set by event 4; `b` points to nothing yet.
const A: &str = "import p:a --from=x.io/a:1 --confirm = A; tag x.io/b:1 p:b";

#[test]
fn every_wish_about_a_tag_may_expect() {
    let moved = format!("{A}; import p:a = B");
    for wish in ["tag - p:a", "untag p:a", "hold p:a", "rollback p:a --to=A"] {
        check(
            &moved,
            &format!("{wish} --expect=A"),
            "refused (is B #9): Operation cannot be fulfilled on imagestreamtags.image.openshift.io \"test/p:a\": the tag points to B, not to A; look again and retry",
        );
        check(
            &moved,
            &format!("{wish} --expect=none"),
            "refused (is B #9): Operation cannot be fulfilled on imagestreamtags.image.openshift.io \"test/p:a\": the tag points to B, not to nothing; look again and retry",
        );
    }
    check(&moved, "tag - p:a --expect=B", "G4: a := - g4");
    check(&moved, "untag p:a --expect=B", "G4: a deleted, was x.io/a@B g3");
    check(&moved, "hold p:a --expect=B", "G3: a held");
    check(&moved, "rollback p:a --to=A --expect=B", "G3: a + x.io/a@A g3 back to 4; a held");
}

#[test]
fn nothing_may_be_expected() {
    check("", "tag - p:a --expect=none", "G1: created; a := - g1");
    check(A, "tag - p:c --expect=none", "G3: c := - g3");
    check(A, "tag - p:b --expect=none", "G3: b := - g3");
    check(A, "untag p:b --expect=none", "G3: b deleted, was nothing");
    // It is not there, and that was expected: which does not make it one that can be deleted or held.
    check(
        A,
        "untag p:c --expect=none",
        "refused (not found): imagestreamtags.image.openshift.io \"p:c\" not found",
    );
    check(A, "hold p:b --expect=none", "refused (usage): \"p:b\" does not point to an image yet");
}

#[test]
fn a_conflict_tells_what_is_there() {
    let refused = |is: &str, tag: &str, points_to: &str| {
        format!(
            "refused (is {is}): Operation cannot be fulfilled on imagestreamtags.image.openshift.io \"test/p:{tag}\": the tag points to {points_to}, not to B; look again and retry"
        )
    };
    check(A, "tag - p:a --expect=B", &refused("A #4", "a", "A"));
    check(A, "tag - p:b --expect=B", &refused("none #0", "b", "nothing"));
    check(A, "tag - p:c --expect=B", &refused("none #0", "c", "nothing"));
    check("", "tag - p:c --expect=B", &refused("none #0", "c", "nothing"));
    // What is only pointed at is no image, whatever its name.
    let reference = "tag x.io/a@B p:a --reference";
    check(reference, "tag - p:a --expect=B", &refused("x.io/a@B #3", "a", "the reference x.io/a@B"));
    // A held tag that points elsewhere: what is wrong first is that it is not where it was thought to be.
    check(&format!("{A}; hold p:a"), "tag - p:a --expect=B", &refused("A #4", "a", "A"));
}

#[test]
fn what_is_expected_is_the_newest() {
    // Somebody took it back meanwhile: the image is the one expected.
    let there_and_back = &format!("{A}; import p:a = B; import p:a = A");
    check(there_and_back, "tag - p:a --expect=A", "G5: a := - g5");
    // What is kept from a held tag is not what it points to.
    let held = &format!("{A}; hold p:a; import p:a = B; release p:a");
    check(held, "tag - p:a --expect=A", "G3: a := - g3");
}
