package index

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

func saveOne(t testing.TB, w *Waiting, waiter Waiter) {
	t.Helper()
	if _, err := w.Save(t.Context(), []Waiter{waiter}); err != nil {
		t.Fatalf("save: %v", err)
	}
}

func idsOf(t testing.TB, seq func(func(Waiter, error) bool)) []string {
	t.Helper()
	ids := []string{}
	for w, err := range seq {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, w.Object.ID)
	}
	return ids
}

func TestSavingTakesLittleMemoryBesideTheObjects(t *testing.T) {
	x, _ := mustOpen(t, folder(t), Options{})
	waiters := make([]Waiter, 2000)
	text := bytes.Repeat([]byte("x"), 4<<10)
	for i := range waiters {
		waiters[i] = Waiter{Object: pipeline.Object{ID: fmt.Sprint(i), JSON: text}, Kind: Parked}
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := x.Waiting().Save(t.Context(), waiters); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 2<<20 {
		t.Errorf("%d bytes for %d of texts", took, len(waiters)*len(text))
	}
}

func TestAWaitingObjectComesBackAsItWasSaved(t *testing.T) {
	dir := folder(t)
	x, _ := mustOpen(t, dir, Options{})
	want := Waiter{Object: pipeline.Object{ID: "relationship--1", JSON: []byte{0, 1, 2}}, Missing: []string{"a", "b"}, Kind: HeldBack, Dataset: "iocs"}
	saveOne(t, x.Waiting(), want)
	for range 2 {
		got, ok, err := x.Waiting().Get("relationship--1")
		if err != nil || !ok || !cmp.Equal(got, want) {
			t.Errorf("%v %v %s", ok, err, cmp.Diff(want, got))
		}
		mustClose(t, x)
		x, _ = mustOpen(t, dir, Options{})
	}
	if _, ok, err := x.Waiting().Get("other"); ok || err != nil {
		t.Errorf("an object that was never saved: %v", err)
	}
}

func TestAnyWaitingObjectComesBackFromItsFrame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String()
		texts := func(label string) []string {
			if list := rapid.SliceOfN(text, 0, 50).Draw(t, label); len(list) > 0 {
				return list
			}
			return nil
		}
		want := Waiter{
			Object: pipeline.Object{
				ID: text.Draw(t, "id"), Type: text.Draw(t, "type"), AltID: text.Draw(t, "second id"), Kind: rapid.Byte().Draw(t, "kind"), Refs: texts("refs"),
				Digest: rapid.Uint64().Draw(t, "digest"), JSON: rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, "text"),
			},
			Missing: texts("missing"), Kind: WaiterKind(rapid.Byte().Draw(t, "kind")), Dataset: text.Draw(t, "dataset"),
		}
		if micro := rapid.Int64Range(-1<<55, 1<<55).Draw(t, "modified"); micro != 0 {
			want.Object.Modified = time.UnixMicro(micro).UTC()
		}
		frame, err := appendSave(nil, &want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeFrame(frame)
		if err != nil || !cmp.Equal(*got.saved, want) {
			t.Fatalf("%v, %s", err, cmp.Diff(want, *got.saved))
		}
	})
}

