package state

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

// everyPlatform runs a test against a platform with and without the timestamp of the state.
func everyPlatform(t *testing.T, test func(t *testing.T, cfg openctitest.Config)) {
	for name, cfg := range map[string]openctitest.Config{
		"timed":   {},
		"untimed": {NoStateTimestamp: true},
		"oldest":  {Version: "6.9.0", NoStateTimestamp: true, Without: []string{"Mutation.pingConnector.connectorInfo"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, cfg) })
		})
	}
}

func TestACommitReturnsOnlyOnceThePlatformEchoesIt(t *testing.T) {
	everyPlatform(t, func(t *testing.T, cfg openctitest.Config) {
		r := newRig(t, cfg)
		run := r.begin()
		r.platform.StaleEcho(3) // the first of them shows no state at all
		r.mustCommit(run, "iocs", within("1"))
		if n := len(r.platform.Pings()); n != 2 {
			t.Errorf("%d pings, want one that is answered with no state and one with what it stored", n)
		}
		r.platform.StaleEcho(5)
		r.mustCommit(run, "iocs", within("2"))
		r.platform.Fault(openctitest.Rule{Operation: "pingConnector", To: 4, Do: openctitest.Status(502, "<html>")})
		r.mustCommit(run, "iocs", within("3"))
		r.expectResets(0)
		if r.index.flushed != 3 {
			t.Errorf("the index was flushed %d times for 3 commits", r.index.flushed)
		}
	})
}

func TestACommitThatIsRefusedTravelsWithTheNextPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		run := r.begin()
		r.platform.Fault(openctitest.Rule{Operation: "pingConnector", Do: openctitest.GraphQLError("FORBIDDEN_ACCESS", "no")})
		if err := r.commit(run, "iocs", within("1")); err == nil || errors.Is(err, pipeline.ErrAbandon) {
			t.Errorf("Commit() = %v", err)
		}
		r.beatOnce()
		r.mustCommit(run, "alerts", within("7"))
		if held := r.platform.State(); !strings.Contains(held, `"after":"1"`) || !strings.Contains(held, `"after":"7"`) {
			t.Errorf("the platform holds %s", held)
		}
	})
}

func TestACommitEndsWithItsContextWhateverHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		run := r.begin()
		for _, operation := range []string{"pingConnector", "connector"} {
			r.platform.Fault(openctitest.Rule{Operation: operation, To: -1, Do: openctitest.Slow(50 * time.Second)})
			stop := r.beat()
			defer stop()
			time.Sleep(time.Second) // the heartbeat's ping hangs now
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			begin := time.Now()
			err := run.Commit(ctx, map[string]pipeline.Cursor{"iocs": within("1")})
			if took := time.Since(begin); err == nil || took > 3*time.Second {
				t.Errorf("%s: Commit() = %v after %s", operation, err, took)
			}
			cancel()
			stop()
			r.platform.ClearFaults()
		}
		r.mustCommit(run, "iocs", within("2"))
	})
}

func TestAPlatformThatIsAwayIsNotPestered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		run := r.begin()
		r.platform.Fault(openctitest.Rule{Operation: "pingConnector", To: 500, Do: openctitest.Status(502, "<html>")})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := run.Commit(ctx, map[string]pipeline.Cursor{"iocs": within("1")})
		if n := r.platform.Calls("pingConnector"); err == nil || n < 10 || n > 40 {
			t.Errorf("%d pings within a minute, and %v", n, err)
		}
	})
}

func TestAnIndexThatCannotBeWrittenKeepsNothingFromBeingCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		r.index.fails = errBroken
		r.mustCommit(r.begin(), "iocs", within("1"))
	})
}

// expectFirstRun checks that nothing is left of what was committed before a reset: here, and at the platform once the
// heart has beaten.
func (r *rig) expectFirstRun(void *RunCheckpoint) {
	r.t.Helper()
	if err := r.commit(void, "iocs", within("void")); !errors.Is(err, ErrReset) || !errors.Is(err, pipeline.ErrAbandon) {
		r.t.Errorf("a commit of the void run: %v", err)
	}
	r.beatOnce()
	stop := r.beat()
	defer stop()
	time.Sleep(2 * time.Minute)
	stop()
	if text, held := r.Text(), r.platform.State(); !claimsNothing(text) || !claimsNothing(held) {
		r.t.Errorf("the state is %s, the platform holds %s", text, held)
	}
	if r.index.emptied != 0 {
		r.t.Error("the index was emptied while the run was still under way")
	}
	next := r.begin()
	if r.index.emptied != 1 {
		r.t.Error("the index was not emptied before the next run")
	}
	if c := next.Cursor("iocs"); c.Pass != nil || c.Since.Before(importStart) || c.Since.Equal(passStart) || len(c.Failed) > 0 {
		r.t.Errorf("the next run begins at %+v", c)
	}
	if err := r.commit(void, "iocs", within("void")); !errors.Is(err, ErrReset) {
		r.t.Errorf("a commit of the void run during the next: %v", err)
	}
	if strings.Contains(r.Text(), "void") {
		r.t.Errorf("the void run is in %s", r.Text())
	}
	r.mustCommit(next, "iocs", within("1"))
}

func TestAStateOfTheConnectorBeforeIsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := platform(t, openctitest.Config{})
		p.SetState(`{"last_run": "2025-04-16T12:00:00+00:00", "note": 1}`)
		r := join(t, p, &folder{}, "alerts", "iocs")
		if err := r.adopt(); err != nil {
			t.Fatal(err)
		}
		before := time.Date(2025, 4, 16, 12, 0, 0, 0, time.UTC)
		run := r.begin()
		for _, name := range []string{"alerts", "iocs"} {
			if c := run.Cursor(name); !c.Since.Equal(before) || c.Pass != nil {
				t.Errorf("%s begins at %+v", name, c)
			}
		}
		if !r.LastRun().Equal(before) || r.index.emptied != 1 {
			t.Errorf("last run %v, index emptied %d times", r.LastRun(), r.index.emptied)
		}
		r.mustCommit(run, "iocs", pipeline.Cursor{Since: before, Pass: &pipeline.Pass{Started: passStart, After: "1"}})
		r.mustCommit(run, "alerts", done())
		if !r.LastRun().Equal(before) {
			t.Errorf("last run %v with a pass under way", r.LastRun())
		}
		r.mustCommit(run, "iocs", pipeline.Cursor{Since: passStart.Add(time.Minute)})
		if held := p.State(); !r.LastRun().Equal(passStart) || !strings.HasPrefix(held, `{"last_run":"2025-04-17T15:24:00+00:00",`) ||
			!strings.HasSuffix(held, `,"version":1,"note":1}`) || strings.Contains(held, "import_from") {
			t.Errorf("last run %v, the platform holds %s", r.LastRun(), held)
		}
	})
}

func TestAStateThatCannotBeReadIsNoFirstRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := platform(t, openctitest.Config{})
		for text, want := range map[string]error{`{"datasets": `: ErrUnreadable, `{"version": 7, "last_run": "2025-04-16T12:00:00Z"}`: ErrNewer} {
			p.SetState(text)
			r := join(t, p, &folder{}, "iocs")
			if err := r.adopt(); !errors.Is(err, want) {
				t.Errorf("Adopt(%s) = %v", text, err)
			}
			if p.State() != text {
				t.Errorf("the platform holds %s", p.State())
			}
		}
	})
}

func TestWhatWaitedOnALostDiskIsFetchedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		c := within("9")
		from := "4"
		c.Pass.KeptFrom = &from
		r.mustCommit(r.begin(), "iocs", c)

		same := join(t, r.platform, r.index, "alerts", "iocs")
		if err := same.adopt(); err != nil {
			t.Fatal(err)
		}
		emptied := r.index.emptied
		if c := same.begin().Cursor("iocs"); c.Pass.After != "9" || c.Pass.KeptFrom == nil || r.index.emptied != emptied {
			t.Errorf("with its index it begins at %+v", c.Pass)
		}
		same.LoseWaiting()
		if c := same.begin().Cursor("iocs"); c.Pass.After != "4" || c.Pass.KeptFrom != nil || r.index.emptied != emptied {
			t.Errorf("after what waited was lost it begins at %+v", c.Pass)
		}
		torn := join(t, r.platform, r.index, "alerts", "iocs")
		torn.cfg.WaitingLost = true
		if err := torn.adopt(); err != nil {
			t.Fatal(err)
		}
		if c := torn.begin().Cursor("iocs"); c.Pass.After != "4" || c.Pass.KeptFrom != nil || r.index.emptied != emptied {
			t.Errorf("with its index, but without what waited, it begins at %+v", c.Pass)
		}
		other := join(t, r.platform, &folder{name: " of another volume"}, "alerts", "iocs")
		if err := other.adopt(); err != nil {
			t.Fatal(err)
		}
		if other.index.emptied != 0 {
			t.Error("the index was emptied before the run")
		}
		run := other.begin()
		if c := run.Cursor("iocs"); c.Pass.After != "" || c.Pass.KeptFrom != nil || other.index.emptied != 1 {
			t.Errorf("with another index it begins at %+v", c.Pass)
		}
		other.mustCommit(run, "iocs", within("5"))
		if !strings.Contains(r.platform.State(), `"index":"`+other.index.ID()+`"`) {
			t.Errorf("the platform holds %s", r.platform.State())
		}
		other.begin()
		if other.index.emptied != 1 {
			t.Error("the index was emptied again")
		}
	})
}

