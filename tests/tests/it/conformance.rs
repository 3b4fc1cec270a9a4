//! Recorded runs of the real image stream system, done by Tagtrail. See `tests/conformance/README.md`.

use std::process::Command;

use tagtrail_tests::binary;

/// Plays one case with the `conformance` program and shows the first difference.
fn replay(case: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_conformance"))
        .arg(case)
        .env("TAGTRAIL_BIN", binary::tagtrail())
        .output()
        .expect("conformance starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

macro_rules! cases {
    ($($name:ident = $case:literal)*) => {
        $(#[test] fn $name() { replay($case); })*
    };
}

cases! {
    the_lab = "000-lab"
    import_new_latest = "010-import-new-latest"
    import_no_confirm = "011-import-no-confirm"
    import_existing = "012-import-existing"
    tag_same_stream = "040-tag-same-stream"
    tag_delete = "062-tag-delete"
    upstream_moves = "065-upstream-moves"
    rollback = "067-rollback"
    delete = "073-delete"
    tag_order = "076-tag-order"
}
