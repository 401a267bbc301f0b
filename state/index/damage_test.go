package index

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// filled makes an index with two tables and some waiting objects and returns its files.
func filled(t testing.TB) (files map[string][]byte) {
	dir := folder(t)
	x, _ := mustOpen(t, dir, Options{})
	setCreate(x, createFile)
	for i := range 1000 {
		x.Put(testKey(i), Record{Digest: uint64(i), Seq: 1})
	}
	if err := x.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	for i := range 100 { // too few to be merged
		x.Put(testKey(i), Record{Digest: uint64(i), Seq: 2})
	}
	for i := range 5 {
		saveOne(t, x.Waiting(), Waiter{Object: pipeline.Object{ID: string(rune('a' + i)), JSON: []byte("object")}, Missing: []string{"m"}})
	}
	mustClose(t, x)
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	files = map[string][]byte{}
	for _, path := range names {
		if files[filepath.Base(path)], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	if len(files) != 5 {
		t.Fatalf("files: %v", names)
	}
	return files
}

func lay(t testing.TB, files map[string][]byte) string {
	dir := folder(t)
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const (
	table1 = "delivered-000000000001-000000000001.tab"
	table2 = "delivered-000000000002-000000000002.tab"
)

func TestADamagedIndexStartsAnewAndSaysWhy(t *testing.T) {
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte { b[(at+len(b))%len(b)] ^= 0x40; return b }
	}
	for _, c := range []struct {
		name, file, reason string
		change             func([]byte) []byte
	}{
		{"identity missing", identityFile, "there was none", func([]byte) []byte { return nil }},
		{"identity empty", identityFile, "its identity is damaged", func([]byte) []byte { return []byte{} }},
		{"identity garbled", identityFile, "its identity is damaged", func([]byte) []byte { return []byte("{\x00") }},
		{"identity without id", identityFile, "its identity is damaged", func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"id"`), []byte(`"jd"`), 1)
		}},
		{"identity of another layout", identityFile, "its files have layout 9", func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"layout": 4`), []byte(`"layout": 9`), 1)
		}},
		{"table missing", table1, "it is damaged: a file before " + table2, func([]byte) []byte { return nil }},
		{"table empty", table1, "it is damaged: " + table1, func([]byte) []byte { return []byte{} }},
		{"table cut in the header", table1, "it is damaged: " + table1, func(b []byte) []byte { return b[:50] }},
		{"table cut", table1, "it is damaged: " + table1 + " has 39999 bytes instead of", func(b []byte) []byte { return b[:39999] }},
		{"table longer", table2, "it is damaged: " + table2, func(b []byte) []byte { return append(b, 0) }},
		{"table with a wrong header", table2, "it is damaged: " + table2 + " has a damaged header", flip(30)},
		{"table with a wrong block", table2, "it is damaged: " + table2 + " has a damaged block 3", flip(-50)},
		{"foreign table", table2, "it is damaged: " + table2 + " is not a table", func(b []byte) []byte { return bytes.Repeat([]byte("x"), len(b)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := filled(t)
			if changed := c.change(files[c.file]); changed != nil {
				files[c.file] = changed
			} else {
				delete(files, c.file)
			}
			x, opening := mustOpen(t, lay(t, files), Options{})
			if !opening.Fresh || !strings.Contains(opening.Reason, c.reason) || opening.Entries != 0 || x.Len() != 0 {
				t.Errorf("opening: %+v", opening)
			}
			if _, ok := x.Lookup(testKey(500)); ok {
				t.Error("an object is still known")
			}
			x.Put(testKey(1), Record{Digest: 5})
			mustClose(t, x)
			if y, again := mustOpen(t, x.dir, Options{}); again.Fresh || y.Len() != 1 {
				t.Errorf("reopened: %+v", again)
			}
		})
	}
}

func TestLeftoversOfACrashDoNotCount(t *testing.T) {
	files := filled(t)
	other := filled(t)
	files["delivered-000000000001-000000000009.tab"+tmpSuffix] = []byte("half")
	files[waitingFile+tmpSuffix] = []byte("half")
	files["delivered-000000000003-000000000003.tab"] = other[table1] // an emptied index that was not deleted to the end
	dir := lay(t, files)
	x, opening := mustOpen(t, dir, Options{})
	if opening.Fresh || opening.Entries != 1000 || opening.Waiting != 5 {
		t.Errorf("opening: %+v", opening)
	}
	for i := range 1000 {
		want := Record{Digest: uint64(i), Seq: 1}
		if i < 100 {
			want.Seq = 2
		}
		if r, ok := x.Lookup(testKey(i)); !ok || r != want {
			t.Fatalf("object %d: %+v %v", i, r, ok)
		}
	}
	left, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(left) != 5 {
		t.Errorf("files: %v", left)
	}
}

