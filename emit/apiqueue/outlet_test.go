package apiqueue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/emit"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// platform takes bundles, each in its time.
type platform struct {
	counts bool
	takes  func(ids []string) time.Duration
	fails  func() error // of a call, before anything is taken

	largest  int   // bytes of an object that is taken, 0 for any
	tooLarge error // for others

	mu       sync.Mutex
	underWay int
	most     int
	bundles  [][]string // ids, as they were taken
	expected []int
	begun    []string
	refused  []string
	left     []string       // out, as the work was told
	atBegin  map[string]int // how many bundles were taken when one with the id began
}

func (p *platform) PushBundle(ctx context.Context, work string, text []byte) error {
	var bundle struct{ Objects []json.RawMessage }
	if err := json.Unmarshal(text, &bundle); err != nil || work != "work_1" {
		panic(fmt.Sprintf("%s: %v: %s", work, err, text))
	}
	var ids []string
	p.mu.Lock()
	p.underWay++
	p.most = max(p.most, p.underWay)
	if p.atBegin == nil {
		p.atBegin = map[string]int{}
	}
	for _, text := range bundle.Objects {
		var o struct{ ID string }
		if err := json.Unmarshal(text, &o); err != nil {
			panic(err)
		}
		ids = append(ids, o.ID)
		p.atBegin[o.ID] = len(p.bundles)
	}
	p.begun = append(p.begun, ids...)
	p.mu.Unlock()
	defer func() { p.mu.Lock(); p.underWay--; p.mu.Unlock() }()
	if p.takes != nil {
		select {
		case <-time.After(p.takes(ids)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for _, o := range bundle.Objects {
		if p.largest > 0 && len(o) > p.largest {
			return p.tooLarge
		}
	}
	if p.fails != nil {
		if err := p.fails(); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bundles = append(p.bundles, ids)
	return nil
}

func (p *platform) CountsBundles(context.Context, string) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts && len(p.bundles) > 0 || len(p.expected) > 0, nil
}

// Of the works of the books.

func (p *platform) AddWork(context.Context, string) (string, error) { return "work_1", nil }
func (p *platform) AddExpectations(_ context.Context, _ string, n int) error {
	p.expected = append(p.expected, n)
	return nil
}
func (p *platform) ReportLeftOut(_ context.Context, _, what string) error {
	p.left = append(p.left, what)
	return nil
}
func (p *platform) Expectations(context.Context, string) (int, error)          { return 0, nil }
func (p *platform) CloseWork(context.Context, string, string, bool) error      { return nil }
func (p *platform) Processed(context.Context, string) (bool, error)            { return false, nil }
func (p *platform) Watch(context.Context, string) (w opencti.Watched, _ error) { return w, nil }
func message(id string, rank int64) emit.Message {
	object, _, _ := strings.Cut(id, "\n")
	return emit.Message{Work: "work_1", ID: id, Rank: rank, Object: fmt.Appendf(nil, `{"id":%q}`, object)}
}

// told is a sender.
type told func(refused *emit.Refused)

func (t told) Settled(refused *emit.Refused) { t(refused) }

// send sends a batch and waits until it is in the queue; it returns how many were confirmed.
func send(ctx context.Context, p *platform, o *Outlet, messages ...emit.Message) (confirmed int, err error) {
	var mu sync.Mutex
	nothing := func() {}
	if err := o.Begin(ctx, len(messages)); err != nil {
		return 0, err
	}
	for _, m := range messages {
		if err := o.Send(ctx, m, told(func(refused *emit.Refused) {
			mu.Lock()
			defer mu.Unlock()
			if refused == nil {
				confirmed++
			} else {
				p.refused = append(p.refused, m.ID)
			}
		}), nothing); err != nil {
			return confirmed, err
		}
	}
	err = o.Flush(ctx, nothing)
	mu.Lock()
	defer mu.Unlock()
	return confirmed, err
}

func outletOf(p *platform, change func(*Config)) *Outlet {
	cfg := Config{Platform: p, Books: emit.NewBooks(p, "a run", zap.NewNop())}
	if change != nil {
		change(&cfg)
	}
	return New(cfg)
}

func ranks(n int, of func(i int) int64) []emit.Message {
	var messages []emit.Message
	for i := range n {
		messages = append(messages, message(fmt.Sprintf("tool--%d", i), of(i)))
	}
	return messages
}

func TestNothingGoesBeforeWhatItMayNeedIsInTheQueue(t *testing.T) {
	for _, counts := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			var calls atomic.Int64
			p := &platform{counts: counts, takes: func([]string) time.Duration { return time.Duration(1+calls.Add(7)%13) * time.Second }}
			o := outletOf(p, func(c *Config) { c.BundleObjects = 3 })
			defer o.Close(t.Context())
			messages := ranks(40, func(i int) int64 { return int64(i / 10) })
			confirmed, err := send(t.Context(), p, o, messages...)
			if err != nil || confirmed != len(messages) {
				t.Fatalf("%d confirmed, %v", confirmed, err)
			}
			taken := map[string]int{} // how many bundles had been taken with it
			for i, ids := range p.bundles {
				for _, id := range ids {
					taken[id] = i + 1
				}
			}
			for _, m := range messages {
				for _, earlier := range messages {
					if earlier.Rank < m.Rank && p.atBegin[m.ID] < taken[earlier.ID] {
						t.Errorf("counts %t: %s of rank %d began before %s was in the queue", counts, m.ID, m.Rank, earlier.ID)
					}
				}
			}
			if p.most < 2 || p.most > defaultAtOnce {
				t.Errorf("counts %t: up to %d calls side by side", counts, p.most)
			}
		})
	}
}

