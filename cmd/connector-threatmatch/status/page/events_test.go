package page

import (
	"bufio"
	"bytes"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"
)

// listener reads a stream of events.
type listener struct {
	t      *testing.T
	lines  *bufio.Scanner
	status int
	leave  func()
}

// listen opens the stream of r. What a test waits for comes, or the stream ends within a limit.
func listen(t *testing.T, r *rig) *listener {
	t.Helper()
	return listenTo(t, r.Client(), r.URL, patience)
}

func listenTo(t *testing.T, client *http.Client, url string, limit time.Duration) *listener {
	t.Helper()
	ctx, leave := context.WithTimeout(t.Context(), limit)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/api/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	l := &listener{t: t, lines: bufio.NewScanner(answer.Body), status: answer.StatusCode, leave: func() {
		leave()
		_ = answer.Body.Close() // it was left
	}}
	l.lines.Buffer(nil, 1<<20)
	t.Cleanup(l.leave)
	return l
}

// next returns the data of the next event, "" when the stream has ended. Any field that is not sent on purpose fails the test.
func (l *listener) next() string {
	l.t.Helper()
	var data []string
	for l.lines.Scan() {
		field, value, _ := strings.Cut(l.lines.Text(), ": ")
		switch {
		case field == "data":
			data = append(data, value)
		case field == "" && len(data) > 0:
			return strings.Join(data, "\n")
		case field != "retry":
			l.t.Fatalf("the stream says %q", l.lines.Text())
		}
	}
	return ""
}

func (l *listener) until(text string) {
	l.t.Helper()
	for {
		switch data := l.next(); {
		case data == "":
			l.t.Fatalf("the stream ended before %q: %v", text, l.lines.Err())
		case strings.Contains(data, text):
			return
		}
	}
}

func TestEventsBringWhatThePageShows(t *testing.T) {
	r := serve(t, atRest(), soon)
	l := listen(t, r)
	if first := l.next(); !bytes.Contains(draw(t, "page", atRest()), []byte(strings.ReplaceAll(first, build(), "build"))) {
		t.Errorf("the page does not hold %s", first)
	}
	r.show(buffering())
	l.until("the queue is at CONNECTOR_QUEUE_THRESHOLD")
}

func TestAHostileTextStaysWithinItsEvent(t *testing.T) {
	l := listen(t, serve(t, attacked(), soon))
	data := l.next() // which knows the fields
	_, texts := elements(t, []byte(data))
	if texts < 30 || strings.Contains(data, "<script") || strings.Contains(data, "\r") {
		t.Errorf("%d texts: %s", texts, data)
	}
}

func TestEachKindOfLineEndStaysWithinAnEvent(t *testing.T) {
	const want = "retry: 2000\ndata: a\ndata: b\ndata: \ndata: id: c\ndata: d\n\n"
	if got := string(event([]byte("a\r\nb\n\rid: c\rd"))); got != want {
		t.Errorf("got %q", got)
	}
}

func TestStreamsEndWithTheConnector(t *testing.T) {
	at := soon
	at.look = time.Hour
	r := serve(t, atRest(), at)
	l := listen(t, r)
	l.until("At rest")
	r.show(stopped())
	close(r.ending)
	l.until("Stopped")
	if more := l.next(); more != "" || l.lines.Err() != nil {
		t.Errorf("it goes on with %q, %v", more, l.lines.Err())
	}
}

func TestThereIsRoomForSoManyListeners(t *testing.T) {
	r := serve(t, atRest(), soon)
	var all []*listener
	for range maxListeners {
		l := listen(t, r)
		if l.status != http.StatusOK {
			t.Fatal(l.status)
		}
		all = append(all, l)
	}
	if l := listen(t, r); l.status != http.StatusServiceUnavailable {
		t.Errorf("one too many is answered with %d", l.status)
	}
	all[3].leave()
	waitFor(t, func() bool { return listen(t, r).status == http.StatusOK })
}

// waitFor asks until something is so.
func waitFor(t *testing.T, is func() bool) {
	t.Helper()
	for began := time.Now(); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > patience {
			t.Fatal("it is never so")
		}
	}
}
