package endtoend

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/opencti-connectors/threatmatch/transform"
)

// delivery is one message of the queue, as a worker reads it.
type delivery struct {
	ID, Type string
	Refs     []string
	Object   json.RawMessage
	Work     string
	Draft    string
	Number   int64 // action_sequence
	Sequence int64 // x_opencti_seq
	Brief    bool  // it says no more than an addition does; so can an object of few words
}

// take takes from the queue all that is in it and returns that.
func (w *world) take() []delivery {
	w.t.Helper()
	var bodies [][]byte
	if w.broker != nil {
		for _, m := range w.broker.Take(w.queue(), 1<<30) {
			checkProperties(w.t, m.DeliveryMode, m.ContentType, m.ContentEncoding)
			bodies = append(bodies, m.Body)
		}
	} else {
		bodies = takeFromNode(w.t, w.node.URL(), w.queue())
	}
	fresh := make([]delivery, 0, len(bodies))
	for _, body := range bodies {
		d, err := readDelivery(body)
		if err != nil || (d.Draft != "") != (w.env["CONNECTOR_VALIDATION_MODE"] == "draft") {
			w.t.Fatalf("%v: %s", err, body[:min(len(body), 500)])
		}
		fresh = append(fresh, d)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.taken = append(w.taken, fresh...)
	return fresh
}

// everTaken is all that take has returned so far.
func (w *world) everTaken() []delivery {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.taken[:len(w.taken):len(w.taken)]
}

// depth counts what waits in the queue.
func (w *world) depth() int {
	w.t.Helper()
	if w.broker != nil {
		n, _ := w.broker.Depth(w.queue())
		return n
	}
	n, err := w.node.Depth(w.t.Context(), w.queue())
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func checkProperties(t *testing.T, mode uint8, contentType, encoding string) {
	t.Helper()
	if mode != amqp.Persistent || encoding != "utf-8" {
		t.Fatalf("a message has delivery mode %d, content type %q, encoding %q", mode, contentType, encoding)
	}
}

// takeFromNode consumes a queue of a virtual host until it is empty.
func takeFromNode(t *testing.T, url, queue string) (bodies [][]byte) {
	t.Helper()
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	for {
		q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		if q.Messages == 0 {
			return bodies
		}
		deliveries, err := ch.Consume(queue, "rig", true, false, false, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		for d := range deliveries {
			checkProperties(t, d.DeliveryMode, d.ContentType, d.ContentEncoding)
			bodies = append(bodies, d.Body)
			if q.Messages--; q.Messages == 0 {
				go func() { _ = ch.Cancel("rig", false) }() // its answer comes only while somebody reads
			}
		}
	}
}

// readDelivery reads a message as strictly as OpenCTI's workers could be, of the connector or of OpenCTI's API.
func readDelivery(body []byte) (delivery, error) {
	var envelope struct {
		BundleType     string          `json:"bundle_type"`
		ApplicantID    string          `json:"applicant_id"`
		ActionSequence int64           `json:"action_sequence"`
		EntitiesTypes  []string        `json:"entities_types"`
		Content        []byte          `json:"content"`
		Update         *bool           `json:"update"`
		DraftID        json.RawMessage `json:"draft_id"`
		NoSplit        *bool           `json:"no_split"`
		WorkID         string          `json:"work_id"`
		Type           string          `json:"type"`
	}
	if err := strictly(body, &envelope); err != nil {
		return delivery{}, fmt.Errorf("read the envelope: %w", err)
	}
	well := envelope.ApplicantID != "" && envelope.WorkID != "" && envelope.Update != nil
	if envelope.Type == "bundle" { // by the API
		well = well && *envelope.Update
	} else {
		well = well && envelope.BundleType == "QUEUE_BUNDLE" && envelope.EntitiesTypes != nil && !*envelope.Update &&
			envelope.NoSplit != nil && !*envelope.NoSplit && envelope.DraftID != nil && envelope.ActionSequence > 0
	}
	if !well {
		return delivery{}, fmt.Errorf("the envelope is not as it should be: %+v", envelope)
	}
	var bundle struct {
		Type        string            `json:"type"`
		ID          string            `json:"id"`
		SpecVersion string            `json:"spec_version"`
		Sequence    int64             `json:"x_opencti_seq"`
		Objects     []json.RawMessage `json:"objects"`
	}
	if err := strictly(envelope.Content, &bundle); err != nil {
		return delivery{}, fmt.Errorf("read the bundle: %w", err)
	}
	if bundle.Type != "bundle" || bundle.ID == "" || bundle.SpecVersion != "2.1" || len(bundle.Objects) != 1 || bundle.Sequence < 1 {
		return delivery{}, fmt.Errorf("the bundle is not as it should be: %s", envelope.Content)
	}
	d, err := readObject(bundle.Objects[0])
	d.Work, d.Number, d.Sequence, d.Draft = envelope.WorkID, envelope.ActionSequence, bundle.Sequence, textOf(envelope.DraftID)
	return d, err
}

// readObject reads an object as it was sent.
func readObject(text json.RawMessage) (delivery, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(text, &object); err != nil {
		return delivery{}, fmt.Errorf("read the object: %w", err)
	}
	d := delivery{ID: textOf(object["id"]), Type: textOf(object["type"]), Refs: references(object), Object: text}
	if o, err := transform.Reread(d.Object); err == nil {
		_, d.Brief = transform.AsAddition(o)
	}
	if d.ID == "" || d.Type == "" {
		return delivery{}, fmt.Errorf("the object has no id or no type: %s", d.Object)
	}
	return d, nil
}

func strictly(text []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	return dec.Decode(into)
}

// references lists what an object refers to by its own properties.
func references(object map[string]json.RawMessage) []string {
	var refs []string
	for name, value := range object {
		switch {
		case strings.HasSuffix(name, "_ref"):
			if ref := textOf(value); ref != "" {
				refs = append(refs, ref)
			}
		case strings.HasSuffix(name, "_refs"):
			var list []string
			if json.Unmarshal(value, &list) == nil {
				refs = append(refs, list...)
			}
		}
	}
	return refs
}

// textOf is a JSON string's text, "" for everything else.
func textOf(value json.RawMessage) string {
	var s string
	if json.Unmarshal(value, &s) != nil {
		return ""
	}
	return s
}

// checkOrder wants every object after all that it refers to; held are the objects that OpenCTI has already.
func checkOrder(t *testing.T, messages []delivery, held ...string) {
	t.Helper()
	there := make(map[string]bool, len(messages))
	for _, id := range held {
		there[id] = true
	}
	early := earlyReferences(messages, there, nil)
	for _, text := range early[:min(5, len(early))] {
		t.Error(text)
	}
	if len(early) > 5 {
		t.Errorf("%d references came early or dangle", len(early))
	}
}

// checkOrderInTheEnd is for a queue that refused messages: what was on the wire behind one of them has overtaken it and goes
// once more, so that it is the last copy of an object that comes after what it refers to.
func checkOrderInTheEnd(t *testing.T, messages []delivery) {
	t.Helper()
	last := make(map[string]int, len(messages))
	for i, m := range messages {
		last[m.ID] = i
	}
	ordered := make([]delivery, len(messages))
	for i, m := range messages {
		if i < last[m.ID] {
			m.Refs = nil
		}
		ordered[i] = m
	}
	checkOrder(t, ordered)
}

// earlyReferences lists what comes before something that it refers to, or without it, where there is nothing but held at
// first. The messages of void works owe nothing.
func earlyReferences(messages []delivery, held, void map[string]bool) (early []string) {
	there := maps.Clone(held)
	if there == nil {
		there = map[string]bool{}
	}
	for i, m := range messages {
		for _, ref := range m.Refs {
			if !there[ref] && !void[m.Work] {
				early = append(early, fmt.Sprintf("message %d, %s, comes before %s", i, m.ID, ref))
			}
		}
		there[m.ID] = true
	}
	return early
}

// byID indexes messages by the object's id, the last one counting, and counts the repeats.
func byID(messages []delivery) (last map[string]delivery, repeats int) {
	last = make(map[string]delivery, len(messages))
	for _, m := range messages {
		before, again := last[m.ID]
		switch {
		case !again:
		case m.Brief && !bytes.Equal(m.Object, before.Object):
			continue // an addition: it follows its object, and another text
		default:
			repeats++
		}
		last[m.ID] = m
	}
	return last, repeats
}

// checkOnce wants nothing twice as it is.
func checkOnce(t *testing.T, messages []delivery) {
	t.Helper()
	seen := make(map[string]bool, len(messages))
	for _, m := range messages {
		if seen[string(m.Object)] {
			t.Errorf("%s was sent twice", m.ID)
		}
		seen[string(m.Object)] = true
	}
}

// checkBooks wants the messages of each work counted from 1, its expectations exact, and the work closed once, in error
// or not.
func (w *world) checkBooks(messages []delivery, inError bool) {
	w.t.Helper()
	count := make(map[string]int)
	for i, m := range messages {
		count[m.Work]++
		if m.Number != 0 && m.Number != int64(count[m.Work]) { // the API gives none
			w.t.Fatalf("message %d of %s has the number %d", i, m.Work, m.Number)
		}
	}
	for _, work := range w.platform.Works() {
		n := count[work.ID]
		if n == 0 {
			continue
		}
		if work.Expected-work.LeftOut() != n || work.Closed != 1 || work.InError != inError {
			w.t.Errorf("the work with %d messages expects %d, was closed %d times, in error: %t (%s)", n, work.Expected, work.Closed, work.InError, work.Message)
		}
		delete(count, work.ID)
	}
	if len(count) > 0 {
		w.t.Errorf("messages of works that nobody opened: %v", count)
	}
}