func TestAPlatformThatCountsIsNotToldAndGetsBundlesOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &platform{counts: true}
		o := outletOf(p, func(c *Config) { c.BundleObjects = 10 })
		defer o.Close(t.Context())
		if n, err := send(t.Context(), p, o, ranks(41, func(int) int64 { return 1 })...); n != 41 || err != nil {
			t.Fatal(n, err)
		}
		if len(p.expected) > 0 || len(p.bundles) != 5 || len(p.bundles[0]) != 1 {
			t.Errorf("expectations %v, bundles %v", p.expected, p.bundles)
		}
	})
}

func TestAPlatformThatDoesNotCountIsToldAndGetsEachObjectAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &platform{}
		o := outletOf(p, nil)
		defer o.Close(t.Context())
		for range 2 {
			if n, err := send(t.Context(), p, o, ranks(20, func(int) int64 { return 1 })...); n != 20 || err != nil {
				t.Fatal(n, err)
			}
		}
		if fmt.Sprint(p.expected) != "[20 20]" || len(p.bundles) != 40 {
			t.Errorf("expectations %v, %d bundles", p.expected, len(p.bundles))
		}
	})
}

func TestNoBundleSaysTwoThingsOfOneObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &platform{counts: true}
		o := outletOf(p, nil)
		defer o.Close(t.Context())
		n, err := send(t.Context(), p, o, message("tool--0", 1), message("tool--1\nlabels", 2), message("tool--1\nreferences", 2), message("tool--2", 2))
		if n != 4 || err != nil {
			t.Fatal(n, err)
		}
		for _, ids := range p.bundles {
			seen := map[string]bool{}
			for _, id := range ids {
				if seen[id] {
					t.Errorf("a bundle holds %v", ids)
				}
				seen[id] = true
			}
		}
	})
}

func TestABundleIsBoundedInBytesToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &platform{counts: true}
		o := outletOf(p, func(c *Config) { c.BundleBytes = 50 })
		defer o.Close(t.Context())
		if n, err := send(t.Context(), p, o, ranks(30, func(int) int64 { return 1 })...); n != 30 || err != nil {
			t.Fatal(n, err)
		}
		for _, ids := range p.bundles {
			if len(ids) > 3 {
				t.Errorf("a bundle holds %d objects", len(ids))
			}
		}
	})
}

