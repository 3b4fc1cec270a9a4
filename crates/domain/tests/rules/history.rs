//! When a tag's history grows and when its newest item is edited in place (spec §2.6, AddTagEvent).

use crate::language::{after, check};

#[test]
fn the_six_rows_of_the_table() {
    // Case 32. Reference, image and generation: same or other?
    let a = "tag x.io/a:1 p:a; background p = A";
    // No items yet.
    check("tag x.io/a:1 p:a", "background p = A", "G2: a := x.io/a:1 g2; new A; a + x.io/a@A g2; checked");
    // Same, same, same: nothing at all.
    check(a, "import p:a = A", "");
    // Same, same, other: renewed, its time unchanged (case 38).
    check(
        &format!("{a}; tag x.io/a:1 p:a"),
        "background p = A",
        "G4: a := x.io/a:1 g4; a = x.io/a@A g4; checked",
    );
    // Same reference, other image: in place. (A reference tag that is imported after all.)
    let by_digest = "tag x.io/a@A p:a --reference";
    check(by_digest, "tag x.io/a@A p:a", "G2: a := x.io/a@A g2");
    check(
        &format!("{by_digest}; tag x.io/a@A p:a"),
        "background p = A",
        "G3: a := x.io/a@A g3; new A; a ~ x.io/a@A g3; checked",
    );
    // Other reference, same image: in place.
    check(
        &format!("{a}; tag y.io/b:1 p:a"),
        "background p = A",
        "G4: a := y.io/b:1 g4; a ~ y.io/b@A g4; checked",
    );
    // Other, other: on top.
    check(
        &format!("{a}; tag y.io/b:1 p:a"),
        "background p = B",
        "G4: a := y.io/b:1 g4; new B; a + y.io/b@B g4; checked",
    );
}

#[test]
fn in_place_means_that_the_time_stays() {
    after(
        "tag x.io/a:1 p:a; background p = A; tag y.io/b:1 p:a; background p = A",
        &["G4 checked", "a := y.io/b:1 g4 [y.io/b@A g4 t2]"],
    );
}

#[test]
fn history_repeats_itself() {
    // Case 35: back to an older image is a new item; and a failure in between leaves no trace behind.
    after(
        "import p:a --from=x.io/a:1 --confirm = A; import p:a = B; import p:a = !InternalError; import p:a = A",
        &["G4 checked", "a := x.io/a:1 g4 [x.io/a@A g4 t4, x.io/a@B g2 t2, x.io/a@A g1 t1]"],
    );
}

#[test]
fn order_is_by_insertion_not_by_time() {
    // An alias takes over the time of its source, so an old time can come to stand on top.
    after(
        "import p:a --from=x.io/a:1 --confirm = A; import p:b --from=x.io/b:1 = B; tag p:a p:b --alias",
        &[
            "G3 checked",
            "a := x.io/a:1 g1 [x.io/a@A g3 t1]",
            "b := istag p:a g3 [x.io/a@A g3 t1, x.io/b@B g2 t2]",
        ],
    );
}

#[test]
fn an_image_on_a_tag_ends_its_failure() {
    let failed = "import p:b --from=x.io/b:1 --confirm = B; import p:a --from=x.io/a:1 = !NotFound";
    after(
        failed,
        &["G2 checked", "a := x.io/a:1 g2 [] !NotFound g2 t2", "b := x.io/b:1 g1 [x.io/b@B g1 t1]"],
    );
    after(
        &format!("{failed}; tag p:b p:a"),
        &["G3 checked", "a := isimage p@B g3 [x.io/b@B g3 t3]", "b := x.io/b:1 g1 [x.io/b@B g1 t1]"],
    );
}
