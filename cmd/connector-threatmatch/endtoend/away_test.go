package endtoend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/opencti-connectors/threatmatch/fetch"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// awayFrom lets all calls from a moment on for a time meet a fault.
func awayFrom(begin time.Time, lasts time.Duration, fault threatmatchtest.Fault) threatmatchtest.Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if since := time.Since(begin); since >= 0 && since < lasts {
			fault(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	}
}

// page answers with a status and a web page, as a proxy in between might.
func page(status int) threatmatchtest.Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "<html><title>Sorry</title></html>")
	}
}

// TestAThreatMatchThatGoesAwayInABackfillCostsNothingButTime lets it be away from 8 s after the start on, for as long as any
// outage lasts, once and on a schedule.
func TestAThreatMatchThatGoesAwayInABackfillCostsNothingButTime(t *testing.T) {
	t.Parallel()
	data := threatmatchtest.Generate(threatmatchtest.Shape{Seed: 31, Profiles: 60, Alerts: 60, Indicators: 1000})
	type outage struct {
		fault threatmatchtest.Fault
		lasts time.Duration
		once  bool
		fails bool // the run, and the next one goes on
	}
	gateway := threatmatchtest.Status(http.StatusBadGateway)
	for name, tt := range map[string]outage{
		"502 for seconds":              {gateway, 25 * time.Second, true, false},
		"503 for seconds":              {threatmatchtest.Status(http.StatusServiceUnavailable), 25 * time.Second, true, false},
		"reset for minutes":            {threatmatchtest.Reset(), 10 * time.Minute, true, false},
		"slow for minutes":             {threatmatchtest.Slow(5 * time.Minute), 10 * time.Minute, true, false},
		"slow beyond the patience":     {threatmatchtest.Slow(5 * time.Minute), 25 * time.Minute, true, true},
		"502 beyond the patience":      {gateway, 25 * time.Minute, true, true},
		"a proxy's page for an hour":   {threatmatchtest.HTML(), time.Hour, false, false},
		"a page not found for an hour": {page(http.StatusNotFound), time.Hour, false, false},
		"a page beyond the patience":   {page(http.StatusForbidden), 25 * time.Minute, true, true},
		"502 for most of a period":     {gateway, 90 * time.Minute, false, false},
		"502 for more than a period":   {gateway, 5 * time.Hour, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				defer time.Sleep(time.Hour) // for calls that are still being answered
				b, logs := slowBubble(t, dir, data, fmt.Sprintf("CONNECTOR_RUN_AND_TERMINATE=%t", tt.once), "CONNECTOR_DURATION_PERIOD=PT2H")
				b.api.Fault(threatmatchtest.Rule{Do: awayFrom(time.Now().Add(8*time.Second), tt.lasts, tt.fault)})
				err := b.runFor(7*time.Hour, tt.once)
				if tt.once && tt.fails {
					if err == nil {
						t.Fatal("the run did not fail")
					}
					err = b.runFor(0, true)
				}
				if err != nil {
					t.Fatal(err)
				}
				state := parseState(t, b.platform.State())
				for name, d := range state.Datasets {
					if len(d.Failed) > 0 || d.Pass != nil {
						t.Errorf("%s: %+v", name, d)
					}
				}
				if len(state.Datasets) != 3 || state.LastRun.IsZero() {
					t.Errorf("the state is %s", b.platform.State())
				}
				messages := b.take(1 << 30)
				checkOrder(t, messages)
				checkOnce(t, messages)
				checkHeld(t, messages, held(t, data, defaultMapping))
				if loud := logs.FilterLevelExact(zapcore.ErrorLevel).Len(); loud > 8 {
					t.Errorf("%d lines at error", loud)
				}
			})
		})
	}
}

// TestARunThatFailedIsRepeatedWithinMinutes has one dataset refused for a while, and then the credentials.
func TestARunThatFailedIsRepeatedWithinMinutes(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		path   string
		status int
		loud   int // lines at error within three hours
	}{
		"a list that fails":   {"/api/alerts/all", http.StatusInternalServerError, 8}, // after 1, 2, 4 … 60, 60 minutes
		"refused credentials": {"/api/developers-platform/token", http.StatusUnauthorized, 3},
		"a dataset refused":   {"/api/alerts/all", http.StatusUnauthorized, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				b, logs := slowBubble(t, dir, someData(), "CONNECTOR_RUN_AND_TERMINATE=false")
				begun := time.Now()
				b.api.Fault(threatmatchtest.Rule{Path: tt.path, Do: awayFrom(begun, 150*time.Minute, threatmatchtest.Status(tt.status))})
				ctx, stop := context.WithCancelCause(t.Context())
				time.AfterFunc(3*time.Hour+10*time.Minute, func() { stop(errors.New("told to stop")) })
				if err := b.run(ctx); err != nil {
					t.Fatal(err)
				}
				if loud := logs.FilterLevelExact(zapcore.ErrorLevel).Len(); loud != tt.loud {
					t.Errorf("%d lines at error, want %d: %v", loud, tt.loud, logs.FilterLevelExact(zapcore.ErrorLevel).All())
				}
				state := parseState(t, b.platform.State())
				if at := state.LastRun; at.Before(begun.Add(150*time.Minute)) || at.After(begun.Add(211*time.Minute)) {
					t.Errorf("the run that was complete began %s after the start", at.Sub(begun))
				}
				if d := state.Datasets[fetch.AlertsDataset]; len(d.Failed) > 0 || d.Pass != nil {
					t.Errorf("alerts: %+v", d)
				}
			})
		})
	}
}

// TestARunThatOnlyMendsSaysNothingOfTheSources lets a dataset fail for hours, while what OpenCTI could not import is sent again
// with success in between: the pauses until the sources are read again go on to grow.
func TestARunThatOnlyMendsSaysNothingOfTheSources(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var data threatmatchtest.Folder
		putDated(t, &data, 1, shopDay)
		w := newWorkshop(t, dir, &data)
		w.api.Fault(threatmatchtest.Rule{Path: "/api/alerts/all", From: 1, To: -1, Do: threatmatchtest.Status(http.StatusInternalServerError)})
		w.start()
		w.pass(40 * time.Minute) // runs that fail after 0, 1, 3, 7, 15 and 31 minutes
		ids := putDated(t, &data, 2, time.Now())
		hits := w.fail(ids[0], 1, "LOCK_ERROR")
		w.pass(90 * time.Minute) // after 63 and 123 minutes, and one that mends before that
		if hits() != 1 || len(w.lacks(ids...)) > 0 {
			t.Fatalf("nothing was mended: %d imports failed, OpenCTI lacks %q", hits(), w.lacks(ids...))
		}
		before := w.api.Count("/api/alerts/all")
		w.pass(40 * time.Minute)
		if n := w.api.Count("/api/alerts/all") - before; n > 0 {
			t.Errorf("the list was asked for %d times more within the hour", n)
		}
		w.stop()
	})
}
