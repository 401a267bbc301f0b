package twins

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// The processes that the tests start are this program.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == Command {
		if err := Serve(os.Args[2], os.Args[3], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

var small = threatmatchtest.Shape{Seed: 3, Profiles: 4, Alerts: 3, Indicators: 250, TieGroup: 7, Start: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}

func TestWhatIsMadeBeforehandIsWhatIsMadeWhenAskedFor(t *testing.T) {
	fresh := threatmatchtest.Generate(small)
	kept, err := Intelligence{Shape: small}.data()
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range datasets {
		ids := slices.Collect(fresh.IDs(set, time.Time{}))
		if got := slices.Collect(kept.IDs(set, time.Time{})); !slices.Equal(got, ids) {
			t.Errorf("%s: %v, want %v", set, got, ids)
		}
		for _, id := range ids {
			want, _ := fresh.Item(set, fmt.Sprint(id))
			if got, ok := kept.Item(set, fmt.Sprint(id)); !ok || !bytes.Equal(got, want) {
				t.Errorf("%s %d is another", set, id)
			}
		}
	}
	oldest, newest := fresh.Span("indicators")
	for _, after := range []time.Time{{}, oldest, oldest.Add(time.Nanosecond), oldest.Add(newest.Sub(oldest) / 2), newest, newest.Add(time.Second)} {
		for _, inclusive := range []bool{true, false} {
			for _, limit := range []int{1, 100, 1000} {
				want, wantMore := fresh.Indicators(after, inclusive, limit)
				got, more := kept.Indicators(after, inclusive, limit)
				if more != wantMore || !slices.EqualFunc(got, want, bytes.Equal) {
					t.Errorf("after %s (inclusive: %t), %d: %d and more: %t, want %d, %t", after, inclusive, limit, len(got), more, len(want), wantMore)
				}
			}
		}
	}
}

func TestObjectsOfProfilesHaveTheSizeThatIsAskedFor(t *testing.T) {
	data, err := Intelligence{Shape: small, ObjectSize: 4000}.data()
	if err != nil {
		t.Fatal(err)
	}
	objects, size := 0, 0
	for id := range data.IDs("profiles", time.Time{}) {
		text, _ := data.Item("profiles", fmt.Sprint(id))
		var all []json.RawMessage
		if err := json.Unmarshal(text, &all); err != nil {
			t.Fatal(err)
		}
		objects += len(all)
		size += len(text)
	}
	if got := size / objects; got < 3600 || got > 4400 {
		t.Errorf("%d bytes an object", got)
	}
}

// start starts a twin that the test ends.
func start(t *testing.T, kind Kind, s Settings) *Twin {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	twin, err := Start(ctx, kind, s)
	if err != nil {
		t.Fatal(err)
	}
	return twin
}

func TestABrokerWritesDownWhatItCounts(t *testing.T) {
	record := filepath.Join(t.TempDir(), "messages")
	twin := start(t, RabbitMQ, Settings{RabbitMQ: RabbitMQSettings{Record: record}})
	conn, err := amqp.Dial(twin.URL)
	if err != nil {
		t.Fatal(err)
	}
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDeclare("q", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := ch.ExchangeDeclare("x", "direct", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := ch.QueueBind("q", "q", "x", false, nil); err != nil {
		t.Fatal(err)
	}
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	sent := []string{"first", "", strings.Repeat("long ", 100_000)}
	for _, body := range sent {
		confirm, err := ch.PublishWithDeferredConfirm("x", "q", true, false, amqp.Publishing{Body: []byte(body)})
		if err != nil {
			t.Fatal(err)
		}
		if !confirm.Wait() {
			t.Fatal("it was not confirmed")
		}
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	a, err := twin.End()
	if err != nil {
		t.Fatal(err)
	}
	if n := len(a.Arrived); n == 0 || a.Arrived[n-1].Messages != len(sent) {
		t.Errorf("it counted %+v", a.Arrived)
	}
	var got []string
	for body, err := range Messages(record) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(body))
	}
	if !slices.Equal(got, sent) {
		t.Errorf("%d messages are in the file, and not those that were sent", len(got))
	}
}

func TestAFileThatIsCutOffIsAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "messages")
	if err := os.WriteFile(path, []byte{5, 'a', 'b'}, 0o600); err != nil {
		t.Fatal(err)
	}
	var failed error
	for _, err := range Messages(path) {
		failed = err
	}
	if failed == nil {
		t.Error("half a message is one")
	}
}

func TestAThreatMatchTellsWhenItWasAskedForWhat(t *testing.T) {
	twin := start(t, ThreatMatch, Settings{ThreatMatch: ThreatMatchSettings{Intelligence: Intelligence{Shape: small}}})
	for _, path := range []string{"/api/stix/profiles/10000", "/api/stix/profiles/10001", "/api/taxii/objects", "/api/taxii/groups"} {
		resp, err := http.Get(twin.URL + path) // it refuses, which is an answer too
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	a, err := twin.End()
	if err != nil || a.Items.Calls != 2 || a.Pages.Calls != 1 || a.Calls != 4 || a.Items.Last.Before(a.Items.First) {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestATwinThatCannotBeginSaysSo(t *testing.T) {
	if _, err := Start(t.Context(), "nothing", Settings{}); err == nil {
		t.Error("a twin of nothing has begun")
	}
	if _, err := Start(t.Context(), ThreatMatch, Settings{ThreatMatch: ThreatMatchSettings{Intelligence: Intelligence{Folder: t.TempDir()}}}); err == nil {
		t.Error("a ThreatMatch without intelligence has begun")
	}
}
