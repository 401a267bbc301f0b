package connector

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/orders"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status"
	"github.com/opencti-connectors/threatmatch/emit"
	"github.com/opencti-connectors/threatmatch/emit/followup"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state"
)

// quiet is the story of a run that has sent some objects.
func quiet(sent int64) *story {
	return &story{
		requests: func() int64 { return 0 }, silent: func() bool { return false }, told: func() opencti.Info { return opencti.Info{} },
		account: func() emit.Account { return emit.Account{Confirmed: sent} }, broker: func() rabbitmq.Stats { return rabbitmq.Stats{} }, kept: func() string { return "" },
		stages: func() status.Lately { return status.Lately{} }, meter: new(pipeline.Meter), imported: func() followup.Imports { return followup.Imports{} },
	}
}

// underWay is a program that works on an order, with a run that has sent a thousand objects.
func underWay(t *testing.T, order orders.Backfill) (p *program, taken orders.Progress) {
	t.Helper()
	p, _ = stubbed(t)
	taken, err := p.backfill.Backfill(t.Context(), order)
	must(t, err)
	p.backfill.takesTurn(t.Context())
	p.backfill.begins(quiet(1000))
	return p, taken
}

// deliverAll commits the end of the window of a backfill of iocs.
func deliverAll(t *testing.T, p *program, of orders.Progress) {
	t.Helper()
	end := pipeline.Cursor{Since: of.To, Until: of.To}
	must(t, p.keeper.Begin(t.Context(), 7).Commit(t.Context(), map[string]pipeline.Cursor{state.InBackfill("iocs"): end}))
}

func TestARunOfACancelledBackfillSaysNothingOfTheNext(t *testing.T) {
	for name, failure := range map[string]error{"it ends well": nil, "it fails": errors.New("the broker is away")} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				order := orders.Backfill{From: time.Now().AddDate(-10, 0, 0), Datasets: []string{"iocs"}}
				p, _ := underWay(t, order)
				b := p.backfill
				_, err := b.Cancel(t.Context())
				must(t, err)
				said := observed(p)
				order.From = time.Now().AddDate(-2, 0, 0)
				_, err = b.Backfill(t.Context(), order)
				must(t, err)
				shown := func(when, waitsFor string) {
					t.Helper()
					now := b.Progress()
					if now.Phase != orders.Waiting || now.WaitsFor != waitsFor || now.Sent != 0 || now.Took != 0 || now.Failure != "" || !now.From.Equal(order.From) {
						t.Errorf("the next one, %s: %s", when, now)
					}
				}
				time.Sleep(time.Second)
				shown("while the run ends", "the end of the run under way")
				if outcome := p.outcome(t.Context(), nil, true); outcome != "cancelled" {
					t.Errorf("the run has ended, %s", outcome)
				}
				b.ends(pipeline.Report{}, emit.Account{Confirmed: 1000})
				shown("when it has", "the end of the run under way")
				if err := b.judge(t.Context(), failure); err != failure {
					t.Errorf("it returns %v", err)
				}
				shown("after it", "")
				if at, ordered := b.due(); !ordered || at.After(time.Now()) {
					t.Errorf("the next one is due at %s", at)
				}
				if said.FilterMessageSnippet("makes way").Len() > 0 {
					t.Errorf("it says %v", said.All())
				}
			})
		})
	}
}

func TestABackfillIsDoneAsSoonAsItRunsNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, taken := underWay(t, orders.Backfill{From: time.Now().AddDate(-10, 0, 0), Datasets: []string{"iocs"}})
		b := p.backfill
		shown := func(when string, want orders.Phase) {
			t.Helper()
			if now := b.Progress(); now.Phase != want || now.Sent != 1000 {
				t.Errorf("%s: %s", when, now)
			}
		}
		deliverAll(t, p, taken)
		shown("when all is delivered", orders.Running)
		b.ends(pipeline.Report{}, emit.Account{Confirmed: 1000})
		shown("when its run has ended", orders.Running)
		_, err := b.Cancel(t.Context())
		must(t, err)
		shown("when it is cancelled too late", orders.Running)
		must(t, b.judge(t.Context(), nil))
		shown("when that is judged", orders.Done)
	})
}

