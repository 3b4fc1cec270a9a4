//! The registry is asked outside the writer, and the world may move before its answer lands.

use crate::language::{after, check};

const ASK_BACKGROUND: &str = "tag x.io/a:1 p:a --scheduled; ask background p = A";
const ASK_REQUEST: &str = "tag x.io/a:1 p:a; background p = A; ask import p:a = B";
const CONFLICT: &str = "refused (conflict): Operation cannot be fulfilled on imagestream.image.openshift.io \"p\": the image stream was updated while the image was imported; import it again";

#[test]
fn other_things_that_happened_do_not_matter() {
    let landed = "a := x.io/a:1 g3 scheduled; new A; a + x.io/a@A g3; checked";
    check(&format!("{ASK_BACKGROUND}; lookup p on"), "land", &format!("G3: {landed}"));
    check(&format!("{ASK_BACKGROUND}; tag - p:b"), "land", &format!("G3: {landed}"));
    let landed = "G4: a := x.io/a:1 g4; new B; a + x.io/a@B g4; checked";
    check(&format!("{ASK_REQUEST}; tag - p:b"), "land", landed);
    // The tag's annotations are its own and stay as they are now.
    check(
        &format!("{ASK_REQUEST}; annotate p:a note=hi"),
        "land",
        &landed.replace("x.io/a:1 g4", "x.io/a:1 g4 note=hi"),
    );
}

#[test]
fn another_import_that_landed_first_does_not_matter() {
    // A person imports while the background does the same, in either order: no conflict, nothing twice.
    let both = "tag x.io/a:1 p:a; ask import p:a = A";
    check(&format!("{both}; background p = A"), "land", "");
    check(
        &format!("{both}; background p = B"),
        "land",
        "G3: a := x.io/a:1 g3; new A; a + x.io/a@A g3; checked",
    );
    check(
        &format!("{both}; background p = !NotFound"),
        "land",
        "G3: a := x.io/a:1 g3; new A; a + x.io/a@A g3; checked",
    );
    check("tag x.io/a:1 p:a; ask background p = A; import p:a = A", "land", "");
    // The later answer is the one that counts.
    check(
        "tag x.io/a:1 p:a; ask background p = B; import p:a = A",
        "land",
        "G3: a := x.io/a:1 g3; new B; a + x.io/a@B g3; checked",
    );
}

#[test]
fn an_answer_to_a_question_nobody_asks_any_more() {
    check(&format!("{ASK_BACKGROUND}; tag x.io/b:1 p:a"), "land", "");
    check(&format!("{ASK_BACKGROUND}; untag p:a"), "land", "");
    check(&format!("{ASK_BACKGROUND}; delete p"), "land", "");
    check(&format!("{ASK_BACKGROUND}; delete p; tag x.io/a:1 p:a --scheduled"), "land", ""); // Another life.
    check(&format!("{ASK_REQUEST}; tag x.io/b:1 p:a"), "land", CONFLICT);
    check(&format!("{ASK_REQUEST}; untag p:a"), "land", CONFLICT);
    check(
        &format!("{ASK_REQUEST}; delete p"),
        "land",
        "refused (not found): imagestreams.image.openshift.io \"p\" not found",
    );
    check(&format!("{ASK_REQUEST}; delete p; tag x.io/a:1 p:a"), "land", CONFLICT);
    // Only what is no longer asked for is dropped.
    check(
        "tag x.io/a:1 p:a; tag x.io/b:1 p:b; ask background p = A B; tag x.io/c:1 p:a",
        "land",
        "G4: b := x.io/b:1 g4; new B; b + x.io/b@B g4; checked",
    );
}

#[test]
fn a_wish_that_came_after_the_question_stays_open() {
    // A regression: the schedule was switched off while an import of the same source was under way. Its answer
    // switched it on again, and stood for a wish that came later than the look at the registry.
    let off = format!("{ASK_BACKGROUND}; tag x.io/a:1 p:a");
    check(&off, "land", "");
    after(&format!("{off}; land"), &["G2", "a := x.io/a:1 g2 []"]);
    let again = "tag x.io/a:1 p:a; ask background p = A; tag x.io/a:1 p:a"; // "Look again."
    check(again, "land", "");
    check(
        &format!("{again}; land"),
        "background p = B",
        "G3: a := x.io/a:1 g3; new B; a + x.io/a@B g3; checked",
    );
    check(&format!("{ASK_REQUEST}; tag x.io/a:1 p:a"), "land", CONFLICT);
    check(
        &format!("{ASK_REQUEST}; tag x.io/a:1 p:a; background p = A"),
        "land",
        "G5: a := x.io/a:1 g5; new B; a + x.io/a@B g5; checked",
    );
}

#[test]
fn a_stream_that_came_into_being() {
    let ask = "ask import p:a --from=x.io/a:1 --confirm = A";
    check(ask, "land", "G1: created; a := x.io/a:1 g1; new A; a + x.io/a@A g1; checked");
    check(&format!("{ask}; create p"), "land", CONFLICT);
    check(
        &format!("{ask}; create p; delete p"),
        "land",
        "G1: created; a := x.io/a:1 g1; new A; a + x.io/a@A g1; checked",
    );
    check(
        &format!("{ask}; create p"),
        "land --at-revision=0",
        "refused (conflict): Operation cannot be fulfilled on imagestreams.image.openshift.io \"p\": the image stream is at revision 1, not at revision 0; look again and retry",
    );
}

#[test]
fn a_new_tag_of_an_alias_that_leads_nowhere() {
    // A regression: this was always a conflict, for the alias was taken for a change.
    check(
        "tag p:none p:al --alias",
        "import p:al --from=x.io/a:1 = A",
        "G2: al := x.io/a:1 g2; new A; al + x.io/a@A g2; checked",
    );
    check(
        "tag p:none p:al --alias; ask import p:al --from=x.io/a:1 = A; tag p:other p:al --alias",
        "land",
        CONFLICT,
    );
}
