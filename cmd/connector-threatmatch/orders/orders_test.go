package orders

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"
	"go.uber.org/zap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var longAgo = time.Date(2015, 1, 1, 0, 0, 0, 0, time.UTC)

// desk is a connector that takes orders.
type desk struct {
	mu      sync.Mutex
	ordered []Backfill
	refuses error
	shows   []Progress // one after the other, the last one over and over
}

func (d *desk) Backfill(_ context.Context, order Backfill) (Progress, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refuses != nil {
		return Progress{}, d.refuses
	}
	d.ordered = append(d.ordered, order)
	return Progress{Phase: Waiting, From: order.From}, nil
}

func (d *desk) Cancel(context.Context) (Progress, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ordered = nil
	return Progress{Phase: None}, nil
}

func (d *desk) Progress() Progress {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.shows[0]
	if len(d.shows) > 1 {
		d.shows = d.shows[1:]
	}
	return now
}

// folder is a short one, whose socket has a path that every system takes.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "orders")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// serve lets a desk take orders in a folder, and returns who gives them.
func serve(t *testing.T, dir string, d *desk) *Client {
	t.Helper()
	s, err := Serve(dir, d, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	c := NewClient(dir)
	t.Cleanup(func() { c.Close(); s.Close() })
	return c
}

func TestAnOrderReachesTheConnectorAndItsAnswerComesBack(t *testing.T) {
	d, dir := &desk{}, folder(t)
	c := serve(t, dir, d)
	order := Backfill{From: longAgo, Datasets: []string{"alerts"}}
	p, err := c.Backfill(t.Context(), order)
	if err != nil || p.Phase != Waiting || !p.From.Equal(longAgo) {
		t.Errorf("answered %+v: %v", p, err)
	}
	if len(d.ordered) != 1 || !d.ordered[0].To.IsZero() || !slices.Equal(d.ordered[0].Datasets, order.Datasets) {
		t.Errorf("ordered %+v", d.ordered)
	}
	if p, err = c.Cancel(t.Context()); err != nil || p.Phase != None || len(d.ordered) > 0 {
		t.Errorf("cancelled: %+v, %v", p, err)
	}
	if info, err := os.Stat(socketIn(dir)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v: %v", info.Mode(), err)
	}
}

func TestWhyAnOrderIsNotTakenIsTold(t *testing.T) {
	d := &desk{refuses: fmt.Errorf("another one is not done: %w", ErrRefused)}
	c := serve(t, folder(t), d)
	if _, err := c.Backfill(t.Context(), Backfill{From: longAgo}); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "another one is not done") {
		t.Errorf("refused with %v", err)
	}
	d.refuses = errors.New("OpenCTI is away")
	if _, err := c.Backfill(t.Context(), Backfill{From: longAgo}); err == nil || errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "OpenCTI is away") {
		t.Errorf("failed with %v", err)
	}
	d.refuses = nil
	if _, err := c.Backfill(t.Context(), Backfill{From: longAgo, Datasets: []string{strings.Repeat("x", 2*mostOrder)}}); !errors.Is(err, ErrRefused) || len(d.ordered) > 0 {
		t.Errorf("an order without end: %v", err)
	}
}

func TestWhereNobodyTakesOrdersThatIsTold(t *testing.T) {
	dir := folder(t)
	c := NewClient(dir)
	defer c.Close()
	if _, err := c.Progress(t.Context()); !errors.Is(err, ErrNobody) {
		t.Errorf("without a socket: %v", err)
	}
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: socketIn(dir)})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false) // as a process that was killed leaves it
	if err := left.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Progress(t.Context()); !errors.Is(err, ErrNobody) {
		t.Errorf("with the socket of one that is no more: %v", err)
	}
	d := &desk{shows: []Progress{{Phase: None}}}
	if p, err := serve(t, dir, d).Progress(t.Context()); err != nil || p.Phase != None {
		t.Errorf("with one in its place: %+v, %v", p, err)
	}
}

func TestABackfillIsWatchedToItsEnd(t *testing.T) {
	d := &desk{shows: []Progress{{Phase: Waiting}, {Phase: Done, Sent: 7}}}
	var shown []Phase
	p, err := serve(t, folder(t), d).Watch(t.Context(), func(p Progress) { shown = append(shown, p.Phase) })
	if err != nil || p.Sent != 7 || !slices.Equal(shown, []Phase{Waiting, Done}) {
		t.Errorf("shown %v, then %+v: %v", shown, p, err)
	}
	for _, over := range []Phase{Cancelled, None} {
		d.shows = []Progress{{Phase: Running}, {Phase: over}}
		if p, err := serve(t, folder(t), d).Watch(t.Context(), func(Progress) {}); err != nil || p.Phase != over {
			t.Errorf("in the end it is %+v: %v", p, err)
		}
	}
	d.shows = []Progress{{Phase: Running}}
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err = serve(t, folder(t), d).Watch(ctx, func(Progress) { cancel(errors.New("enough")) })
	if err == nil {
		t.Error("it is watched without end")
	}
}

