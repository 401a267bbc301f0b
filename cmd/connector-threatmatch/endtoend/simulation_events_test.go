package endtoend

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

// errCut stands for a process that is killed: nothing is settled any more.
var errCut = fmt.Errorf("killed: %w", pipeline.ErrAbandon)

// event is something that happens from outside while the connector runs.
func (s *simulation) event(r *rand.Rand, cancel context.CancelCauseFunc) {
	switch r.IntN(15) {
	case 0:
		s.stop(cancel)
	case 1:
		s.kill(cancel)
	case 2:
		s.note("broker connections lost")
		s.broker.Drop()
	case 3:
		s.note("broker blocks")
		s.broker.Block("memory")
	case 4:
		s.note("broker away")
		s.expect(s.broker.Refuse(true))
		s.broker.Drop()
	case 5:
		s.refuseQuestions(r)
	case 6:
		n := 1 + r.IntN(3)
		s.note("%d stale echoes", n)
		s.platform.StaleEcho(n)
	default:
		s.operate(r)
	}
}

// operate is something that people do at OpenCTI or at ThreatMatch, whether the connector runs or not.
func (s *simulation) operate(r *rand.Rand) {
	switch r.IntN(17) {
	case 0:
		if len(s.platform.Registrations()) == 0 {
			return
		}
		s.note("reset by an operator")
		s.expect(s.broker.Refuse(false)) // the platform purges the queue
		s.workers.purge()
		s.resetPending.Store(true)
		s.expect(s.platform.Reset())
		s.forgetWorks()
		s.workers.purge()
	case 1, 2, 3, 4:
		s.note("something changes at the source")
		s.world.change(s.t, r)
	case 5:
		id := foreign[r.IntN(len(foreign))]
		s.note("another connector brings %s", id)
		s.hold(id, time.Now())
	case 6, 7:
		s.remove(r)
	case 8:
		s.backUp()
	case 9, 10:
		if len(s.backups) > 0 {
			s.restore(s.backups[r.IntN(len(s.backups))], time.Duration(1+r.IntN(20))*time.Minute)
		}
	default:
		works := s.platform.Works()
		if len(works) == 0 {
			return
		}
		w := works[max(0, len(works)-1-r.IntN(3))]
		s.note("work %s deleted", w.ID)
		s.workers.deleteWork(w.ID)
	}
}

// remove deletes some objects from OpenCTI, or all of a type, as an operator or a retention rule does. Relations go with
// their ends.
func (s *simulation) remove(r *rand.Rand) {
	held := s.world.brought()
	held = slices.DeleteFunc(append(held, foreign...), func(id string) bool { return !s.platform.Holds(id) })
	if len(held) == 0 {
		return
	}
	gone := map[string]bool{}
	if r.IntN(4) > 0 {
		for range 1 + r.IntN(5) {
			gone[held[r.IntN(len(held))]] = true
		}
	} else {
		kind, _, _ := strings.Cut(held[r.IntN(len(held))], "--")
		for _, id := range held {
			if strings.HasPrefix(id, kind+"--") {
				gone[id] = true
			}
		}
	}
	s.world.cascade(gone)
	s.note("%d objects removed, such as %s", len(gone), slices.Min(slices.Collect(maps.Keys(gone))))
	s.known.forget(gone)
	for id := range gone {
		s.removed[id] = true
		s.platform.Remove(id)
	}
}

// forgetWorks notes that nothing can be said any more of how the works at OpenCTI end.
func (s *simulation) forgetWorks() {
	for _, w := range s.platform.Works() {
		s.unknown[w.ID] = true
	}
}

// refuseQuestions has OpenCTI not say for some time which objects it holds.
func (s *simulation) refuseQuestions(r *rand.Rand) {
	const theRight = "the right is missing"
	answers := map[string]openctitest.Do{
		"the search engine is away": openctitest.GraphQLError("DATABASE_ERROR", "the search engine is away"),
		"the proxy has no backend":  openctitest.Status(502, "<html>Bad gateway</html>"),
		"it is slow":                openctitest.Slow(20 * time.Second),
		theRight:                    openctitest.GraphQLError("FORBIDDEN_ACCESS", "You are not allowed to do this."),
	}
	why := slices.Sorted(maps.Keys(answers))[r.IntN(len(answers))]
	lasting := time.Duration(1+r.IntN(60)) * time.Second
	if r.IntN(3) == 0 {
		lasting *= 20 // longer than a run waits
	}
	if why == theRight {
		s.known.refuse(time.Now().Add(lasting))
	}
	s.note("OpenCTI does not say for %s what it holds: %s", lasting, why)
	for _, question := range []string{heldQuestion, "stixObjectOrStixRelationship"} {
		s.platform.Fault(openctitest.Rule{Operation: question, From: 1, To: -1, Do: openctitest.Until(time.Now().Add(lasting), answers[why])})
	}
}

