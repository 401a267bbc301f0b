package state

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

// tape is an import of some datasets as the pipeline would make it: passes that end, stop half way, or leave items behind.
type tape struct {
	rand *rand.Rand
	now  time.Time
	owed map[string]map[string]time.Time // by dataset and item, when it changed
}

// next is where a dataset is after a while of its pass.
func (w *tape) next(name string, c pipeline.Cursor) pipeline.Cursor {
	if w.owed[name] == nil {
		w.owed[name] = map[string]time.Time{}
	}
	for _, id := range c.Failed {
		if w.rand.IntN(2) == 0 { // its turn again, and this time it comes
			delete(w.owed[name], id)
		}
	}
	failed := slices.Sorted(maps.Keys(w.owed[name]))
	pass := c.Pass
	if pass == nil {
		pass = &pipeline.Pass{Started: w.now}
	}
	if w.rand.IntN(4) == 0 {
		id := fmt.Sprint(len(failed), w.now.UnixNano())
		w.owed[name][id] = c.Since.Add(time.Duration(w.rand.Int64N(int64(max(1, pass.Started.Sub(c.Since))))))
		failed = append(failed, id)
	}
	if w.rand.IntN(3) == 0 {
		return pipeline.Cursor{Since: c.Since, Pass: &pipeline.Pass{Started: pass.Started, After: "1"}, Failed: failed}
	}
	return pipeline.Cursor{Since: pass.Started, Failed: failed}
}

// behind lists what the upstream connector would not bring of the enabled datasets if it began at last_run.
func (w *tape) behind(d document, enabled []string) (wrong []string) {
	if d.lastRun.IsZero() {
		return nil // it begins where it is told to
	}
	for _, name := range enabled {
		since := d.importFrom
		if c, found := d.datasets[name]; found {
			since = c.Since
		}
		if d.lastRun.After(since) {
			wrong = append(wrong, fmt.Sprintf("%s is at %s", name, since))
		}
		for id, at := range w.owed[name] {
			if d.lastRun.After(at) {
				wrong = append(wrong, fmt.Sprintf("%s owes %s of %s", name, id, at))
			}
		}
	}
	return wrong
}

func TestLastRunIsNeverAheadOfWhatIsOwed(t *testing.T) {
	all := []string{"profiles", "alerts", "iocs"}
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 7))
			p, index, w := platform(t, openctitest.Config{}), &folder{}, &tape{rand: random, now: passStart, owed: map[string]map[string]time.Time{}}
			settled := 0
			for life := range 8 {
				enabled := all
				if life%2 == 1 { // some are switched off, and on again; what they owe meanwhile is not asked for
					enabled = all[random.IntN(2) : 2+random.IntN(2)]
					for _, name := range all {
						for id := range w.owed[name] {
							if !slices.Contains(enabled, name) {
								w.owed[name][id] = w.now.AddDate(1, 0, 0)
							}
						}
					}
				}
				r := join(t, p, index, enabled...)
				if err := r.adopt(); err != nil {
					t.Fatal(err)
				}
				for range 1 + random.IntN(4) {
					run := r.begin()
					for _, name := range enabled {
						w.now = w.now.Add(time.Duration(random.IntN(5000)) * time.Second)
						if random.IntN(8) > 0 {
							r.mustCommit(run, name, w.next(name, run.Cursor(name)))
						} else if err := run.Commit(t.Context(), nil); err != nil {
							t.Fatal(err)
						}
						d, err := parse(p.State())
						if wrong := w.behind(d, enabled); err != nil || len(wrong) > 0 {
							t.Fatalf("seed %d, %v: last_run is %s, and %v (%v)\n%s", seed, enabled, d.lastRun, wrong, err, p.State())
						}
						if !d.lastRun.IsZero() {
							settled++
						}
					}
				}
			}
			if seed == 0 && settled == 0 {
				t.Error("nothing was ever complete")
			}
		})
	}
}

func TestADatasetThatIsSwitchedOnLaterTakesLastRunBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, index := platform(t, openctitest.Config{}), &folder{}
		r := join(t, p, index, "alerts")
		if err := r.adopt(); err != nil {
			t.Fatal(err)
		}
		r.mustCommit(r.begin(), "alerts", done())
		if !r.LastRun().Equal(passStart) {
			t.Fatalf("last_run is %s", r.LastRun())
		}
		r = join(t, p, index, "alerts", "iocs")
		if err := r.adopt(); err != nil {
			t.Fatal(err)
		}
		run := r.begin()
		r.mustCommit(run, "iocs", within("1"))
		if !r.LastRun().Equal(importStart) {
			t.Errorf("with a dataset that begins at %s last_run is %s", importStart, r.LastRun())
		}
		r.mustCommit(run, "iocs", done())
		if !r.LastRun().Equal(passStart) {
			t.Errorf("once it is complete last_run is %s", r.LastRun())
		}
	})
}

