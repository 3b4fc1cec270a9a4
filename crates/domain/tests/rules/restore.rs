//! Restore: what was deleted is back, as it was.

use std::fmt::Write as _;

use tagtrail_domain::limits;

use crate::language::{after, check, plans};

/// `a` has pointed to `A` (event 4), and points to `B` (event 8).
const AB: &str = "import p:a --from=x.io/a:1 --confirm --scheduled = A; import p:a = B";

#[test]
fn a_tag_comes_back_as_it_was() {
    let gone = &format!("{AB}; annotate p:a note=mine; untag p:a");
    check(
        gone,
        "restore p:a",
        "G5: a back as of 10 := x.io/a:1 g5 scheduled note=mine [x.io/a@B g5, x.io/a@A g1]",
    );
    let back = &format!("{gone}; restore p:a");
    after(back, &["G5 checked", "a := x.io/a:1 g5 scheduled note=mine [x.io/a@B g5 t2, x.io/a@A g1 t1]"]);
    // It goes on where it was: on its schedule, with its history.
    check(back, "schedule p = B", "");
    check(
        back,
        "schedule p = C",
        "G6: a := x.io/a:1 g6 scheduled note=mine; new C; a + x.io/a@C g6 by schedule; checked by schedule",
    );
    check(back, "rollback p:a --to=A", "G5: a + x.io/a@A g5 back to 4; a held");
    check(back, "tag p@A p:old", "G6: old := isimage p@A g6; old + x.io/a@A g6");
    // As it was at another moment.
    check(gone, "restore p:a --at=5", "G5: a back as of 5 := x.io/a:1 g5 scheduled [x.io/a@A g5]");
    // History alone, and a spec alone.
    check(
        "import p:a --from=x.io/a:1 --confirm = A; tag - p:b; untag p:b",
        "restore p:b",
        "G4: b back as of 6 := - g4 []",
    );
}

#[test]
fn a_stream_comes_back_as_it_was() {
    let gone = &format!("{AB}; tag p:a p:b --alias; annotate p owner=ana; lookup p on; delete p");
    check(
        gone,
        "restore p",
        "G1: created local owner=ana; a back as of 14 := x.io/a:1 g1 scheduled [x.io/a@B g1, x.io/a@A g1]; b back as of 14 := istag p:a g1 [x.io/a@B g1]",
    );
    after(
        &format!("{gone}; restore p"),
        &[
            "G1",
            "a := x.io/a:1 g1 scheduled [x.io/a@B g1 t2, x.io/a@A g1 t1]",
            "b := istag p:a g1 [x.io/a@B g1 t2]",
        ],
    );
    check("create p; delete p", "restore p", "G1: created");
    // One tag of it alone: the stream comes back with what it was, but for its other tags.
    check(
        gone,
        "restore p:a",
        "G1: created local owner=ana; a back as of 14 := x.io/a:1 g1 scheduled [x.io/a@B g1, x.io/a@A g1]",
    );
    check(
        &format!("{gone}; create p"),
        "restore p:a",
        "G2: a back as of 14 := x.io/a:1 g2 scheduled [x.io/a@B g2, x.io/a@A g1]",
    );
}

#[test]
fn what_is_there_does_not_come_back() {
    let there = "refused (exists): imagestreamtag.image.openshift.io \"p:a\" already exists";
    check(AB, "restore p:a --at=5", there);
    check(&format!("{AB}; untag p:a; tag - p:a"), "restore p:a", there);
    let exists = "refused (exists): imagestreams.image.openshift.io \"p\" already exists";
    check(&format!("{AB}; delete p; create p"), "restore p", exists);
    // A tag that had nothing but a failure has nothing that could come back.
    let failed = "import p --from=x.io/a --all --confirm = a:A b:!NotFound";
    check(
        &format!("{failed}; untag p:b"),
        "restore p:b",
        "refused (usage): \"p:b\" followed nothing and pointed to nothing, so there is nothing to bring back",
    );
    after(&format!("{failed}; delete p; restore p"), &["G1", "a := x.io/a:a g1 [x.io/a@A g1 t1]"]);
}

#[test]
fn only_the_newest_of_a_long_history_comes_back() {
    let mut commands = "import p:a --from=x.io/a:1 --confirm = A".to_owned();
    let image = |number: usize| if number.is_multiple_of(2) { 'B' } else { 'A' };
    let moves = limits::ITEMS_PER_RESTORED_TAG + 3;
    for number in 2..=moves {
        write!(commands, "; import p:a = {}", image(number)).expect("text takes everything");
    }
    let back = moves + 2;
    let newest = format!("x.io/a@{} g{back} t{moves}", image(moves));
    let older = (4..moves).rev().map(|number| format!("x.io/a@{} g{number} t{number}", image(number)));
    let items: Vec<String> = [newest].into_iter().chain(older).collect();
    assert_eq!(items.len(), limits::ITEMS_PER_RESTORED_TAG);
    after(
        &format!("{commands}; untag p:a; restore p:a"),
        &[&format!("G{back} checked"), &format!("a := x.io/a:1 g{back} [{}]", items.join(", "))],
    );
}

