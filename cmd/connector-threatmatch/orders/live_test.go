package orders

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheBarOfADatasetFallsBackWhereMoreOfItIsToCome(t *testing.T) {
	shown := []Dataset{{Name: "alerts", Items: 10, Share: 1}, {Name: "alerts", Items: 10, Done: true}, {Name: "alerts", Left: 9, Resumed: true}}
	for n := range shown {
		synctest.Test(t, func(t *testing.T) {
			var out strings.Builder
			w := NewWatcher(&out, Live)
			for _, d := range shown[:n+1] {
				w.Show(Progress{Phase: Running, From: longAgo, To: longAgo, Datasets: []Dataset{d}})
				time.Sleep(time.Second)
			}
			w.Close()
			text := out.String()
			last := text[strings.LastIndex(text, "backfill from"):]
			if full := !strings.Contains(last, "-]"); full != (shown[n].Left == 0) {
				t.Errorf("%+v is drawn as %q", shown[n], last)
			}
		})
	}
}

// broken is a terminal that has gone.
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestABackfillIsShownThoughItsTerminalHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := NewWatcher(broken{}, Live)
		for _, name := range []string{"alerts", "iocs"} {
			w.Show(Progress{Phase: Running, From: longAgo, To: longAgo, Datasets: []Dataset{{Name: name, Items: 7, Left: 3}}})
			time.Sleep(time.Second)
		}
		if _, err := w.Write([]byte("a log line\n")); err != io.ErrClosedPipe {
			t.Errorf("writing failed with %v", err)
		}
		w.Close()
	})
}
