package emit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

// shakyWorks is a platform whose calls fail by plan: each operation takes the next of its faults.
type shakyWorks struct {
	works
	faults map[string][]shake
	calls  map[string]int
}

// shake is what becomes of one call.
type shake struct {
	err  error
	done bool // it is carried out all the same
}

var (
	errLost     = &opencti.Error{Message: "the answer was lost", Temporary: true}
	errRefused  = &opencti.Error{Message: "connection refused", Temporary: true, Unsent: true}
	errNotAlive = opencti.ErrWorkNotAlive
	errForbid   = &opencti.Error{Message: "forbidden"}
)

func newShaky(faults map[string][]shake) *shakyWorks {
	return &shakyWorks{faults: faults, calls: map[string]int{}}
}

func (w *shakyWorks) next(operation string) shake {
	w.calls[operation]++
	list := w.faults[operation]
	if len(list) == 0 {
		return shake{done: true}
	}
	if list[0].err == nil || len(list) > 1 || operation != "forever" {
		w.faults[operation] = list[1:]
	}
	return list[0]
}

func (w *shakyWorks) AddWork(ctx context.Context, name string) (string, error) {
	s := w.next("add")
	if s.done {
		_, _ = w.works.AddWork(ctx, name)
	}
	if s.err != nil {
		return "", s.err
	}
	return "work_1", nil
}

func (w *shakyWorks) AddExpectations(ctx context.Context, id string, n int) error {
	s := w.next("expect")
	if s.done {
		_ = w.works.AddExpectations(ctx, id, n)
	}
	return s.err
}

func (w *shakyWorks) Expectations(ctx context.Context, id string) (int, error) {
	if s := w.next("expectations"); s.err != nil {
		return 0, s.err
	}
	return w.works.Expectations(ctx, id)
}

func (w *shakyWorks) CloseWork(ctx context.Context, id, message string, inError bool) error {
	s := w.next("close")
	if s.done {
		_ = w.works.CloseWork(ctx, id, message, inError)
	}
	return s.err
}

func TestExpectationsAreExactWhateverAnswersAreLost(t *testing.T) {
	for name, faults := range map[string]map[string][]shake{
		"none":                             {},
		"the answer to opening":            {"add": {{errLost, true}}},
		"the request to open":              {"add": {{errRefused, false}, {errRefused, false}}},
		"the answer to expecting":          {"expect": {{errLost, true}}},
		"the second answer to expecting":   {"expect": {{nil, true}, {errLost, true}}},
		"the request to expect":            {"expect": {{errLost, false}}},
		"a refused request to expect":      {"expect": {{errRefused, false}}},
		"the answer, and the way to check": {"expect": {{errLost, true}}, "expectations": {{errLost, false}, {errRefused, false}}},
		"a request, then an answer":        {"expect": {{errLost, false}, {errLost, true}}},
		"all of it, for a while":           {"expect": slices.Repeat([]shake{{errLost, false}}, 6), "add": slices.Repeat([]shake{{errRefused, false}}, 6)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newShaky(faults)
				b := NewBooks(w, "a run", zap.NewNop())
				for _, n := range []int{3, 5} {
					if err := b.Expect(t.Context(), n); err != nil {
						t.Fatal(err)
					}
				}
				if got, _ := w.works.Expectations(t.Context(), ""); got != 8 || b.Expected() != 8 {
					t.Errorf("the work expects %d messages, the books say %d, want 8", got, b.Expected())
				}
			})
		})
	}
}

func TestTheWorkIsClosedOnceHoweverOftenAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newShaky(map[string][]shake{"close": {{errRefused, false}}})
		b := NewBooks(w, "a run", zap.NewNop())
		if err := b.Close(t.Context(), "nothing was sent", false); err != nil || w.calls["close"] > 0 || w.opened > 0 {
			t.Errorf("closing books that were never opened: %v, %d calls", err, w.calls["close"])
		}
		if err := b.Expect(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := b.Close(t.Context(), "done", false); err != nil {
				t.Error(err)
			}
		}
		if w.closed != 1 || w.opened != 1 {
			t.Errorf("the work was opened %d times and closed %d times", w.opened, w.closed)
		}
	})
}