func TestMergedTablesWinOverTheirParts(t *testing.T) {
	files := filled(t)
	dir := lay(t, files)
	x, _ := mustOpen(t, dir, Options{})
	// Merge by force, then put the parts back as a crash before their deletion leaves them.
	x.merging <- struct{}{}
	h := header{id: x.names.ID, first: 1, last: 2, total: x.tables[1].total}
	merged, err := writeTable(createFile, dir, h, 1100, merge(t.Context(), x.tables))
	if err != nil {
		t.Fatal(err)
	}
	merged.file.Close()
	<-x.merging
	mustClose(t, x)
	y, opening := mustOpen(t, dir, Options{})
	if opening.Fresh || len(y.tables) != 1 || opening.Entries != 1000 {
		t.Errorf("opening: %+v with %d tables", opening, len(y.tables))
	}
	if r, ok := y.Lookup(testKey(7)); !ok || r.Seq != 2 {
		t.Errorf("object 7: %+v %v", r, ok)
	}
	for _, name := range []string{table1, table2} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			t.Errorf("%s is still there", name)
		}
	}
}

// TestNoFlippedBitLosesAWaitingObjectWithoutAWord flips each bit of the file once: it costs one of them at most.
func TestNoFlippedBitLosesAWaitingObjectWithoutAWord(t *testing.T) {
	files := filled(t)
	whole := files[waitingFile]
	for at := range len(whole) {
		for bit := range 8 {
			files[waitingFile] = bytes.Clone(whole)
			files[waitingFile][at] ^= 1 << bit
			x, opening := mustOpen(t, lay(t, files), Options{})
			intact := 0
			for w, err := range x.Waiting().All() {
				if err == nil && string(w.Object.JSON) == "object" && slices.Equal(w.Missing, []string{"m"}) {
					intact++
				}
			}
			if opening.WaitingLost == "" && intact != 5 || intact < 4 {
				t.Errorf("bit %d of byte %d: %d objects are whole, and said is %q", bit, at, intact, opening.WaitingLost)
			}
			mustClose(t, x)
		}
	}
}

func TestWaitingObjectsBesideADamageAreKept(t *testing.T) {
	files := filled(t)
	whole := files[waitingFile]
	frame := (len(whole) - waitingHead) / 5
	for _, c := range []struct {
		name string
		data []byte
		left int
		lost string
	}{
		{"cut in the last frame", whole[:len(whole)-3], 4, "ends at"},
		{"cut in a head", whole[:waitingHead+3*frame+2], 3, "ends at"},
		{"cut between two frames", whole[:waitingHead+2*frame], 2, "ends at"},
		{"cut in its note", whole[:waitingHead-5], 0, "does not say how long it was"},
		{"with zeros for its end", append(bytes.Clone(whole[:waitingHead+4*frame]), make([]byte, frame)...), 4, "ends at"},
		{"with a frame that was under way", append(bytes.Clone(whole), whole[waitingHead:waitingHead+frame-1]...), 5, ""},
		{"of before there was a note", withoutNote(whole), 5, ""},
		{"of before there was a note, with a frame that was under way", withoutNote(whole[:len(whole)-3]), 4, ""},
		{"followed by zeros", append(bytes.Clone(whole), make([]byte, 5000)...), 5, ""},
		{"garbled in the middle", func() []byte { b := bytes.Clone(whole); b[waitingHead+2*frame+16] ^= 1; return b }(), 4, "is damaged at"},
		{"with a length that is none", func() []byte { b := bytes.Clone(whole); b[waitingHead+2*frame] ^= 1; return b }(), 4, "damaged head"},
		{"empty", []byte{}, 0, "is damaged"},
		{"foreign", bytes.Repeat([]byte("text "), 100), 0, "is damaged"},
		{"another index's", filled(t)[waitingFile], 0, "another index"},
		{"missing", nil, 0, "is missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := map[string][]byte{identityFile: files[identityFile], table1: files[table1], table2: files[table2]}
			if c.data != nil {
				files[waitingFile] = c.data
			}
			dir := lay(t, files)
			x, opening := mustOpen(t, dir, Options{})
			if opening.Fresh || opening.Waiting != c.left || (c.lost == "") != (opening.WaitingLost == "") || !strings.Contains(opening.WaitingLost, c.lost) {
				t.Errorf("opening: %+v", opening)
			}
			saveOne(t, x.Waiting(), Waiter{Object: pipeline.Object{ID: "new"}})
			mustClose(t, x)
			y, again := mustOpen(t, dir, Options{})
			if again.Waiting != c.left+1 || again.WaitingLost != opening.WaitingLost || !y.Waiting().Has("new") {
				t.Errorf("reopened before the state says so: %+v", again)
			}
			if err := y.SetCounter(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			mustClose(t, y)
			if _, again = mustOpen(t, dir, Options{}); again.WaitingLost != "" || again.Waiting != c.left+1 {
				t.Errorf("reopened after it said so: %+v", again)
			}
		})
	}
}

