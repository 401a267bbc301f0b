package endtoend

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/transform"
)

// reference is the path of reference material that may stand beside the repository; without it the test is skipped.
func reference(t *testing.T, name ...string) string {
	t.Helper()
	path := filepath.Join(append([]string{"..", "..", "..", "..", "shared"}, name...)...)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("reference material is not here: %v", err)
	}
	return path
}

// corpusData is the real intelligence beside the repository.
func corpusData(t *testing.T) *threatmatchtest.Folder {
	t.Helper()
	folder, err := threatmatchtest.Load(reference(t, "data", "corpus"))
	if err != nil {
		t.Fatal(err)
	}
	return folder
}

// corpusObjects is the number of different objects of the corpus with author and marking, counted independently.
const corpusObjects = 12_155

func TestRealIntelligenceArrivesOnceInOrderAndUnchanged(t *testing.T) {
	data := corpusData(t)
	for _, tt := range []struct {
		name       string
		realBroker bool
		format     config.DescriptionFormat
	}{
		{"RabbitMQ, text", true, config.DescriptionText},
		{"simulated broker, markdown", false, config.DescriptionMarkdown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data}, realBroker: tt.realBroker})
			watch := w.watchCommits()
			w.run(exitOK, "THREATMATCH_DESCRIPTION_FORMAT="+string(tt.format))
			messages := w.take()
			watch.check(len(messages))
			if objects, _ := byID(messages); len(objects) != corpusObjects {
				t.Errorf("%d objects, want %d", len(objects), corpusObjects)
			}
			checkOrder(t, messages)
			checkOnce(t, messages)
			w.checkBooks(messages, false)
			mapping := defaultMapping
			descriptions, err := transform.ParseFormat(string(tt.format))
			if err != nil {
				t.Fatal(err)
			}
			mapping.Descriptions = descriptions
			checkHeld(t, messages, held(t, data, mapping))
		})
	}
}

// commitWatch looks at the queue whenever a state arrives at the platform, before that is stored.
type commitWatch struct {
	w        *world
	mu       sync.Mutex
	seen     []commitSeen
	finished int // messages in the queue when a state first said that all is delivered; -1 before
}

type commitSeen struct {
	state string
	depth int
}