func TestABackfillOfWhichSomethingIsLeftIsNotDone(t *testing.T) {
	for name, tt := range map[string]struct {
		err  error
		says string
	}{
		"its run made way": {nil, "the backfill makes way for the scheduled run; left of it: iocs from"},
		"its run failed":   {errors.New("the broker is away"), "the backfill cannot go on for now"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, _ := underWay(t, orders.Backfill{From: time.Now().AddDate(-10, 0, 0), Datasets: []string{"iocs"}})
				b := p.backfill
				b.ends(pipeline.Report{}, emit.Account{Confirmed: 1000})
				said := observed(p)
				if err := b.judge(t.Context(), tt.err); err != tt.err {
					t.Errorf("it returns %v", err)
				}
				if now := b.Progress(); now.Phase != orders.Waiting || (now.Failure != "") != (tt.err != nil) {
					t.Errorf("it is shown as %s", now)
				}
				if at, ordered := b.due(); !ordered || at.After(time.Now()) != (tt.err != nil) {
					t.Errorf("it is due at %s (ordered: %t)", at, ordered)
				}
				if said.FilterMessageSnippet(tt.says).Len() != 1 {
					t.Errorf("it says %v", said.All())
				}
			})
		})
	}
}

func TestABackfillThatIsFollowedByAnotherBeforeItsRunHasEndedIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		order := orders.Backfill{From: time.Now().AddDate(-10, 0, 0), Datasets: []string{"iocs"}}
		p, taken := underWay(t, order)
		b := p.backfill
		deliverAll(t, p, taken)
		_, err := b.Backfill(t.Context(), order)
		must(t, err)
		b.ends(pipeline.Report{}, emit.Account{Confirmed: 1000})
		said := observed(p)
		must(t, b.judge(t.Context(), nil))
		if said.FilterMessageSnippet("the backfill is done: ").Len() != 1 || said.FilterMessageSnippet("1,000 objects sent").Len() != 1 {
			t.Errorf("it says %v", said.All())
		}
		if now := b.Progress(); now.Phase != orders.Waiting || now.Sent != 0 {
			t.Errorf("the next one: %s", now)
		}
	})
}

// slowPings hold a ping up until told.
type slowPings struct {
	*platformStub
	in, out chan struct{}
}

func (p *slowPings) Ping(ctx context.Context, text string) (state.Held, error) {
	if p.in != nil {
		close(p.in)
		p.in = nil
		<-p.out
	}
	return p.platformStub.Ping(ctx, text)
}

func TestWhatComesWhileACancelIsTakenWaitsForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, stub := stubbed(t)
		slow := &slowPings{platformStub: stub}
		p.keeper = state.NewKeeper(state.Config{Platform: slow, Index: &indexStub{}, Enabled: []string{"iocs"}, ImportFrom: func() time.Time { return time.Now() }})
		must(t, p.keeper.Adopt(t.Context(), state.Held{Stamp: stub.stamp}))
		order := orders.Backfill{From: time.Now().AddDate(-10, 0, 0), Datasets: []string{"iocs"}}
		_, err := p.backfill.Backfill(t.Context(), order)
		must(t, err)
		p.backfill.takesTurn(t.Context())
		p.backfill.begins(quiet(1000))
		said := observed(p)
		in := make(chan struct{})
		slow.in, slow.out = in, make(chan struct{})
		var side sync.WaitGroup
		side.Go(func() {
			if _, err := p.backfill.Cancel(t.Context()); err != nil {
				t.Error(err)
			}
		})
		<-in // the cancel is on its way to OpenCTI
		side.Go(func() {
			if err := p.backfill.judge(t.Context(), nil); err != nil {
				t.Error(err)
			}
		})
		side.Go(func() {
			if now, err := p.backfill.Backfill(t.Context(), order); err != nil || now.Phase != orders.Waiting {
				t.Errorf("the order that came after the cancel: %s, %v", now, err)
			}
		})
		synctest.Wait()
		if left := p.keeper.Backfill(); len(left.Datasets) > 0 {
			t.Errorf("the order did not wait: %s", left)
		}
		close(slow.out)
		side.Wait()
		if said.FilterMessageSnippet("the backfill is done").Len() > 0 {
			t.Errorf("the run that ended meanwhile: %v", said.All())
		}
		if now := p.backfill.Progress(); now.Phase != orders.Waiting {
			t.Errorf("in the end: %s", now)
		}
	})
}

func TestARunThatBeginsAfterTheCancelIsNotWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := stubbed(t)
		order := orders.Backfill{From: time.Now().AddDate(-10, 0, 0), Datasets: []string{"iocs"}}
		_, err := p.backfill.Backfill(t.Context(), order)
		must(t, err)
		p.backfill.takesTurn(t.Context())
		_, err = p.backfill.Cancel(t.Context())
		must(t, err)
		_, err = p.backfill.Backfill(t.Context(), order)
		must(t, err)
		if p.backfill.begins(quiet(0)) {
			t.Error("a run goes on for an order that was cancelled while it was set up")
		}
		must(t, p.backfill.judge(t.Context(), nil))
	})
}
