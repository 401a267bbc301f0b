package endtoend

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// apiFaults are what ThreatMatch can answer with to one call. What is tried again for long is left to the client's own
// tests, where pauses cost nothing: here a fault is made good by the first repetition, or not repeated at all.
var apiFaults = map[string]threatmatchtest.Fault{
	"400":                      threatmatchtest.Status(400),
	"401":                      threatmatchtest.Unauthorized(),
	"403":                      threatmatchtest.Status(403),
	"404":                      threatmatchtest.Status(404),
	"429":                      threatmatchtest.Status(429),
	"429 after 0":              threatmatchtest.RetryAfter("0"),
	"429 after 1":              threatmatchtest.RetryAfter("1"),
	"429 after a date":         threatmatchtest.RetryAfter("Mon, 02 Jan 2006 15:04:05 GMT"),
	"429 after rubbish":        threatmatchtest.RetryAfter("soon"),
	"500":                      threatmatchtest.Status(500),
	"502":                      threatmatchtest.Status(502),
	"503":                      threatmatchtest.Status(503),
	"reset":                    threatmatchtest.Reset(),
	"truncated":                threatmatchtest.Truncated(7),
	"HTML":                     threatmatchtest.HTML(),
	"an error in a 200":        threatmatchtest.ErrorBody(),
	"null":                     threatmatchtest.Body("null"),
	"nothing":                  threatmatchtest.Body(""),
	"a list of texts":          threatmatchtest.Body(`["a","b"]`),
	"an object without a list": threatmatchtest.Body(`{"unheard":"of"}`),
}

// platformFaults are what OpenCTI can do to one call.
var platformFaults = map[string]openctitest.Do{
	"lost answer":     openctitest.DropAnswer,
	"refused":         openctitest.Refuse,
	"502":             openctitest.Status(502, "<html><title>Bad Gateway</title></html>"),
	"slow":            openctitest.Slow(1500 * time.Millisecond),
	"an errors entry": openctitest.GraphQLError("DATABASE_ERROR", "the database is away"),
}

var platformOperations = []string{"about", "registerConnector", "pingConnector", "workAdd", "addExpectations", "toProcessed", "connector", "work"}

var brokerFaults = map[string]rabbitmqtest.Fault{
	"nack": rabbitmqtest.Nack, "return": rabbitmqtest.Return, "lost before": rabbitmqtest.DropBefore,
	"lost after": rabbitmqtest.DropAfter, "channel closed": rabbitmqtest.CloseChannel,
}

// faultCase is one fault at one call.
type faultCase struct {
	name string
	set  func(w *world, calls int)
}

func faultCases() []faultCase {
	var cases []faultCase
	for _, where := range []struct {
		name string
		at   func(n int) int
	}{
		{"first", func(int) int { return 1 }}, {"middle", func(n int) int { return n / 2 }}, {"last", func(n int) int { return n }},
	} {
		for name, fault := range apiFaults {
			cases = append(cases, faultCase{"API, " + where.name + " call: " + name, func(w *world, calls int) {
				n := where.at(calls)
				w.api.Fault(threatmatchtest.Rule{Path: "/api/*", From: n, To: n, Do: fault})
			}})
		}
		for name, fault := range brokerFaults {
			cases = append(cases, faultCase{"broker, " + where.name + " message: " + name, func(w *world, _ int) {
				const messages = 200 // somewhat fewer than there are
				w.broker.FaultAt(where.at(messages), fault)
			}})
		}
	}
	for _, operation := range platformOperations {
		for name, do := range platformFaults {
			cases = append(cases, faultCase{"platform, " + operation + ": " + name, func(w *world, _ int) {
				hits := w.platform.Fault(openctitest.Rule{Operation: operation, From: 1, To: 1, Do: do})
				w.t.Cleanup(func() {
					if hits() == 0 {
						w.t.Errorf("no %s was hit", operation)
					}
				})
			}})
		}
	}
	return cases
}

func TestOneFaultAnywhereIsMadeGoodAtLastByTheNextRun(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	calls, _ := runFaultCase(t, faultCase{"none", func(*world, int) {}}, 0)
	var failed atomic.Int64
	cases := faultCases()
	turns := make(chan struct{}, 6) // a program under test mostly waits
	var all sync.WaitGroup
	for _, c := range cases {
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			if _, status := runFaultCase(t, c, calls); status != exitOK {
				failed.Add(1)
			}
		})
	}
	all.Wait()
	t.Logf("%d faults; %d made their run fail, the others were made good by it", len(cases), failed.Load())
}

// runFaultCase runs the program with a fault and then, where that made the run fail, without. It returns how many calls
// the API got, and the exit status, of the first run.
func runFaultCase(t *testing.T, c faultCase, calls int) (made, status int) {
	s := newSource(rand.New(rand.NewPCG(1, 1)), sourceSize{profiles: 7, alerts: 6, indicators: 70})
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: s.folder, PageSize: 20}})
	c.set(w, calls)
	first := w.start("CONNECTOR_LOG_LEVEL=warn")
	status = first.wait()
	made = len(w.api.Calls())
	messages := w.take()
	claims, err := readClaims(w.platform.State())
	wrong := s.unproven(claims, evidenceOf(messages))
	if err != nil || len(wrong) > 0 || status != exitOK && status != exitRunFailed {
		t.Errorf("%s: status %d, the state claims what is not there: %q, %v", c.name, status, wrong[:min(3, len(wrong))], err)
	}
	if status == exitRunFailed && !claims.LastRun.IsZero() {
		t.Errorf("%s: the run failed and last_run is %s", c.name, claims.LastRun)
	}
	w.api.ClearFaults()
	w.platform.ClearFaults()
	last, end := first, status
	if status != exitOK {
		last = w.start("CONNECTOR_LOG_LEVEL=warn")
		end = last.wait()
		messages = append(messages, w.take()...)
	}
	if missing := s.missing(messages, evidenceOf(messages), false); end != exitOK || len(missing) > 0 {
		t.Errorf("%s: status %d, %d things are wrong in the queue, such as %q\n%s\n%s", c.name, end, len(missing), missing[:min(3, len(missing))], first.tail(), last.tail())
	}
	for _, work := range w.platform.Works() {
		if text := faultyBooks(work, messages); text != "" {
			t.Errorf("%s: %s", c.name, text)
		}
	}
	return made, status
}

// evidenceOf takes messages for all that is known to have arrived. Relations may have been put off.
func evidenceOf(messages []delivery) evidence {
	return evidence{arrivals: arrivalsOf(messages), partial: true}
}

// faultyBooks says what is wrong with a work: it must expect just what it got, and be closed. One whose opening was not
// heard of stays empty, and one whose closing was not heard of is closed again.
func faultyBooks(work openctitest.Work, messages []delivery) string {
	numbers := map[int64]bool{}
	for _, m := range messages {
		if m.Work == work.ID {
			numbers[m.Number] = true
		}
	}
	if work.Expected < len(numbers) || work.Closed > 2 || work.Closed == 0 && len(numbers) > 0 ||
		work.Closed > 0 && !work.InError && work.Expected != len(numbers) {
		return fmt.Sprintf("a work expects %d messages, has %d, was closed %d times, in error %t", work.Expected, len(numbers), work.Closed, work.InError)
	}
	return ""
}
