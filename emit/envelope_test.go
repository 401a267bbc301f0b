package emit

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"go.uber.org/zap"
	"pgregory.net/rapid"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

// recordedMessage is a message of a run of the connector that OpenCTI's users have today.
type recordedMessage struct {
	Envelope   map[string]any
	Properties map[string]any
	Bundle     json.RawMessage
}

func messageOf(e envelope, m Message) []byte { return e.message(nil, m, m.Bundle()) }

func TestABundleHasTheIDOfItsNameAsAnyOtherWouldMakeIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.String().Draw(t, "name")
		if got, want := string(appendBundleID([]byte("bundle--"), name)), "bundle--"+uuid.NewSHA1(bundleSpace, []byte(name)).String(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

func recordedMessages(t testing.TB) []recordedMessage {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "..", "shared", "golden", "small_messages.jsonl.gz"))
	if err != nil {
		t.Skipf("the recorded messages are not here: %v", err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 16<<20)
	var messages []recordedMessage
	for lines.Scan() {
		var m recordedMessage
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			t.Fatal(err)
		}
		messages = append(messages, m)
	}
	if err := lines.Err(); err != nil || len(messages) == 0 {
		t.Fatalf("%d messages, %v", len(messages), err)
	}
	return messages
}

// members lists an object's members in the order of its text.
func members(t testing.TB, text []byte) (names []string) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	if _, err := d.Token(); err != nil {
		t.Fatal(err)
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		var skipped json.RawMessage
		if err := d.Decode(&skipped); err != nil {
			t.Fatal(err)
		}
		names = append(names, name.(string))
	}
	return names
}

func TestMessagesSayWhatTheRecordedOnesSay(t *testing.T) {
	recorded := recordedMessages(t)
	e := newEnvelope("88ec0c6a-13ce-5e39-b486-354fe4a7084f")
	order := []string{"bundle_type", "applicant_id", "action_sequence", "entities_types", "content", "update", "draft_id", "no_split", "work_id"}
	for i, want := range recorded {
		if raceEnabled && i%10 > 0 {
			continue // there is nothing to race, and all of them take seconds then
		}
		var bundle struct {
			Seq     int64             `json:"x_opencti_seq"`
			Objects []json.RawMessage `json:"objects"`
		}
		if err := json.Unmarshal(want.Bundle, &bundle); err != nil {
			t.Fatal(err)
		}
		var head struct{ ID string }
		if err := json.Unmarshal(bundle.Objects[0], &head); err != nil {
			t.Fatal(err)
		}
		body := messageOf(e, Message{Work: want.Envelope["work_id"].(string), Number: int64(i + 1), ID: head.ID, Sequence: bundle.Seq, Object: bundle.Objects[0]})
		if got := members(t, body); !slices.Equal(got, order) {
			t.Fatalf("message %d has the members %q, want %q", i+1, got, order)
		}
		var got map[string]any
		if err := json.Unmarshal(body, &got); err != nil {
			t.Fatal(err)
		}
		content, err := base64.StdEncoding.DecodeString(got["content"].(string))
		if err != nil {
			t.Fatal(err)
		}
		delete(got, "content")
		if diff := cmp.Diff(want.Envelope, got); diff != "" {
			t.Fatalf("envelope of message %d (-recorded +sent):\n%s", i+1, diff)
		}
		checkBundle(t, content, want.Bundle)
		if t.Failed() {
			return
		}
	}
}

// checkBundle compares all but the bundle's id, which is any: the recorded run has one for all.
func checkBundle(t *testing.T, got, want []byte) {
	t.Helper()
	if diff := cmp.Diff(members(t, want), members(t, got)); diff != "" {
		t.Errorf("members of a bundle, in order (-recorded +sent):\n%s", diff)
	}
	var sent, recorded map[string]any
	if err := json.Unmarshal(got, &sent); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(want, &recorded); err != nil {
		t.Fatal(err)
	}
	id, found := strings.CutPrefix(sent["id"].(string), "bundle--")
	if _, err := uuid.Parse(id); err != nil || !found {
		t.Errorf("a bundle's id is %v: %v", sent["id"], err)
	}
	delete(sent, "id")
	delete(recorded, "id")
	if diff := cmp.Diff(recorded, sent); diff != "" {
		t.Errorf("bundle (-recorded +sent):\n%s", diff)
	}
}