func TestADatasetThatIsSwitchedOnLaterBeginsAtTheImportStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := platform(t, openctitest.Config{})
		one := join(t, p, &folder{}, "iocs")
		if err := one.adopt(); err != nil {
			t.Fatal(err)
		}
		one.mustCommit(one.begin(), "iocs", done())
		if !one.LastRun().Equal(passStart) {
			t.Errorf("last run %v", one.LastRun())
		}
		two := join(t, p, one.index, "alerts", "iocs")
		if err := two.adopt(); err != nil {
			t.Fatal(err)
		}
		run := two.begin()
		if c := run.Cursor("alerts"); !c.Since.Equal(importStart) {
			t.Errorf("alerts begin at %+v", c)
		}
		if c := run.Cursor("iocs"); !c.Since.Equal(passStart) {
			t.Errorf("iocs begin at %+v", c)
		}
	})
}

func TestTheImportStartStaysUntilEachDatasetHasACursor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := platform(t, openctitest.Config{})
		index := &folder{}
		for start := range 3 { // each time the window would have moved on by a day
			r := join(t, p, index, "alerts", "iocs")
			r.starts = start
			if err := r.adopt(); err != nil {
				t.Fatal(err)
			}
			run := r.begin()
			if c := run.Cursor("alerts"); !c.Since.Equal(importStart) {
				t.Errorf("start %d: alerts begin at %v", start+1, c.Since)
			}
			r.mustCommit(run, "iocs", within("1"))
		}
	})
}

func TestForgettingBeginsEverythingAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		run := r.begin()
		r.index.emptied = 0
		r.mustCommit(run, "iocs", done())
		r.Forget()
		r.expectResets(0)
		r.expectFirstRun(run)
	})
}

func TestTheHeartBeatsEvery40Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		begin := time.Now()
		stop := r.beat()
		defer stop()
		at := func() (seconds []int) {
			synctest.Wait()
			for _, ping := range r.platform.Pings() {
				seconds = append(seconds, int(ping.Time.Sub(begin)/time.Second))
			}
			return seconds
		}
		expect := func(want ...int) {
			t.Helper()
			got := at()
			if len(got) != len(want) {
				t.Fatalf("pings at %v, want %v", got, want)
			}
			for i := range want {
				if got[i] != want[i] {
					t.Fatalf("pings at %v, want %v", got, want)
				}
			}
		}
		expect(0)
		time.Sleep(100 * time.Second)
		expect(0, 40, 80)
		r.Ping()
		expect(0, 40, 80, 100)
		time.Sleep(60 * time.Second)
		expect(0, 40, 80, 100, 140)
		r.Ping()
		r.Ping()
		synctest.Wait()
		time.Sleep(20 * time.Second) // a platform that is away does not change the pace
		r.platform.Fault(openctitest.Rule{To: 8, Do: openctitest.Refuse})
		time.Sleep(140 * time.Second)
		if n := len(at()); n < 8 {
			t.Errorf("pings at %v", at())
		}
		stop()
		n := len(at())
		r.Ping()
		time.Sleep(time.Hour)
		if len(at()) != n {
			t.Error("the heart goes on beating after its end")
		}
	})
}

func TestAStopIsNotReportedAsAPlatformThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		r.platform.Fault(openctitest.Rule{To: -1, Do: openctitest.Slow(20 * time.Second)})
		stop := r.beat()
		defer stop()
		time.Sleep(5 * time.Second)
		stop()
		if n := r.log.Len(); n > 0 {
			t.Errorf("logged %v", r.log.All())
		}
	})
}

func TestAPlatformThatIsUpgradedGetsItsTimestampsHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		r.exchange.stamp = time.Time{} // as an older platform left it
		run := r.begin()
		r.exchange.held = true
		if err := r.platform.Reset(); err != nil {
			t.Fatal(err)
		}
		if err := r.commit(run, "iocs", within("1")); !errors.Is(err, ErrReset) {
			t.Errorf("Commit() = %v", err)
		}
		if r.exchange.stamp.IsZero() {
			t.Error("the timestamp was not taken over")
		}
	})
}