// withoutNote makes a file one of a version that took no note of its length.
func withoutNote(file []byte) []byte {
	head := append([]byte(unnotedMagic), file[8:24]...)
	head = binary.LittleEndian.AppendUint32(head, crc32.Checksum(head, castagnoli))
	return append(head, file[waitingHead:]...)
}

// TestOneDamageCostsOneWaitingObjectAndIsSaid flips each bit of a file in turn, and cuts it off at each place.
func TestOneDamageCostsOneWaitingObjectAndIsSaid(t *testing.T) {
	whole := filled(t)[waitingFile]
	look := func(file []byte) (ids []string, damage error) {
		frames := newScanner(bytes.NewReader(file), waitingHead, int64(len(file)))
		for {
			op, _, size, err := frames.next()
			if err != nil {
				t.Fatal(err)
			}
			if size == 0 {
				return ids, frames.damage()
			}
			ids = append(ids, op.saved.Object.ID)
		}
	}
	if ids, damage := look(whole); len(ids) != 5 || damage != nil {
		t.Fatalf("untouched: %v, %v", ids, damage)
	}
	for bit := 8 * waitingHead; bit < 8*len(whole); bit++ {
		file := bytes.Clone(whole)
		file[bit/8] ^= 1 << (bit % 8)
		if ids, damage := look(file); len(ids) != 4 || damage == nil {
			t.Errorf("bit %d of byte %d: %v, %v", bit%8, bit/8, ids, damage)
		}
	}
	frame := (len(whole) - waitingHead) / 5
	for end := waitingHead; end < len(whole); end++ {
		for _, file := range [][]byte{whole[:end], append(bytes.Clone(whole[:end]), make([]byte, len(whole)-end)...)} {
			if ids, damage := look(file); len(ids) != (end-waitingHead)/frame || damage != nil {
				t.Errorf("written up to %d, of %d bytes: %v, %v", end, len(file), ids, damage)
			}
		}
	}
}

func TestAnUnreadableObjectIsPassedOverAndSaid(t *testing.T) {
	dir := folder(t)
	x, _ := mustOpen(t, dir, Options{})
	w := x.Waiting()
	save := func(id string, size int) {
		saveOne(t, w, Waiter{Object: pipeline.Object{ID: id, JSON: make([]byte, size)}, Missing: []string{"m"}, Kind: HeldBack})
	}
	rot := func(id string) {
		s := w.live.slots[w.live.byID[KeyOf(id)]]
		if _, err := w.log.file.WriteAt([]byte{0xff}, s.at+int64(s.size)-1); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 10 {
		save(fmt.Sprint(i), 10)
	}
	rot("3")
	rot("5")
	if _, there, err := w.Get("5"); there || err == nil {
		t.Errorf("what cannot be read: %v, %v", there, err)
	}
	if _, there, err := w.Get("5"); there || err != nil {
		t.Errorf("a second time: %v, %v", there, err)
	}
	for range 400 {
		save("busy", 64<<10) // 26 MB go through
	}
	if w.Size() > 2*slack {
		t.Errorf("the file has grown to %d bytes", w.Size())
	}
	if got := idsOf(t, w.All()); !slices.Equal(got, strings.Fields("0 1 2 4 6 7 8 9 busy")) {
		t.Errorf("left: %v", got)
	}
	for _, want := range []bool{true, false} {
		if err := w.TakeDamage(); (err != nil) != want {
			t.Errorf("lost: %v", err)
		}
	}
	// Whatever becomes of the file until then, the next process learns of it, once.
	if err := w.Remove(t.Context(), idsOf(t, w.All())); err != nil {
		t.Fatal(err)
	}
	size := w.Size()
	save("last", 10)
	if err := w.Remove(t.Context(), []string{"last"}); err != nil || w.Size() != size {
		t.Errorf("an empty file has %d bytes, then %d, %v", size, w.Size(), err)
	}
	mustClose(t, x)
	for _, want := range []string{"could not be read when it was written last", ""} {
		y, opening := mustOpen(t, dir, Options{})
		if opening.Fresh || (want == "") != (opening.WaitingLost == "") || !strings.Contains(opening.WaitingLost, want) {
			t.Errorf("reopened: %+v", opening)
		}
		if err := y.SetCounter(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		mustClose(t, y)
	}
}

// FuzzOpen opens an index of which one file holds anything at all. It must open, and know nothing that was not put.
func FuzzOpen(f *testing.F) {
	files := filled(f)
	names := []string{identityFile, table1, table2, waitingFile, lockFile}
	for i, name := range names {
		f.Add(uint8(i), files[name])
		f.Add(uint8(i), files[name][:len(files[name])/2])
		f.Add(uint8(i), []byte{})
	}
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		changed := map[string][]byte{}
		for name, whole := range files {
			changed[name] = whole
		}
		changed[names[int(which)%len(names)]] = data
		x, _ := mustOpen(t, lay(t, changed), Options{})
		for i := range 1000 {
			if r, ok := x.Lookup(testKey(i)); ok && (r.Digest != uint64(i) || r.Seq == 0 || r.Seq > 2) {
				t.Fatalf("object %d: %+v", i, r)
			}
		}
		if _, ok := x.Lookup(testKey(1000)); ok {
			t.Fatal("an object that was never put")
		}
		for w, err := range x.Waiting().All() {
			if err != nil || !bytes.Equal(w.Object.JSON, []byte("object")) {
				t.Fatalf("waiting: %+v %v", w, err)
			}
		}
	})
}

