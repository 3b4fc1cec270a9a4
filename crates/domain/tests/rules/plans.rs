//! What an import asks registries for, and what it is refused for before any is asked (spec §2.10, §3.8).

use crate::language::plans;

const GIVEN: &str = "tag x.io/a:1 p:a; tag p:a p:al --alias; tag p:al p:al2 --alias; background p = A";

#[test]
fn a_new_stream() {
    // Case 40.
    plans(
        "",
        "import p:a --from=x.io/a:1",
        "refused (usage): no image stream named \"p\" exists, pass --confirm to create and import",
    );
    plans("", "import p:a --from=x.io/a:1 --confirm", "a from x.io/a:1; create");
    plans("", "import p --from=x.io/a:1 --confirm", "latest from x.io/a:1; create");
    plans("", "import p:a --confirm", "a from p:a; create"); // The target is the source as well.
    plans("", "import p --all --confirm", "all of p; create");
    plans("", "import p --all --from=x.io/a --confirm --insecure", "all of x.io/a insecure; create");
    plans(
        "create p; delete p",
        "import p:a --from=x.io/a:1",
        "refused (usage): no image stream named \"p\" exists, pass --confirm to create and import",
    );
}

#[test]
fn a_tag_that_is_there() {
    plans(GIVEN, "import p:a", "a from x.io/a:1");
    plans(GIVEN, "import p:a --from=x.io/a:1", "a from x.io/a:1");
    plans(
        GIVEN,
        "import p:a --from=x.io/b:1 --confirm",
        "refused (usage): the tag \"a\" points to \"x.io/a:1\" - use the 'tag' command if you want to change the source to \"x.io/b:1\"",
    );
    // Through aliases the tag at the end is imported.
    plans(GIVEN, "import p:al2", "a from x.io/a:1");
    plans(
        GIVEN,
        "import p:al2 --from=x.io/b:1",
        "refused (usage): the tag \"al2\" points to the tag \"a\" which points to \"x.io/a:1\" - use the 'tag' command if you want to change the source to \"x.io/b:1\"",
    );
    plans(
        &format!("{GIVEN}; tag p@A p:x"),
        "import p:x",
        "refused (usage): tag \"x\" points to existing ImageStreamImage \"p@A\", it cannot be re-imported",
    );
    plans(
        "tag - p:x",
        "import p:x --from=x.io/a:1",
        "refused (usage): tag \"x\" already exists - you must use the 'tag' command if you want to change the source to \"x.io/a:1\"",
    );
    // Case 28, and a longer circle.
    let circular =
        |tag: &str| format!("refused (usage): tag \"{tag}\" on the image stream is a reference to same tag");
    plans("create p; follows p:x p:x", "import p:x", &circular("x"));
    plans("tag p:x p:y --alias; follows p:y p:x", "import p:y", &circular("y"));
    plans(
        "create q; tag q:a p:x --alias",
        "import p:x",
        "refused (usage): tag \"x\" points to an imagestreamtag from another ImageStream",
    );
}

#[test]
fn a_tag_that_is_not_there() {
    let missing = |tag: &str| {
        format!(
            "refused (usage): the tag \"{tag}\" does not exist on the image stream - choose an existing tag to import or use the 'tag' command to create a new tag"
        )
    };
    plans(GIVEN, "import p:x", &missing("x"));
    plans(GIVEN, "import p", &missing("latest"));
    plans(GIVEN, "import p:x --from=x.io/x:1", "x from x.io/x:1"); // No --confirm needed.
    // Nor does an alias that leads nowhere lead to an import, unless it gets a source of its own.
    let dangling = format!("{GIVEN}; untag p:a");
    plans(&dangling, "import p:al", &missing("al"));
    plans(&dangling, "import p:al --from=x.io/x:1", "al from x.io/x:1");
    // A tag that is only history can be set anew.
    plans("import p --all --from=x.io/a --confirm = v1:!NotFound", "import p:v1", &missing("v1"));
}

#[test]
fn all_tags() {
    // In the order of their names; OpenShift asks in random order.
    let given = "tag x.io/b:1 p:b --scheduled; tag x.io/a:1 p:a; tag p:a p:al --alias; tag x.io/r:1 p:r --reference; tag - p:z";
    plans(given, "import p --all", "a from x.io/a:1; b from x.io/b:1 scheduled; r from x.io/r:1"); // Case 48.
    plans(
        "tag - p:z",
        "import p --all",
        "refused (usage): image stream does not have tags pointing to external container images",
    );
    plans(
        given,
        "import p --all --from=x.io/a",
        "refused (usage): the image stream does not currently import an entire Docker repository, pass --confirm to update",
    );
    plans(given, "import p --all --from=x.io/a --confirm", "all of x.io/a");
    plans(given, "import p:a --all", "refused (usage): cannot specify a tag \"p:a\" as well as --all");
    plans("", "import p:a --all --confirm", "refused (usage): cannot specify a tag \"p:a\" as well as --all");
}

