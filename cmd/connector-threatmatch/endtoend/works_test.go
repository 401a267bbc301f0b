package endtoend

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/opencti-connectors/threatmatch/emit/followup"
	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// slowBubble is a bubble whose run takes half a minute: 60 pages of indicators, one every half second.
func slowBubble(t *testing.T, dir string, data threatmatchtest.Data, settings ...string) (*bubble, *observer.ObservedLogs) {
	b := newBubble(t, dir, threatmatchtest.Config{Data: data, PageSize: 10, Latency: 500 * time.Millisecond},
		rabbitmqtest.Config{}, openctitest.Config{}, append(settings, "THREATMATCH_CONCURRENCY=1")...)
	core, logs := observer.New(zapcore.InfoLevel)
	b.log = zap.New(core)
	return b, logs
}

// deleteLastWork is an operator's deletion of the work that was opened last.
func (b *bubble) deleteLastWork() (id string) {
	works := b.platform.Works()
	if len(works) == 0 {
		b.t.Fatal("no work was opened")
	}
	id = works[len(works)-1].ID
	b.platform.DeleteWork(id)
	return id
}

// kill ends a run as the death of its process does: nothing that it still says is heard.
func (b *bubble) kill(cancel context.CancelCauseFunc, ended <-chan error) {
	b.platform.Fault(openctitest.Rule{To: -1, Do: openctitest.Refuse})
	cancel(errCut)
	<-ended
	b.platform.ClearFaults()
}

// runFor runs the connector: once, or until it is told to stop after a time.
func (b *bubble) runFor(d time.Duration, once bool) error {
	ctx, cancel := context.WithCancelCause(b.t.Context())
	defer cancel(nil)
	if !once {
		time.AfterFunc(d, func() { cancel(errors.New("told to stop")) })
	}
	return b.run(ctx)
}

// imported takes what is in the queue and leaves out what workers drop, because its work was deleted.
func (b *bubble) imported() (messages []delivery, dropped int) {
	deleted := map[string]bool{}
	for _, w := range b.platform.Works() {
		deleted[w.ID] = w.Deleted
	}
	messages = b.take(1 << 30)
	all := len(messages)
	messages = slices.DeleteFunc(messages, func(m delivery) bool { return deleted[m.Work] })
	return messages, all - len(messages)
}

// after is how far the indicators' pass of a state has come, "" for nowhere and "~" for behind it.
func after(t *testing.T, state string) string {
	c := parseState(t, state).Datasets["iocs"]
	switch {
	case c.Since.IsZero() || (c.Pass != nil && c.Pass.After == ""):
		return ""
	case c.Pass == nil:
		return "~"
	}
	return c.Pass.After
}

func TestADeletedWorkIsNoticedWheneverItIsDeletedAndTheNextRunBeginsAtOnce(t *testing.T) {
	t.Parallel()
	const noticed = 5 * time.Second // a batch waits for two seconds, a look for two
	data := plainIndicators(t, 600)
	for at := 5 * time.Second; at < 33*time.Second; at += 2300 * time.Millisecond {
		t.Run(at.String(), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				b, logs := slowBubble(t, dir, data, "CONNECTOR_RUN_AND_TERMINATE=false")
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				ended := b.begin(ctx)
				time.Sleep(at)
				synctest.Wait()
				if b.platform.Works()[0].Closed > 0 {
					t.Fatal("the run has ended before anything was deleted in its middle")
				}
				held, pings := after(t, b.platform.State()), len(b.platform.Pings())
				deleted := b.deleteLastWork()
				time.Sleep(noticed)
				synctest.Wait()
				if runs := logs.FilterMessageSnippet("the run has ended").Len(); runs != 1 {
					t.Errorf("%s after the deletion %d runs have ended", noticed, runs)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				works := b.platform.Works()
				if len(works) != 2 || works[1].Closed != 1 || works[1].InError {
					t.Fatalf("the works are %+v", works)
				}
				for _, p := range b.platform.Pings()[pings:] {
					if !strings.Contains(p.State, works[1].ID) && (after(t, p.State) > held || !parseState(t, p.State).LastRun.IsZero()) {
						t.Errorf("a ping carries %s, although the work was deleted", p.State)
					}
				}
				if logs.FilterLevelExact(zapcore.ErrorLevel).Len() > 0 {
					t.Errorf("logged %v", logs.FilterLevelExact(zapcore.ErrorLevel).All())
				}
				messages, dropped := b.imported()
				checkHeld(t, messages, held600(t, data))
				if state := b.platform.State(); parseState(t, state).LastRun.IsZero() || strings.Contains(state, deleted) {
					t.Errorf("the state is %s", state)
				}
				cancel()
				<-ended
				t.Logf("%d messages were dropped", dropped)
			})
		})
	}
}

