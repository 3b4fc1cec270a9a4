//! Recorded runs of the real image stream system, done by Tagtrail. See `tests/conformance/README.md`.

use std::io::{self, Write as _};
use std::process::Command;
use std::sync::{LazyLock, Mutex};

use tagtrail_tests::tally::Tally;
use tagtrail_tests::{binary, case};

/// The cases played so far.
static TALLY: LazyLock<Mutex<Tally>> = LazyLock::new(Mutex::default);

/// Plays one case with the `conformance` program and shows the first difference. The last of all cases prints the count.
fn replay(case: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_conformance"))
        .args(["--lines", case])
        .env("TAGTRAIL_BIN", binary::tagtrail())
        .output()
        .expect("conformance starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut tally = TALLY.lock().expect("nothing panics that holds it");
    tally.add(case, output.status.success(), &text(&output.stdout));
    if tally.cases() == CASES.len() {
        // Written by hand: what a test prints with `println!` is shown only if it fails.
        _ = io::stdout().write_all(format!("\n{tally}").as_bytes());
    }
    drop(tally);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

macro_rules! cases {
    ($($name:ident = $case:literal)*) => {
        $(#[test] fn $name() { replay($case); })*

        const CASES: &[&str] = &[$($case),*];
    };
}

cases! {
    the_lab = "000-lab"
    login_project = "001-login-project"
    import_new_latest = "010-import-new-latest"
    import_no_confirm = "011-import-no-confirm"
    import_existing = "012-import-existing"
    import_all = "013-import-all"
    import_from_other = "015-import-from-other"
    import_scheduled = "016-import-scheduled"
    import_mode_preserve = "019-import-mode-preserve"
    import_mode_legacy = "020-import-mode-legacy"
    import_dry_run = "022-import-dry-run"
    import_missing_repo = "023-import-missing-repo"
    import_registry_down = "025-import-registry-down"
    import_bad_reference = "026-import-bad-reference"
    import_all_sixty = "027-import-all-sixty"
    import_broken = "030-import-broken"
    import_empty_stream = "033-import-empty-stream"
    create_commands = "034-create-commands"
    tag_same_stream = "040-tag-same-stream"
    tag_new_stream = "041-tag-new-stream"
    tag_isimage = "042-tag-isimage"
    tag_docker = "044-tag-docker"
    tag_several = "045-tag-several"
    tag_alias_follow = "046-tag-alias-follow"
    tag_no_follow = "048-tag-no-follow"
    tag_reference = "050-tag-reference"
    tag_scheduled = "051-tag-scheduled"
    tag_scheduled_istag = "052-tag-scheduled-istag"
    tag_insecure = "054-tag-insecure"
    tag_reference_policy = "055-tag-reference-policy"
    tag_cross_namespace = "056-tag-cross-namespace"
    tag_self_reference = "058-tag-self-reference"
    tag_bad_names = "060-tag-bad-names"
    tag_delete = "062-tag-delete"
    tag_docker_missing = "064-tag-docker-missing"
    upstream_moves = "065-upstream-moves"
    upstream_vanishes = "066-upstream-vanishes"
    rollback = "067-rollback"
    get_istag = "070-get-istag"
    get_is_formats = "071-get-is-formats"
    delete = "073-delete"
    image_lookup = "074-image-lookup"
    tag_order = "076-tag-order"
    all_namespaces = "080-all-namespaces"
    duplicate_image = "082-duplicate-image"
    mapping_status = "085-mapping-status"
    alias_chain = "087-alias-chain"
    scheduled_follows = "090-scheduled-follows"
    scheduled_failure = "093-scheduled-failure"
}

#[test]
fn every_recorded_case_is_played() {
    let recorded = case::load(&["all"]).expect("the cases are read");
    let names: Vec<&str> = recorded.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names, CASES);
}
