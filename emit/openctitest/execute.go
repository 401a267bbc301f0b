package openctitest

import (
	"fmt"
	"slices"

	"github.com/vektah/gqlparser/v2/ast"
)

// object is a value of a GraphQL object type. Its members are values, or a method when getting them does something.
type object map[string]any

// method is a member that is worked out when it is asked for.
type method func(args map[string]any) (any, error)

// execution is one validated operation.
type execution struct {
	op   *ast.OperationDefinition
	vars map[string]any
	errs []*failure
}

// operations returns the names by which calls are counted and faults are set, and the root fields.
func (x *execution) operations() (names, root []string) {
	add := func(list []string, name string) []string {
		if slices.Contains(list, name) {
			return list
		}
		return append(list, name)
	}
	for _, field := range fieldsOf(x.op.SelectionSet) {
		root = add(root, field.Name)
		if field.Name != "workEdit" {
			names = add(names, field.Name)
			continue
		}
		for _, edit := range fieldsOf(field.SelectionSet) {
			names = add(names, edit.Name)
		}
	}
	return names, root
}

// run carries the operation out on the members of its root type.
func (x *execution) run(root object) *answer {
	data, whole := x.project(root, x.op.SelectionSet, nil)
	if !whole {
		data = nil
	}
	return &answer{Data: data, Errors: x.errs}
}

// project answers a selection. It reports false when a member that must not be null is.
func (x *execution) project(of object, set ast.SelectionSet, path []string) (any, bool) {
	out := object{}
	for _, field := range fieldsOf(set) {
		value, err := x.member(of, field)
		at := append(path[:len(path):len(path)], field.Alias)
		whole := true
		if err != nil {
			x.errs = append(x.errs, asFailure(err, at))
			value = nil
		} else if below, ok := value.(object); ok {
			value, whole = x.project(below, field.SelectionSet, at)
		}
		if !whole {
			value = nil
		}
		if value == nil && field.Definition.Type.NonNull {
			return nil, false
		}
		out[field.Alias] = value
	}
	return out, true
}

func (x *execution) member(of object, field *ast.Field) (any, error) {
	if field.Name == "__typename" {
		if name, ok := of["__typename"]; ok {
			return name, nil
		}
		return field.ObjectDefinition.Name, nil
	}
	value, ok := of[field.Name]
	if !ok {
		return nil, fmt.Errorf("the simulated platform does not serve %s", field.Name)
	}
	if m, ok := value.(method); ok {
		return m(field.ArgumentMap(x.vars))
	}
	return value, nil
}

// fieldsOf flattens fragments. All types here are objects or have no fields in common, so that type conditions decide
// nothing but what validation has already seen.
func fieldsOf(set ast.SelectionSet) []*ast.Field {
	var fields []*ast.Field
	for _, s := range set {
		switch s := s.(type) {
		case *ast.Field:
			fields = append(fields, s)
		case *ast.FragmentSpread:
			fields = append(fields, fieldsOf(s.Definition.SelectionSet)...)
		case *ast.InlineFragment:
			fields = append(fields, fieldsOf(s.SelectionSet)...)
		}
	}
	return fields
}
