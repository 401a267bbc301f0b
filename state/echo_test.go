package state

import (
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
)

func TestAResetIsToldFromAStaleEcho(t *testing.T) {
	const sent, older = `{"last_run":"2025-04-17T15:24:00+00:00"}`, `{"last_run":"2025-04-16T15:24:00+00:00"}`
	seen := time.Date(2025, 4, 10, 0, 0, 0, 0, time.UTC)
	earlier, later, none := seen.Add(-time.Hour), seen.Add(time.Millisecond), time.Time{}
	for _, tt := range []struct {
		name   string
		sent   string
		shown  string
		at     time.Time // zero: the platform does not say
		stamp  time.Time
		held   bool
		answer answer
	}{
		{"the same", sent, sent, seen, seen, true, echoed},
		{"the same, written otherwise", sent, `{ "last_run": "2025-04-17T15:24:00+00:00" }`, seen, seen, true, echoed},
		{"the same, for the first time", sent, sent, seen, none, false, echoed},
		{"the same, without timestamps", sent, sent, none, none, true, echoed},
		{"none of none", "null", "", seen, seen, false, echoed},
		{"none of none, without timestamps", "null", "null", none, none, false, echoed},
		{"an older one", sent, older, seen, seen, true, stale},
		{"an older one, without timestamps", sent, older, none, none, true, stale},
		{"one that cannot be read", sent, "{", seen, seen, true, stale},
		{"an older one of none", "null", older, seen, seen, true, stale},
		{"empty, not newer", sent, "", seen, seen, true, stale},
		{"empty, older", sent, "", earlier, seen, true, stale},
		{"empty, newer", sent, "", later, seen, true, wiped},
		{"empty, newer, before the first state", sent, "null", later, seen, false, wiped},
		{"none of none, newer: the queue was purged", "null", "", later, seen, false, wiped},
		{"the same, newer: the connector is another one", sent, sent, later, seen, true, wiped},
		{"empty, without timestamps", sent, "", none, none, true, doubted},
		{"empty, without timestamps any more", sent, "", none, seen, true, doubted},
		{"empty, with the first timestamp", sent, "", seen, none, true, doubted},
		{"empty, without timestamps, nothing shown yet", sent, "", none, none, false, stale},
	} {
		e := Held{State: tt.shown, Stamp: tt.at}
		if got := judge(tt.sent, e, tt.stamp, tt.held); got != tt.answer {
			t.Errorf("%s: judged %d, want %d", tt.name, got, tt.answer)
		}
	}
}

func TestTheLaterOfTwoInstancesNoticesTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := newRig(t, openctitest.Config{})
		stopFirst := first.beat()
		defer stopFirst()
		run := first.begin()
		first.mustCommit(run, "iocs", within("1"))

		second := join(t, first.platform, &folder{name: " of another volume"}, "alerts", "iocs") // two do not share an index
		if err := second.adopt(); err != nil {
			t.Fatal(err)
		}
		stopSecond := second.beat()
		defer stopSecond()
		time.Sleep(7 * time.Second) // so that no two pings come at the same moment
		for n := range 30 {         // the first goes on with its run
			first.mustCommit(run, "iocs", within(string(rune('a'+n))))
			time.Sleep(time.Minute)
		}
		if n := second.errorsLogged(); n != 1 {
			t.Errorf("the later one has logged %d errors in half an hour, want one: %v", n, second.log.All())
		}
		stopFirst()
		time.Sleep(time.Hour)
		if n := second.errorsLogged(); n != 1 {
			t.Errorf("%d errors after the other one has gone", n)
		}
		first.platform.SetState(`{"last_run":"2025-04-17T15:24:00+00:00"}`)
		time.Sleep(time.Minute)
		if n := second.errorsLogged(); n != 2 {
			t.Errorf("a new episode makes %d errors", n)
		}
		stopSecond()
		if first.resetsSeen()+second.resetsSeen() > 0 {
			t.Error("another's state was taken for a reset")
		}
	})
}

func TestASingleInstanceDoesNotTakeItselfForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		stop := r.beat()
		defer stop()
		run := r.begin()
		for n := range 100 {
			switch n % 10 {
			case 3:
				r.platform.StaleEcho(2)
			case 5:
				r.platform.Fault(openctitest.Rule{Operation: "pingConnector", Do: openctitest.DropAnswer})
			case 7:
				r.platform.Fault(openctitest.Rule{Operation: "pingConnector", Do: openctitest.Status(502, "<html>")})
			}
			r.mustCommit(run, "iocs", within(string(rune('a'+n))))
			time.Sleep(17 * time.Second)
		}
		if err := r.platform.Reset(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Minute)
		stop()
		again := join(t, r.platform, r.index, "alerts", "iocs")
		if err := again.adopt(); err != nil {
			t.Fatal(err)
		}
		again.beatOnce()
		if n := r.errorsLogged() + again.errorsLogged(); n > 0 {
			t.Errorf("errors: %v", r.log.FilterLevelExact(zapcore.ErrorLevel).All())
		}
		r.expectResets(1)
	})
}

func TestACopyOfTheFolderIsAnotherInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		r.mustCommit(r.begin(), "iocs", within("1"))
		other := join(t, r.platform, &folder{counter: r.index.counter, number: r.index.number}, "alerts", "iocs")
		if err := other.adopt(); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			r.mustCommit(r.begin(), "iocs", within("2"))
		}
		stop, stopOther := r.beat(), other.beat()
		_ = other.commit(other.begin(), "iocs", within("3"))
		time.Sleep(10 * time.Minute)
		stop()
		stopOther()
		if r.errorsLogged()+other.errorsLogged() == 0 {
			t.Errorf("%d runs voided, and nobody says why", r.backups)
		}
	})
}
