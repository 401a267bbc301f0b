package connector

import (
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/opencti-connectors/threatmatch/emit/followup"
)

func TestWhatOpenCTIImportsIsToldMoreAndMoreRarely(t *testing.T) {
	core, logs := observer.New(zapcore.InfoLevel)
	log, now := zap.New(core), time.Unix(0, 0)
	var tale importTale
	tale.begin(now)
	const day = 24 * 60 // minutes
	told := []int{}
	for minute := 1; minute < day; minute++ {
		now = now.Add(time.Minute)
		before := logs.Len()
		tale.tell(log, followup.Imports{Open: 1, Expected: 1000, Done: int64(1000 * minute / day), Lately: 1, Rate: followup.Rate{PerSecond: 1}}, followup.Found{}, 1, now)
		if logs.Len() > before {
			told = append(told, minute)
		}
	}
	if want := []int{1, 3, 7, 15, 31, 63, 123, 183}; len(told) < len(want) || !slices.Equal(told[:len(want)], want) || len(told) > 30 {
		t.Errorf("told after %v minutes", told)
	}
	if first := logs.All()[0].Message; first != "OpenCTI has imported 0 of 1,000 messages, 1/s, about 16m40s left" {
		t.Errorf("first %q", first)
	}
}

func TestThatAllIsImportedIsToldWhereOpenCTISaysSo(t *testing.T) {
	core, logs := observer.New(zapcore.InfoLevel)
	log, now := zap.New(core), time.Unix(0, 0)
	var tale importTale
	tale.begin(now)
	tale.tell(log, followup.Imports{Open: 2, Expected: 1000}, followup.Found{Through: 400, Failed: 3}, 1, now) // one of two works
	tale.tell(log, followup.Imports{}, followup.Found{Deleted: true}, 0, now.Add(time.Hour))                   // the other was deleted
	tale.tell(log, followup.Imports{}, followup.Found{}, 0, now.Add(2*time.Hour))
	if lines := logs.All(); len(lines) != 1 || lines[0].Message != "OpenCTI has worked off all that was sent: 400 messages, of which it could not import 3; the log names them" {
		t.Errorf("%v", lines)
	}
	tale.tell(log, followup.Imports{}, followup.Found{Deleted: true}, 0, now.Add(3*time.Hour))
	if logs.Len() != 1 {
		t.Errorf("of works that were deleted: %v", logs.All())
	}
}

func TestALineAboutARunTellsWhatOpenCTIHasMadeOfIt(t *testing.T) {
	for want, imports := range map[string]followup.Imports{
		"": {},
		"; OpenCTI has imported 5 of 1,205 messages, 4/s, about 5m0s left, failed: 3 LOCK_ERROR, 1 no reason given": {
			Expected: 1205, Done: 5, Lately: 4, Rate: followup.Rate{PerSecond: 4}, Failed: map[string]int64{"": 1, "LOCK_ERROR": 3}},
		"; OpenCTI has imported 5 of 1,205 messages": {Expected: 1205, Done: 5, Rate: followup.Rate{PerSecond: 4}}, // nothing moves
		"; OpenCTI has imported all of 1 message":    {Expected: 1, Done: 1},
	} {
		if got := share(imports); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
