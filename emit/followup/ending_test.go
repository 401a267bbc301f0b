package followup

import (
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/state/index"
)

func TestAWorkThatCannotCompleteIsLetGoOnceNothingIsLeftOfIt(t *testing.T) {
	const looked = time.Hour
	for name, tt := range map[string]struct {
		end     func(*rig) // of the run; nil for the death of its process
		during  func(*rig) // before each look
		kept    bool
		doubted bool
		errors  int
	}{
		"its run was killed": {},
		"its run failed": {doubted: true, end: func(r *rig) {
			must(r.t, r.client.CloseWork(r.t.Context(), r.work, "failed", true))
			must(r.t, r.keeper.Closed(r.t.Context(), r.work))
		}},
		"its run has sent everything": {doubted: true, errors: 1, end: (*rig).close},
		"something is in the queue":   {kept: true, end: (*rig).close, during: func(r *rig) { r.platform.SetQueue(1, 1000) }},
		"the queue is not known": {kept: true, end: (*rig).close, during: func(r *rig) {
			r.platform.Fault(openctitest.Rule{Operation: "connector", To: -1, Do: openctitest.GraphQLError("INTERNAL_SERVER_ERROR", "no")})
		}},
		"the queue is never known": {kept: true, end: (*rig).close, during: func(r *rig) {
			r.platform.Fault(openctitest.Rule{Operation: "connector", To: -1, Do: openctitest.GraphQLError("", `Cannot query field "connector" on type "Query".`)})
		}},
		"it gets on": {kept: true, end: (*rig).close, during: func(r *rig) {
			if time.Now().Minute()%5 == 0 {
				r.deliver(object(r.t, `{"type":"malware","id":"malware--9","name":"m"}`))
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.platform.FailImports(openctitest.Failure{ID: "malware--1", Name: "LOCK_ERROR"})
				r.platform.FailImports(openctitest.Failure{ID: "malware--2", Name: "LOCK_ERROR"})
				r.NoteLarge(run)([]string{"malware--2"})
				r.deliver(object(t, malware), largeObject(t, 2))
				must(t, r.client.AddExpectations(t.Context(), r.work, 30))
				if tt.end != nil {
					tt.end(r)
				}
				began, again := time.Now(), 0
				for len(r.keeper.Works()) > 0 && time.Since(began) < looked {
					if tt.during != nil {
						tt.during(r)
					}
					found, err := r.Look(t.Context(), false)
					if err != nil {
						t.Fatal(err)
					}
					again += found.Again
					r.sendAgain()
					time.Sleep(LookEvery)
				}
				took := time.Since(began)
				if kept := len(r.keeper.Works()) > 0; kept != tt.kept || (!kept && (took < standsStill || took > standsStill+4*LookEvery)) {
					t.Errorf("after %s the state is %s", took, r.keeper.Text())
				}
				if again != 1 || (r.record("malware--2").Mark == index.Lost) == tt.kept {
					t.Errorf("%d objects are sent again, of the large one the index knows %+v", again, r.record("malware--2"))
				}
				if r.keeper.Doubted()[run] != tt.doubted {
					t.Errorf("the state is %s", r.keeper.Text())
				}
				if lines := r.logs.FilterLevelExact(zapcore.ErrorLevel).FilterMessageSnippet("messages of a work were lost").Len(); lines != tt.errors {
					t.Errorf("said %d times at error that something is lost", lines)
				}
				if said := r.logs.FilterMessageSnippet("not looked at any more").Len(); !tt.kept && said != 1-tt.errors {
					t.Errorf("said %d times that it is let go", said)
				}
			})
		})
	}
}

func TestACompleteWorkIsFollowedWhileItsMessagesMayBeInTheQueue(t *testing.T) {
	for name, end := range map[string]func(*rig){
		"until the queue is empty": func(r *rig) { r.platform.SetQueue(0, 0) },
		"until a later work is under way": func(r *rig) {
			time.Sleep(time.Second)
			work, err := r.client.AddWork(r.t.Context(), "the next run")
			must(r.t, err)
			must(r.t, r.keeper.Begin(r.t.Context(), run+1).Opened(r.t.Context(), work))
			r.work = work
			r.deliver(object(r.t, `{"type":"malware","id":"malware--9","name":"m"}`))
		},
		"where the platform knows the question": func(r *rig) {
			r.platform.Fault(openctitest.Rule{Operation: "connector", To: -1, Do: openctitest.GraphQLError("", `Cannot query field "connector" on type "Query".`)})
		},
		"where the platform tells": func(r *rig) {
			r.platform.Fault(openctitest.Rule{Operation: "connector", To: -1, Do: openctitest.GraphQLError("INTERNAL_SERVER_ERROR", "no")})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				first := r.work
				r.platform.SetQueue(1, 1000)
				r.deliver(object(t, `{"type":"malware","id":"malware--8","name":"m"}`))
				r.close()
				time.Sleep(time.Second)
				empty, err := r.client.AddWork(t.Context(), "a run that fails before it sends anything")
				must(t, err)
				must(t, r.keeper.Begin(t.Context(), run+9).Opened(t.Context(), empty))
				must(t, r.client.CloseWork(t.Context(), empty, "failed", true))
				must(t, r.keeper.Closed(t.Context(), empty))
				r.look()
				if r.look(); len(r.keeper.Works()) == 0 || r.keeper.Works()[0].ID != first {
					t.Fatalf("it was let go although a message is in the queue: %s", r.keeper.Text())
				}
				r.platform.FailImports(openctitest.Failure{ID: "malware--1", Name: "LOCK_ERROR"})
				r.deliver(object(t, malware)) // the second copy of something, after which the work was complete
				if found := r.look(); found.Again != 1 {
					t.Errorf("what failed late was not found: %+v", found)
				}
				r.sendAgain()
				end(r)
				r.look()
				r.look()
				for _, w := range r.keeper.Works() {
					if w.ID == first {
						t.Errorf("it is still followed: %s", r.keeper.Text())
					}
				}
			})
		})
	}
}