func TestABundleKeepsItsIDAndTwoObjectsHaveTwo(t *testing.T) {
	e := newEnvelope("a")
	bundleOf := func(id string, sequence int64) string {
		return string(messageOf(e, Message{Work: "w", Number: sequence, ID: id, Sequence: 1, Object: []byte(`{"id":"` + id + `"}`)}))
	}
	id := func(m string) string {
		content := parseContent(t, m)
		_, rest, _ := strings.Cut(content, `"id":"bundle--`)
		return rest[:36]
	}
	if a, b := id(bundleOf("malware--1", 1)), id(bundleOf("malware--1", 9)); a != b {
		t.Errorf("one object travels in the bundles %s and %s", a, b)
	}
	if a, b := id(bundleOf("malware--1", 1)), id(bundleOf("malware--2", 1)); a == b {
		t.Errorf("two objects travel in bundles of the same id %s", a)
	}
}

func parseContent(t testing.TB, body string) string {
	t.Helper()
	var m struct{ Content []byte }
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		t.Fatal(err)
	}
	return string(m.Content)
}

// The broker sees the properties; platform, queue and publisher are the real ones on a socket.
func TestMessagesCarryThePropertiesOfTheRecordedOnesThroughTheBroker(t *testing.T) {
	recorded := recordedMessages(t)
	broker, err := rabbitmqtest.Start(rabbitmqtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = broker.Close() }()
	platform, err := openctitest.New(openctitest.Config{Broker: openctitest.BrokerURL(broker.URL())})
	if err != nil {
		t.Fatal(err)
	}
	const connectorID = "9850490a-4273-429b-95f8-47dacda88fbf" // as in the recorded run, for the routing key
	client, err := opencti.New(opencti.Config{URL: "http://opencti.test", ConnectorID: connectorID, HTTP: &http.Client{Transport: platform.Transport()}})
	if err != nil {
		t.Fatal(err)
	}
	registered, err := client.Register(t.Context(), opencti.Registration{Name: "ThreatMatch", Scope: []string{"threatmatch"}})
	if err != nil {
		t.Fatal(err)
	}
	publisher := rabbitmq.New(rabbitmq.Config{
		Connection: rabbitmq.Connection{Host: broker.Host(), Port: broker.Port(), User: "guest", Password: "guest"},
		Exchange:   registered.Queue.Exchange, RoutingKey: registered.Queue.RoutingKey, Log: zap.NewNop(),
	})
	defer func() { _ = publisher.Close(context.WithoutCancel(t.Context())) }()
	books := NewBooks(client, "a run", zap.NewNop())
	r := newRig(1, memoryIndex{}, newMemoryStore(), func(c *Config) {
		c.Books, c.ApplicantID = books, registered.UserID
		*c = toQueue(publisher, *c)
	})
	for _, m := range recorded[:40] {
		var bundle struct{ Objects []json.RawMessage }
		if err := json.Unmarshal(m.Bundle, &bundle); err != nil {
			t.Fatal(err)
		}
		r.put(t, object(t, string(withoutNulls(t, bundle.Objects[0]))))
	}
	r.finish(t, pipeline.Complete)
	if err := books.Close(t.Context(), "done", false); err != nil {
		t.Fatal(err)
	}

	messages := broker.Messages("push_" + connectorID)
	if len(messages) != 40 || r.Account().Confirmed != 40 {
		t.Fatalf("%d messages in the queue, %d confirmed, want 40", len(messages), r.Account().Confirmed)
	}
	work := platform.Works()[0]
	for i, m := range messages {
		got := map[string]any{
			"content_encoding": m.ContentEncoding, "delivery_mode": float64(m.DeliveryMode), "exchange": m.Exchange, "routing_key": m.RoutingKey,
		}
		if diff := cmp.Diff(recorded[i].Properties, got); diff != "" {
			t.Fatalf("properties of message %d (-recorded +sent):\n%s", i+1, diff)
		}
		if !m.Mandatory {
			t.Fatalf("message %d was not published mandatory", i+1)
		}
		parsed := parseMessage(m.Body)
		if parsed.Number != int64(i+1) || parsed.Work != work.ID {
			t.Fatalf("message %d has the number %d and the work %q, want the work %q", i+1, parsed.Number, parsed.Work, work.ID)
		}
	}
	if work.Expected != 40 || work.Closed != 1 {
		t.Errorf("the work expects %d messages and was closed %d times, want 40 and 1", work.Expected, work.Closed)
	}
}

