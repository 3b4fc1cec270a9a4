//! Paths and bytes of tiles.

use tagtrail_transparency::hash;
use tagtrail_transparency::tile::{self, ContentError, Kind, Tile, TileError};

use crate::support::{LITTLE_LOG, Memory, hex};

#[test]
fn a_tile_is_its_path() {
    for (path, kind, index, width) in [
        ("tile/0/000", Kind::Hashes(0), 0, 256),
        ("tile/0/000.p/1", Kind::Hashes(0), 0, 1),
        ("tile/0/999.p/255", Kind::Hashes(0), 999, 255),
        ("tile/0/x001/000", Kind::Hashes(0), 1000, 256),
        ("tile/0/x001/x234/067", Kind::Hashes(0), 1_234_067, 256),
        ("tile/2/x001/x234/067.p/8", Kind::Hashes(2), 1_234_067, 8),
        ("tile/entries/x999/999", Kind::Entries, 999_999, 256),
        ("tile/entries/x001/x000/000.p/64", Kind::Entries, 1_000_000, 64),
        ("tile/7/000.p/255", Kind::Hashes(7), 0, 255),
    ] {
        let tile = Tile::new(kind, index, width).unwrap();
        assert_eq!(tile.to_string(), path);
        assert_eq!(path.parse(), Ok(tile));
    }
}

#[test]
fn what_is_no_path_of_a_tile() {
    for (path, error) in [
        ("", TileError::Path),
        ("/tile/0/000", TileError::Path),
        ("tile", TileError::Path),
        ("tile/0", TileError::Path),
        ("tile/0/", TileError::Path),
        ("tile/0/0", TileError::Path),
        ("tile/0/0000", TileError::Path),
        ("tile/0/000/", TileError::Path),
        ("tile/0/x000", TileError::Path),
        ("tile/0/x000/001", TileError::Path),
        ("tile/0/001/001", TileError::Path),
        ("tile/0/X001/001", TileError::Path),
        ("tile/0/x+01/001", TileError::Path),
        ("tile/0/000.p", TileError::Path),
        ("tile/0/000.p/", TileError::Path),
        ("tile/0/000.p/07", TileError::Path),
        ("tile/0/000.p/1/", TileError::Path),
        ("tile/0/000.p/1.p/1", TileError::Path),
        ("tile/0/000.p/0", TileError::Width(0)),
        ("tile/0/000.p/256", TileError::Width(256)),
        ("tile/00/000", TileError::Level),
        ("tile/-1/000", TileError::Level),
        ("tile/64/000", TileError::Level),
        ("tile/data/000", TileError::Level),
        ("tile/63/000", TileError::Beyond),
        ("tile/8/000.p/1", TileError::Beyond),
        ("tile/7/000", TileError::Beyond),
        ("tile/7/001.p/1", TileError::Beyond),
        ("tile/0/x999/x999/x999/x999/x999/x999/999", TileError::Beyond),
    ] {
        assert_eq!(path.parse::<Tile>(), Err(error), "{path}");
    }
}

/// The example of `tlog-tiles`: 273 full tiles of level 0 and a partial one, and so on up.
#[test]
fn tiles_of_a_tree() {
    let tiles: Vec<Tile> = Tile::hashes_between(0, 70_000).collect();
    let of = |level| tiles.iter().filter(move |tile| tile.kind() == Kind::Hashes(level));
    let full = |level| of(level).filter(|tile| tile.is_full()).count();
    let partial =
        |level| of(level).filter(|tile| !tile.is_full()).map(|tile| tile.width()).collect::<Vec<_>>();
    assert_eq!((full(0), partial(0)), (273, vec![112]));
    assert_eq!((full(1), partial(1)), (1, vec![17]));
    assert_eq!((full(2), partial(2)), (0, vec![1]));
    assert_eq!(tiles.len(), 274 + 2 + 1);

    let between =
        |from, to| Tile::hashes_between(from, to).map(|t| t.to_string()).collect::<Vec<_>>().join(" ");
    assert_eq!(between(0, 0), "");
    assert_eq!(between(5, 5), "");
    assert_eq!(between(6, 5), "");
    assert_eq!(between(0, 256), "tile/0/000 tile/1/000.p/1");
    assert_eq!(between(255, 257), "tile/0/000 tile/0/001.p/1 tile/1/000.p/1");
    assert_eq!(between(256, 257), "tile/0/001.p/1");
    assert_eq!(between(65_535, 65_536), "tile/0/255 tile/1/000 tile/2/000.p/1");
    let bundles: Vec<_> = Tile::new_between(Kind::Entries, 250, 520).map(|t| t.to_string()).collect();
    assert_eq!(bundles, ["tile/entries/000", "tile/entries/001", "tile/entries/002.p/8"]);
}

