package opencti

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/formatter"
	"github.com/vektah/gqlparser/v2/parser"
)

// prune returns a document of one operation without what is lacking, and its variables without members of that name. It reports
// false where nothing is left to ask for.
func prune(query string, variables []byte, lacks func(name string, as role) bool) (pruned string, vars []byte, ok bool, err error) {
	doc, err := parser.ParseQuery(&ast.Source{Input: query})
	if err != nil {
		return "", nil, false, err
	}
	p := pruning{lacks: lacks, kept: map[string]bool{}}
	for _, op := range doc.Operations {
		for _, v := range op.VariableDefinitions {
			if lacks(v.Type.Name(), anything) {
				p.gone = append(p.gone, v.Variable)
			}
		}
	}
	for _, f := range doc.Fragments {
		f.SelectionSet = p.filled(f.SelectionSet)
	}
	for _, op := range doc.Operations {
		if op.SelectionSet = p.selection(op.SelectionSet); len(op.SelectionSet) == 0 {
			return "", nil, false, nil
		}
		op.VariableDefinitions = slices.DeleteFunc(op.VariableDefinitions, func(v *ast.VariableDefinition) bool { return !p.kept[v.Variable] })
	}
	doc.Fragments = slices.DeleteFunc(doc.Fragments, func(f *ast.FragmentDefinition) bool { return !slices.Contains(p.spread, f.Name) })
	var out strings.Builder
	formatter.NewFormatter(&out).FormatQueryDocument(doc)
	vars, err = p.values(variables)
	return out.String(), vars, true, err
}

// pruning is what is known while a document is gone through.
type pruning struct {
	lacks  func(name string, as role) bool
	gone   []string        // variables of types that are lacking
	kept   map[string]bool // variables that are used
	spread []string        // fragments that are
}

// filled prunes what must not be empty.
func (p *pruning) filled(set ast.SelectionSet) ast.SelectionSet {
	if len(set) == 0 {
		return set
	}
	if set = p.selection(set); len(set) == 0 {
		return ast.SelectionSet{&ast.Field{Name: "__typename", Alias: "__typename"}}
	}
	return set
}

func (p *pruning) selection(set ast.SelectionSet) (kept ast.SelectionSet) {
	for _, s := range set {
		switch s := s.(type) {
		case *ast.Field:
			if p.lacks(s.Name, field) {
				continue
			}
			s.Arguments = slices.DeleteFunc(s.Arguments, func(a *ast.Argument) bool {
				return p.lacks(a.Name, argument) || a.Value.Kind == ast.Variable && slices.Contains(p.gone, a.Value.Raw)
			})
			for _, a := range s.Arguments {
				p.use(a.Value)
			}
			s.SelectionSet = p.filled(s.SelectionSet)
		case *ast.InlineFragment:
			if p.lacks(s.TypeCondition, anything) {
				continue
			}
			s.SelectionSet = p.filled(s.SelectionSet)
		case *ast.FragmentSpread:
			p.spread = append(p.spread, s.Name)
		}
		kept = append(kept, s)
	}
	return kept
}

// use notes the variables of a value.
func (p *pruning) use(v *ast.Value) {
	if v.Kind == ast.Variable {
		p.kept[v.Raw] = true
	}
	for _, child := range v.Children {
		p.use(child.Value)
	}
}

// values leaves out variables that are not used any more, and what is lacking of the objects among them.
func (p *pruning) values(variables []byte) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(variables))
	dec.UseNumber()
	var values map[string]any
	if err := dec.Decode(&values); err != nil {
		return nil, err
	}
	maps.DeleteFunc(values, func(name string, _ any) bool { return !p.kept[name] })
	for _, value := range values {
		pruneValue(value, p.lacks)
	}
	return json.Marshal(values)
}

func pruneValue(value any, lacks func(name string, as role) bool) {
	object, _ := value.(map[string]any)
	for name, member := range object {
		if lacks(name, anything) {
			delete(object, name)
			continue
		}
		pruneValue(member, lacks)
	}
}
