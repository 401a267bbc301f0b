package transform

import (
	"fmt"
	"strings"
	"testing"
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