#[test]
fn where_an_item_is() {
    for (kind, item, size, path) in [
        (Kind::Hashes(0), 0, 1, "tile/0/000.p/1"),
        (Kind::Hashes(0), 69_999, 70_000, "tile/0/273.p/112"),
        (Kind::Hashes(0), 255, 70_000, "tile/0/000"),
        (Kind::Hashes(1), 272, 70_000, "tile/1/001.p/17"),
        (Kind::Entries, 256, 70_000, "tile/entries/001"),
    ] {
        let tile = Tile::of(kind, item, size).unwrap();
        assert_eq!(tile.to_string(), path);
        assert!(tile.items().contains(&item) && tile.entries().end <= size);
    }
    assert_eq!(Tile::of(Kind::Hashes(1), 273, 70_000), None);
    assert_eq!(Tile::of(Kind::Hashes(0), 0, 0), None);
    assert_eq!(Tile::of(Kind::Hashes(8), 0, u64::MAX), None);
    let largest = Tile::of(Kind::Hashes(0), u64::MAX - 1, u64::MAX).unwrap();
    assert_eq!((largest.width(), largest.entries().end, largest.full()), (255, u64::MAX, None));
    assert_eq!("tile/1/001.p/17".parse::<Tile>().unwrap().entries(), 65_536..65_536 + 17 * 256);
}

#[test]
fn bytes_of_a_little_log() {
    let bundle = tile::encode_entries(&LITTLE_LOG[..3]).unwrap();
    assert_eq!(hex(&bundle), "00036f6e65000374776f00057468726565");
    assert_eq!(tile::decode_entries(&bundle, 3).unwrap(), [&b"one"[..], b"two", b"three"]);

    let log = Memory::of(LITTLE_LOG[..2].iter().map(|entry| hash::leaf(entry.as_bytes())));
    let bytes = tile::encode_hashes(&log.levels[0]);
    assert_eq!(
        hex(&bytes),
        "d0d7360ab79f58ab1e1e3fe64ad77e2ea0bc07e36b5f46ed2223edd9298df9e9\
         ab1ab7f07c7c8fe0eff4ba6faa53c7e4412e91a599153e8aa4e01beece5b7825"
    );
    assert_eq!(tile::decode_hashes(&bytes, 2), Ok(log.levels[0].clone()));
}

#[test]
fn a_width_is_kept_exactly() {
    let bundle = tile::encode_entries(["one", "", "three"]).unwrap();
    assert_eq!(tile::decode_entries(&bundle, 2), Err(ContentError::AfterLastEntry { bytes: 7 }));
    assert_eq!(tile::decode_entries(&bundle, 4), Err(ContentError::EntryCutOff { index: 3 }));
    for cut in 8..bundle.len() {
        assert_eq!(tile::decode_entries(&bundle[..cut], 3), Err(ContentError::EntryCutOff { index: 2 }));
    }
    let largest = vec![7; tile::MAX_ENTRY_BYTES];
    assert_eq!(tile::decode_entries(&tile::encode_entries([&largest]).unwrap(), 1).unwrap(), [&largest]);
    let too_large = tile::encode_entries([vec![7; tile::MAX_ENTRY_BYTES + 1]]);
    assert_eq!(too_large, Err(ContentError::EntryTooLarge { size: 65_536 }));
    for (bytes, width) in [(64, 1), (64, 3), (63, 2), (65, 2), (0, 1)] {
        let error = ContentError::TileLength { expected: usize::from(width) * 32, actual: bytes };
        assert_eq!(tile::decode_hashes(&vec![0; bytes], width), Err(error));
    }
}
