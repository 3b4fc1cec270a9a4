//! The smallest web server that can give a directory away, and the files of a log at one size.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;

use bytes::Bytes;
use tagtrail_transparency::tile::{self, Kind, Tile};
use tagtrail_transparency::{Frontier, Hash, hash};

use crate::history::{checkpoint, key};

/// Gives away the files of a directory, for as long as the test runs. Gives the URL.
pub(crate) fn serve(dir: &Path) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/log", listener.local_addr().unwrap());
    let dir = dir.to_owned();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let dir = dir.clone();
            thread::spawn(move || answer(stream, &dir));
        }
    });
    url
}

fn answer(stream: TcpStream, dir: &Path) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if line.trim().is_empty() {
                break;
            }
        }
        let path = request.split(' ').nth(1).unwrap().strip_prefix("/log/").unwrap();
        let (status, body) = match fs::read(dir.join(path)) {
            Ok(body) => ("200 OK", body),
            Err(_) => ("404 Not Found", Vec::new()),
        };
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
        if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).is_err() {
            return;
        }
    }
}

/// Writes the files of the log of these events, as a server gives them away, made apart from what is tested.
pub(crate) fn publish(dir: &Path, payloads: &[Bytes]) {
    let size = payloads.len() as u64;
    let mut levels: Vec<Vec<Hash>> = vec![Vec::new(); 8];
    let mut tree = Frontier::new();
    for payload in payloads {
        tree.push_and_keep(hash::leaf(payload), |level, _, hash| levels[usize::from(level)].push(hash));
    }
    let write = |tile: Tile, bytes: Vec<u8>| {
        let path: PathBuf = dir.join(tile.to_string());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let range = |tile: &Tile| tile.items().start as usize..tile.items().end as usize;
    for tile in Tile::hashes_between(0, size) {
        let Kind::Hashes(level) = tile.kind() else { unreachable!() };
        write(tile, tile::encode_hashes(&levels[usize::from(level)][range(&tile)]));
    }
    for tile in Tile::new_between(Kind::Entries, 0, size) {
        write(tile, tile::encode_entries(&payloads[range(&tile)]).unwrap());
    }
    fs::write(dir.join("checkpoint"), checkpoint(payloads, &key())).unwrap();
}
