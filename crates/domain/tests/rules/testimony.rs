//! Taking over what a document tells of an image stream.

use crate::language::{after, check, plans};

#[test]
fn what_is_told_is_taken_over_as_it_is_told() {
    check(
        "",
        "told p --generation=9 --local note=hi = a|x.io/a:1|3|B3@20,A2@10 b|p:a|2|B3@20 c|none|.|C5@30 d|x.io/d:1|9|.|!NotFound:9@40",
        "G9: created local note=hi; told by f; a := x.io/a:1 g3; a + x.io/a@A g2 told; a + x.io/a@B g3 told; b := istag p:a g2; b + x.io/a@B g3 told; c + x.io/a@C g5 told; d := x.io/d:1 g9; d !NotFound g9 since 40",
    );
    after(
        "told p --created=7 --checked=8 --generation=9 = a|x.io/a:1|3|B3@20,A2@10 d|x.io/d:1|9|.|!NotFound:9@40",
        &[
            "G9 checked t7",
            "a := x.io/a:1 g3 [x.io/a@B g3 t20, x.io/a@A g2 t10]",
            "d := x.io/d:1 g9 [] !NotFound g9 t40",
        ],
    );
    // Without times of its own, it is of now.
    after("told p = a|x.io/a:1|1|.|!NotFound:1", &["G1 t1", "a := x.io/a:1 g1 [] !NotFound g1 t1"]);
    // What could not come about here is taken over as well: twice the same, and a tag that lags behind the one it follows.
    after(
        "told p = a|x.io/a:1|1|B1@20,B1@10 b|p:a|1|A1@10",
        &[
            "G1 t1",
            "a := x.io/a:1 g1 [x.io/a@B g1 t20, x.io/a@B g1 t10]",
            "b := istag p:a g1 [x.io/a@A g1 t10]",
        ],
    );
    // What tells of a tool does not tell of the stream.
    check(
        "",
        "told p kubectl.kubernetes.io/last-applied-configuration=x note=hi",
        "G1: created note=hi; told by f",
    );
}

#[test]
fn generations_go_on_from_what_was_told() {
    // Not told: nothing waits that has an image, and what has none waits.
    check(
        "",
        "told p = a|x.io/a:1|.|A2@10 b|x.io/b:1",
        "G2: created; told by f; a := x.io/a:1 g2; a + x.io/a@A g2 told; b := x.io/b:1 g2",
    );
    plans("told p = a|x.io/a:1|.|A2@10 b|x.io/b:1", "background p", "b from x.io/b:1");
    // A stream is not behind its tags.
    after("told p --generation=2 = a|x.io/a:1|5|A5@10", &["G5 t1", "a := x.io/a:1 g5 [x.io/a@A g5 t10]"]);
    check("told p --generation=7", "tag - p:b", "G8: b := - g8");
}

#[test]
fn life_goes_on() {
    let given = "told p --generation=4 = a|x.io/a:1*|4|A4@10 b|p:a|3|A4@10 c|x.io/c:1|4|A2@10";
    // What waits is imported, what is scheduled is checked.
    plans(given, "background p", "c from x.io/c:1");
    plans(given, "schedule p", "a from x.io/a:1 scheduled");
    // The first import that finds what was told confirms it, with what follows it, once.
    let confirmed = "G5: a := x.io/a:1 g5 scheduled; new A; a = x.io/a@A g5 by schedule; b = x.io/a@A g5 with a; checked by schedule";
    check(given, "schedule p = A", confirmed);
    check(&format!("{given}; schedule p = A"), "schedule p = A", "");
    check(
        given,
        "schedule p = B",
        "G5: a := x.io/a:1 g5 scheduled; new B; a + x.io/a@B g5 by schedule; b + x.io/a@B g5 with a; checked by schedule",
    );
    // It can be copied, rolled back to, deleted and brought back like any other.
    check(given, "tag p@A p:x", "G5: x := isimage p@A g5; x + x.io/a@A g5");
    check(
        "told p = a|x.io/a:1|1|B1@20,A1@10",
        "rollback p:a --to=A",
        "G1: a + x.io/a@A g1 back to 4; a held",
    );
    after(
        "told p = a|x.io/a:1|1|B1@20,A1@10; untag p:a; restore p:a",
        &["G3 t1", "a := x.io/a:1 g3 [x.io/a@B g3 t20, x.io/a@A g1 t10]"],
    );
}

#[test]
fn a_source_in_the_stream_itself_stays_there() {
    let told = "told p --from=base/p = b|base/p:a|1";
    check("", told, "G1: created; told by f; b := istag p:a g1");
    check("", "told p --from=base/p = b|base/q:a|1", "G1: created; told by f; b := istag base/q:a g1");
    check("", "told p --from=else/p = b|base/p:a|1", "G1: created; told by f; b := istag base/p:a g1");
}

#[test]
fn what_cannot_be_is_refused() {
    check("create p", "told p", "refused (exists): imagestreams.image.openshift.io \"p\" already exists");
    check("create p; delete p", "told p", "G1: created; told by f");
    let invalid = |told: &str, why: &str| {
        check("", &format!("told p {told}"), &format!("refused (invalid ImageStream p): {why}"));
    };
    invalid("--generation=-1", "metadata.generation: Invalid value: -1: must be from 0 to 9007199254740992");
    invalid(
        "= a|p:b*|1",
        "spec.tags[a].importPolicy.scheduled: Invalid value: true: only tags pointing to Docker repositories may be scheduled for background import",
    );
    invalid(
        "= a|docker:UPPER|1",
        "spec.tags[a].from.name: Invalid value: \"UPPER\": repository name must be lowercase",
    );
    invalid(
        "= a|istag:p:b:c|1",
        "spec.tags[a].from.name: Invalid value: \"p:b:c\": must be of the form <tag>, <repo>:<tag>, <id>, or <repo>@<id>",
    );
    invalid(
        "= a|none|.|A-1@3",
        "status.tags[a].items[0].generation: Invalid value: -1: must be from 0 to 9007199254740992",
    );
    check("", "told p = a|none|.|A1@3 a|none|.|A1@3", "refused (malformed): the tag p:a is told of twice");
}

#[test]
fn of_what_does_not_fit_the_oldest_is_left_out() {
    // A run has 12 MiB, and an envelope of a megabyte leaves room for few events: first the longest history is shortened.
    let items = |count: usize| (0..count).map(|n| format!("A1@{}", 99 - n)).collect::<Vec<_>>().join(",");
    let told = format!("told p --envelope=1000000 = a|none|.|{} b|none|.|B1@9", items(20));
    check(
        "",
        &told,
        &format!(
            "G1: created; told by f, without 12{}; b + x.io/a@B g1 told",
            "; a + x.io/a@A g1 told".repeat(8)
        ),
    );
    let told = format!("told p --envelope=5000000 = a|none|.|{}", items(2));
    check(
        "",
        &told,
        "refused (usage): the image stream \"p\" takes more than 12582912 bytes to take over, even with only the newest item of each tag; take it over in parts, under several names",
    );
}
