package endtoend

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// TestEachCaseHasItsRightAnswer walks the small inputs beside the repository, each of which says what is right.
func TestEachCaseHasItsRightAnswer(t *testing.T) {
	dir := reference(t, "cases")
	paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
	must(t, err)
	relations := platformRelations(t)
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".json")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(path)
			must(t, err)
			c, err := readExample(text)
			must(t, err)
			for _, order := range arrivalOrders {
				if wrong := c.Expect.judge(c.play(t, order, relations)); len(wrong) > 0 {
					t.Errorf("%s\nserved %s: %s", c.About, order.name, strings.Join(wrong, "\n"))
				}
			}
		})
	}
}

// platformRelations is what a real OpenCTI says of the relations that it takes.
func platformRelations(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(reference(t, "spec", "relations.json"))
	must(t, err)
	var answer struct{ Mapping map[string][]string }
	must(t, json.Unmarshal(text, &answer))
	return answer.Mapping
}

// example is a small input with its right answer; the README beside the files says what their members mean.
type example struct {
	About  string
	Items  map[string]map[string]json.RawMessage // dataset → id → objects
	Feed   []json.RawMessage                     `json:"indicators"`
	Env    map[string]string
	Held   []string
	Runs   int
	Expect expectation
}

// readExample reads a case. What it does not know is an error, for it would be a promise that nobody looks at.
func readExample(text []byte) (example, error) {
	c := example{Runs: 2}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	dec.UseNumber()
	if err := dec.Decode(&c); err != nil {
		return c, fmt.Errorf("read case: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return c, errors.New("read case: there is something behind it")
	}
	for dataset, items := range c.Items {
		for id := range items {
			if _, err := strconv.ParseInt(id, 10, 64); err != nil {
				return c, fmt.Errorf("read case: item of %s: %w", dataset, err)
			}
		}
	}
	fitting := slices.Clone(c.Expect.Never)
	for _, a := range c.Expect.Arrives {
		fitting = append(fitting, a.Where)
	}
	if c.Runs < 1 || len(fitting) == 0 || slices.ContainsFunc(fitting, func(m members) bool { return len(m) == 0 }) {
		return c, errors.New("read case: it has no run, expects nothing, or expects it of every object")
	}
	return c, nil
}

// IDs implements threatmatchtest.Data: everything is listed, whatever was asked for.
func (c example) IDs(dataset string, _ time.Time) iter.Seq[int64] {
	var ids []int64
	for id := range c.Items[dataset] {
		n, _ := strconv.ParseInt(id, 10, 64) // was read before
		ids = append(ids, n)
	}
	return slices.Values(slices.Sorted(slices.Values(ids)))
}

// Item implements threatmatchtest.Data.
func (c example) Item(dataset, id string) ([]byte, bool) {
	objects, found := c.Items[dataset][id]
	return objects, found
}

// Indicators implements threatmatchtest.Data: there is one page, whatever was asked for.
func (c example) Indicators(time.Time, bool, int) ([][]byte, bool) {
	objects := make([][]byte, len(c.Feed))
	for i, o := range c.Feed {
		objects[i] = o
	}
	return objects, false
}

// arrivalOrder is one of the orders in which the API may serve a case. The answer must not depend on it.
type arrivalOrder struct {
	name string
	// apart is the time that an answer takes, and late the paths whose answers take some of that more.
	apart time.Duration
	late  string
}

// answersApart is so long that what an answer brings has been sent when the next one comes.
const answersApart = 5 * time.Second

var arrivalOrders = []arrivalOrder{
	{"all at once", 0, "/api/*"},
	{"one by one, indicators last", answersApart, "/api/taxii/*"},
	{"one by one, indicators first", answersApart, "/api/stix/*"},
}

// casesHappen is when the first run begins: no object is younger.
var casesHappen = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// played is what came of one run.
type played struct {
	err     error
	objects []map[string]any // what was delivered, in order
	refused []string         // what OpenCTI's workers did not import, and why: no case is right with that
}

// play runs the whole connector over a case, with a platform whose workers import all before the next run.
func (c example) play(t *testing.T, order arrivalOrder, relations map[string][]string) (runs []played) {
	t.Helper()
	settings := []string{"THREATMATCH_TLP_LEVEL=amber", "THREATMATCH_DESCRIPTION_FORMAT=text",
		"THREATMATCH_CONCURRENCY=1"} // so that items come one by one when answers do
	for name, value := range c.Env {
		settings = append(settings, name+"="+value)
	}
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(casesHappen))
		b := newBubble(t, dir, threatmatchtest.Config{Data: c, Latency: order.apart}, rabbitmqtest.Config{}, openctitest.Config{Relations: relations}, settings...)
		b.api.Fault(threatmatchtest.Rule{Path: order.late, Do: threatmatchtest.Slow(5 * order.apart)})
		b.platform.Hold(c.Held...)
		for range c.Runs {
			run := played{err: b.run(t.Context())}
			for _, m := range b.broker.Take(bubbleQueue, 1<<30) {
				d, err := readDelivery(m.Body)
				must(t, err)
				run.objects = append(run.objects, decode(t, d.Object))
				if outcome := b.platform.Import(m.Body); outcome != openctitest.Imported {
					run.refused = append(run.refused, fmt.Sprintf("%s: %s %s", d.ID, outcome, lastError(b.platform, d.Work)))
				}
			}
			runs = append(runs, run)
			time.Sleep(24 * time.Hour)
		}
	})
	return runs
}

// lastError is what workers said last of the imports of a work, "" for nothing.
func lastError(platform *openctitest.Platform, work string) string {
	for _, w := range platform.Works() {
		if w.ID == work && len(w.Errors) > 0 {
			return w.Errors[len(w.Errors)-1].Message
		}
	}
	return ""
}

func TestACaseWithWhatNobodyJudgesIsRefused(t *testing.T) {
	for text, right := range map[string]bool{
		`{"about": "", "items": {"alerts": {"7": []}}, "expect": {"arrives": [{"where": {"id": "a"}}]}}`: true,
		`{"expect": {"never": [{"id": "a"}], "again": 1}}`:                                               true,
		`{"expect": {"never": [{"id": "a"}], "again": "1"}}`:                                             false,
		`{"expect": {"never": [{"id": "a"}]}} {}`:                                                        false,
		`{"expect": {"never": [{"id": "a"}]}, "runs": 0}`:                                                false,
		`{"expect": {"never": [{"id": "a"}]}, "removed": []}`:                                            false,
		`{"expect": {"never": [{"id": "a"}], "logs": []}}`:                                               false,
		`{"expect": {"never": [{}]}}`:                                                                    false,
		`{"expect": {"arrives": [{"has": {"name": "a"}}]}}`:                                              false,
		`{"expect": {"arrives": [{"where": {"id": "a"}, "hidden": {}}]}}`:                                false,
		`{"expect": {"arrives": [{"where": {"id": "a"}, "contains": {"name": ["a"]}}]}}`:                 false,
		`{"expect": {}}`: false,
		`{"expect": {"never": [{"id": "a"}]}, "items": {"alerts": {"seven": []}}}`: false,
	} {
		if _, err := readExample([]byte(text)); (err == nil) != right {
			t.Errorf("%s: %v", text, err)
		}
	}
}
