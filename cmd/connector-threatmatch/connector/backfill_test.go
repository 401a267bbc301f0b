package connector

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/orders"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status"
	"github.com/opencti-connectors/threatmatch/emit"
	"github.com/opencti-connectors/threatmatch/emit/followup"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state"
)

type platformStub struct {
	mu    sync.Mutex
	text  string
	stamp time.Time
}

// reset is an operator's.
func (p *platformStub) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text, p.stamp = "", time.Now()
}

func (p *platformStub) held() (state.Held, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return state.Held{State: p.text, Stamp: p.stamp}, nil
}

func (p *platformStub) Ping(_ context.Context, text string) (state.Held, error) {
	p.mu.Lock()
	p.text = text
	p.mu.Unlock()
	return p.held()
}
func (p *platformStub) ConnectorState(context.Context) (state.Held, error) {
	return p.held()
}
func (p *platformStub) Register(context.Context) (state.Held, error) {
	return p.held()
}

type indexStub struct{ n uint64 }

func (*indexStub) ID() string                                     { return "i" }
func (*indexStub) Flush(context.Context) error                    { return nil }
func (*indexStub) HoldsBack() bool                                { return false }
func (*indexStub) Empty(context.Context) error                    { return nil }
func (*indexStub) Folder() string                                 { return "f" }
func (x *indexStub) Counter() uint64                              { return x.n }
func (x *indexStub) SetCounter(_ context.Context, n uint64) error { x.n = n; return nil }

func stubbed(t *testing.T) (*program, *platformStub) {
	t.Helper()
	stub := &platformStub{stamp: time.Now()}
	p := &program{log: zap.NewNop(), plain: zap.NewNop(), notices: zap.NewNop(), imported: followup.NewShare(nil, nil), resets: make(chan struct{}, 1)}
	p.status = status.New(p.cfg, nil)
	p.backfill = newBackfill(p)
	p.keeper = state.NewKeeper(state.Config{Platform: stub, Index: &indexStub{}, Enabled: []string{"iocs"}, ImportFrom: func() time.Time { return time.Now() }, OnVoid: p.onVoid})
	if err := p.keeper.Adopt(t.Context(), state.Held{Stamp: stub.stamp}); err != nil {
		t.Fatal(err)
	}
	return p, stub
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// observed lets a test see what a program says at info.
func observed(p *program) *observer.ObservedLogs {
	core, said := observer.New(zap.InfoLevel)
	p.plain = zap.New(core)
	p.log = p.plain
	return said
}

func TestAnOrderForAPartOfWhatIsUnderWayGoesOnWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := stubbed(t)
		begin := time.Now().AddDate(-10, 0, 0)
		if _, err := p.backfill.Backfill(t.Context(), orders.Backfill{From: begin, Datasets: []string{"iocs", "alerts"}}); err != nil {
			t.Fatal(err)
		}
		under := p.keeper.Backfill()
		for _, order := range []struct {
			orders.Backfill
			taken bool
		}{
			{orders.Backfill{From: begin, Datasets: []string{"alerts", "iocs"}}, true},
			{orders.Backfill{From: begin.AddDate(5, 0, 0), Datasets: []string{"iocs"}}, true},
			{orders.Backfill{From: begin, To: begin.AddDate(1, 0, 0), Datasets: []string{"alerts"}}, true},
			{orders.Backfill{From: begin, Datasets: []string{"profiles"}}, false},
			{orders.Backfill{From: begin, Datasets: []string{"alerts", "iocs", "profiles"}}, false},
			{orders.Backfill{From: begin.AddDate(-1, 0, 0), Datasets: []string{"iocs"}}, false},
		} {
			said := observed(p)
			_, err := p.backfill.Backfill(t.Context(), order.Backfill)
			refused := errors.Is(err, orders.ErrRefused) && strings.Contains(err.Error(), under.String()) && strings.Contains(err.Error(), "backfill --cancel")
			if (err == nil) != order.taken || refused == order.taken {
				t.Errorf("%q from %s to %s: %v", order.Datasets, order.From, order.To, err)
			}
			if goesOn := said.FilterMessage("going on with the backfill of "+under.String()).Len() > 0; goesOn != order.taken {
				t.Errorf("%q from %s to %s: it says %v", order.Datasets, order.From, order.To, said.All())
			}
			if now := p.keeper.Backfill(); now.String() != under.String() {
				t.Errorf("%q from %s to %s: under way is %s", order.Datasets, order.From, order.To, now)
			}
		}
	})
}

