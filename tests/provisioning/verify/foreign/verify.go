// Judges a log of ours with an implementation that is not ours: golang.org/x/mod/sumdb, note and tlog.
//
//	verify VKEY DIR [OLD-CHECKPOINT]     all of a log in C2SP tlog-tiles layout, and that it goes on from an older one
//	verify VKEY PROOF RECORD             a C2SP tlog-proof of one record
//	verify VKEY ARCHIVE.zip              every record of an archive of ours, and that the log goes on from a kept checkpoint
//	verify VKEY CHECKPOINT witnesses WITNESS-VKEY...    that each of these cosigned it
package main

import (
	"archive/zip"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height, width = 8, 256

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func hashOf(text string) tlog.Hash {
	raw, err := base64.StdEncoding.DecodeString(text)
	check(err)
	if len(raw) != tlog.HashSize {
		check(fmt.Errorf("%d bytes are no hash", len(raw)))
	}
	return *(*tlog.Hash)(raw)
}

func read(path string) []byte {
	data, err := os.ReadFile(path)
	check(err)
	return data
}

func open(signed []byte, key note.Verifier) tlog.Tree {
	opened, err := note.Open(signed, note.VerifierList(key))
	check(err)
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != key.Name() {
		check(fmt.Errorf("no checkpoint of %s", key.Name()))
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	check(err)
	return tlog.Tree{N: size, Hash: hashOf(lines[2])}
}

type folder string

func (f folder) Height() int                       { return height }
func (f folder) SaveTiles([]tlog.Tile, [][]byte) {}
func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range tiles {
		// Its own paths begin with the height, which C2SP leaves out.
		data, err := os.ReadFile(filepath.Join(string(f), strings.Replace(tile.Path(), "tile/8/", "tile/", 1)))
		if err != nil {
			return nil, err
		}
		found = append(found, data)
	}
	return found, nil
}

func verifyFolder(path string, key note.Verifier, older []string) {
	tree := open(read(filepath.Join(path, "checkpoint")), key)
	hashes := tlog.TileHashReader(tree, folder(path))
	for first := int64(0); first < tree.N; first += width {
		here := tlog.Tile{H: height, L: -1, N: first / width, W: width}
		if tree.N-first < width {
			here.W = int(tree.N - first)
		}
		bundle := read(filepath.Join(path, strings.Replace(here.Path(), "tile/8/data/", "tile/entries/", 1)))
		for at := first; at < first+int64(here.W); at++ {
			size := int(binary.BigEndian.Uint16(bundle))
			entry := bundle[2 : 2+size]
			bundle = bundle[2+size:]
			stored, err := hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, at)})
			check(err)
			if stored[0] != tlog.RecordHash(entry) {
				check(fmt.Errorf("entry %d is not what its tile says", at))
			}
		}
		if len(bundle) != 0 {
			check(fmt.Errorf("more entries than the tile has"))
		}
	}
	for _, name := range older {
		old := open(read(name), key)
		proof, err := tlog.ProveTree(tree.N, old.N, hashes)
		check(err)
		check(tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash))
	}
	fmt.Println(tree.N, "entries verified")
}

func verifyProof(text []byte, record []byte, key note.Verifier) int64 {
	head, checkpoint, _ := strings.Cut(string(text), "\n\n")
	tree := open([]byte(checkpoint), key)
	lines := strings.Split(head, "\n")[1:]
	if strings.HasPrefix(lines[0], "extra ") {
		lines = lines[1:]
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[0], "index "), 10, 64)
	check(err)
	var proof tlog.RecordProof
	for _, line := range lines[1:] {
		proof = append(proof, hashOf(line))
	}
	check(tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(record)))
	return index
}

func verifyArchive(path string, key note.Verifier) {
	opened, err := zip.OpenReader(path)
	check(err)
	files := map[string][]byte{}
	for _, file := range opened.File {
		content, err := file.Open()
		check(err)
		files[file.Name], err = io.ReadAll(content)
		check(err)
	}
	count := 0
	for name, record := range files {
		if !strings.HasPrefix(name, "records/") {
			continue
		}
		entry := strings.TrimSuffix(strings.TrimPrefix(name, "records/"), ".json")
		verifyProof(files["proofs/"+entry+".tlog-proof"], record, key)
		count++
	}
	tree, old := open(files["checkpoint"], key), open(files["kept/checkpoint"], key)
	var proof tlog.TreeProof
	for _, line := range strings.Split(strings.TrimSpace(string(files["kept/consistency"])), "\n")[1:] {
		proof = append(proof, hashOf(line))
	}
	check(tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash))
	fmt.Println(count, "records verified, and the log goes on from", old.N)
}

// A witness by C2SP tlog-cosignature, which the package itself does not know.
type witness struct {
	name string
	id   uint32
	key  ed25519.PublicKey
}

func (w witness) Name() string    { return w.name }
func (w witness) KeyHash() uint32 { return w.id }
func (w witness) Verify(msg, sig []byte) bool {
	if len(sig) != 72 {
		return false
	}
	at := binary.BigEndian.Uint64(sig)
	signed := append([]byte(fmt.Sprintf("cosignature/v1\ntime %d\n", at)), msg...)
	return ed25519.Verify(w.key, signed, sig[8:])
}

func newWitness(vkey string) witness {
	parts := strings.SplitN(vkey, "+", 3)
	raw, err := base64.StdEncoding.DecodeString(parts[2])
	check(err)
	if len(raw) != 33 || raw[0] != 4 {
		check(fmt.Errorf("no key of cosignatures"))
	}
	digest := sha256.Sum256(append([]byte(parts[0]+"\n"), raw...))
	return witness{parts[0], binary.BigEndian.Uint32(digest[:]), raw[1:]}
}

func verifyWitnesses(path string, key note.Verifier, vkeys []string) {
	known := []note.Verifier{key}
	for _, vkey := range vkeys {
		known = append(known, newWitness(vkey))
	}
	opened, err := note.Open(read(path), note.VerifierList(known...))
	check(err)
	if len(opened.Sigs) != len(known) {
		check(fmt.Errorf("%d of %d signed", len(opened.Sigs), len(known)))
	}
	fmt.Println("cosigned by", len(vkeys))
}

func main() {
	key, err := note.NewVerifier(os.Args[1])
	check(err)
	if len(os.Args) > 3 && os.Args[3] == "witnesses" {
		verifyWitnesses(os.Args[2], key, os.Args[4:])
		return
	}
	about, err := os.Stat(os.Args[2])
	check(err)
	if about.IsDir() {
		verifyFolder(os.Args[2], key, os.Args[3:])
	} else if strings.HasSuffix(os.Args[2], ".zip") {
		verifyArchive(os.Args[2], key)
	} else {
		fmt.Println("entry", verifyProof(read(os.Args[2]), read(os.Args[3]), key), "verified")
	}
}