func TestADeletedWorkMakesTheRunVoid(t *testing.T) {
	for name, tt := range map[string]struct {
		faults map[string][]shake
		says   func(ctx context.Context, b *Books) error
	}{
		"refused expectations": {map[string][]shake{"expect": {{nil, true}, {errNotAlive, false}}}, func(ctx context.Context, b *Books) error { return b.Expect(ctx, 1) }},
		"a refused closing":    {map[string][]shake{"close": {{errNotAlive, false}}}, func(ctx context.Context, b *Books) error { return b.Close(ctx, "", false) }},
		"a look":               {nil, func(ctx context.Context, b *Books) error { return b.Check(ctx) }},
		"the queue's size": {nil, func(ctx context.Context, b *Books) error {
			_, _, err := b.QueueSize(ctx)
			return err
		}},
		"the gauge": {nil, func(ctx context.Context, b *Books) error {
			return NewGauge(b, 0, func(bool, int64) {}, zap.NewNop()).Wait(ctx, 1, func() {})
		}},
	} {
		w := newShaky(tt.faults)
		b := NewBooks(w, "a run", zap.NewNop())
		j := &journal{}
		b.RememberIn(j)
		if err := b.Expect(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		w.gone = true // which the platform does not say by itself
		for range 2 {
			if err := tt.says(t.Context(), b); !errors.Is(err, ErrWorkGone) || !errors.Is(err, pipeline.ErrAbandon) || !errors.Is(err, errNotAlive) {
				t.Errorf("%s on a deleted work: %v", name, err)
			}
			if name == "a refused closing" {
				break // it is closed once
			}
		}
		calls := w.calls["expect"]
		if err := b.Expect(t.Context(), 1); !errors.Is(err, ErrWorkGone) || w.calls["expect"] != calls {
			t.Errorf("%s: more messages are expected of a deleted work: %v", name, err)
		}
		if j.gone != 1 || len(j.opened) != 1 {
			t.Errorf("%s: the journal was told %d times that the work is gone, and that %v was opened", name, j.gone, j.opened)
		}
	}
}

// journal notes what it is told.
type journal struct {
	opened []string
	gone   int
	err    error
	before func()
}

func (j *journal) Opened(_ context.Context, id string) error {
	if j.before != nil {
		j.before()
	}
	j.opened = append(j.opened, id)
	return j.err
}

func (j *journal) Gone() { j.gone++ }

func TestAWorkIsRememberedBeforeAnythingIsExpectedOfIt(t *testing.T) {
	w := newShaky(nil)
	b := NewBooks(w, "a run", zap.NewNop())
	failure := errors.New("not stored")
	j := &journal{err: failure, before: func() {
		if w.opened != 1 || w.calls["expect"] > 0 {
			t.Errorf("told after %d works and %d expectations", w.opened, w.calls["expect"])
		}
	}}
	b.RememberIn(j)
	if err := b.Expect(t.Context(), 3); !errors.Is(err, failure) || w.calls["expect"] > 0 {
		t.Errorf("Expect() = %v with %d expectations", err, w.calls["expect"])
	}
	if err := b.Close(t.Context(), "failed", true); err != nil || w.closed != 1 {
		t.Errorf("Close() = %v, the work was closed %d times", err, w.closed)
	}
}

func TestALookWaitsUntilThePlatformHasSaidThatTheWorkLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		unknown := &opencti.Error{Message: "the search engine does not answer"}
		w := newShaky(map[string][]shake{"expectations": slices.Repeat([]shake{{errRefused, false}, {unknown, false}}, 3)})
		b := NewBooks(w, "a run", zap.NewNop())
		if err := b.Check(t.Context()); err != nil || w.calls["expectations"] > 0 {
			t.Errorf("a look for no work: %v, %d questions", err, w.calls["expectations"])
		}
		if err := b.Expect(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		if err := b.Check(t.Context()); err != nil || w.calls["expectations"] != 7 {
			t.Errorf("Check() = %v after %d questions", err, w.calls["expectations"])
		}
		w.faults["expectations"] = slices.Repeat([]shake{{errRefused, false}}, 1000)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := b.Check(ctx); err == nil || errors.Is(err, pipeline.ErrAbandon) {
			t.Errorf("what is unknown is not gone: %v", err)
		}
		for name, tt := range map[string]struct {
			faults []shake
			most   time.Duration
		}{
			"it fails":                    {slices.Repeat([]shake{{unknown, false}}, 1000), 10 * time.Minute},
			"it fails and is away":        {slices.Repeat([]shake{{unknown, false}, {errRefused, false}}, 1000), 10 * time.Minute},
			"it is away, and fails later": {slices.Concat(slices.Repeat([]shake{{errRefused, false}}, 100), slices.Repeat([]shake{{unknown, false}}, 1000)), 40 * time.Minute},
		} {
			w.faults["expectations"] = tt.faults
			asked := time.Now()
			err := b.Check(t.Context())
			if took := time.Since(asked); !errors.Is(err, unknown) || errors.Is(err, pipeline.ErrAbandon) || took < 10*time.Minute || took > tt.most+time.Minute {
				t.Errorf("%s: %v after %s", name, err, took)
			}
		}
		w.faults["expectations"] = []shake{{&opencti.Error{Status: http.StatusForbidden, Message: "no right"}, false}}
		if err := b.Check(t.Context()); !opencti.IsUnauthorized(err) || errors.Is(err, pipeline.ErrAbandon) {
			t.Errorf("a question that is refused: %v", err)
		}
	})
}

func TestBooksWaitForThePlatformUntilTheContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newShaky(map[string][]shake{"add": slices.Repeat([]shake{{errRefused, false}}, 1000)})
		b := NewBooks(w, "a run", zap.NewNop())
		ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Minute, errors.New("told to stop"))
		defer cancel()
		started := time.Now()
		err := b.Expect(ctx, 1)
		if took := time.Since(started); took != 10*time.Minute {
			t.Errorf("waited %s, want until the context's end", took)
		}
		if err == nil || !errors.Is(err, errRefused) || errors.Is(err, pipeline.ErrAbandon) {
			t.Errorf("error: %v", err)
		}
		if calls := w.calls["add"]; calls < 20 || calls > 100 {
			t.Errorf("%d calls in ten minutes", calls)
		}
	})
}

func TestAPlatformThatRefusesForGoodIsNotAskedAgain(t *testing.T) {
	w := newShaky(map[string][]shake{"expect": {{errForbid, false}}})
	err := NewBooks(w, "a run", zap.NewNop()).Expect(t.Context(), 1)
	if !errors.Is(err, errForbid) || errors.Is(err, pipeline.ErrAbandon) || w.calls["expect"] != 1 {
		t.Errorf("%v after %d calls", err, w.calls["expect"])
	}
}

// platformRig is an emitter on the real client and a simulated platform.
func platformRig(t *testing.T) (*rig, *openctitest.Platform) {
	t.Helper()
	platform, err := openctitest.New(openctitest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	client, err := opencti.New(opencti.Config{
		URL: "http://opencti.test", ConnectorID: "9850490a-4273-429b-95f8-47dacda88fbf", HTTP: &http.Client{Transport: platform.Transport()},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Register(t.Context(), opencti.Registration{Name: "ThreatMatch"}); err != nil {
		t.Fatal(err)
	}
	return newRig(1, memoryIndex{}, newMemoryStore(), func(c *Config) {
		c.Books = NewBooks(client, "a run", zap.NewNop())
		c.Gauge = NewGauge(c.Books, 0, func(bool, int64) {}, zap.NewNop())
		c.BatchObjects = 2
	}), platform
}

func TestTheBooksOnThePlatformEqualTheMessages(t *testing.T) {
	for name, rule := range map[string]openctitest.Rule{
		"nothing fails":                    {Operation: "none", Do: openctitest.DropAnswer},
		"lost answer to opening":           {Operation: "workAdd", Do: openctitest.DropAnswer},
		"lost answer to expecting":         {Operation: "addExpectations", From: 2, Do: openctitest.DropAnswer},
		"lost answers to expecting":        {Operation: "addExpectations", From: 1, To: 3, Do: openctitest.DropAnswer},
		"lost request to expect":           {Operation: "addExpectations", Do: openctitest.Refuse},
		"bad gateway for opening":          {Operation: "workAdd", From: 1, To: 2, Do: openctitest.Status(502, "<html>")},
		"bad gateway for expecting":        {Operation: "addExpectations", From: 2, To: 3, Do: openctitest.Status(502, "<html>")},
		"lost answer to closing":           {Operation: "toProcessed", Do: openctitest.DropAnswer},
		"the platform away, a first while": {From: 1, To: 3, Do: openctitest.Refuse},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, platform := platformRig(t)
				if len(platform.Works()) > 0 {
					t.Fatal("a work was opened before the first batch")
				}
				platform.Fault(rule)
				for _, id := range []string{"malware--1", "malware--2", "malware--3", "malware--4", "malware--5"} {
					r.put(t, object(t, `{"type":"malware","id":"`+id+`"}`))
				}
				r.finish(t, pipeline.Complete)
				if err := r.cfg.Books.Close(t.Context(), "done", false); err != nil {
					t.Error(err)
				}
				sent := map[string]int{}
				for _, m := range r.queue.messages {
					sent[m.Work]++
				}
				open := 0
				for _, w := range platform.Works() {
					if w.Expected != sent[w.ID] {
						t.Errorf("the work %s expects %d messages and gets %d", w.ID, w.Expected, sent[w.ID])
					}
					if w.Closed == 0 && w.Expected > 0 {
						open++
					}
				}
				if len(r.queue.messages) != 5 || open > 0 {
					t.Errorf("%d messages, %d works left open", len(r.queue.messages), open)
				}
			})
		})
	}
}