func TestACommandSaysThatItGoesOnOnceThatIsDecided(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := stubbed(t)
		order := orders.Backfill{From: time.Now().AddDate(-10, 0, 0), Datasets: []string{"iocs"}}
		if _, err := p.backfill.Backfill(t.Context(), order); err != nil {
			t.Fatal(err)
		}
		for alone, want := range map[bool]int{false: 1, true: 0} {
			p.alone = alone
			said := observed(p)
			if p.backfill.found(); said.Len() != want {
				t.Errorf("alone %t: it says %v", alone, said.All())
			}
		}
	})
}

func TestABackfillThatWasForgottenIsNotDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, stub := stubbed(t)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); p.keeper.Heartbeat(ctx) }()
		time.Sleep(time.Minute)
		shown, err := p.backfill.Backfill(t.Context(), orders.Backfill{From: time.Now().AddDate(-10, 0, 0), Datasets: []string{"iocs"}})
		if err != nil || shown.Phase != orders.Waiting {
			t.Fatal(shown, err)
		}
		time.Sleep(time.Minute)
		stub.reset()
		time.Sleep(time.Minute)
		if shown := p.backfill.Progress(); shown.Phase == orders.Done {
			t.Errorf("nothing of it was brought, and it is shown as: %s", shown)
		}
		cancel()
		<-ended
	})
}

func TestMakingWayHidesNoFailure(t *testing.T) {
	commit := errors.New("commit the state: store the state in OpenCTI: the disk of OpenCTI is full")
	makesWay := fmt.Errorf("finish delivery: settle what is under way within 4s: %w", errMakesWay)
	report := withoutWay(pipeline.Report{Err: errors.Join(makesWay, commit)})
	if report.Failure() == nil {
		t.Error("a commit failed, and the run is told as complete")
	}
}

func TestACancelledBackfillIsShownAsThatUntilTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := stubbed(t)
		order := orders.Backfill{From: time.Now().AddDate(-10, 0, 0), Datasets: []string{"iocs"}}
		if _, err := p.backfill.Backfill(t.Context(), order); err != nil {
			t.Fatal(err)
		}
		runCtx, end := context.WithCancelCause(t.Context())
		p.setEndRun(end)
		p.backfill.takesTurn(t.Context())
		p.backfill.begins(&story{})
		shown := func(when string, want orders.Phase) {
			t.Helper()
			if p := p.backfill.Progress(); p.Phase != want || p.Failure != "" || (want == orders.Cancelled) != (strings.Contains(p.String(), "to 2000-01-01 is cancelled")) {
				t.Errorf("%s: %s", when, p)
			}
		}
		if p, err := p.backfill.Cancel(t.Context()); err != nil || p.Phase != orders.Cancelled {
			t.Errorf("cancelled: %s, %v", p, err)
		}
		shown("while its run ends", orders.Cancelled)
		if !errors.Is(context.Cause(runCtx), errMakesWay) {
			t.Error("its run does not end")
		}
		if outcome := p.outcome(t.Context(), nil, true); outcome != "cancelled" {
			t.Errorf("its run has ended, %s", outcome)
		}
		p.backfill.ends(pipeline.Report{}, emit.Account{})
		must(t, p.backfill.judge(t.Context(), nil))
		shown("after its run", orders.Cancelled)
		if _, err := p.backfill.Backfill(t.Context(), order); err != nil {
			t.Fatal(err)
		}
		shown("when another is ordered", orders.Waiting)
		for range 2 { // the second finds none
			if _, err := p.backfill.Cancel(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		shown("when none was under way", orders.None)
	})
}

type failingPings struct {
	*platformStub
	fail bool
}

func (p *failingPings) Ping(ctx context.Context, text string) (state.Held, error) {
	if p.fail {
		return state.Held{}, &state.CallError{Err: errors.New("a proxy's 500"), Unsent: true}
	}
	return p.platformStub.Ping(ctx, text)
}