func withoutNulls(t testing.TB, text []byte) []byte {
	t.Helper()
	var o map[string]any
	if err := json.Unmarshal(text, &o); err != nil {
		t.Fatal(err)
	}
	for key, value := range o {
		if value == nil {
			delete(o, key)
		}
	}
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestTheSizeOfAMessageIsNeverUnderestimated(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := newEnvelope(rapid.String().Draw(t, "applicant"))
		text := bytes.Repeat([]byte("x"), rapid.IntRange(1, 5000).Draw(t, "object"))
		work := rapid.StringMatching(`[a-z_0-9.-]{0,120}`).Draw(t, "work")
		number := rapid.Int64Range(1, 1<<62).Draw(t, "number")
		sequence := rapid.Int64Range(1, 1<<53).Draw(t, "sequence")
		got := len(messageOf(e, Message{Work: work, Number: number, ID: rapid.String().Draw(t, "id"), Sequence: sequence, Object: text}))
		if bound := e.messageSize(len(text)); got > bound || bound > got+400 {
			t.Fatalf("a message of %d bytes was taken for one of at most %d", got, bound)
		}
	})
}

func TestAnyStringHasAJSONText(t *testing.T) {
	for _, s := range []string{"", `a"b\c`, "line\nbreak", "\x00\x1f", "käse 🧀", "<&>", "\u2028"} {
		var got string
		if err := json.Unmarshal(jsonString(s), &got); err != nil || got != s {
			t.Errorf("%q became %s: %q, %v", s, jsonString(s), got, err)
		}
	}
	if !json.Valid(jsonString("not \xff UTF-8")) {
		t.Error("bytes that are no UTF-8 make a text that is no JSON")
	}
}

func TestAnObjectTooLargeForTheQueueIsRefusedAndTheRestGoesOn(t *testing.T) {
	waiting := newMemoryStore()
	r := newRig(1, memoryIndex{}, waiting, func(c *Config) { c.MaxMessageBytes = 2000 })
	big := object(t, `{"type":"malware","id":"malware--1","description":"`+strings.Repeat("x", 2000)+`"}`)
	first := r.put(t, big, object(t, `{"type":"tool","id":"tool--1"}`))
	second := r.put(t,
		object(t, `{"type":"relationship","id":"relationship--1","source_ref":"malware--1","target_ref":"tool--1"}`),
		object(t, `{"type":"report","id":"report--1","object_refs":["malware--1","tool--1"]}`))
	r.finish(t, pipeline.Complete)
	if got, want := r.ids(), []string{"tool--1", "report--1"}; !slices.Equal(got, want) {
		t.Errorf("sent %q, want %q", got, want)
	}
	if refs := r.queue.messages[1].refs(); !slices.Equal(refs, []string{"tool--1"}) {
		t.Errorf("the report refers to %q", refs)
	}
	for _, outcomes := range []*[]pipeline.Outcome{first, second} {
		if !slices.Contains(*outcomes, pipeline.Delivered) {
			t.Errorf("an item was settled as %v, want it delivered at last", *outcomes)
		}
	}
	if a := r.Account(); a.Refused != 1 || a.Held != 1 || a.Cleaned != 1 {
		t.Errorf("account: %+v", a)
	}
	if !waiting.Has("relationship--1") || !waiting.Has("report--1") {
		t.Error("the disk does not remember what went without the large object")
	}

	// With a higher limit a later run makes it good.
	r = newRig(2, r.index, waiting, nil)
	r.put(t, big)
	r.finish(t, pipeline.Complete)
	if got, want := r.ids(), []string{"malware--1", "relationship--1", "report--1"}; !slices.Equal(got, want) {
		t.Errorf("the later run sent %q, want %q", got, want)
	}
}
