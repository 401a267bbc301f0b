package page

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// bubble is a page in fake time, on a server whose limits are those of one for small answers.
type bubble struct {
	rig
	pipe *threatmatchtest.Pipe
}

// inBubble runs a test with a page that shows s.
func inBubble(t *testing.T, s snapshot.Snapshot, test func(*testing.T, *bubble)) {
	synctest.Test(t, func(t *testing.T) {
		b := &bubble{rig: rig{ending: make(chan struct{}), shown: s}, pipe: threatmatchtest.NewPipe()}
		mux := http.NewServeMux()
		register(mux, b.read, b.ending, defaultTimes)
		server := &http.Server{Handler: mux, ReadTimeout: 5 * time.Second, WriteTimeout: 20 * time.Second}
		go func() { _ = server.Serve(b.pipe) }() // until it is closed
		defer server.Close()
		test(t, b)
	})
}

func (b *bubble) listen(t *testing.T) *listener {
	t.Helper()
	transport := &http.Transport{DialContext: b.pipe.DialContext}
	t.Cleanup(transport.CloseIdleConnections)
	return listenTo(t, &http.Client{Transport: transport}, "http://page.test", time.Hour)
}

func TestAStreamOutlivesTheServersLimits(t *testing.T) {
	inBubble(t, atRest(), func(t *testing.T, b *bubble) {
		l, began := b.listen(t), time.Now()
		for time.Since(began) < 10*time.Minute {
			if l.next() == "" {
				t.Fatalf("the stream has ended after %s: %v", time.Since(began), l.lines.Err())
			}
		}
	})
}

func TestAnEventComesWhenSomethingHasChangedAndElseNowAndThen(t *testing.T) {
	inBubble(t, atRest(), func(t *testing.T, b *bubble) {
		l, began := b.listen(t), time.Now()
		var came []time.Duration
		for i := range 5 {
			data := l.next()
			came = append(came, time.Since(began).Round(time.Second))
			switch i {
			case 1: // the clock alone is no change
				s := atRest()
				s.At = s.At.Add(time.Second)
				b.show(s)
			case 2:
				b.show(stopped())
			case 3:
				if !strings.Contains(data, "Stopped") {
					t.Errorf("it does not say what has changed: %s", data)
				}
			}
		}
		want := []time.Duration{0, 10 * time.Second, 20 * time.Second, 21 * time.Second, 31 * time.Second}
		for i := range want {
			if came[i] != want[i] {
				t.Fatalf("came at %v, want %v", came, want)
			}
		}
	})
}

func TestAClientThatDoesNotReadLosesItsPlace(t *testing.T) {
	inBubble(t, atRest(), func(t *testing.T, b *bubble) {
		for range maxListeners {
			b.listen(t).lines = nil // it reads nothing of the stream
		}
		if status := b.listen(t).status; status != http.StatusServiceUnavailable {
			t.Fatalf("one too many is answered with %d", status)
		}
		for i := range 60 { // what nobody reads fills what lies between
			s := running()
			s.Run.Sent += int64(i)
			b.show(s)
			time.Sleep(time.Second)
		}
		if status := b.listen(t).status; status != http.StatusOK {
			t.Errorf("the places are not free: %d", status)
		}
	})
}
