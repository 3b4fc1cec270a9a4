//! Roots and proofs that others have published.

use std::collections::BTreeMap;

use serde_json::Value;
use tagtrail_transparency::hash::{self, Hash};
use tagtrail_transparency::proof::{
    verify_consistency, verify_inclusion, verify_subtree_consistency, verify_subtree_inclusion,
};
use tagtrail_transparency::{Frontier, source};

use crate::support::{LITTLE_LOG, Memory, REFERENCE, hex};

#[test]
fn roots_of_the_reference_tree() {
    let roots = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let leaves =
        ["6e340b9c", "96a296d2", "0298d122", "07506a85", "bc1a0643", "4271a26b", "b08693ec", "46f6ffad"];
    let mut tree = Frontier::new();
    assert_eq!(hex(tree.root().as_bytes()), roots[0]);
    for (i, entry) in REFERENCE.iter().enumerate() {
        let leaf = hash::leaf(entry);
        assert_eq!(hex(leaf.as_bytes())[..8], *leaves[i]);
        tree.push(leaf);
        assert_eq!(hex(tree.root().as_bytes()), roots[i + 1]);
    }
}

#[test]
fn roots_of_a_little_log() {
    let log = Memory::of(LITTLE_LOG.iter().map(|entry| hash::leaf(entry.as_bytes())));
    for (size, root) in [
        (0, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="),
        (1, "0Nc2CrefWKseHj/mStd+LqC8B+NrX0btIiPt2SmN+ek="),
        (2, "T1X2GdkhUjV3iyufF9b0kVsWFxIU0VI4EpNml2Teci4="),
        (3, "Wqx3HImawpLnS/Gv4ubjAvi1WIOy0b8Ze0amvqbavKk="),
        (8, "bC+VwvrJbalNVjfkdI8kUgs7mJoXrqiXCE7bgnD28pY="),
        (15, "rKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja/1nk427v383cs="),
    ] {
        assert_eq!(source::root(&log, size).unwrap().to_string(), root);
    }
}

/// The test data of transparency-dev/merkle: good proofs, and each of them broken in many ways.
///
/// Two things differ by design. A hash of another length cannot be said here at all, so the text is refused where it is
/// read. And "don't care", which stands for a root in cases about sizes only, is taken for some hash.
#[test]
fn published_proofs() {
    let mut lines = include_str!("../vectors/merkle.jsonl").lines();
    let header = lines.next().unwrap();
    assert!(header.contains("Apache-2.0"));
    let mut seen = BTreeMap::new();
    for line in lines {
        let case: Value = serde_json::from_str(line).unwrap();
        let kind = case["kind"].as_str().unwrap();
        let wrong = case["wantErr"].as_bool().unwrap();
        let result = check(kind, &case);
        assert_eq!(result.is_err(), wrong, "{result:?}: {line}");
        *seen.entry(kind.to_owned()).or_insert(0) += 1;
    }
    let seen: Vec<_> = seen.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
    assert_eq!(
        seen,
        [("consistency", 98), ("inclusion", 98), ("subtreeconsistency", 118), ("subtreeinclusion", 204)]
    );
}

fn check(kind: &str, case: &Value) -> Result<(), String> {
    let number = |field: &str| case[field].as_u64().unwrap_or_else(|| panic!("{field} is a number: {case}"));
    let read = |value: &Value| match value.as_str().unwrap() {
        // "don't care 1" and "don't care 2".
        text @ ("ZG9uJ3QgY2FyZSAx" | "ZG9uJ3QgY2FyZSAy") => Ok(hash::leaf(text.as_bytes())),
        text => text.parse::<Hash>().map_err(|error| error.to_string()),
    };
    let proof: Vec<Hash> =
        case["proof"].as_array().map_or(Ok(Vec::new()), |proof| proof.iter().map(read).collect())?;
    match kind {
        "inclusion" => verify_inclusion(
            &read(&case["leafHash"])?,
            number("leafIdx"),
            number("treeSize"),
            &proof,
            &read(&case["root"])?,
        ),
        "subtreeinclusion" => verify_subtree_inclusion(
            &read(&case["leafHash"])?,
            number("leafIdx"),
            number("start"),
            number("end"),
            &proof,
            &read(&case["root"])?,
        ),
        "consistency" => verify_consistency(
            number("size1"),
            number("size2"),
            &proof,
            &read(&case["root1"])?,
            &read(&case["root2"])?,
        ),
        "subtreeconsistency" => verify_subtree_consistency(
            number("start"),
            number("end"),
            number("size"),
            &proof,
            &read(&case["root1"])?,
            &read(&case["root2"])?,
        ),
        other => panic!("no such kind: {other}"),
    }
    .map_err(|error| error.to_string())
}
