package openctitest

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
)

// object is a value of a GraphQL object type. Its members are values, or a method when getting them does something.
type object map[string]any

// method is a member that is worked out when it is asked for.
type method func(args map[string]any) (any, error)

// execution is one validated operation.
type execution struct {
	p    *Platform
	op   *ast.OperationDefinition
	vars map[string]any
	errs []*failure
}

func (f *failure) Error() string { return f.Message }

// run carries the operation out.
func (x *execution) run() *answer {
	root := x.p.queries()
	if x.op.Operation == ast.Mutation {
		root = x.p.mutations()
	}
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

func asFailure(err error, path []string) *failure {
	var f *failure
	if !errors.As(err, &f) {
		return &failure{Message: err.Error(), Name: "UNKNOWN_ERROR", Path: path, Extensions: extensions{Code: "INTERNAL_SERVER_ERROR"}}
	}
	located := *f
	located.Path = path
	return &located
}

// typeOf names the GraphQL type of a STIX id.
func typeOf(id string) string {
	kind, _, _ := strings.Cut(id, "--")
	switch kind {
	case "identity":
		return "Identity"
	case "intrusion-set", "threat-actor":
		return "IntrusionSet"
	case "malware":
		return "Malware"
	case "marking-definition":
		return "MarkingDefinition"
	case "report":
		return "Report"
	case "relationship":
		return "StixCoreRelationship"
	}
	return "Indicator"
}
