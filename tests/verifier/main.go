// Checks a log of Tagtrail with code that is not Tagtrail's: the notes and trees of Go's checksum database
// (golang.org/x/mod/sumdb/note and tlog), which every `go get` trusts.
//
//	verifier [-checkpoint FILE]... [-receipt FILE]... LOG VKEY
//
// LOG is a directory or http://HOST:PORT/PATH with checkpoint, tile/L/... and tile/entries/... . All of it is checked:
//
//   - the checkpoint: signed by VKEY, named as the key is;
//   - every hash of every entry, in tiles that are checked against the signed root (tlog.TileHashReader);
//   - every entry: that its bytes have the hash that the tree has for them;
//   - for entries all over the tree, the proof that they are in it (tlog.ProveRecord, CheckRecord);
//   - for each earlier checkpoint, the proof that the log goes on from it (tlog.ProveTree, CheckTree);
//   - for each receipt (.tlog-proof), its checkpoint and its proof, for the event it carries, and that the log goes on from
//     its checkpoint and has that event there.
//
// Prints what it covered and ends with 0; with 1, and what is wrong, if anything is.
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Tiles have 256 hashes.
const height = 8

// How many entries are proved one by one; the hash of every one is checked anyway.
const sample = 64

func main() {
	var checkpoints, receipts files
	flag.Var(&checkpoints, "checkpoint", "an earlier checkpoint")
	flag.Var(&receipts, "receipt", "a receipt (.tlog-proof)")
	flag.Parse()
	if flag.NArg() != 2 {
		fmt.Fprintln(os.Stderr, "usage: verifier [-checkpoint FILE]... [-receipt FILE]... LOG VKEY")
		os.Exit(2)
	}
	covered, err := verify(flag.Arg(0), flag.Arg(1), checkpoints, receipts)
	if err != nil {
		fmt.Fprintln(os.Stderr, "NO:", err)
		os.Exit(1)
	}
	fmt.Println(covered)
}

type files []string

func (f *files) String() string         { return strings.Join(*f, " ") }
func (f *files) Set(value string) error { *f = append(*f, value); return nil }

func verify(log, vkey string, checkpoints, receipts []string) (string, error) {
	key, err := note.NewVerifier(vkey)
	if err != nil {
		return "", fmt.Errorf("the key: %w", err)
	}
	fetch := fetcher(log)
	signed, err := fetch("checkpoint")
	if err != nil {
		return "", err
	}
	tree, err := open(signed, key)
	if err != nil {
		return "", fmt.Errorf("the checkpoint: %w", err)
	}
	tiles := &tiles{fetch: fetch, seen: map[string][]byte{}}
	hashes := tlog.TileHashReader(tree, tiles)

	// The hashes of all entries, and with them every tile.
	leaves := make([]int64, tree.N)
	for n := range leaves {
		leaves[n] = tlog.StoredHashIndex(0, int64(n))
	}
	var stored []tlog.Hash
	if tree.N > 0 {
		if stored, err = hashes.ReadHashes(leaves); err != nil {
			return "", fmt.Errorf("the tiles: %w", err)
		}
	}
	// No tile is left out: those of every level.
	for _, tile := range tlog.NewTiles(height, 0, tree.N) {
		if _, ok := tiles.seen[path(tile)]; ok {
			continue
		}
		if _, err := tlog.ReadTileData(tile, hashes); err != nil {
			return "", fmt.Errorf("%s: %w", path(tile), err)
		}
	}
	bundles := 0
	for first := int64(0); first < tree.N; first += 1 << height {
		entries, err := bundle(fetch, first, min(tree.N-first, 1<<height))
		if err != nil {
			return "", err
		}
		bundles++
		for i, entry := range entries {
			if tlog.RecordHash(entry) != stored[first+int64(i)] {
				return "", fmt.Errorf("entry %d is not the one in the tree", first+int64(i))
			}
		}
	}
	proved := 0
	for n := int64(0); n < tree.N; n += max(1, tree.N/sample) {
		if err := inTree(tree, n, stored[n], hashes); err != nil {
			return "", fmt.Errorf("entry %d: %w", n, err)
		}
		proved++
	}
	if last := tree.N - 1; last >= 0 {
		if err := inTree(tree, last, stored[last], hashes); err != nil {
			return "", fmt.Errorf("the last entry: %w", err)
		}
		proved++
	}
	for _, file := range checkpoints {
		signed, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		earlier, err := open(signed, key)
		if err == nil {
			err = goesOn(tree, earlier, hashes)
		}
		if err != nil {
			return "", fmt.Errorf("the checkpoint %s: %w", file, err)
		}
	}
	for _, file := range receipts {
		if err := receipt(file, key, tree, stored, hashes); err != nil {
			return "", fmt.Errorf("the receipt %s: %w", file, err)
		}
	}
	return fmt.Sprintf("YES: %d entries, %d tiles of hashes, %d bundles of entries, %d proofs of entries, %d earlier checkpoints, %d receipts",
		tree.N, len(tiles.seen), bundles, proved, len(checkpoints), len(receipts)), nil
}

// Reads a signed checkpoint (C2SP tlog-checkpoint): the log's name, the size, the root.
func open(signed []byte, key note.Verifier) (tlog.Tree, error) {
	opened, err := note.Open(signed, note.VerifierList(key))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[3] != "" || lines[0] != key.Name() {
		return tlog.Tree{}, fmt.Errorf("not the three lines of a checkpoint of %s: %q", key.Name(), opened.Text)
	}
	// The rest is Go's own form, which only begins with another line.
	return tlog.ParseTree([]byte("go.sum database tree\n" + lines[1] + "\n" + lines[2] + "\n"))
}

