//! Promotion: several tags are set together, over streams and namespaces. All of it happens, or nothing.

use crate::language::{after, check};

/// `a` points to `A`, `b` to `B`.
const AB: &str = "import p:a --from=x.io/a:1 --confirm = A; import p:b --from=x.io/b:1 = B";

#[test]
fn tags_move_together() {
    check(AB, "promote p:c=p:a", "G3: c := isimage p@A g3; c + x.io/a@A g3");
    check(AB, "promote p:c=p@B", "G3: c := isimage p@B g3; c + x.io/b@B g3");
    // One command takes a stream to one generation, however many of its tags move.
    check(
        AB,
        "promote p:c=p:a p:d=p:b",
        "G3: c := isimage p@A g3; c + x.io/a@A g3; d := isimage p@B g3; d + x.io/b@B g3",
    );
    // The events of a stream stand together. A stream that is created has an id of its own.
    check(
        AB,
        "promote q:a=p:a r:a=p:a q:b=p:b p:c=p:a",
        "q G1: created; a := isimage p@A g1; a + x.io/a@A g1; b := isimage p@B g1; b + x.io/b@B g1; \
         r G1: created; a := isimage p@A g1; a + x.io/a@A g1; \
         p G3: c := isimage p@A g3; c + x.io/a@A g3",
    );
    check(
        AB,
        "promote other/q:a=test/p:a r:a=p:b",
        "q G1: created; a := isimage test/p@A g1; a + x.io/a@A g1; r G1: created; a := isimage p@B g1; a + x.io/b@B g1",
    );
    // What is so already is left alone.
    check(
        &format!("{AB}; promote p:c=p:a"),
        "promote p:c=p:a p:d=p:a",
        "G4: d := isimage p@A g4; d + x.io/a@A g4",
    );
    check(&format!("{AB}; promote p:c=p:a q:c=p:a"), "promote p:c=p:a q:c=p:a", "");
}

#[test]
fn sources_are_as_they_were_before() {
    // Two tags change places.
    check(
        AB,
        "promote p:a=p:b p:b=p:a",
        "G3: a := isimage p@B g3; a + x.io/b@B g3; b := isimage p@A g3; b + x.io/a@A g3",
    );
    // A row of stages moves on by one, from whichever end it is told.
    let stages = &format!("{AB}; promote dev:a=p:b qa:a=p:a");
    let on = ["promote qa:a=dev:a prod:a=qa:a", "promote prod:a=qa:a qa:a=dev:a"];
    check(
        stages,
        on[0],
        "qa G2: a := isimage dev@B g2; a + x.io/b@B g2; prod G1: created; a := isimage qa@A g1; a + x.io/a@A g1",
    );
    check(
        stages,
        on[1],
        "prod G1: created; a := isimage qa@A g1; a + x.io/a@A g1; qa G2: a := isimage dev@B g2; a + x.io/b@B g2",
    );
    // What the same command creates was not there.
    check(
        AB,
        "promote q:a=p:a p:c=q:a",
        "refused (not found): imagestreams.image.openshift.io \"q\" not found",
    );
}

#[test]
fn all_or_nothing() {
    let unless = |refused: &str, then: &str| {
        check(AB, &format!("promote p:c=p:a q:c=p:a {refused}"), then);
        check(AB, &format!("promote {refused} p:c=p:a q:c=p:a"), then);
    };
    unless(
        "p:d=p:none",
        "refused (usage): test/p:d: \"p:none\" is not currently pointing to an image, cannot use it as the source of a tag; nothing was moved",
    );
    unless("p:d=none:a", "refused (not found): imagestreams.image.openshift.io \"none\" not found");
    unless(
        "p:a=p:b?B",
        "refused (is A #4): Operation cannot be fulfilled on imagestreamtags.image.openshift.io \"test/p:a\": the tag points to A, not to B; look again and retry",
    );
    unless("p:c=p:b", "refused (malformed): the tag test/p:c is named twice; name it once");
    unless("q:c=p:a", "refused (malformed): the tag test/q:c is named twice; name it once");
    check(
        &format!("{AB}; hold p:a"),
        "promote p:c=p:a p:a=p:b",
        "refused (held): \"test/p:a\" is held by me: nothing but a rollback moves it until it is released",
    );
    // In another namespace it is another tag.
    check(
        AB,
        "promote p:c=p:a other/p:c=test/p:a",
        "p G3: c := isimage p@A g3; c + x.io/a@A g3; p G1: created; c := isimage test/p@A g1; c + x.io/a@A g1",
    );
}

#[test]
fn each_has_its_expectation() {
    check(
        AB,
        "promote p:a=p:b?A p:c=p:b?none q:c=p:b?none",
        "p G3: a := isimage p@B g3; a + x.io/b@B g3; c := isimage p@B g3; c + x.io/b@B g3; \
         q G1: created; c := isimage p@B g1; c + x.io/b@B g1",
    );
    // It is about what was there before all of it.
    check(
        AB,
        "promote p:a=p:b?A p:b=p:a?B",
        "G3: a := isimage p@B g3; a + x.io/b@B g3; b := isimage p@A g3; b + x.io/a@A g3",
    );
}

#[test]
fn what_follows_moves_when_all_is_set() {
    let alias = &format!("{AB}; tag p:a p:c --alias; tag p:c p:d --alias");
    check(
        alias,
        "promote p:a=p:b",
        "G5: a := isimage p@B g5; a + x.io/b@B g5; c + x.io/b@B g5 with a; d + x.io/b@B g5 with c",
    );
    // An alias that is promoted itself follows no longer: it does not move with what it followed before, and is where it is
    // expected to be, in whichever order they are named.
    let two = &format!("{AB}; import p:e --from=x.io/e:1 = C; tag p:a p:c --alias; tag p:c p:d --alias");
    check(
        two,
        "promote p:a=p:b p:c=p:e?A",
        "G6: a := isimage p@B g6; a + x.io/b@B g6; c := isimage p@C g6; c + x.io/e@C g6; d + x.io/e@C g6 with c",
    );
    check(
        two,
        "promote p:c=p:e?A p:a=p:b",
        "G6: c := isimage p@C g6; c + x.io/e@C g6; a := isimage p@B g6; a + x.io/b@B g6; d + x.io/e@C g6 with c",
    );
    after(
        &format!("{AB}; tag p:a p:c --alias; promote p:a=p:b p:c=p:a"),
        &[
            "G4 checked",
            "a := isimage p@B g4 [x.io/b@B g4 t4, x.io/a@A g3 t1]",
            "b := x.io/b:1 g2 [x.io/b@B g2 t2]",
            "c := isimage p@A g4 [x.io/a@A g4 t1]",
        ],
    );
}