#[test]
fn sources_that_cannot_be() {
    let refused = |field: &str, why: &str| {
        format!("refused (invalid ImageStreamImport p): spec.{field}.from.name: Invalid value: {why}")
    };
    plans(
        "",
        "import p:a --from=team/App:v1 --confirm",
        &refused("images[0]", "\"team/App:v1\": repository name must be lowercase"),
    );
    plans(
        "create p",
        "import p:a --from=a/b:v1:x",
        &refused("images[0]", "\"a/b:v1:x\": invalid reference format"),
    );
    plans(
        "",
        "import p --all --from=x.io/a:1 --confirm",
        &refused("repository", "\"x.io/a:1\": you must specify an image repository, not a tag or ID"),
    );
    plans(
        "create p",
        "import p --all --from=x.io/a@A --confirm",
        &refused("repository", "\"x.io/a@A\": you must specify an image repository, not a tag or ID"),
    );
    // Case 6: a dotted name alone reads as a registry.
    plans(
        "",
        "import p:a --from=my.app:1 --confirm",
        &refused(
            "images[0]",
            "\"my.app:1\": this reads as a registry without an image; put a registry or a namespace in front of the name",
        ),
    );
}

#[test]
fn flags_and_what_the_tag_had() {
    let given = "tag x.io/a:1 p:a --scheduled --insecure --preserve --local";
    // Flags cannot be switched off; the mode is always as asked; the reference policy is for new tags only.
    plans(given, "import p:a", "a from x.io/a:1 insecure scheduled");
    plans(given, "import p:a --insecure=false --preserve", "a from x.io/a:1 insecure scheduled preserve");
    // Case 47: the stream's word on insecure, unless the wish has one.
    let insecure = "create p openshift.io/image.insecureRepository=true; tag x.io/a:1 p:a";
    plans(insecure, "import p:a", "a from x.io/a:1 insecure");
    plans(insecure, "import p:a --insecure=false", "a from x.io/a:1");
    plans(insecure, "import p --all --from=x.io/a --confirm", "all of x.io/a insecure");
    // Which platform to take of an index, from the tag's annotations.
    let preferring = "tag x.io/a:1 p:a importer.image.openshift.io/prefer-arch=arm64 importer.image.openshift.io/prefer-os=linux";
    plans(preferring, "import p:a", "a from x.io/a:1 os=linux arch=arm64");
    plans(preferring, "background p", "a from x.io/a:1 os=linux arch=arm64");
}

#[test]
fn what_waits_in_the_background() {
    plans(
        "tag x.io/a:1 p:a; tag x.io/b:1 p:b --insecure",
        "background p",
        "a from x.io/a:1; b from x.io/b:1 insecure",
    );
    plans(GIVEN, "background p", "");
    plans(&format!("{GIVEN}; tag x.io/a:1 p:a"), "background p", "a from x.io/a:1");
    plans("tag x.io/a:1 p:a; background p = !NotFound", "background p", ""); // A failure is an answer.
    plans("tag x.io/a:1 p:a --reference; tag - p:b; tag p:a p:c --alias", "background p", "");
}

#[test]
fn what_is_on_the_schedule() {
    // Case 55.
    plans("tag x.io/a:1 p:a --scheduled; tag x.io/b:1 p:b", "schedule p", "a from x.io/a:1 scheduled");
    plans("tag x.io/a:1 p:a --scheduled; background p = A", "schedule p", "a from x.io/a:1 scheduled");
    plans(
        "tag x.io/a:1 p:a --scheduled; background p = !NotFound",
        "schedule p",
        "a from x.io/a:1 scheduled",
    );
    plans("tag x.io/a:1 p:a --scheduled; tag x.io/a:1 p:a", "schedule p", "");
    let digest = "tag x.io/a@A p:a --scheduled";
    plans(digest, "schedule p", "a from x.io/a@A scheduled");
    plans(&format!("{digest}; background p = !NotFound"), "schedule p", "a from x.io/a@A scheduled");
    plans(&format!("{digest}; background p = A"), "schedule p", "");
    // A regression: an image of an earlier source does not mean that the digest was imported.
    plans(
        &format!("tag x.io/a:1 p:a; background p = B; {digest}; background p = !NotFound"),
        "schedule p",
        "a from x.io/a@A scheduled",
    );
    plans("tag x.io/a:1 p:a --scheduled --reference", "schedule p", "");
}
