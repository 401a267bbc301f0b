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

func TestAResetDuringARunIsObeyed(t *testing.T) {
	everyPlatform(t, func(t *testing.T, cfg openctitest.Config) {
		for name, notice := range map[string]func(r *rig, run *RunCheckpoint){
			"by a commit": func(r *rig, run *RunCheckpoint) {
				if err := r.commit(run, "iocs", within("2")); !errors.Is(err, ErrReset) {
					t.Errorf("a commit after the reset: %v", err)
				}
			},
			"by the heartbeat":   func(r *rig, _ *RunCheckpoint) { r.watchFor(10 * time.Second) },
			"though lag follows": func(r *rig, run *RunCheckpoint) { r.platform.StaleEcho(3); _ = r.commit(run, "iocs", within("2")) },
			"though the ping's answer is lost": func(r *rig, run *RunCheckpoint) {
				r.platform.Fault(openctitest.Rule{Operation: "pingConnector", Do: openctitest.DropAnswer})
				if err := r.commit(run, "iocs", within("2")); !errors.Is(err, ErrReset) {
					t.Errorf("a commit after the reset: %v", err)
				}
			},
			"though the answers to the ping and to the question are lost": func(r *rig, run *RunCheckpoint) {
				r.platform.Fault(openctitest.Rule{Operation: "pingConnector", Do: openctitest.DropAnswer})
				r.platform.Fault(openctitest.Rule{Operation: "connector", To: 9, Do: openctitest.DropAnswer})
				if err := r.commit(run, "iocs", within("2")); !errors.Is(err, ErrReset) {
					t.Errorf("a commit after the reset: %v", err)
				}
			},
			"though the question is refused once": func(r *rig, run *RunCheckpoint) {
				r.platform.Fault(openctitest.Rule{Operation: "connector", Do: openctitest.GraphQLError("DATABASE_ERROR", "no")})
				if err := r.commit(run, "iocs", within("2")); !errors.Is(err, ErrReset) {
					t.Errorf("a commit after the reset: %v", err)
				}
			},
		} {
			r := newRig(t, cfg)
			run := r.begin()
			r.index.emptied = 0 // that of a state that names no index
			r.mustCommit(run, "iocs", within("1"))
			if err := r.platform.Reset(); err != nil {
				t.Fatal(err)
			}
			notice(r, run)
			if n := r.resetsSeen(); n != 1 {
				t.Errorf("%s: %d resets were obeyed", name, n)
			}
			r.expectFirstRun(run)
			r.expectResets(1)
		}
	})
}

func TestAResetBeforeTheFirstCommitVoidsTheRun(t *testing.T) {
	everyPlatform(t, func(t *testing.T, cfg openctitest.Config) {
		r := newRig(t, cfg)
		run := r.begin()
		r.beatOnce()
		if err := r.platform.Reset(); err != nil {
			t.Fatal(err)
		}
		if err := r.commit(run, "iocs", within("1")); !errors.Is(err, ErrReset) {
			t.Errorf("a commit after the reset: %v", err)
		}
		r.expectResets(1)
	})
}

func TestAResetSoonAfterTheStartIsObeyed(t *testing.T) {
	everyPlatform(t, func(t *testing.T, cfg openctitest.Config) {
		r := newRig(t, cfg)
		r.mustCommit(r.begin(), "iocs", within("1"))
		again := join(t, r.platform, r.index, "alerts", "iocs")
		if err := again.adopt(); err != nil {
			t.Fatal(err)
		}
		run := again.begin()
		if err := r.platform.Reset(); err != nil {
			t.Fatal(err)
		}
		if err := again.commit(run, "iocs", within("2")); !errors.Is(err, ErrReset) {
			t.Errorf("a commit after the reset: %v", err)
		}
		again.expectResets(1)
	})
}

func TestTwoResetsAreTwoOrders(t *testing.T) {
	everyPlatform(t, func(t *testing.T, cfg openctitest.Config) {
		r := newRig(t, cfg)
		for n := range 3 {
			run := r.begin()
			r.mustCommit(run, "iocs", within("1"))
			if err := r.platform.Reset(); err != nil {
				t.Fatal(err)
			}
			if err := r.commit(run, "iocs", within("2")); !errors.Is(err, ErrReset) {
				t.Errorf("reset %d: %v", n+1, err)
			}
		}
		r.expectResets(3)
	})
}