func TestWhatARunHasParkedNeverFallsOut(t *testing.T) {
	x, _ := mustOpen(t, folder(t), Options{MaxWaiting: 12})
	for i := range 10 {
		saveOne(t, x.Waiting(), Waiter{Object: pipeline.Object{ID: fmt.Sprint("parked ", i)}, Kind: Parked, Missing: []string{"m"}})
		_, err := x.Waiting().Save(t.Context(), []Waiter{{Object: pipeline.Object{ID: fmt.Sprint("held ", i)}, Kind: HeldBack, Missing: []string{"m"}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 10 {
		if !x.Waiting().Has(fmt.Sprint("parked ", i)) {
			t.Errorf("parked object %d fell out", i)
		}
	}
	if x.Waiting().Evicted() == 0 {
		t.Error("nothing fell out, so that this proves nothing")
	}
	mustClose(t, x)
}

func TestTheOldestWaitingObjectsFallOutAndAreCounted(t *testing.T) {
	for name, opts := range map[string]Options{
		"by number": {MaxWaiting: 3},
		"by bytes":  {MaxWaitingBytes: 3*(frameHead+2+1+2+1+2+1000) + 500},
	} {
		t.Run(name, func(t *testing.T) {
			dir := folder(t)
			x, _ := mustOpen(t, dir, opts)
			var list []Waiter
			for i := range 4 {
				list = append(list, Waiter{Object: pipeline.Object{ID: fmt.Sprint(i), JSON: make([]byte, 1000)}, Missing: []string{"m"}})
			}
			if n, err := x.Waiting().Save(t.Context(), list[:3]); n != 0 || err != nil {
				t.Fatalf("%d evicted, %v", n, err)
			}
			saveOne(t, x.Waiting(), list[0]) // is the newest now
			if n, err := x.Waiting().Save(t.Context(), list[3:]); n != 1 || err != nil || x.Waiting().Evicted() != 1 {
				t.Errorf("%d evicted, %v", n, err)
			}
			for range 2 {
				if got := idsOf(t, x.Waiting().All()); !slices.Equal(got, []string{"2", "0", "3"}) {
					t.Errorf("left: %v", got)
				}
				mustClose(t, x)
				x, _ = mustOpen(t, dir, opts)
			}
		})
	}
}

func TestTheFileOfWaitingObjectsShrinks(t *testing.T) {
	dir := folder(t)
	x, _ := mustOpen(t, dir, Options{})
	w := x.Waiting()
	big := make([]byte, 64<<10)
	for i := range 1000 { // 64 MB go through, 20 objects stay
		saveOne(t, w, Waiter{Object: pipeline.Object{ID: fmt.Sprint(i % 20), JSON: big[:len(big)-i]}, Missing: []string{fmt.Sprint("m", i%2)}})
	}
	if w.Size() > 2*20*64<<10+slack+64<<10 {
		t.Errorf("%d bytes for %d objects", w.Size(), w.Len())
	}
	if got := idsOf(t, w.Arrive(KeyOf("m1"))); len(got) != 10 {
		t.Errorf("waiting for m1: %v", got)
	}
	mustClose(t, x)
	x, _ = mustOpen(t, dir, Options{})
	w = x.Waiting()
	for i := range 20 {
		got, ok, err := w.Get(fmt.Sprint(i))
		if err != nil || !ok || len(got.Object.JSON) != len(big)-980-i {
			t.Fatalf("object %d: %v %v, %d bytes", i, ok, err, len(got.Object.JSON))
		}
	}
	if err := w.Remove(t.Context(), idsOf(t, w.All())); err != nil || w.Size() != waitingHead {
		t.Errorf("%d bytes for nothing, %v", w.Size(), err)
	}
}

// TestWhatWaitsForManyIsReadWhenTheLastHasCome lets all others come while nothing can be read.
func TestWhatWaitsForManyIsReadWhenTheLastHasCome(t *testing.T) {
	x, _ := mustOpen(t, folder(t), Options{})
	w := x.Waiting()
	var refs []string
	for i := range 1000 {
		refs = append(refs, fmt.Sprint(i))
	}
	for id, kind := range map[string]WaiterKind{"parked": Parked, "whole": HeldBack} {
		saveOne(t, w, Waiter{Object: pipeline.Object{ID: id}, Missing: refs, Kind: kind})
	}
	saveOne(t, w, Waiter{Object: pipeline.Object{ID: "part"}, Missing: []string{"0", "never"}, Kind: Cleaned})
	file := w.log.file
	w.log.file = nil
	for _, ref := range append(refs[:len(refs)-1:len(refs)-1], refs[:10]...) { // some come twice
		for waiter, err := range w.Arrive(KeyOf(ref)) {
			t.Fatalf("%s: %v", waiter.Object.ID, err)
		}
	}
	w.log.file = file
	if got := idsOf(t, w.Arrive(KeyOf(refs[len(refs)-1]))); !slices.Equal(got, []string{"whole"}) {
		t.Errorf("the last brings %v", got)
	}
	for _, want := range [][]string{{"part"}, {}} {
		if got := idsOf(t, w.TakePartial(10)); !slices.Equal(got, want) {
			t.Errorf("a part has come of %v, want %v", got, want)
		}
	}
	ofTwo := func(k Key) bool { return k == KeyOf("0") || k == KeyOf("never") }
	if got := idsOf(t, w.Restart(ofTwo)); !slices.Equal(got, []string{"part"}) {
		t.Errorf("what is there brings %v", got)
	}
	if got := idsOf(t, w.TakePartial(10)); !slices.Equal(got, []string{"whole"}) {
		t.Errorf("after a new beginning a part has come of %v", got)
	}
}

func TestWhatMayNotFallOutIsRefusedBeyondTheBounds(t *testing.T) {
	for name, opts := range map[string]Options{"of objects": {MaxWaiting: 3}, "of bytes": {MaxWaitingBytes: 3500}} {
		t.Run(name, func(t *testing.T) {
			x, _ := mustOpen(t, folder(t), opts)
			w := x.Waiting()
			one := func(id string, kind WaiterKind) []Waiter {
				return []Waiter{{Object: pipeline.Object{ID: id, JSON: make([]byte, 1000)}, Kind: kind}}
			}
			for i, kind := range []WaiterKind{Parked, Cleaned, Unimported, Parked} {
				if _, err := w.Save(t.Context(), one(fmt.Sprint(i), kind)); err != nil {
					t.Fatal(err)
				}
			}
			size, old := w.Size(), time.Now().Add(-time.Hour).Truncate(time.Second)
			if err := os.Chtimes(w.log.path, old, old); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Save(t.Context(), one("beyond", Parked)); !errors.Is(err, ErrCrowded) || w.Size() != size {
				t.Errorf("beyond the bound: %v, %d bytes more", err, w.Size()-size)
			}
			if now, err := os.Stat(w.log.path); err != nil || !now.ModTime().Equal(old) {
				t.Errorf("what is refused was written all the same, and a crash would leave it: %v", err)
			}
			// What takes its own place is not more, and what is settled makes room.
			if _, err := w.Save(t.Context(), append(one("0", HeldBack), one("beyond", Parked)...)); err != nil {
				t.Error(err)
			}
			if got := idsOf(t, w.All(Parked, Unimported)); !slices.Equal(got, []string{"2", "3", "beyond"}) {
				t.Errorf("left: %v", got)
			}
		})
	}
}

func TestWaitingObjectsMayBeRemovedWhileTheyAreListed(t *testing.T) {
	x, _ := mustOpen(t, folder(t), Options{})
	w := x.Waiting()
	for i := range 10 {
		saveOne(t, w, Waiter{Object: pipeline.Object{ID: fmt.Sprint(i)}, Missing: []string{"m", "m"}})
	}
	var got []string
	for waiter, err := range w.Arrive(KeyOf("m")) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, waiter.Object.ID)
		if err := w.Remove(t.Context(), []string{waiter.Object.ID, "5"}); err != nil {
			t.Fatal(err)
		}
		saveOne(t, w, Waiter{Object: pipeline.Object{ID: "7"}, Missing: []string{"n"}})
	}
	if want := []string{"0", "1", "2", "3", "4", "6", "8", "9"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := idsOf(t, w.All()); !slices.Equal(got, []string{"7"}) {
		t.Errorf("left: %v", got)
	}
}

func TestASaveThatFailsKeepsNothingAndTheNextOneWorks(t *testing.T) {
	dir := folder(t)
	x, _ := mustOpen(t, dir, Options{})
	w := x.Waiting()
	saveOne(t, w, Waiter{Object: pipeline.Object{ID: "a", JSON: []byte("first")}})
	writable := w.log.file
	readOnly, err := os.Open(w.log.path)
	if err != nil {
		t.Fatal(err)
	}
	defer readOnly.Close()
	w.log.file = readOnly
	if _, err := w.Save(t.Context(), []Waiter{{Object: pipeline.Object{ID: "b"}}, {Object: pipeline.Object{ID: "a"}}}); err == nil || !strings.Contains(err.Error(), w.log.path) {
		t.Errorf("save: %v", err)
	}
	if got, ok, err := w.Get("a"); err != nil || !ok || string(got.Object.JSON) != "first" || w.Has("b") {
		t.Errorf("after the failure: %+v %v %v", got, ok, err)
	}
	// The write got as far as the file and no further, as when only the disk's own confirmation fails.
	half, _ := appendSave(nil, &Waiter{Object: pipeline.Object{ID: "b"}})
	half, _ = appendSave(half, &Waiter{Object: pipeline.Object{ID: "a"}})
	if _, err := writable.WriteAt(half, w.log.size); err != nil {
		t.Fatal(err)
	}
	w.log.file = writable
	saveOne(t, w, Waiter{Object: pipeline.Object{ID: "c"}})
	mustClose(t, x)
	y, opening := mustOpen(t, dir, Options{})
	if got := idsOf(t, y.Waiting().All()); opening.WaitingLost != "" || !slices.Equal(got, []string{"a", "c"}) {
		t.Errorf("reopened: %v %+v", got, opening)
	}
	if got, _, err := y.Waiting().Get("a"); err != nil || string(got.Object.JSON) != "first" {
		t.Errorf("what was not saved is there: %+v %v", got, err)
	}
}

func TestTheWaitingStoreAnswersLikeAMap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir := folder(t)
		x, _ := mustOpen(t, dir, Options{})
		defer func() { x.Close() }()
		id := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"})
		model := map[string]Waiter{}
		open := map[string]map[string]bool{} // what each waits for still
		touched := map[string]bool{}         // a part of it has come
		var order []string
		lock := func(w Waiter) {
			open[w.Object.ID] = map[string]bool{}
			for _, ref := range w.Missing {
				open[w.Object.ID][ref] = true
			}
		}
		forget := func(id string) {
			delete(model, id)
			delete(open, id)
			delete(touched, id)
			order = slices.DeleteFunc(order, func(s string) bool { return s == id })
		}
		for range rapid.IntRange(1, 20).Draw(rt, "steps") {
			w := x.Waiting()
			switch rapid.IntRange(0, 7).Draw(rt, "what") {
			default:
				waiter := Waiter{Kind: HeldBack, Object: pipeline.Object{ID: id.Draw(rt, "id"), JSON: []byte(rapid.String().Draw(rt, "object"))}, Missing: rapid.SliceOfN(id, 0, 3).Draw(rt, "missing")}
				saveOne(t, w, waiter)
				forget(waiter.Object.ID)
				model[waiter.Object.ID] = waiter
				lock(waiter)
				order = append(order, waiter.Object.ID)
			case 0, 1:
				gone := rapid.SliceOfN(id, 0, 3).Draw(rt, "gone")
				if err := w.Remove(t.Context(), gone); err != nil {
					rt.Fatal(err)
				}
				for _, id := range gone {
					forget(id)
				}
			case 2:
				w.mu.Lock()
				err := w.rewrite()
				w.mu.Unlock()
				if err != nil {
					rt.Fatal(err)
				}
			case 3:
				mustClose(t, x)
				x, _ = mustOpen(t, dir, Options{})
				w = x.Waiting()
				for _, waiter := range model {
					lock(waiter)
				}
				clear(touched)
			case 4:
				want := slices.Sorted(maps.Keys(touched))
				for id := range touched {
					clear(open[id])
				}
				clear(touched)
				if got := idsOf(t, w.TakePartial(10)); !slices.Equal(slices.Sorted(slices.Values(got)), want) && len(got)+len(want) > 0 {
					rt.Fatalf("a part has come of %v, want %v", got, want)
				}
			}
			if got := idsOf(t, w.All()); !slices.Equal(got, order) && len(got)+len(order) > 0 {
				rt.Fatalf("%v, want %v", got, order)
			}
			ref := id.Draw(rt, "ref")
			want := slices.DeleteFunc(slices.Clone(order), func(id string) bool {
				if !open[id][ref] {
					return true
				}
				delete(open[id], ref)
				touched[id] = len(open[id]) > 0
				if !touched[id] {
					delete(touched, id)
				}
				return touched[id]
			})
			if got := idsOf(t, w.Arrive(KeyOf(ref))); !slices.Equal(got, want) && len(got)+len(want) > 0 {
				rt.Fatalf("waiting for %s: %v, want %v", ref, got, want)
			}
			for id, want := range model {
				if got, ok, err := w.Get(id); err != nil || !ok || string(got.Object.JSON) != string(want.Object.JSON) {
					rt.Fatalf("%s: %+v %v %v", id, got, ok, err)
				}
			}
		}
	})
}

func TestWhatIsToBeSentAgainIsCountedAndDoesNotFallOut(t *testing.T) {
	dir := folder(t)
	opts := Options{MaxWaiting: 4}
	x, _ := mustOpen(t, dir, opts)
	for i, kind := range []WaiterKind{Unimported, Cleaned, Unimported, HeldBack, Parked, Unimported} {
		saveOne(t, x.Waiting(), Waiter{Object: pipeline.Object{ID: fmt.Sprint(i)}, Kind: kind})
	}
	saveOne(t, x.Waiting(), Waiter{Object: pipeline.Object{ID: "4"}, Kind: Unimported})
	if n := x.Waiting().Evicted(); n != 2 {
		t.Errorf("%d fell out", n)
	}
	if err := x.Waiting().Remove(t.Context(), []string{"0"}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := idsOf(t, x.Waiting().All()); !slices.Equal(got, []string{"2", "5", "4"}) || x.Waiting().Unimported() != 3 || x.Waiting().Unparked() != 3 {
			t.Errorf("%q wait, %d are to be sent again", got, x.Waiting().Unimported())
		}
		mustClose(t, x)
		x, _ = mustOpen(t, dir, opts)
	}
}
