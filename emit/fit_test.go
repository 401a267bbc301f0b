package emit

import (
	"slices"
	"testing"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/transform"
	"github.com/opencti-connectors/threatmatch/transform/relations"
)

// What OpenCTI takes depends on what kind of identity an end is, and only the identity itself tells that: in this run, in one
// before, or at OpenCTI.
func TestARelationIsFittedToWhatItsEndsAreWhoeverKnowsThem(t *testing.T) {
	table, err := relations.New(map[string][]string{"Malware_Sector": {"targets"}, "Malware_Malware": {"uses"}})
	must(t, err)
	targets := object(t, `{"type":"relationship","id":"relationship--1","relationship_type":"targets","source_ref":"malware--1","target_ref":"identity--1"}`)
	identity := func(kind uint8) pipeline.Object {
		o := object(t, `{"type":"identity","id":"identity--1","name":"i"}`)
		o.Kind = kind
		return o
	}
	for _, tt := range []struct {
		name   string
		before []pipeline.Object
		held   string
		now    []pipeline.Object
		want   string
	}{
		{"a sector of this run", nil, "", []pipeline.Object{identity(relations.Sector)}, "targets"},
		{"an organization of this run", nil, "", []pipeline.Object{identity(relations.Organization)}, "related-to"},
		{"an identity of a kind that nothing tells", nil, "", []pipeline.Object{identity(0)}, "targets"},
		{"a sector of an earlier run", []pipeline.Object{identity(relations.Sector)}, "", nil, "targets"},
		{"an organization of an earlier run", []pipeline.Object{identity(relations.Organization)}, "", nil, "related-to"},
		{"a sector that OpenCTI holds", nil, "Sector", nil, "targets"},
		{"an organization that OpenCTI holds", nil, "Organization", nil, "related-to"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			platform := catalogueOf()
			if tt.held != "" {
				platform.held["identity--1"] = tt.held
			}
			r := deliveredBefore(t, 0, func(c *Config) {
				c.Platform, c.KindOf, c.Fit = platform, relations.KindNamed, transform.Fitter{Table: table, Descriptions: transform.Text}.Fit
			}, tt.before...)
			defer r.Close()
			r.put(t, slices.Concat([]pipeline.Object{targets, object(t, hubText)}, tt.now)...)
			r.finish(t, pipeline.Complete)
			last := r.queue.messages[len(r.queue.messages)-1]
			if last.id != "relationship--1" || last.object["relationship_type"] != tt.want {
				t.Fatalf("sent %v", last.object)
			}
			if words, _ := last.object["description"].(string); (words == "Targets.") != (tt.want == "related-to") {
				t.Errorf("its description is %q", words)
			}
			if n := r.Account().Refitted; (n == 1) != (tt.want == "related-to") {
				t.Errorf("%d relations count as fitted", n)
			}
		})
	}
}