func TestAResetWhileTheConnectorWasDownIsSeenAtRegistration(t *testing.T) {
	everyPlatform(t, func(t *testing.T, cfg openctitest.Config) {
		r := newRig(t, cfg)
		r.mustCommit(r.begin(), "iocs", within("1"))
		if err := r.platform.Reset(); err != nil {
			t.Fatal(err)
		}
		for _, first := range []string{"the heartbeat", "a commit"} {
			again := join(t, r.platform, r.index, "alerts", "iocs")
			if err := again.adopt(); err != nil {
				t.Fatal(err)
			}
			emptied := r.index.emptied
			run := again.begin()
			if c := run.Cursor("iocs"); !c.Since.Equal(importStart) || c.Pass != nil || r.index.emptied != emptied+1 {
				t.Errorf("it begins at %+v; the index was emptied %d times", c, r.index.emptied-emptied)
			}
			if first == "the heartbeat" {
				again.beatOnce()
			}
			again.mustCommit(run, "iocs", within("9")) // the first ping is not stored: the reset's mark was still up
			again.expectResets(0)
			if err := again.platform.Reset(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A platform reads the mark of a reset, declares the queues, and only then writes the state.
func TestAResetThatAPingUnderWayCoversIsFoundByTheNextProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		run := r.begin()
		r.mustCommit(run, "iocs", within("1"))
		died, die := context.WithCancel(t.Context())
		r.platform.OnPing(func(openctitest.Ping) {
			r.platform.OnPing(nil)
			if err := r.platform.Reset(); err != nil {
				t.Error(err)
			}
			die() // of what its answer would tell
		})
		if err := run.Commit(died, map[string]pipeline.Cursor{"iocs": within("2")}); err == nil {
			t.Fatal("the process went on")
		}
		synctest.Wait() // the platform works on, whoever waits for it
		if !strings.Contains(r.platform.State(), `"after":"2"`) {
			t.Fatalf("the reset was not covered: %s", r.platform.State())
		}

		again := join(t, r.platform, r.index, "alerts", "iocs")
		if err := again.adopt(); err != nil {
			t.Fatal(err)
		}
		emptied := r.index.emptied
		run = again.begin()
		if c := run.Cursor("iocs"); !c.Since.Equal(importStart) || c.Pass != nil || r.index.emptied != emptied+1 {
			t.Errorf("it begins at %+v; the index was emptied %d times", c, r.index.emptied-emptied)
		}
		again.mustCommit(run, "iocs", within("3"))

		third := join(t, r.platform, r.index, "alerts", "iocs")
		if err := third.adopt(); err != nil {
			t.Fatal(err)
		}
		if c := third.begin().Cursor("iocs"); c.Pass == nil || c.Pass.After != "3" {
			t.Errorf("the reset is obeyed twice: %+v", c)
		}
	})
}

func TestADeletedConnectorComesBackEmpty(t *testing.T) {
	everyPlatform(t, func(t *testing.T, cfg openctitest.Config) {
		r := newRig(t, cfg)
		stop := r.beat()
		defer stop()
		run := r.begin()
		r.index.emptied = 0
		r.mustCommit(run, "iocs", within("1"))
		time.Sleep(time.Second)
		if err := r.platform.DeleteConnector(); err != nil {
			t.Fatal(err)
		}
		r.platform.Fault(openctitest.Rule{Operation: "registerConnector", To: 2, Do: openctitest.Status(503, "<html>")})
		begin := time.Now()
		if err := r.commit(run, "iocs", within("2")); !errors.Is(err, ErrReset) {
			t.Errorf("a commit after the deletion: %v", err)
		}
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("it took %s to come back", took)
		}
		stop()
		r.expectFirstRun(run)
		r.expectResets(1)
		if n := len(r.platform.Registrations()); n != 2 {
			t.Errorf("%d registrations", n)
		}
	})
}

func TestAConnectorThatWasDeletedAndRegisteredAlongTheWayIsNotTheSame(t *testing.T) {
	everyPlatform(t, func(t *testing.T, cfg openctitest.Config) {
		r := newRig(t, cfg)
		run := r.begin()
		r.index.emptied = 0
		r.mustCommit(run, "iocs", within("1"))
		again, err := r.client.Register(t.Context())
		if err != nil || r.Registered(t.Context(), again) != nil {
			t.Fatal(err)
		}
		r.expectResets(0) // it was there all the time
		time.Sleep(time.Second)
		if err := r.platform.DeleteConnector(); err != nil {
			t.Fatal(err)
		}
		// The queue is missing, so the publisher has the connector registered before any ping finds out.
		if again, err = r.client.Register(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := r.Registered(t.Context(), again); err != nil {
			t.Fatal(err)
		}
		r.expectResets(1)
		r.expectFirstRun(run)
	})
	t.Run("and only the timestamp tells", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, openctitest.Config{})
			run := r.begin()
			r.index.emptied = 0
			r.mustCommit(run, "iocs", within("1"))
			stop := r.beat()
			defer stop()
			time.Sleep(time.Second)
			if err := r.platform.DeleteConnector(); err != nil {
				t.Fatal(err)
			}
			if _, err := r.client.Register(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := r.commit(run, "iocs", within("2")); !errors.Is(err, ErrReset) {
				t.Errorf("a commit to the new connector: %v", err)
			}
			time.Sleep(time.Second)
			if held := r.platform.State(); !claimsNothing(held) {
				t.Errorf("a crash now would go on from %s", held)
			}
			stop()
			r.expectFirstRun(run)
		})
	})
}