// FuzzDecodeFrame reads anything as the body of a frame with a right checksum.
func FuzzDecodeFrame(f *testing.F) {
	frame, err := appendSave(nil, &Waiter{
		Object:  pipeline.Object{ID: "id", Type: "note", AltID: "2", Kind: 3, Refs: []string{"a", "b"}, Digest: 1 << 63, Modified: time.Unix(1, 0), JSON: []byte("o")},
		Missing: []string{"a", "b"}, Kind: Cleaned, Dataset: "iocs",
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(frame[frameHead:])
	f.Add(appendRemoves(nil, []Key{{1}, {2}})[frameHead:])
	f.Add([]byte{opSave})
	f.Add([]byte{opSave, 1, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 1, 'x'})
	f.Add([]byte{opSave, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, body []byte) {
		frame := append(make([]byte, frameHead), body...)
		seal(frame)
		op, err := decodeFrame(frame)
		if err != nil || op.saved == nil {
			return
		}
		again, err := appendSave(nil, op.saved)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := decodeFrame(again); err != nil || !cmp.Equal(op.saved, back.saved) {
			t.Fatalf("%v, %s", err, cmp.Diff(op.saved, back.saved))
		}
	})
}

// badSector is a file of which a part cannot be read. whole says that a read which touches it gives nothing at all.
type badSector struct {
	io.ReaderAt
	from, to int64
	whole    bool
}

func (b badSector) ReadAt(p []byte, off int64) (int, error) {
	switch {
	case off >= b.to || off+int64(len(p)) <= b.from:
		return b.ReaderAt.ReadAt(p, off)
	case b.whole, off >= b.from:
		return 0, syscall.EIO
	}
	n, _ := b.ReaderAt.ReadAt(p[:b.from-off], off)
	return n, syscall.EIO
}

func TestABadSectorCostsWhatLiesInIt(t *testing.T) {
	const frames, body = 200, 1000 // so that some begin in a block and end in the next
	var file []byte
	for i := range frames {
		var err error
		if file, err = appendSave(file, &Waiter{Object: pipeline.Object{ID: fmt.Sprint(i), JSON: bytes.Repeat([]byte("x"), body)}}); err != nil {
			t.Fatal(err)
		}
	}
	for from := int64(0); from+block <= int64(len(file)); from += block {
		for _, whole := range []bool{false, true} {
			s := newScanner(badSector{bytes.NewReader(file), from, from + block, whole}, 0, int64(len(file)))
			read := 0
			for {
				op, _, size, err := s.next()
				if err != nil {
					t.Fatalf("bad from %d: %v", from, err)
				}
				if size == 0 {
					break
				}
				if op.saved != nil {
					read++
				}
			}
			if lost := frames - read; lost < block/(body+100) || lost > block/body+2 || !errors.Is(s.damage(), errDamaged) {
				t.Errorf("bad from %d, refused whole %t: %d of %d frames are lost, %v", from, whole, lost, frames, s.damage())
			}
		}
	}
}

func TestAFreshIndexHoldsNothingBackOfAnother(t *testing.T) {
	files := filled(t)
	files[waitingFile][9] ^= 0x40 // in the id of the index
	other := testIdentity
	other.Mapping = "another"
	x, opening, err := Open(t.Context(), lay(t, files), other, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, x)
	if !opening.Fresh || opening.Waiting > 0 {
		t.Errorf("opened as %+v", opening)
	}
}