func TestABackfillIsShownInWords(t *testing.T) {
	for want, p := range map[string]Progress{
		"there is no backfill under way": {Phase: None},
		"backfill from 2015-01-01 to 2026-10-01: running, profiles 120 of 1,000, alerts 7 done, iocs 5,000 up to 2020-03-04 05:06, 6,000 sent (95/s), 12 copies delivered before, about 1h2m3s left, waits for THREATMATCH_RATE_LIMIT": {
			Phase: Running, From: longAgo, To: time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC), Sent: 6000, Known: 12, Remaining: 3723, Rate: 95.4, WaitsFor: "THREATMATCH_RATE_LIMIT",
			Datasets: []Dataset{{Name: "profiles", Items: 120, Left: 880}, {Name: "alerts", Items: 7, Done: true}, {Name: "iocs", Items: 5000, Until: time.Date(2020, 3, 4, 5, 6, 7, 0, time.UTC)}},
		},
		"backfill from 2015-01-01 to 2026-10-01: done, 6,000 sent, 0 copies delivered before, in 1m0s, OpenCTI has imported 1,500 of 6,000 messages, 5/s, about 15m0s left": {
			Phase: Done, From: longAgo, To: time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC), Sent: 6000, Took: 60, OpenCTI: &snapshot.Imports{Expected: 6000, Done: 1500, Lately: 5, Remaining: 900},
		},
		"backfill from 2015-01-01 to 2026-10-01: done, 6,000 sent, 0 copies delivered before, left out: 3 × no id, in 1m0s": {
			Phase: Done, From: longAgo, To: time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC), Sent: 6000, LeftOut: "3 × no id", Took: 60, WaitsFor: "nothing",
		},
		"backfill from 2015-01-01 to 2026-10-01: waiting, 0 sent, 0 copies delivered before, about to begin": {
			Phase: Waiting, From: longAgo, To: time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC),
		},
		"backfill from 2015-01-01 to 2026-10-01: running, profiles 168 of 253 that were left, 0 sent (0/s), 0 copies delivered before": {
			Phase: Running, From: longAgo, To: time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC), Datasets: []Dataset{{Name: "profiles", Items: 168, Left: 85, Resumed: true}},
		},
		"backfill from 2015-01-01 to 2026-10-01: done, 6,000 sent, 0 copies delivered before, in 1m0s, counted since the connector started": {
			Phase: Done, From: longAgo, To: time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC), Sent: 6000, Took: 60, Earlier: true,
		},
		"backfill from 2015-01-01 to 2026-10-01: stopped, profiles goes on after 17, alerts not listed yet, waits for the connector to start": {
			Phase: Stopped, From: longAgo, To: time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC), Datasets: []Dataset{{Name: "profiles", After: "17"}, {Name: "alerts"}}, WaitsFor: "the connector to start",
		},
	} {
		if got := p.String(); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}

func TestWhereThereIsNoTerminalALineComesEveryHalfMinute(t *testing.T) {
	for form, most := range map[Form]int{Lines: 3, JSON: 3} {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			w := NewWatcher(&out, form)
			for range 65 {
				w.Show(Progress{Phase: Running, From: longAgo, To: longAgo})
				time.Sleep(time.Second)
			}
			w.Close()
			if n := strings.Count(out.String(), "\n"); n != most {
				t.Errorf("%d lines: %s", n, out.String())
			}
		})
	}
}

// Who watches says in the end what became of it, in the same words.
func TestThatABackfillIsNoMoreIsLeftToWhoWatches(t *testing.T) {
	for form, want := range map[Form]string{Live: "", Lines: "", JSON: `"phase":"cancelled"`} {
		var out bytes.Buffer
		w := NewWatcher(&out, form)
		w.Show(Progress{Phase: Running, From: longAgo, To: longAgo})
		for range 2 {
			w.Show(Progress{Phase: Cancelled, From: longAgo, To: longAgo})
		}
		w.Close()
		if text := out.String(); strings.Count(text, "cancelled") > 1 || !strings.Contains(text, want) || want == "" && strings.Contains(text, "cancelled") {
			t.Errorf("form %d shows %s", form, text)
		}
	}
}

func TestOnATerminalTheLastPictureStaysAndFitsItsWidth(t *testing.T) {
	var out bytes.Buffer
	w := NewWatcher(&out, Live)
	w.Show(Progress{Phase: Waiting, From: longAgo, To: longAgo})
	p := Progress{Phase: Running, From: longAgo, To: longAgo, Sent: 1000000, Remaining: 3723, WaitsFor: "RabbitMQ's confirms", Earlier: true, Datasets: []Dataset{
		{Name: "profiles", Items: 120, Left: 880, Share: 0.12}, {Name: "iocs", Items: 5000, Share: 1, Done: true},
	}}
	w.Show(p)
	w.Close()
	text := out.String()
	last := text[strings.LastIndex(text, "backfill from"):]
	for _, want := range []string{": running", "profiles", "120 of 1,000", "iocs", "5,000 done", "1,000,000 sent", "1h2m3s left", "waits for RabbitMQ's confirms, counted since the connector started"} {
		if !strings.Contains(last, want) {
			t.Errorf("%q is missing in %q", want, last)
		}
	}
	for line := range strings.Lines(last) {
		if n := utf8.RuneCountInString(strings.TrimSpace(line)); n > 80 {
			t.Errorf("a line of %d characters: %q", n, line)
		}
	}
}

func TestAnOrderIsCoveredByAWiderBackfill(t *testing.T) {
	under := Progress{Phase: Running, From: longAgo, To: longAgo.AddDate(5, 0, 0), Left: []string{"alerts", "iocs"}}
	for want, orders := range map[bool][]Backfill{
		false: {{From: longAgo}, {From: longAgo, To: under.To}, {From: longAgo.Add(time.Millisecond), To: under.To.Add(time.Millisecond)}, {From: longAgo, Datasets: []string{"iocs", "alerts", "profiles"}}},
		true:  {{From: longAgo.Add(time.Hour)}, {From: longAgo, Datasets: []string{"iocs"}}, {From: longAgo, To: longAgo.AddDate(1, 0, 0)}},
	} {
		for _, order := range orders {
			if got := under.Covers(order); got != want {
				t.Errorf("%q from %s to %s: covered %t", order.Datasets, order.From, order.To, got)
			}
		}
	}
}