// The Python connector keeps nothing but its last_run. The index of before must not be believed then: it does not know what
// the other has done, nor what OpenCTI has made of it.
func TestAStateThatTheUpstreamConnectorHadMeanwhileIsTakenOverWithoutTheIndex(t *testing.T) {
	for name, theirs := range map[string]string{
		"text": `{"last_run": "2025-04-19T08:00:00+00:00"}`, "seconds": `{"last_run": 1745049600}`, "fractions": `{"last_run": 1745049600.5}`,
	} {
		synctest.Test(t, func(t *testing.T) {
			p, index := platform(t, openctitest.Config{}), &folder{}
			r := join(t, p, index, "alerts", "iocs")
			if err := r.adopt(); err != nil {
				t.Fatal(err)
			}
			run := r.begin()
			r.mustCommit(run, "alerts", done())
			r.mustCommit(run, "iocs", pipeline.Cursor{Since: passStart, Failed: []string{"17"}})
			p.SetState(theirs)
			emptied, old := index.emptied, index.ID()
			r = join(t, p, index, "alerts", "iocs")
			if err := r.adopt(); err != nil {
				t.Fatal(err)
			}
			run = r.begin()
			at := time.Date(2025, 4, 19, 8, 0, 0, 0, time.UTC)
			for _, dataset := range []string{"alerts", "iocs"} {
				if c := run.Cursor(dataset); c.Since.Truncate(time.Second) != at || c.Pass != nil || len(c.Failed) > 0 {
					t.Errorf("%s: %s begins at %+v", name, dataset, c)
				}
			}
			if index.emptied != emptied+1 || index.ID() == old {
				t.Errorf("%s: the index of before is believed", name)
			}
		})
	}
}

// upstream does with a state what the Python connector does since its release 6.7.10, in its own words: a last_run that is a number is
// seconds, else it is text for fromisoformat; the lists are asked for to the minute; whatever else is in the state is lost.
const upstream = `
import json, sys
from datetime import datetime, timezone
for line in sys.stdin:
    state = json.loads(line) or {}
    last = state.get("last_run")
    if isinstance(last, (int, float)):
        last = datetime.fromtimestamp(last, tz=timezone.utc)
    elif last:
        last = datetime.fromisoformat(last)
    print(json.dumps({
        "since": last.strftime("%Y-%m-%d %H:%M") if last else "",
        "again": json.dumps({"last_run": last.isoformat(timespec="seconds")}) if last else "null",
    }))
`

func TestThePythonOfTheUpstreamConnectorReadsOurStateAndWeReadIts(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3 here to read states as the Python connector does")
	}
	random := rand.New(rand.NewPCG(1, 2))
	var ours []document
	var texts bytes.Buffer
	add := func(text string) {
		d, err := parse(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		ours = append(ours, d)
		texts.WriteString(text + "\n")
	}
	add("null")
	for range 300 {
		at := time.Unix(1+random.Int64N(4_000_000_000), random.Int64N(1e9))
		d := document{place: place{}.clone(), commits: 1}
		d.lastRun = at.Truncate(time.Second)
		d.datasets["alerts"] = pipeline.Cursor{Since: at, Failed: []string{"17"}}
		d.works = []noted{{Work: Work{ID: "w", Opened: at}, From: place{}.clone()}}
		add(d.text())
		add(fmt.Sprintf(`{"last_run": %d}`, at.Unix()))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, python, "-c", upstream)
	command.Stdin = &texts
	var failed strings.Builder
	command.Stderr = &failed
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, failed.String())
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != len(ours) {
		t.Fatalf("%d states were read of %d", len(lines), len(ours))
	}
	for i, line := range lines {
		var said struct{ Since, Again string }
		if err := json.Unmarshal([]byte(line), &said); err != nil {
			t.Fatal(err)
		}
		again, err := parse(said.Again)
		if err != nil || !again.lastRun.Equal(ours[i].lastRun) {
			t.Errorf("%s was read as %q and written as %s (%v)", ours[i].text(), said.Since, said.Again, err)
		}
		if want := ours[i].lastRun; !want.IsZero() && said.Since != want.UTC().Format("2006-01-02 15:04") {
			t.Errorf("of %s it asks for what changed since %q", want, said.Since)
		}
	}
}