#[test]
fn a_hold_comes_back() {
    let held = &format!("{AB}; hold p:a --by=ana --until=9; schedule p = C");
    check(
        &format!("{held}; untag p:a"),
        "restore p:a",
        "G4: a back as of 13 := x.io/a:1 g4 scheduled [x.io/a@B g4, x.io/a@A g1] held by ana until 9",
    );
    // What was withheld is told anew.
    let back = &format!("{held}; untag p:a; restore p:a");
    check(back, "schedule p = C", "G4: a withheld x.io/a@C g5 by schedule; checked by schedule");
    check(
        &format!("{held}; delete p; restore p"),
        "tag - p:a",
        "refused (held): \"test/p:a\" is held by ana: nothing but a rollback moves it until it is released",
    );
    // Its time is up: nothing is held.
    check(
        &format!("{held}; untag p:a; create q; create r; create s"),
        "restore p:a",
        "G4: a back as of 13 := x.io/a:1 g4 scheduled [x.io/a@B g4, x.io/a@A g1]",
    );
}

#[test]
fn what_it_waited_for_it_waits_for_again() {
    let answered = &format!("{AB}; untag p:a; restore p:a");
    plans(answered, "background p", "");
    plans(&format!("{AB}; delete p; restore p"), "background p", "");
    let waiting = &format!("{AB}; tag x.io/a:2 p:a");
    plans(&format!("{waiting}; untag p:a; restore p:a"), "background p", "a from x.io/a:2");
    plans(&format!("{waiting}; delete p; restore p"), "background p", "a from x.io/a:2");
    plans("tag x.io/a:1 p:a; untag p:a; restore p:a", "background p", "a from x.io/a:1");
    // A failure does not come back: it is asked again.
    plans(
        &format!("{AB}; import p:a = !NotFound; untag p:a; restore p:a"),
        "background p",
        "a from x.io/a:1 scheduled",
    );
    // A rollback was an answer, and stays one. So is what is only pointed at.
    plans(
        &format!("{waiting}; rollback p:a --to=A; untag p:a; restore p:a; release p:a"),
        "background p",
        "",
    );
    plans("tag x.io/a:1 p:a --reference; untag p:a; restore p:a", "background p", "");
}

#[test]
fn an_alias_that_comes_back_catches_up() {
    let alias = "import p:a --from=x.io/a:1 --confirm = A; tag p:a p:b --alias; tag p:b p:c --alias";
    check(
        &format!("{alias}; untag p:b; import p:a = B"),
        "restore p:b",
        "G6: b back as of 11 := istag p:a g6 [x.io/a@A g6]; b + x.io/a@B g5 with a; c + x.io/a@B g5 with b",
    );
    // So does what follows it, if it comes back to something else than it left.
    check(
        &format!("{alias}; import p:a = B; untag p:a"),
        "restore p:a --at=5",
        "G6: a back as of 5 := x.io/a:1 g6 [x.io/a@A g6]; b + x.io/a@A g6 with a; c + x.io/a@A g6 with b",
    );
    // A held one is kept from it.
    check(
        &format!("{alias}; hold p:b; untag p:b; import p:a = B"),
        "restore p:b",
        "G6: b back as of 12 := istag p:a g6 [x.io/a@A g6] held; b withheld x.io/a@B g5 with a; c = x.io/a@A g6 with b",
    );
    // What it followed is gone: it stays.
    check(
        &format!("{alias}; untag p:b; untag p:a"),
        "restore p:b",
        "G6: b back as of 11 := istag p:a g6 [x.io/a@A g6]; c = x.io/a@A g6 with b",
    );
}

#[test]
fn a_tag_that_would_lead_back_to_itself_does_not_come_back() {
    check(
        "import p:a --from=x.io/a:1 --confirm = A; tag p:a p:b --alias; untag p:b; tag p:b p:a --alias",
        "restore p:b",
        "refused (invalid ImageStreamTag p:b): tag.from.name: Invalid value: \"p:a\": it leads back to \"p:b\" (p:b -> p:a -> p:b), so none of these tags would ever move again; let one of them follow an image instead",
    );
}