func TestAWorkDeletedInTheMiddleEndsTheRunAsVoid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, platform := platformRig(t)
		malware := func(n int) pipeline.Object {
			return object(t, fmt.Sprintf(`{"type":"malware","id":"malware--%d"}`, n))
		}
		r.put(t, malware(1), malware(2))
		platform.DeleteWork(platform.Works()[0].ID)
		deleted := time.Now()
		for n := 3; ; n++ {
			time.Sleep(50 * time.Millisecond)
			err := r.Put(t.Context(), pipeline.Item{}, []pipeline.Object{malware(n)}, func(pipeline.Outcome) {})
			if err == nil && time.Since(deleted) < time.Minute {
				continue
			}
			if took := time.Since(deleted); !errors.Is(err, pipeline.ErrAbandon) || took > lookAgain+time.Second {
				t.Errorf("it goes on for %s and ends with %v", took, err)
			}
			return
		}
	})
	// Deleted after the last batch, too: its messages are dropped by the workers.
	r, platform := platformRig(t)
	r.put(t, object(t, `{"type":"malware","id":"malware--1"}`), object(t, `{"type":"malware","id":"malware--2"}`))
	platform.DeleteWork(platform.Works()[0].ID)
	if err := r.Finish(t.Context(), pipeline.Complete); !errors.Is(err, ErrWorkGone) {
		t.Errorf("finished with %v", err)
	}
}

func TestNoWorkIsOpenedWhereNothingIsSent(t *testing.T) {
	r, platform := platformRig(t)
	r.put(t)
	r.finish(t, pipeline.Complete)
	if err := r.cfg.Books.Close(t.Context(), "done", false); err != nil || len(platform.Works()) > 0 {
		t.Errorf("%d works, %v", len(platform.Works()), err)
	}
}
