//! The log as files over HTTP: what is there, under which headers, and what is not.

use tagtrail_tests::server::{Options, Page, Server};
use tagtrail_transparency::{Hash, hash};

use super::{covering, fill, open};
use crate::api::Api;

const FOR_EVER: &str = "public, max-age=31536000, immutable";

fn got(server: &Server, path: &str) -> Page {
    let page = server.get(path).expect("an answer");
    assert_eq!(page.status, 200, "{path}: {}", page.text());
    page
}

/// The entries of a bundle: each after its length in two bytes.
fn entries(mut bundle: &[u8]) -> Vec<Vec<u8>> {
    let mut entries = Vec::new();
    while let Some((length, rest)) = bundle.split_first_chunk::<2>() {
        let (entry, rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)));
        entries.push(entry.to_vec());
        bundle = rest;
    }
    entries
}

#[test]
fn the_log_as_files() {
    let server = Server::start(Options::default()).expect("the server starts");
    let api = Api::of(&server);
    let head = fill(&api, 300);
    let size = covering(&api, head).size;
    let width = size - 256;
    assert!((1..256).contains(&width), "{size}");

    let page = got(&server, "/log/checkpoint");
    assert_eq!(page.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(page.header("cache-control"), "public, max-age=1");
    let key = covering(&api, 0).verifier_key;
    assert_eq!(open(&page.text(), &key).size(), size);
    // The key stands beside no file: whoever does not trust the server has it from elsewhere.

    let tile = |path: &str, length: usize| {
        let page = got(&server, path);
        assert_eq!(page.header("content-type"), "application/octet-stream", "{path}");
        assert_eq!(page.header("cache-control"), FOR_EVER, "{path}");
        assert!(length == 0 || page.body.len() == length, "{path}: {} bytes", page.body.len());
        page.body
    };
    let partial = usize::try_from(width).expect("a small number");
    let full = tile("/log/tile/0/000", 8192);
    let part = tile(&format!("/log/tile/0/001.p/{width}"), 32 * partial);
    let top = tile("/log/tile/1/000.p/1", 32);
    // What was partial at an earlier size is still there, and says the same.
    assert_eq!(tile("/log/tile/0/000.p/7", 32 * 7), full[..32 * 7]);
    assert_eq!(tile("/log/tile/0/001.p/1", 32), part[..32]);
    // Entries are the events, and their hashes are the tiles.
    let first = entries(&tile("/log/tile/entries/000", 0));
    let rest = entries(&tile(&format!("/log/tile/entries/001.p/{width}"), 0));
    assert_eq!((first.len(), rest.len()), (256, partial));
    assert_eq!(entries(&tile("/log/tile/entries/000.p/3", 0)), first[..3]);
    for (entries, tile) in [(&first, &full), (&rest, &part)] {
        for (entry, stored) in entries.iter().zip(tile.chunks(32)) {
            assert_eq!(hash::leaf(entry).as_bytes().as_slice(), stored);
        }
    }
    let mut row: Vec<Hash> = first.iter().map(|entry| hash::leaf(entry)).collect();
    while row.len() > 1 {
        row = row.chunks(2).map(|pair| hash::node(&pair[0], &pair[1])).collect();
    }
    assert_eq!(row[0].as_bytes().as_slice(), top);

    //   what is not there                                  and why
    for (path, why) in [
        ("/log/tile/0/001", format!("the newest checkpoint is over {size} events, and tile/0/001 needs 512")),
        (&format!("/log/tile/0/001.p/{}", width + 1), format!("needs {}", size + 1)),
        ("/log/tile/0/002.p/1", "needs 513".into()),
        ("/log/tile/1/000", "needs 65536".into()),
        ("/log/tile/1/000.p/2", "needs 512".into()),
        ("/log/tile/2/000.p/1", "needs 65536".into()),
        ("/log/tile/entries/001", "needs 512".into()),
        ("/log/tile/entries/x001/000.p/1", "needs 256001".into()),
        // No paths of tiles at all.
        ("/log/tile/0/1", String::new()),
        ("/log/tile/0/000.p/256", String::new()),
        ("/log/tile/0/000.p/0", String::new()),
        ("/log/tile/0/000.p/007", String::new()),
        ("/log/tile/0/000/", String::new()),
        ("/log/tile/00/000", String::new()),
        ("/log/tile/-1/000", String::new()),
        ("/log/tile/64/000", String::new()),
        ("/log/tile/0/x000/000", String::new()),
        ("/log/tile/data/000", String::new()),
        ("/log/tile/8/0/000", String::new()),
        ("/log/tile/0/../../log.key", String::new()),
        ("/log/tile/%2e%2e/%2e%2e/log.key", String::new()),
        ("/log/tile/0/999/999/999", String::new()),
        ("/log/tile/entries/x999/x999/x999/x999/x999/x999/x999/999", String::new()),
    ] {
        let page = server.get(path).expect("an answer");
        let said = page.text();
        assert_eq!(page.status, 404, "{path}: {said}");
        assert!(said.contains(&why) && said.trim().contains(' ') && said.ends_with('\n'), "{path}: {said:?}");
        assert!(!page.header("cache-control").contains("immutable"), "{path}");
    }
    for path in ["/log", "/log/", "/log/tile", "/log/tile/", "/log/log.key", "/log/nonsense"] {
        assert_eq!(server.get(path).expect("an answer").status, 404, "{path}");
    }
}
