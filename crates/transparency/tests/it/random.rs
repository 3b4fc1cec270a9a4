//! What holds for any tree, note and file.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use tagtrail_transparency::hash::{self, Hash};
use tagtrail_transparency::note::{Note, Signature};
use tagtrail_transparency::proof::{self, ProofError, ProveError};
use tagtrail_transparency::proof::{verify_consistency, verify_inclusion, verify_subtree_consistency};
use tagtrail_transparency::tile::{self, Kind, Tile};
use tagtrail_transparency::{Checkpoint, Hashes, Policy, Receipt, SigningKey, VerifierKey, source};

use crate::support::{self, LOG, LOG_KEY, Memory, WITNESS_KEY, leaves, mth, signing};

/// Every root and proof of every size up to 40, against RFC 6962 as it is written down.
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

/// A source that counts its reads.
struct Counting<'m>(&'m Memory, std::cell::RefCell<Vec<(u8, u64, usize)>>);

impl Hashes for Counting<'_> {
    type Error = std::convert::Infallible;

    fn tile_hash(&self, level: u8, index: u64) -> Result<Hash, Self::Error> {
        panic!("hash {index} of level {level} was read alone")
    }

    fn tile_hashes(&self, level: u8, first: u64, count: usize) -> Result<Vec<Hash>, Self::Error> {
        self.1.borrow_mut().push((level, first, count));
        self.0.tile_hashes(level, first, count)
    }
}

/// A proof in a tree of 70,000 entries takes at most two tiles a level, each once and as the tree of that size has it.
#[test]
fn a_proof_reads_few_tiles() {
    let memory = Memory::of(leaves(70_001));
    let size = 70_000;
    let read = |ask: &dyn Fn(&Counting<'_>)| {
        let counting = Counting(&memory, Default::default());
        ask(&counting);
        let tiles = counting.1.into_inner().into_iter().map(|(level, first, count)| {
            let tile = Tile::of(Kind::Hashes(level), first, size).unwrap();
            assert_eq!((tile.items().start, usize::from(tile.width())), (first, count));
            tile.to_string()
        });
        let mut tiles: Vec<String> = tiles.collect();
        tiles.sort();
        tiles.join(" ")
    };
    let edge = "tile/0/273.p/112 tile/1/001.p/17 tile/2/000.p/1";
    assert_eq!(
        read(&|source| {
            source::root(source, size).unwrap();
        }),
        edge
    );
    assert_eq!(
        read(&|source| {
            proof::inclusion(source, 1000, size).unwrap();
        }),
        "tile/0/003 tile/0/273.p/112 tile/1/000 tile/1/001.p/17"
    );
    assert_eq!(
        read(&|source| {
            proof::inclusion(source, size - 1, size).unwrap();
        }),
        edge
    );
    assert_eq!(
        read(&|source| {
            proof::consistency(source, 1000, size).unwrap();
        }),
        "tile/0/003 tile/0/273.p/112 tile/1/000 tile/1/001.p/17"
    );
    assert_eq!(
        read(&|source| {
            proof::consistency(source, 65_536, size).unwrap();
        }),
        "tile/0/273.p/112 tile/1/001.p/17"
    );
    assert_eq!(
        read(&|source| {
            proof::consistency(source, size, size).unwrap();
        }),
        ""
    );
}

#[test]
fn what_cannot_be_proven() {
    let memory = Memory::of(leaves(9));
    assert_eq!(proof::inclusion(&memory, 5, 5), Err(ProveError::NoSuchEntry { index: 5, size: 5 }));
    assert_eq!(proof::inclusion(&memory, 0, 0), Err(ProveError::NoSuchEntry { index: 0, size: 0 }));
    assert_eq!(proof::consistency(&memory, 6, 5), Err(ProveError::Shrunk { from: 6, to: 5 }));
    assert_eq!(proof::consistency(&memory, 0, 5), Ok(Vec::new()));
    assert_eq!(proof::consistency(&memory, 5, 5), Ok(Vec::new()));
    let (empty, root) = (hash::empty_root(), memory.frontier.root());
    assert_eq!(verify_consistency(0, 9, &[], &empty, &root), Err(ProofError::FromEmpty));
    assert_eq!(verify_consistency(0, 0, &[], &empty, &empty), Ok(()));
    assert_eq!(verify_consistency(9, 8, &[], &root, &root), Err(ProofError::Shrunk { from: 9, to: 8 }));
    // The largest sizes there are.
    let result = verify_inclusion(&root, u64::MAX - 1, u64::MAX, &vec![root; 64], &root);
    assert!(matches!(result, Err(ProofError::OtherRoot { .. } | ProofError::TooLong)), "{result:?}");
    let result = verify_consistency(u64::MAX - 1, u64::MAX, &vec![root; 65], &root, &root);
    assert!(matches!(result, Err(ProofError::OtherRoot { .. } | ProofError::TooLong)), "{result:?}");
}