func TestAPlatformThatIsAwayIsWaitedForAndOneThatRefusesIsNot(t *testing.T) {
	away := &opencti.Error{Operation: "stixBundlePush", Message: "away", Temporary: true}
	invalid := &opencti.Error{Operation: "stixBundlePush", Name: "UNSUPPORTED_ERROR", Message: "Invalid bundle"}
	forbidden := &opencti.Error{Operation: "stixBundlePush", Name: "FORBIDDEN_ACCESS"}
	for name, tt := range map[string]struct {
		err   error
		lasts time.Duration
		fails bool
	}{
		"away for a day":              {away, 24 * time.Hour, false},
		"its broker restarts":         {invalid, 5 * time.Minute, false},
		"its broker is gone":          {invalid, time.Hour, true},
		"a right is missing, a while": {forbidden, time.Minute, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			end := time.Now().Add(tt.lasts)
			p := &platform{counts: true, fails: func() error {
				if time.Now().Before(end) {
					return tt.err
				}
				return nil
			}}
			o := outletOf(p, nil)
			defer o.Close(t.Context())
			n, err := send(t.Context(), p, o, ranks(5, func(int) int64 { return 1 })...)
			if tt.fails != (err != nil) || tt.fails != errors.Is(err, tt.err) || !tt.fails && n != 5 || tt.fails && n != 0 {
				t.Errorf("%s: %d confirmed, %v", name, n, err)
			}
		})
	}
}

func TestWhatIsUnderWayIsGivenUpWhenThereIsNoTimeForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &platform{counts: true, takes: func([]string) time.Duration { return time.Hour }}
		o := outletOf(p, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		n, err := send(ctx, p, o, ranks(5, func(int) int64 { return 1 })...)
		if n != 0 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%d confirmed, %v", n, err)
		}
		began := time.Now()
		if err := o.Close(ctx); err == nil || time.Since(began) > time.Second || len(p.bundles) > 0 {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}

func TestOneObjectThatIsTooLargeIsRefusedAlone(t *testing.T) {
	tooLarge := &opencti.Error{Operation: "stixBundlePush", Status: http.StatusRequestEntityTooLarge}
	for _, counts := range []bool{true, false} {
		for _, large := range []int{0, 7} { // the first one shows how the platform takes bundles
			synctest.Test(t, func(t *testing.T) {
				p := &platform{counts: counts}
				p.largest = 100
				p.tooLarge = tooLarge
				o := outletOf(p, nil)
				defer o.Close(t.Context())
				messages := ranks(20, func(int) int64 { return 1 })
				messages[large].Object = fmt.Appendf(nil, `{"id":%q,"x":"%0200d"}`, messages[large].ID, 0)
				n, err := send(t.Context(), p, o, messages...)
				if err != nil || n != 19 || fmt.Sprint(p.refused) != "["+messages[large].ID+"]" {
					t.Fatalf("counts %t: %d confirmed, %v refused, %v", counts, n, p.refused, err)
				}
				if err := o.LeaveOut(t.Context(), "it"); err != nil {
					t.Fatal(err)
				}
				sum := 0
				for _, n := range p.expected {
					sum += n
				}
				told := 20 // and what is left out counts as processed
				if counts {
					told = 1 // for the one that was not counted
				}
				if sum != told || fmt.Sprint(p.left) != "[it]" {
					t.Errorf("counts %t, large %d: the work expects %v, left out %v", counts, large, p.expected, p.left)
				}
			})
		}
	}
}

func TestWhatIsRefusedFirstDoesNotShowHowBundlesAreTaken(t *testing.T) {
	for _, counts := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			p := &platform{counts: counts, largest: 100, tooLarge: &opencti.Error{Status: http.StatusRequestEntityTooLarge}}
			o := outletOf(p, nil)
			defer o.Close(t.Context())
			large := message("tool--large", 1)
			large.Object = fmt.Appendf(nil, `{"id":"tool--large","x":"%0200d"}`, 0)
			if n, err := send(t.Context(), p, o, large); n != 0 || err != nil {
				t.Fatal(n, err)
			}
			if err := o.LeaveOut(t.Context(), "the large one"); err != nil { // before anything else was taken
				t.Fatal(err)
			}
			if n, err := send(t.Context(), p, o, ranks(10, func(int) int64 { return 1 })...); n != 10 || err != nil {
				t.Fatal(n, err)
			}
			sum := 0
			for _, n := range p.expected {
				sum += n
			}
			want, bundles := 11, 10 // with one for what is named, which counts as processed
			if counts {
				want, bundles = 1, 2
			}
			if sum != want || len(p.bundles) != bundles || fmt.Sprint(p.left) != "[the large one]" {
				t.Errorf("counts %t: expected %v, %d bundles, left out %q", counts, p.expected, len(p.bundles), p.left)
			}
		})
	}
}
