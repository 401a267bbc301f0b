// Package relations knows which relations OpenCTI takes between which entities, and what to send in place of one that it
// refuses: such a relation fails at OpenCTI's worker, and is lost.
package relations

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// RelatedTo is the type that OpenCTI takes between any two entities.
const RelatedTo = "related-to"

// revokedBy is the other one that OpenCTI takes between all entities, although its table does not say so.
const revokedBy = "revoked-by"

// Table tells which relation types OpenCTI takes between two entities. It does not change, and may be used by many
// goroutines at once.
type Table struct {
	takes map[pair][]string
	// ends are the entity types that stand in the table, and relations those of them that are relations themselves: a
	// relation can be an end, too.
	ends, relations []string
}

// pair is two entity types as [entityType] writes them.
type pair struct{ source, target string }

//go:embed table.json
var builtIn []byte

// BuiltIn returns the table of the OpenCTI release that table.json names, for platforms that do not tell theirs.
func BuiltIn() *Table {
	t, err := New(BuiltInMapping())
	if err != nil {
		panic(fmt.Sprintf("table.json, which is part of the program: %v", err))
	}
	return t
}

// BuiltInMapping returns what that release answers to schemaRelationsTypesMapping, for [New], or for who answers in its place.
func BuiltInMapping() map[string][]string {
	var file struct{ Mapping map[string][]string }
	if err := json.Unmarshal(builtIn, &file); err != nil {
		panic(fmt.Sprintf("table.json, which is part of the program: %v", err))
	}
	return file.Mapping
}

// New makes a table of OpenCTI's answer to schemaRelationsTypesMapping: the key Source_Target, of its entity types, holds
// the relation types between them. An answer that cannot be a whole table is an error: the built-in one says more.
func New(mapping map[string][]string) (*Table, error) {
	t := &Table{takes: make(map[pair][]string, len(mapping))}
	ends, types := make(map[string]bool), map[string]bool{RelatedTo: true}
	for key, taken := range mapping {
		source, target, ok := strings.Cut(key, "_")
		if !ok || source == "" || target == "" {
			return nil, fmt.Errorf("read the table of relations: %q is not of the form Source_Target", key)
		}
		for _, s := range entityTypes(source) {
			for _, d := range entityTypes(target) {
				t.takes[pair{s, d}] = append(t.takes[pair{s, d}], taken...)
				ends[s], ends[d] = true, true
			}
		}
		for _, relation := range taken {
			types[relation] = true
		}
	}
	switch {
	case len(types) == 1:
		return nil, errors.New("read the table of relations: it is empty")
	case ends["stix-cyber-observable"]:
		return nil, errors.New("read the table of relations: it speaks of observables as a whole, not of each type of them")
	}
	t.ends = slices.Sorted(maps.Keys(ends))
	for _, end := range t.ends {
		if types[end] {
			t.relations = append(t.relations, end)
		}
	}
	return t, nil
}

// Takes reports whether OpenCTI takes a relation between two ends: whether any reading of them allows it.
func (t *Table) Takes(relation string, source, target End) bool {
	if relation == RelatedTo || relation == revokedBy {
		return true
	}
	for i := 0; ; i++ {
		s, ok := t.reading(source, i)
		if !ok {
			return false
		}
		for j := 0; ; j++ {
			d, ok := t.reading(target, j)
			if !ok {
				break
			}
			if slices.Contains(t.takes[pair{s, d}], relation) {
				return true
			}
		}
	}
}

// reading returns the end's possible entity types one by one.
func (t *Table) reading(e End, i int) (entity string, ok bool) {
	typ, _, isSTIX := strings.Cut(e.ID, "--")
	all := kindsOf(typ)
	one := int(e.Kind) < len(kindNames) && e.Kind != 0 && (!isSTIX || slices.Contains(all, kindNames[e.Kind]))
	switch {
	case one:
		return kindNames[e.Kind], i == 0
	case !isSTIX:
		all = t.ends
	case typ == "relationship":
		all = t.relations
	case all == nil:
		return entityType(typ), i == 0
	}
	if i >= len(all) {
		return "", false
	}
	return all[i], true
}

// Fit returns the type under which OpenCTI takes a relation between two ends: its own, another that means the same, else
// [RelatedTo]. same reports whether the meaning has stayed.
func (t *Table) Fit(relation string, source, target End) (fitted string, same bool) {
	if t.Takes(relation, source, target) {
		return relation, true
	}
	name := spelled(relation)
	if t.Takes(name, source, target) {
		return name, true
	}
	// In STIX a threat actor is located at a place, while an intrusion set or a campaign, behind which it stands, originates
	// from there. Of malware or an incident the two would be different statements.
	if name == "located-at" && source.isActor() && t.Takes("originates-from", source, target) {
		return "originates-from", true
	}
	return RelatedTo, false
}

// spelled writes a relation type as STIX does: small letters, hyphens between words.
func spelled(relation string) string {
	return strings.Join(strings.FieldsFunc(strings.ToLower(relation), func(r rune) bool {
		return r == '_' || r == '-' || r == ' '
	}), "-")
}