func TestAnOrderThatOpenCTIDidNotTakeAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, stub := stubbed(t)
		failing := &failingPings{platformStub: stub, fail: true}
		p.keeper = state.NewKeeper(state.Config{Platform: failing, Index: &indexStub{}, Enabled: []string{"iocs"}, ImportFrom: func() time.Time { return time.Now() }})
		if err := p.keeper.Adopt(t.Context(), state.Held{Stamp: stub.stamp}); err != nil {
			t.Fatal(err)
		}
		order := orders.Backfill{From: time.Now().AddDate(-10, 0, 0), Datasets: []string{"iocs"}}
		_, err := p.backfill.Backfill(t.Context(), order)
		t.Logf("the order is answered with: %v; under way: %v", err, p.keeper.Backfill())
		failing.fail = false
		shown, again := p.backfill.Backfill(t.Context(), order) // the operator tries again
		if err != nil && len(p.keeper.Backfill().Datasets) > 0 && shown.From.IsZero() {
			t.Errorf("refused, and under way all the same; ordered again (%v) it is shown as: %s", again, shown)
		}
	})
}

func TestTheScheduleGoesFirstAndABackfillHasItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := stubbed(t)
		now, unimported := time.Now(), true
		expect := func(when string, next time.Time, deleted bool, want purpose) {
			t.Helper()
			if got := p.turn(next, followup.Found{Deleted: deleted}, unimported); got != want {
				t.Errorf("%s: a run for %d, want %d", when, got, want)
			}
		}
		soon, past := now.Add(time.Minute), now
		expect("without a backfill", soon, false, mends)
		if _, err := p.backfill.Backfill(t.Context(), orders.Backfill{From: now.AddDate(-10, 0, 0), Datasets: []string{"iocs"}}); err != nil {
			t.Fatal(err)
		}
		expect("between two runs", soon, false, backfills)
		expect("when the schedule is due", past, false, imports)
		expect("when a work was deleted", soon, true, imports)
		p.backfill.notBefore(soon)
		expect("in a pause", soon, false, mends)
		time.Sleep(time.Minute)
		expect("after it", time.Now().Add(time.Minute), false, backfills)
		if _, err := p.backfill.Cancel(t.Context()); err != nil {
			t.Fatal(err)
		}
		expect("when it is cancelled", time.Now().Add(time.Minute), false, mends)
		unimported = false
		expect("when there is nothing to send again either", time.Now().Add(time.Minute), false, nothing)

		for next, want := range map[time.Duration]time.Duration{24 * time.Hour: 24 * time.Hour, time.Minute: leastTurn, 0: leastTurn} {
			if got := turnEnds(now, now.Add(next)); !got.Equal(now.Add(want)) {
				t.Errorf("with the schedule due in %s a turn takes %s, want %s", next, got.Sub(now), want)
			}
		}
	})
}

func TestAnOrderThatIsDoneOrCancelledByThenBeginsNoRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := stubbed(t)
		if _, err := p.backfill.Backfill(t.Context(), orders.Backfill{From: time.Now().AddDate(-10, 0, 0), Datasets: []string{"iocs"}}); err != nil {
			t.Fatal(err)
		}
		if _, err := p.backfill.Cancel(t.Context()); err != nil {
			t.Fatal(err)
		}
		next := time.Now().Add(30 * time.Second)
		var deleted deletions
		if at, going := p.idle(t.Context(), next, false, &deleted); !going || !at.Equal(next) || time.Now().Before(next) {
			t.Errorf("it waited until %s for %s", time.Now(), at)
		}
	})
}

func TestABackfillSaysWhatItLetsGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := stubbed(t)
		p.backfill.scheduledAt(time.Now().Add(time.Minute))
		waitsFor := func(when, want string) {
			t.Helper()
			if shown := p.backfill.Progress(); shown.Phase != orders.Waiting || shown.WaitsFor != want {
				t.Errorf("%s: %s", when, shown)
			}
		}
		if _, err := p.backfill.Backfill(t.Context(), orders.Backfill{From: time.Now().AddDate(-10, 0, 0), Datasets: []string{"iocs"}}); err != nil {
			t.Fatal(err)
		}
		waitsFor("between two runs", "")
		p.backfill.letsGoFirst(true)
		waitsFor("in one", "the end of the run under way")
		p.backfill.letsGoFirst(false)
		time.Sleep(time.Minute)
		waitsFor("when the schedule is due", "the scheduled run, which is due")
	})
}
