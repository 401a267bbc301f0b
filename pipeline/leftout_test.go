package pipeline

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// fault is a LeftOut made of values.
type fault struct {
	why    Reason
	number int
}

func (f fault) Error() string                { return "leave out for " + string(f.why) }
func (f fault) LeftOut() (why Reason, n int) { return f.why, f.number }

func TestWhatIsLeftOutIsCountedByReasonAndNamedAtMostTwentyTimesEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Each of 30 items in two datasets leaves out one relation, or wrapped two objects, and a rest that is not named.
		faulty := transformer(func(i Item) ([]Object, error) {
			if i.Dataset == "alerts" {
				return nil, fault{"relation to itself", 1}
			}
			return nil, errors.Join(fmt.Errorf("wrapped: %w", fault{"unknown type", 1}), fault{"unknown type", 1}, fault{"unknown type", 40})
		})
		core, logged := observer.New(zapcore.DebugLevel)
		sources := []Source{pages("alerts", 15, 0), pages("profiles", 30, 0)}
		report := Run(t.Context(), Config{Log: zap.New(core)}, sources, faulty, sink{}, &store{})
		if want := (Tally{"relation to itself": 15, "unknown type": 30 * 42}); !maps.Equal(report.LeftOut, want) {
			t.Errorf("counted %v, want %v", report.LeftOut, want)
		}
		if report.Datasets["alerts"].Rejected != 15 || report.Datasets["profiles"].Rejected != 30*42 || report.Failure() != nil {
			t.Errorf("alerts %+v, profiles %+v, failure %v", report.Datasets["alerts"], report.Datasets["profiles"], report.Failure())
		}
		named := map[string]int{}
		for _, line := range logged.FilterMessageSnippet("left out").All() {
			if line.Level != zapcore.WarnLevel {
				t.Errorf("logged at %s", line.Level)
			}
			named[line.ContextMap()["reason"].(string)]++
		}
		if named["relation to itself"] != 15 || named["unknown type"] == 0 || named["unknown type"] > MaxNamed {
			t.Errorf("named %v", named)
		}
	})
}

func TestATallyReadsTheMostFrequentReasonFirst(t *testing.T) {
	tally := Tally{"unknown type": 3, "relation to itself": 12, "no id": 3}.With("too large", 0).With("too large", 1).With("no id", 2)
	if got, want := tally.String(), "12 × relation to itself, 5 × no id, 3 × unknown type, 1 × too large"; got != want {
		t.Errorf("reads %q, want %q", got, want)
	}
	var keys []string
	for _, f := range tally.Fields() {
		keys = append(keys, fmt.Sprint(f.Key, "=", f.Integer))
	}
	if got := strings.Join(keys, " "); got != "relation_to_itself=12 no_id=5 unknown_type=3 too_large=1" || tally.Total() != 21 {
		t.Errorf("fields %s, in all %d", got, tally.Total())
	}
	if none := (Tally{}).With("no id", 0); none.Total() != 0 || none.String() != "" {
		t.Errorf("nothing reads %q", none)
	}
}