func inTree(tree tlog.Tree, n int64, leaf tlog.Hash, hashes tlog.HashReader) error {
	proof, err := tlog.ProveRecord(tree.N, n, hashes)
	if err != nil {
		return err
	}
	return tlog.CheckRecord(proof, tree.N, tree.Hash, n, leaf)
}

func goesOn(tree, earlier tlog.Tree, hashes tlog.HashReader) error {
	if earlier.N == 0 {
		return nil // Every log goes on from nothing.
	}
	if earlier.N > tree.N {
		return fmt.Errorf("the log has %d entries, and this covers %d", tree.N, earlier.N)
	}
	proof, err := tlog.ProveTree(tree.N, earlier.N, hashes)
	if err != nil {
		return err
	}
	return tlog.CheckTree(proof, tree.N, tree.Hash, earlier.N, earlier.Hash)
}

// Checks a receipt (C2SP tlog-proof) by itself, and against the log.
func receipt(file string, key note.Verifier, tree tlog.Tree, stored []tlog.Hash, hashes tlog.HashReader) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	head, checkpoint, found := bytes.Cut(text, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	if !found || len(lines) < 3 || lines[0] != "c2sp.org/tlog-proof@v1" {
		return errors.New("not a receipt")
	}
	extra, hasExtra := strings.CutPrefix(lines[1], "extra ")
	index, hasIndex := strings.CutPrefix(lines[2], "index ")
	if !hasExtra || !hasIndex {
		return errors.New("not a receipt with its event")
	}
	event, err := base64.StdEncoding.Strict().DecodeString(extra)
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt(index, 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != index {
		return fmt.Errorf("no index: %q", index)
	}
	var proof tlog.RecordProof
	for _, line := range lines[3:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return err
		}
		proof = append(proof, hash)
	}
	of, err := open(checkpoint, key)
	if err != nil {
		return err
	}
	leaf := tlog.RecordHash(event)
	if err := tlog.CheckRecord(proof, of.N, of.Hash, n, leaf); err != nil {
		return err
	}
	if err := goesOn(tree, of, hashes); err != nil {
		return err
	}
	if stored[n] != leaf {
		return fmt.Errorf("the log has another entry %d", n)
	}
	return nil
}

// The entries of a bundle: each after its length in two bytes, and nothing after the last.
func bundle(fetch fetch, first, width int64) ([][]byte, error) {
	tile := tlog.Tile{H: height, L: -1, N: first >> height, W: int(width)}
	bytes, err := fetch(path(tile))
	if err != nil {
		return nil, err
	}
	entries := make([][]byte, 0, width)
	for len(bytes) >= 2 {
		length := int(binary.BigEndian.Uint16(bytes))
		if len(bytes) < 2+length {
			break
		}
		entries = append(entries, bytes[2:2+length])
		bytes = bytes[2+length:]
	}
	if len(bytes) != 0 || int64(len(entries)) != width {
		return nil, fmt.Errorf("%s has %d entries and %d bytes more", path(tile), len(entries), len(bytes))
	}
	return entries, nil
}

// The path of a tile in C2SP tlog-tiles, which says nothing of the height and calls entries so.
func path(tile tlog.Tile) string {
	path := strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/", height))
	if rest, ok := strings.CutPrefix(path, "data/"); ok {
		path = "entries/" + rest
	}
	return "tile/" + path
}

// Reads tiles for tlog, which checks them.
type tiles struct {
	fetch fetch
	seen  map[string][]byte
}

func (t *tiles) Height() int { return height }

func (t *tiles) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	data := make([][]byte, len(tiles))
	for i, tile := range tiles {
		bytes, ok := t.seen[path(tile)]
		if !ok {
			var err error
			if bytes, err = t.fetch(path(tile)); err != nil {
				return nil, err
			}
		}
		if len(bytes) != tile.W*tlog.HashSize {
			return nil, fmt.Errorf("%s has %d bytes", path(tile), len(bytes))
		}
		data[i] = bytes
	}
	return data, nil
}

// Called with tiles that tlog has found to be good.
func (t *tiles) SaveTiles(tiles []tlog.Tile, data [][]byte) {
	for i, tile := range tiles {
		t.seen[path(tile)] = data[i]
	}
}

// Gives a file of the log.
type fetch func(path string) ([]byte, error)

func fetcher(log string) fetch {
	rest, isURL := strings.CutPrefix(log, "http://")
	if !isURL {
		return func(path string) ([]byte, error) { return os.ReadFile(filepath.Join(log, filepath.FromSlash(path))) }
	}
	host, prefix, _ := strings.Cut(rest, "/")
	prefix = strings.TrimSuffix("/"+prefix, "/")
	return func(path string) ([]byte, error) { return get(host, prefix+"/"+path) }
}

// GET with nothing but a connection: net/http would take a minute to build.
func get(host, path string) ([]byte, error) {
	connection, err := net.Dial("tcp", host)
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	if _, err := fmt.Fprintf(connection, "GET %s HTTP/1.0\r\nHost: %s\r\n\r\n", path, host); err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(connection)
	if err != nil {
		return nil, err
	}
	head, body, found := bytes.Cut(answer, []byte("\r\n\r\n"))
	status, _, _ := strings.Cut(string(head), "\r\n")
	if words := strings.Fields(status); !found || len(words) < 2 || words[1] != "200" {
		return nil, fmt.Errorf("%s: %s", path, status)
	}
	return body, nil
}