// failImports has workers fail to import something: for a while, or for good.
func (s *simulation) failImports(r *rand.Rand) {
	ids := s.world.brought()
	f := openctitest.Failure{ID: ids[r.IntN(len(ids))]}
	switch r.IntN(4) {
	case 0:
		final := []string{"FUNCTIONAL_ERROR", "VALIDATION_ERROR", "UNSUPPORTED_ERROR"}
		f.Name, f.Message, f.Times = final[r.IntN(len(final))], "It is not allowed", -1
		s.final = append(s.final, f)
	case 1:
		f.ID, f.Times = "", 1+r.IntN(60)
		if r.IntN(4) == 0 {
			f.Times = 150 // more than a work tells of
		}
		fallthrough
	default:
		passing := [][2]string{{"LOCK_ERROR", "Execution timeout"}, {"", "502 Bad gateway"}, {"MISSING_REFERENCE_ERROR", "Element(s) not found"}, {"DATABASE_ERROR", "no"}}
		why := passing[r.IntN(len(passing))]
		f.Name, f.Message = why[0], why[1]
		if f.ID != "" {
			f.Times = 1 + r.IntN(5)
		}
	}
	s.note("%d imports of %q fail: %s %s", f.Times, f.ID, f.Name, f.Message)
	s.platform.FailImports(f)
}

// passFailures ends what passes of it.
func (s *simulation) passFailures() {
	s.platform.ClearFailures()
	for _, f := range s.final {
		s.platform.FailImports(f)
	}
}

// applyFaults lays out what the remotes do wrong at their next calls.
func (s *simulation) applyFaults() {
	api := []threatmatchtest.Fault{
		threatmatchtest.Status(500), threatmatchtest.Status(503), threatmatchtest.RetryAfter("1"), threatmatchtest.Unauthorized(),
		threatmatchtest.ErrorBody(), threatmatchtest.HTML(), threatmatchtest.Body("null"), threatmatchtest.Truncated(20), threatmatchtest.Reset(),
		threatmatchtest.Status(404), threatmatchtest.Slow(3 * time.Second),
	}
	paths := []string{"/api/profiles/all", "/api/alerts/all", "/api/stix/*", "/api/taxii/*", "/api/developers-platform/*", "/api/*"}
	for range s.rand.IntN(4) {
		from := 1 + s.rand.IntN(25)
		rule := threatmatchtest.Rule{Path: paths[s.rand.IntN(len(paths))], From: from, To: from + s.rand.IntN(12), Do: api[s.rand.IntN(len(api))]}
		s.note("API fault at %s, calls %d to %d", rule.Path, rule.From, rule.To)
		s.api.Fault(rule)
	}
	platform := []openctitest.Do{
		openctitest.DropAnswer, openctitest.Refuse, openctitest.Status(502, "<html>Bad gateway</html>"), openctitest.Slow(5 * time.Second),
		openctitest.GraphQLError("FUNCTIONAL_ERROR", "not now"),
	}
	if s.rand.IntN(3) == 0 {
		s.refuseQuestions(s.rand)
	}
	for range s.rand.IntN(3) {
		s.failImports(s.rand)
	}
	operations := []string{"pingConnector", "workAdd", "addExpectations", "toProcessed", "connector", "work", "registerConnector", "about"}
	for range s.rand.IntN(3) {
		from := 1 + s.rand.IntN(4)
		rule := openctitest.Rule{Operation: operations[s.rand.IntN(len(operations))], From: from, To: from + s.rand.IntN(4), Do: platform[s.rand.IntN(len(platform))]}
		s.note("platform fault at %s, calls %d to %d", rule.Operation, rule.From, rule.To)
		s.platform.Fault(rule)
	}
	broker := []rabbitmqtest.Fault{rabbitmqtest.Nack, rabbitmqtest.Return, rabbitmqtest.DropBefore, rabbitmqtest.DropAfter, rabbitmqtest.CloseChannel, rabbitmqtest.WithholdConfirm}
	for range s.rand.IntN(4) {
		at, fault := s.broker.Published()+1+s.rand.IntN(200), broker[s.rand.IntN(len(broker))]
		s.note("broker fault %v at message %d", fault, at)
		s.broker.FaultAt(at, fault)
	}
}