/// A hash with one bit flipped.
fn flipped(hash: &Hash, bit: Index) -> Hash {
    let bit = bit.index(256);
    let mut bytes = *hash.as_bytes();
    bytes[bit / 8] ^= 1 << (bit % 8);
    Hash::from_bytes(bytes)
}

/// Every proof that differs from this one by a flipped bit, or by a hash too many or too few.
fn changed(proof: &[Hash], bit: Index) -> Vec<Vec<Hash>> {
    let mut all = Vec::new();
    for (i, hash) in proof.iter().enumerate() {
        let (mut wrong, mut less, mut twice) = (proof.to_vec(), proof.to_vec(), proof.to_vec());
        wrong[i] = flipped(hash, bit);
        less.remove(i);
        twice.insert(i, *hash);
        all.extend([wrong, less, twice]);
    }
    all.push([proof, &[hash::empty_root()]].concat());
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Larger trees, over several tiles and two levels.
    #[test]
    fn trees_are_as_written_down(size in 1_usize..1000, index in any::<Index>(), from in any::<Index>()) {
        let all = leaves(size);
        let memory = Memory::of(all.iter().copied());
        prop_assert_eq!(memory.frontier.root(), mth(&all));
        prop_assert_eq!(&source::frontier(&memory, size as u64).unwrap(), &memory.frontier);
        let index = index.index(size);
        let inclusion = proof::inclusion(&memory, index as u64, size as u64).unwrap();
        prop_assert_eq!(&inclusion, &support::path(index, &all));
        let from = from.index(size) + 1;
        prop_assert_eq!(source::root(&memory, from as u64), Ok(mth(&all[..from])));
        let consistency = proof::consistency(&memory, from as u64, size as u64).unwrap();
        prop_assert_eq!(&consistency, &support::proof(from, &all));
    }

    /// A proof of inclusion proves one thing only.
    #[test]
    fn no_other_inclusion_is_proven(
        size in 1_u64..300,
        index in any::<Index>(),
        other in any::<Index>(),
        bit in any::<Index>(),
    ) {
        let all = leaves(size as usize);
        let memory = Memory::of(all.iter().copied());
        let (index, root) = (index.index(size as usize) as u64, memory.frontier.root());
        let leaf = all[index as usize];
        let proof = proof::inclusion(&memory, index, size).unwrap();
        prop_assert_eq!(verify_inclusion(&leaf, index, size, &proof, &root), Ok(()));
        for wrong in changed(&proof, bit) {
            prop_assert!(verify_inclusion(&leaf, index, size, &wrong, &root).is_err());
        }
        prop_assert!(verify_inclusion(&flipped(&leaf, bit), index, size, &proof, &root).is_err());
        prop_assert!(verify_inclusion(&leaf, index, size, &proof, &flipped(&root, bit)).is_err());
        let other = other.index(2 * size as usize) as u64;
        if other != index {
            prop_assert!(verify_inclusion(&leaf, other, size, &proof, &root).is_err());
        }
        // The size alone is not what a proof is about: the root is, and belongs to one size only.
        if other < size {
            let root = source::root(&memory, other).unwrap();
            let same = index < other && proof == support::path(index as usize, &all[..other as usize]);
            prop_assert_eq!(verify_inclusion(&leaf, index, other, &proof, &root).is_ok(), same);
        }
    }

    /// A proof of consistency proves one thing only.
    #[test]
    fn no_other_consistency_is_proven(
        to in 2_u64..300,
        from in any::<Index>(),
        other in any::<Index>(),
        bit in any::<Index>(),
    ) {
        let all = leaves(to as usize);
        let memory = Memory::of(all.iter().copied());
        let from = from.index(to as usize - 1) as u64 + 1;
        let (old, new) = (source::root(&memory, from).unwrap(), memory.frontier.root());
        let proof = proof::consistency(&memory, from, to).unwrap();
        prop_assert_eq!(verify_consistency(from, to, &proof, &old, &new), Ok(()));
        for wrong in changed(&proof, bit) {
            prop_assert!(verify_consistency(from, to, &wrong, &old, &new).is_err());
        }
        prop_assert!(verify_consistency(from, to, &proof, &flipped(&old, bit), &new).is_err());
        prop_assert!(verify_consistency(from, to, &proof, &old, &flipped(&new, bit)).is_err());
        prop_assert!(verify_consistency(from, to, &proof, &new, &old).is_err());
        let other = other.index(to as usize) as u64;
        if other != from {
            prop_assert!(verify_consistency(other, to, &proof, &old, &new).is_err());
        }
        // A tree in which one early entry was changed does not go on from the old one, whatever is shown.
        let mut rewritten = all.clone();
        let at = bit.index(from as usize);
        rewritten[at] = flipped(&all[at], bit);
        let rewritten = Memory::of(rewritten);
        let proof = proof::consistency(&rewritten, from, to).unwrap();
        prop_assert!(verify_consistency(from, to, &proof, &old, &rewritten.frontier.root()).is_err());
    }

    #[test]
    fn a_tile_is_read_as_it_was_written(
        level in prop::option::of(0_u8..8),
        index in any::<u64>(),
        shift in 0_u32..64,
        width in 1_u16..=256,
    ) {
        let kind = level.map_or(Kind::Entries, Kind::Hashes);
        if let Ok(tile) = Tile::new(kind, index >> shift, width) {
            prop_assert_eq!(tile.to_string().parse(), Ok(tile));
            let entries = tile.entries();
            prop_assert!(entries.start < entries.end);
            prop_assert_eq!(Tile::of(kind, tile.items().start, entries.end), Some(tile));
        }
    }

    /// The tiles that a tree gets as it grows, put together, are the tiles it has.
    #[test]
    fn tiles_add_up(sizes in vec(0_u64..100_000, 1..5)) {
        let mut sizes = sizes;
        sizes.sort_unstable();
        let mut tiles = std::collections::BTreeMap::new();
        let mut from = 0;
        for to in sizes {
            for tile in Tile::hashes_between(from, to) {
                let earlier = tiles.insert((tile.kind(), tile.index()), tile.width());
                prop_assert!(earlier < Some(tile.width()), "it was there before");
            }
            from = to;
        }
        let all: Vec<_> = Tile::hashes_between(0, from).map(|tile| ((tile.kind(), tile.index()), tile.width())).collect();
        prop_assert_eq!(tiles.into_iter().collect::<Vec<_>>(), all);
    }

    #[test]
    fn a_bundle_is_read_as_it_was_written(entries in vec(vec(any::<u8>(), 0..40), 1..256), cut in any::<Index>()) {
        let bundle = tile::encode_entries(&entries).unwrap();
        let width = entries.len() as u16;
        prop_assert_eq!(tile::decode_entries(&bundle, width).unwrap(), entries);
        prop_assert!(tile::decode_entries(&bundle, width - 1).is_err());
        prop_assert!(tile::decode_entries(&bundle, width + 1).is_err());
        prop_assert!(tile::decode_entries(&bundle[..cut.index(bundle.len())], width).is_err());
    }

    #[test]
    fn a_note_is_read_as_it_was_written(
        lines in vec("[^\\x00-\\x1f]{0,20}", 1..6),
        signers in vec((any::<u8>(), "[a-zé/.—]{1,9}"), 1..5),
    ) {
        let text = lines.join("\n") + "\n";
        let keys: Vec<SigningKey> = signers.iter().map(|(seed, name)| signing(name, *seed)).collect();
        let mut note = Note::new(text.clone()).unwrap();
        keys.iter().for_each(|key| note.sign(key));
        let read = Note::parse(note.to_string().as_bytes()).unwrap();
        prop_assert_eq!(&read, &note);
        for key in &keys {
            prop_assert_eq!(key.verifier().to_string().parse::<VerifierKey>(), Ok(key.verifier()));
            prop_assert_eq!(key.to_private_text().parse::<SigningKey>().unwrap().verifier(), key.verifier());
            let verifier = key.verifier();
            prop_assert!(read.verify([&verifier]).is_ok());
            let mut other = Note::new(format!("{text}\n")).unwrap();
            note.signatures().iter().for_each(|signature| other.add(signature.clone()));
            prop_assert!(other.verify([&verifier]).is_err());
        }
    }

    #[test]
    fn a_receipt_is_read_as_it_was_written(
        size in 1_usize..200,
        index in any::<Index>(),
        extra in prop::option::of(vec(any::<u8>(), 0..40)),
        at in any::<Index>(),
        bit in 0_u8..7,
    ) {
        let memory = Memory::of(leaves(size));
        let index = index.index(size) as u64;
        let key = signing("log.example", 1);
        let checkpoint = Checkpoint::new("log.example", size as u64, memory.frontier.root()).unwrap();
        let proof = proof::inclusion(&memory, index, size as u64).unwrap();
        let mut receipt = Receipt::new(index, proof, checkpoint.sign(&key).unwrap());
        if let Some(extra) = &extra {
            receipt = receipt.with_extra(extra.clone());
        }
        let text = receipt.to_string();
        prop_assert_eq!(&Receipt::parse(text.as_bytes()), &Ok(receipt.clone()));
        let leaf = hash::leaf(&index.to_be_bytes());
        prop_assert_eq!(receipt.verify(&leaf, &key.verifier()), Ok(checkpoint));

        // One bit of the file flipped: it is refused, or only the extra data, which nothing proves, is another.
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(read) = Receipt::parse(&bytes) {
            let as_before = receipt.clone().with_extra(Vec::new()) == read.clone().with_extra(Vec::new());
            prop_assert!(as_before || read.verify(&leaf, &key.verifier()).is_err());
        }
    }

    #[test]
    fn a_policy_is_read_as_it_was_written(
        logs in 0_u8..4,
        witnesses in 1_u8..8,
        groups in vec((any::<Index>(), any::<Index>()), 0..4),
        quorum in prop::option::of(any::<Index>()),
    ) {
        let mut lines = Vec::new();
        lines.extend((0..logs).map(|i| format!("log {} https://{i}", signing("log", i).verifier())));
        lines.extend((0..witnesses).map(|i| format!("witness w{i} {}", signing("w", 50 + i).cosigner())));
        let mut free: Vec<String> = (0..witnesses).map(|i| format!("w{i}")).collect();
        let mut names = free.clone();
        for (i, (count, threshold)) in groups.iter().enumerate() {
            let members: Vec<String> = free.drain(..count.index(free.len()) + 1).collect();
            lines.push(format!("group g{i} {} {}", threshold.index(members.len()) + 1, members.join(" ")));
            free.push(format!("g{i}"));
            names.push(format!("g{i}"));
        }
        lines.push(format!("quorum {}", quorum.map_or("none", |quorum| names[quorum.index(names.len())].as_str())));
        let text = lines.join("\n") + "\n";
        let policy = Policy::parse(text.as_bytes()).unwrap();
        prop_assert_eq!(policy.to_bytes(), text.into_bytes());
    }

    /// Anything at all may come over a wire.
    #[test]
    fn nothing_panics(bytes in vec(any::<u8>(), 0..200), text in "\\PC{0,60}", width in 0_u16..300) {
        all_readers(&bytes, width);
        all_readers(text.as_bytes(), width);
    }

    /// Nor what is almost right.
    #[test]
    fn nothing_almost_right_panics(which in 0_usize..6, edits in vec((any::<Index>(), any::<u8>(), 0_u8..3), 1..4)) {
        let files = [
            LOG.to_owned(),
            LOG_KEY.to_owned(),
            signing("log", 1).to_private_text(),
            format!("c2sp.org/tlog-proof@v1\nextra AA==\nindex 4\n{}\n\n{LOG}", hash::empty_root()),
            format!("log {LOG_KEY}\nwitness w {WITNESS_KEY}\ngroup g any w\nquorum g\n"),
            "tile/0/x001/x234/067.p/17".to_owned(),
        ];
        let mut bytes = files[which].clone().into_bytes();
        for (at, byte, edit) in edits {
            let at = at.index(bytes.len());
            match edit {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        all_readers(&bytes, 3);
    }
}

fn all_readers(bytes: &[u8], width: u16) {
    let keys = [LOG_KEY.parse().unwrap(), WITNESS_KEY.parse::<VerifierKey>().unwrap()];
    if let Ok(note) = Note::parse(bytes) {
        assert_eq!(note.to_string().as_bytes(), bytes, "what was read is written as it was");
        let _ = note.verify(&keys);
        if let Ok(checkpoint) = note.text().parse::<Checkpoint>() {
            assert_eq!(checkpoint.to_string(), note.text());
        }
    }
    if let Ok(receipt) = Receipt::parse(bytes) {
        assert_eq!(receipt.to_string().as_bytes(), bytes);
        let _ = receipt.verify(&hash::empty_root(), &keys[0]);
    }
    if let Ok(policy) = Policy::parse(bytes) {
        assert_eq!(Policy::parse(&policy.to_bytes()), Ok(policy));
    }
    let _ = tile::decode_entries(bytes, width);
    let _ = tile::decode_hashes(bytes, width);
    if let Ok(text) = str::from_utf8(bytes) {
        let _ = text.parse::<SigningKey>();
        if let Ok(key) = text.parse::<VerifierKey>() {
            assert_eq!(key.to_string().to_lowercase(), text.to_lowercase());
        }
        if let Ok(tile) = text.parse::<Tile>() {
            assert_eq!(tile.to_string(), text);
        }
        if let Ok(signature) = text.parse::<Signature>() {
            assert_eq!(signature.to_string(), text);
        }
        if let Ok(hash) = text.parse::<Hash>() {
            assert_eq!(hash.to_string(), text);
        }
    }
}