func TestAWorkThatIsDeletedBetweenTwoRunsLetsTheNextBeginAtOnceButNotForEver(t *testing.T) {
	t.Parallel()
	data, dir := plainIndicators(t, 600), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b, _ := slowBubble(t, dir, data, "CONNECTOR_RUN_AND_TERMINATE=false", "CONNECTOR_DURATION_PERIOD=P30D")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ended := b.begin(ctx)
		time.Sleep(3 * time.Minute) // nothing is imported meanwhile
		synctest.Wait()
		if works := b.platform.Works(); len(works) != 1 || works[0].Closed != 1 {
			t.Fatalf("the works are %+v", works)
		}
		b.deleteLastWork()
		time.Sleep(followup.LookEvery + 5*time.Second)
		synctest.Wait()
		if n := len(b.platform.Works()); n != 2 {
			t.Errorf("%d works a minute after the deletion", n)
		}
		for range 6 * 60 {
			time.Sleep(time.Minute)
			synctest.Wait()
			if works := b.platform.Works(); works[len(works)-1].Closed > 0 {
				b.deleteLastWork()
			}
		}
		if n := len(b.platform.Works()); n < 6 || n > 24 {
			t.Errorf("%d works in six hours", n)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		messages, _ := b.imported()
		checkHeld(t, messages, held600(t, data))
		cancel()
		<-ended
	})
}

func TestADeletedWorkIsFoundOutByTheNextProcess(t *testing.T) {
	t.Parallel()
	for name, opened := range map[string]time.Duration{"early": 7 * time.Second, "late": 25 * time.Second} {
		for _, once := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/once=%t", name, once), func(t *testing.T) {
				t.Parallel()
				data, dir := plainIndicators(t, 600), t.TempDir()
				synctest.Test(t, func(t *testing.T) {
					b, logs := slowBubble(t, dir, data, fmt.Sprintf("CONNECTOR_RUN_AND_TERMINATE=%t", once))
					ctx, cancel := context.WithCancelCause(t.Context())
					ended := b.begin(ctx)
					time.Sleep(opened)
					b.deleteLastWork()
					b.kill(cancel, ended)
					// The platform starts, too.
					b.platform.Fault(openctitest.Rule{Operation: "work", To: 5, Do: openctitest.Status(502, "<html>")})
					must(t, b.runFor(2*time.Minute, once))
					messages, dropped := b.imported()
					checkHeld(t, messages, held600(t, data))
					if dropped == 0 || logs.FilterMessageSnippet("was deleted in OpenCTI before all of it was imported").Len() != 1 {
						t.Errorf("%d messages were dropped; logged %v", dropped, logs.All())
					}
				})
			})
		}
	}
}

// held600 is what OpenCTI holds of the indicators.
func held600(t *testing.T, data *threatmatchtest.Folder) holdings {
	return held(t, data, defaultMapping)
}