func (w *world) watchCommits() *commitWatch {
	c := &commitWatch{w: w, finished: -1}
	w.platform.OnPing(func(p openctitest.Ping) {
		depth := -1
		if w.broker != nil {
			depth, _ = w.broker.Depth(w.queue())
		} else if n, err := w.node.Depth(w.t.Context(), w.queue()); err == nil {
			depth = n
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.seen = append(c.seen, commitSeen{p.State, depth})
		if c.finished < 0 && strings.Contains(p.State, `"last_run"`) {
			c.finished = depth
		}
	})
	return c
}

// check wants the state that says that all is delivered to find all in the queue.
func (c *commitWatch) check(messages int) {
	c.w.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.finished != messages {
		c.w.t.Errorf("%d messages were in the queue when last_run was committed, want %d", c.finished, messages)
	}
	final := parseState(c.w.t, c.w.platform.State())
	if final.LastRun.IsZero() || time.Since(final.LastRun) > time.Hour {
		c.w.t.Errorf("the last state is %s", c.w.platform.State())
	}
	for name, cursor := range final.Datasets {
		if cursor.Pass != nil || len(cursor.Failed) > 0 {
			c.w.t.Errorf("%s is not at its end: %s", name, c.w.platform.State())
		}
	}
}

// recording is a run of the upstream connector: what it asked and what it then sent.
type recording struct {
	answers    map[string]recordedAnswer // by path
	indicators []json.RawMessage
	pageSize   int
}

type recordedAnswer struct {
	Method, Path, Query string
	Status              int
	Body                json.RawMessage
}

func readRecording(t *testing.T, name string, line func([]byte)) {
	t.Helper()
	f, err := os.Open(reference(t, "golden", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for r := bufio.NewReader(z); ; {
		text, err := r.ReadBytes('\n')
		if len(bytes.TrimSpace(text)) > 0 {
			line(text)
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

const indicatorsPath = "/api/taxii/objects"

func loadRecording(t *testing.T) *recording {
	t.Helper()
	r := &recording{answers: map[string]recordedAnswer{}}
	seen := map[string]bool{}
	readRecording(t, "small_requests.jsonl.gz", func(text []byte) {
		var a recordedAnswer
		if err := json.Unmarshal(text, &a); err != nil {
			t.Fatal(err)
		}
		if a.Path != indicatorsPath {
			r.answers[a.Path] = a
			return
		}
		var page struct{ Objects []json.RawMessage }
		if err := json.Unmarshal(a.Body, &page); err != nil {
			t.Fatal(err)
		}
		r.pageSize = max(r.pageSize, len(page.Objects))
		for _, o := range page.Objects {
			if id := memberOf(o, "id"); !seen[id] {
				seen[id] = true
				r.indicators = append(r.indicators, o)
			}
		}
	})
	return r
}

func memberOf(object json.RawMessage, name string) string {
	var members map[string]json.RawMessage
	if json.Unmarshal(object, &members) != nil {
		return ""
	}
	return textOf(members[name])
}

// ServeHTTP answers as the recorded server did. Its token does not expire, whatever the clock says now.
func (r *recording) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch {
	case strings.HasSuffix(req.URL.Path, "/token"):
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "recorded", "expires_at": time.Now().Add(time.Hour).Unix()})
	case req.URL.Path == indicatorsPath:
		after := req.URL.Query().Get("modifiedAfter")
		rest := slices.DeleteFunc(slices.Clone(r.indicators), func(o json.RawMessage) bool {
			return !laterThan(memberOf(o, "modified"), after)
		})
		page := rest[:min(len(rest), r.pageSize)]
		_ = json.NewEncoder(w).Encode(map[string]any{"more": len(page) < len(rest), "objects": page})
	default:
		a, found := r.answers[req.URL.Path]
		if !found {
			http.NotFound(w, req)
			return
		}
		w.WriteHeader(a.Status)
		_, _ = w.Write(a.Body)
	}
}

func laterThan(a, b string) bool {
	x, ok := pipeline.ParseTime(a)
	y, ok2 := pipeline.ParseTime(b)
	return ok && ok2 && x.After(y)
}

// recordedMessage is one message of the upstream connector.
type recordedMessage struct {
	Bundle struct {
		Sequence int64             `json:"x_opencti_seq"`
		Objects  []json.RawMessage `json:"objects"`
	} `json:"bundle"`
}

func TestARecordedRunOfTheUpstreamConnectorComesOutTheSame(t *testing.T) {
	upstream := map[string]recordedMessage{}
	var order []string
	readRecording(t, "small_messages.jsonl.gz", func(text []byte) {
		var m recordedMessage
		if err := json.Unmarshal(text, &m); err != nil || len(m.Bundle.Objects) != 1 {
			t.Fatalf("%v: %s", err, text)
		}
		id := memberOf(m.Bundle.Objects[0], "id")
		if _, again := upstream[id]; !again {
			order = append(order, id)
		}
		upstream[id] = m // it sent every run and item anew; the last is what counts
	})
	w := newWorld(t, worldConfig{})
	replay := newSite(t, loadRecording(t), true)
	w.run(exitOK, "THREATMATCH_URL="+replay.url(), "THREATMATCH_DESCRIPTION_FORMAT=text", "THREATMATCH_LABELS=drop",
		"CONNECTOR_RELATIONS=as-is", "THREATMATCH_IMPORT_FROM_DATE=P1Y")
	messages := w.take()
	checkOrder(t, messages)
	checkOnce(t, messages)
	w.checkBooks(messages, false)
	ours, _ := byID(messages)

	for _, id := range order {
		if _, found := ours[id]; !found {
			t.Errorf("upstream sent %s, this connector does not: %s", id, upstream[id].Bundle.Objects[0])
		}
	}
	sequences := 0
	for _, m := range messages {
		theirs, found := upstream[m.ID]
		if !found {
			// Upstream loses relations to actors, and throws object_refs of what is no container away.
			listed := m.Type == "relationship" && memberOf(m.Object, "created") == "" && memberOf(m.Object, "relationship_type") == "related-to"
			_, standard := transform.StandardMarking(m.ID)
			if !listed && !standard && !slices.ContainsFunc(m.Refs, func(ref string) bool { return strings.HasPrefix(ref, "intrusion-set--") }) {
				t.Errorf("only this connector sends %s", m.Object)
			}
			continue
		}
		want := decode(t, theirs.Bundle.Objects[0])
		got := decode(t, m.Object)
		meantDifferences(m.Type, m.ID, want, got)
		if !reflect.DeepEqual(want, got) {
			t.Errorf("%s is\n%v\nand upstream's is\n%v", m.ID, got, want)
		}
		if sameReferences(theirs.Bundle.Objects[0], m.Object) && closureEqual(m.ID, upstream, ours, map[string]bool{}) {
			sequences++
			if m.Sequence != theirs.Bundle.Sequence {
				t.Errorf("%s has x_opencti_seq %d, upstream's has %d", m.ID, m.Sequence, theirs.Bundle.Sequence)
			}
		}
	}
	t.Logf("%d objects, %d of upstream, %d sequences compared", len(ours), len(upstream), sequences)
	if sequences < len(upstream)/2 {
		t.Errorf("only %d sequences could be compared", sequences)
	}
}

func decode(t *testing.T, object json.RawMessage) map[string]any {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(object))
	dec.UseNumber()
	var v map[string]any
	if err := dec.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// authorID is the identity under which everything is imported.
const authorID = "identity--bd7e3637-940a-53ea-b249-d22adfc66fb3"

// meantDifferences takes from both what this connector means to do otherwise.
func meantDifferences(kind, id string, upstream, ours map[string]any) {
	if id == authorID {
		for _, date := range []string{"created", "modified"} {
			delete(upstream, date)
			delete(ours, date)
		}
	}
	delete(upstream, "nb_deps")
	for name, value := range upstream {
		if value == nil && strings.HasSuffix(name, "_ref") {
			delete(upstream, name)
		}
	}
	// Upstream cuts standard markings that no item brings, and sends what had no other unmarked.
	markings, _ := upstream["object_marking_refs"].([]any)
	if marked, _ := ours["object_marking_refs"].([]any); len(markings) == 0 && len(marked) == 1 {
		delete(upstream, "object_marking_refs")
		delete(ours, "object_marking_refs")
	}
	if kind == "relationship" {
		return // both keep its ends
	}
	for name, value := range ours {
		list, isList := value.([]any)
		if !isList || !strings.HasSuffix(name, "_refs") {
			continue
		}
		theirs, _ := upstream[name].([]any)
		kept := slices.DeleteFunc(slices.Clone(list), func(ref any) bool {
			text, _ := ref.(string)
			return strings.HasPrefix(text, "intrusion-set--") && !slices.Contains(theirs, ref)
		})
		if len(kept) == 0 && theirs == nil {
			delete(ours, name)
			continue
		}
		ours[name] = kept
	}
}

func refsOf(object json.RawMessage) []string {
	var members map[string]json.RawMessage
	if json.Unmarshal(object, &members) != nil {
		return nil
	}
	refs := references(members)
	slices.Sort(refs)
	return slices.Compact(refs)
}

func sameReferences(a, b json.RawMessage) bool { return slices.Equal(refsOf(a), refsOf(b)) }

// closureEqual reports whether both sent an object with the same references, and all that it refers to likewise.
func closureEqual(id string, upstream map[string]recordedMessage, ours map[string]delivery, seen map[string]bool) bool {
	if seen[id] {
		return true
	}
	seen[id] = true
	theirs, found := upstream[id]
	m, found2 := ours[id]
	if !found || !found2 || !sameReferences(theirs.Bundle.Objects[0], m.Object) {
		return false
	}
	for _, ref := range m.Refs {
		if !closureEqual(ref, upstream, ours, seen) {
			return false
		}
	}
	return true
}
