package transform

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

func BenchmarkTransform(b *testing.B) {
	const head = `"spec_version":"2.1","created":"2025-01-01T00:00:00.000Z","modified":"2025-04-17T15:24:00.123Z",`
	for _, c := range []struct{ name, text string }{
		{"indicator", `{"type":"indicator","id":"indicator--99999999-9999-4999-8999-999999999999",` + head +
			`"name":"1.2.3.4","pattern":"[ipv4-addr:value = '1.2.3.4']","pattern_type":"stix","valid_from":"2025-01-01T00:00:00.000Z","labels":["a","b"],"indicator_types":["malicious-activity"]}`},
		{"relationship", `{"type":"relationship","id":"relationship--44444444-4444-4444-8444-444444444444",` + head +
			`"relationship_type":"uses","source_ref":"threat-actor--11111111-1111-4111-8111-111111111111","target_ref":"malware--22222222-2222-4222-8222-222222222222"}`},
		{"attack-pattern", `{"type":"attack-pattern","id":"attack-pattern--22222222-2222-4222-8222-222222222222",` + head +
			`"name":"Account Discovery","description":"<p>Adversaries may attempt to get a listing of <a href=\"https://attack.mitre.org/x\">valid accounts</a>, usernames, or email addresses &amp; more.</p><p>Commands such as <code>net user &lt;username&gt;</code> are used.(Citation: X)</p><ul><li>one</li><li>two</li></ul>",` +
			`"external_references":[{"source_name":"mitre-attack","external_id":"T1087","url":"https://attack.mitre.org/techniques/T1087"},{"source_name":"x","url":"https://e.x/"}],"kill_chain_phases":[{"kill_chain_name":"mitre-attack","phase_name":"discovery"}]}`},
	} {
		b.Run(c.name, func(b *testing.B) {
			tr := mustNew(b, Config{TLP: "amber", ThreatActorAsIntrusionSet: true})
			in := item(c.text)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := tr.Transform(b.Context(), in); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "objects/s")
		})
	}
}

// BenchmarkDeep maps an object whose text is nested once and up to what is taken: its cost is that of its length.
func BenchmarkDeep(b *testing.B) {
	for _, levels := range []int{1, 10, mostLevels - 3} {
		text := `{"type":"tool","id":"tool--1","x":` + strings.Repeat(`{"a":1,"a":`, levels) + "[" + strings.Repeat(`{"b":"c"},`, 500_000) + "{}]" + strings.Repeat("}", levels) + "}"
		b.Run(fmt.Sprintf("%d levels", levels), func(b *testing.B) {
			tr := mustNew(b, Config{TLP: "amber"})
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if objects, err := tr.Transform(b.Context(), item(text)); err != nil || len(objects) == 0 {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkItems maps real intelligence, where it lies beside the repository, and generated one, each dataset for itself. What it
// tells is for one object of the output.
func BenchmarkItems(b *testing.B) {
	for _, name := range []string{"profiles", "alerts", "indicators"} {
		b.Run("corpus/"+name, func(b *testing.B) { mapItems(b, corpusItems(b, name)) })
		b.Run("generated/"+name, func(b *testing.B) { mapItems(b, generatedItems(name)) })
	}
}

func mapItems(b *testing.B, items []pipeline.Item) {
	tr := mustNew(b, Config{TLP: "amber", ThreatActorAsIntrusionSet: true})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	objects := 0
	for b.Loop() {
		for _, item := range items {
			mapped, err := tr.Transform(b.Context(), item)
			if err != nil && len(mapped) == 0 {
				b.Fatal(err)
			}
			objects += len(mapped)
		}
	}
	runtime.ReadMemStats(&after)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(objects), "ns/object")
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(objects), "allocs/object")
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(objects), "B/object")
}

// corpusItems are those of a dataset of the reference data.
func corpusItems(b *testing.B, dataset string) (items []pipeline.Item) {
	for _, line := range lines(b, "data/corpus/"+dataset+".ndjson.gz") {
		item := struct{ Objects json.RawMessage }{line}
		if dataset != "indicators" {
			if err := json.Unmarshal(line, &item); err != nil {
				b.Fatal(err)
			}
		}
		items = append(items, pipeline.Item{Dataset: dataset, Data: item.Objects, Strict: true})
	}
	return items
}

// generatedItems are those of a dataset as the sandbox serves it.
func generatedItems(dataset string) (items []pipeline.Item) {
	g := threatmatchtest.Generate(threatmatchtest.Shape{Seed: 1, Profiles: 100, Alerts: 100, Indicators: 4000})
	for id := range g.IDs(dataset, time.Time{}) {
		text, _ := g.Item(dataset, strconv.FormatInt(id, 10))
		items = append(items, pipeline.Item{Dataset: dataset, Data: text, Strict: true})
	}
	if dataset == "indicators" {
		all, _ := g.Indicators(time.Time{}, true, 4000)
		for _, text := range all {
			items = append(items, pipeline.Item{Dataset: dataset, Data: text, Strict: true})
		}
	}
	return items
}