func TestAWorkThatACrashLeftOpenIsClosedByTheNextStart(t *testing.T) {
	t.Parallel()
	for _, once := range []bool{true, false} {
		t.Run(fmt.Sprintf("once=%t", once), func(t *testing.T) {
			t.Parallel()
			data, dir := plainIndicators(t, 600), t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				b, _ := slowBubble(t, dir, data, fmt.Sprintf("CONNECTOR_RUN_AND_TERMINATE=%t", once))
				for range 2 {
					ctx, cancel := context.WithCancelCause(t.Context())
					ended := b.begin(ctx)
					time.Sleep(8 * time.Second)
					b.kill(cancel, ended)
				}
				if works := b.platform.Works(); len(works) != 2 || works[0].Closed != 1 || works[1].Closed != 0 {
					t.Fatalf("after two crashes the works are %+v", works)
				}
				b.platform.Fault(openctitest.Rule{Operation: "toProcessed", To: 2, Do: openctitest.DropAnswer})
				must(t, b.runFor(2*time.Minute, once))
				works := b.platform.Works()
				if len(works) != 3 {
					t.Fatalf("the works are %+v", works)
				}
				for i, w := range works {
					if crashed := i < 2; w.Closed == 0 || w.InError != crashed || strings.Contains(w.Message, "interrupted") != crashed {
						t.Errorf("work %d is %+v", i, w)
					}
				}
				messages, _ := b.imported()
				checkHeld(t, messages, held600(t, data))
			})
		})
	}
}

func TestNothingIsCommittedBeforeThePlatformHasSaidThatTheWorkLives(t *testing.T) {
	t.Parallel()
	for name, does := range map[string]openctitest.Do{
		"it is away":               openctitest.Status(502, "<html>"),
		"its search engine is not": openctitest.GraphQLError("DATABASE_ERROR", "no living connections"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, dir := plainIndicators(t, 600), t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				b, _ := slowBubble(t, dir, data, "CONNECTOR_RUN_AND_TERMINATE=false")
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				ended := b.begin(ctx)
				time.Sleep(10 * time.Second)
				synctest.Wait()
				before := after(t, b.platform.State())
				b.platform.Fault(openctitest.Rule{Operation: "work", To: -1, Do: does})
				b.deleteLastWork()
				time.Sleep(time.Minute)
				synctest.Wait()
				if now := after(t, b.platform.State()); now != before {
					t.Errorf("committed from %q to %q, and nobody knows whether the work is there", before, now)
				}
				b.platform.ClearFaults()
				time.Sleep(5 * time.Minute)
				synctest.Wait()
				messages, _ := b.imported()
				checkHeld(t, messages, held600(t, data))
				cancel()
				<-ended
			})
		})
	}
}

func TestWorksThatAreDeletedAgainAndAgainLetTheRunsPause(t *testing.T) {
	t.Parallel()
	data, dir := plainIndicators(t, 600), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b, _ := slowBubble(t, dir, data, "CONNECTOR_RUN_AND_TERMINATE=false")
		var stopped atomic.Bool
		b.platform.OnOperation(func(operation string) {
			if operation == "addExpectations" && !stopped.Load() {
				b.deleteLastWork()
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ended := b.begin(ctx)
		time.Sleep(6 * time.Hour)
		synctest.Wait()
		if n := len(b.platform.Works()); n < 6 || n > 24 {
			t.Errorf("%d works in six hours", n)
		}
		stopped.Store(true)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		messages, _ := b.imported()
		checkHeld(t, messages, held600(t, data))
		cancel()
		<-ended
	})
}

func TestAPlatformThatIsRestoredFromABackupGetsTheOpenWindowAgain(t *testing.T) {
	t.Parallel()
	data, dir := plainIndicators(t, 600), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b, logs := slowBubble(t, dir, data)
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := b.begin(ctx)
		time.Sleep(10 * time.Second)
		b.kill(cancel, ended)
		backup := b.platform.State()
		if got := after(t, backup); got == "" || got == "~" {
			t.Fatalf("the pass is not under way: %s", backup)
		}
		must(t, b.run(t.Context()))
		b.take(1 << 30)
		b.platform.SetState(backup) // and nothing of what was imported since is there
		must(t, b.run(t.Context()))
		messages, _ := b.imported()
		checkHeld(t, messages, held600(t, data))
		if logs.FilterMessageSnippet("restored from a backup").Len() != 1 {
			t.Errorf("logged %v", logs.FilterLevelExact(zapcore.WarnLevel).All())
		}
		must(t, b.run(t.Context()))
		if again, _ := b.imported(); len(again) > 0 {
			t.Errorf("the run after it sent %d messages", len(again))
		}
	})
}

