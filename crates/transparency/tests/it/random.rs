//! What holds for any tree, note and file.

use proptest::prelude::*;
use tagtrail_transparency::proof::{self, verify_consistency, verify_inclusion, verify_subtree_consistency};
use tagtrail_transparency::source;

use crate::support::{self, Memory, leaves, mth};

/// Every root, proof and frontier of every size up to 40, against RFC 6962 as it is written down.
#[test]
fn small_trees_are_as_written_down() {
    let all = leaves(40);
    let memory = Memory::of(all.iter().copied());
    for to in 0..=all.len() {
        let tree = &all[..to];
        let (size, root) = (to as u64, mth(tree));
        assert_eq!(source::root(&memory, size), Ok(root));
        for (index, leaf) in tree.iter().enumerate() {
            let proof = proof::inclusion(&memory, index as u64, size).unwrap();
            assert_eq!(proof, support::path(index, tree));
            assert_eq!(verify_inclusion(leaf, index as u64, size, &proof, &root), Ok(()));
        }
        for from in 1..=to {
            let proof = proof::consistency(&memory, from as u64, size).unwrap();
            assert_eq!(proof, support::proof(from, tree));
            assert_eq!(verify_consistency(from as u64, size, &proof, &mth(&all[..from]), &root), Ok(()));
        }
        // Every subtree of every tree.
        for width in (0..6).map(|height| 1 << height) {
            for start in (0..to).step_by(width) {
                for end in start + width / 2 + 1..=to.min(start + width) {
                    let proof = support::subtree_proof(start, end, tree, true);
                    let subtree = mth(&all[start..end]);
                    let (start, end) = (start as u64, end as u64);
                    assert_eq!(verify_subtree_consistency(start, end, size, &proof, &subtree, &root), Ok(()));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// Larger trees, over several tiles and two levels.
    #[test]
    fn trees_are_as_written_down(size in 1_usize..1500, index in any::<prop::sample::Index>(), from in any::<prop::sample::Index>()) {
        let all = leaves(size);
        let memory = Memory::of(all.iter().copied());
        prop_assert_eq!(memory.frontier.root(), mth(&all));
        prop_assert_eq!(source::root(&memory, size as u64), Ok(mth(&all)));
        prop_assert_eq!(&source::frontier(&memory, size as u64).unwrap(), &memory.frontier);

        let index = index.index(size);
        let inclusion = proof::inclusion(&memory, index as u64, size as u64).unwrap();
        prop_assert_eq!(&inclusion, &support::path(index, &all));
        let from = from.index(size) + 1;
        let consistency = proof::consistency(&memory, from as u64, size as u64).unwrap();
        prop_assert_eq!(&consistency, &support::proof(from, &all));
    }
}