func TestAPlatformThatIsRestoredWhileTheConnectorRunsGetsTheOpenWindowAtOnce(t *testing.T) {
	t.Parallel()
	for name, busy := range map[string]bool{"between two runs": false, "in a run": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, dir := plainIndicators(t, 600), t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				b, logs := slowBubble(t, dir, data, "CONNECTOR_RUN_AND_TERMINATE=false", "CONNECTOR_DURATION_PERIOD=P1D")
				ctx, cancel := context.WithCancel(t.Context())
				ended := b.begin(ctx)
				time.Sleep(10 * time.Second)
				backup := b.platform.State()
				if got := after(t, backup); got == "" || got == "~" {
					t.Fatalf("the pass is not under way: %s", backup)
				}
				if busy {
					time.Sleep(10 * time.Second)
					// It was away meanwhile, as far as the connector has seen.
					b.platform.Fault(openctitest.Rule{Operation: "pingConnector", Do: openctitest.Refuse})
				} else {
					time.Sleep(time.Hour)
				}
				synctest.Wait()
				b.take(1 << 30)
				b.platform.SetState(backup) // and nothing of what was imported since is there
				time.Sleep(time.Hour)
				synctest.Wait()
				checkHeld(t, b.take(1<<30), held600(t, data))
				cancel()
				<-ended
				if logs.FilterMessageSnippet("restored from a backup").Len() != 1 || logs.FilterLevelExact(zapcore.ErrorLevel).Len() > 0 {
					t.Errorf("logged %v", logs.All())
				}
			})
		})
	}
}

func TestAResetIsNoErrorWhoeverFindsItOut(t *testing.T) {
	t.Parallel()
	for name, period := range map[string]string{"the heartbeat": "P1D", "a commit of the next run": "PT7S"} {
		for _, untimed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/untimed=%t", name, untimed), func(t *testing.T) {
				t.Parallel()
				data, dir := plainIndicators(t, 50), t.TempDir()
				synctest.Test(t, func(t *testing.T) {
					b := newBubble(t, dir, threatmatchtest.Config{Data: data}, rabbitmqtest.Config{}, openctitest.Config{NoStateTimestamp: untimed},
						"CONNECTOR_RUN_AND_TERMINATE=false", "CONNECTOR_DURATION_PERIOD="+period)
					core, logs := observer.New(zapcore.InfoLevel)
					b.log = zap.New(core)
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					ended := b.begin(ctx)
					for range 5 {
						time.Sleep(50 * time.Second)
						synctest.Wait()
						b.take(1 << 30)
						must(t, b.platform.Reset())
						time.Sleep(time.Minute)
						synctest.Wait()
						checkHeld(t, b.take(1<<30), held(t, data, defaultMapping))
					}
					cancel()
					<-ended
					if errs := logs.FilterLevelExact(zapcore.ErrorLevel); errs.Len() > 0 || logs.FilterMessageSnippet("was reset in OpenCTI").Len() != 5 {
						t.Errorf("logged %v", errs.All())
					}
				})
			})
		}
	}
}

func TestAWrongPasswordOfTheBrokerEndsASingleRun(t *testing.T) {
	t.Parallel()
	data, dir := plainIndicators(t, 50), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b, _ := slowBubble(t, dir, data, "MQ_PASS=another")
		started := time.Now()
		err := b.run(t.Context())
		if took := time.Since(started); err == nil || !strings.Contains(err.Error(), "MQ_PASS") || took > 2*time.Minute {
			t.Errorf("after %s it ends with %v", took, err)
		}
		if works := b.platform.Works(); len(works) != 1 || works[0].Closed != 1 || !works[0].InError {
			t.Errorf("the works are %+v", works)
		}
	})
	dir = t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b, logs := slowBubble(t, dir, data, "CONNECTOR_RUN_AND_TERMINATE=false")
		b.broker.RefuseAuth(true)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ended := b.begin(ctx)
		time.Sleep(10 * time.Minute)
		b.broker.RefuseAuth(false)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		checkHeld(t, b.take(1<<30), held(t, data, defaultMapping))
		cancel()
		<-ended
		if logs.FilterMessageSnippet("the run failed").Len() > 0 {
			t.Error("a connector that stays has given up")
		}
	})
}
