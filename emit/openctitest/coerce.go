package openctitest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/validator"
)

// coerce checks the variables as strictly as the platform does and returns them with their defaults. The parser's own
// check lets pass numbers written as texts, enum values in the wrong case, and any text for a date.
func coerce(schema *ast.Schema, op *ast.OperationDefinition, raw map[string]any) (map[string]any, []*failure) {
	var bad []*failure
	for _, def := range op.VariableDefinitions {
		if v, ok := raw[def.Variable]; ok {
			for _, problem := range strict(schema, def.Type, v) {
				bad = append(bad, badInput(fmt.Sprintf("Variable \"$%s\" got invalid value; %s", def.Variable, problem)))
			}
		}
	}
	if bad != nil {
		return nil, bad
	}
	vars, err := validator.VariableValues(schema, op, raw)
	if err != nil {
		var located *gqlerror.Error
		if errors.As(err, &located) {
			path := strings.TrimPrefix(located.Path.String(), "variable.")
			return nil, []*failure{badInput(fmt.Sprintf("Variable \"$%s\" got invalid value; %s", path, located.Message))}
		}
		return nil, []*failure{badInput(err.Error())}
	}
	return vars, nil
}

func badInput(message string) *failure {
	return &failure{Message: message, Extensions: extensions{Code: "BAD_USER_INPUT"}}
}

// strict returns all that is wrong with a value, in the words of the reference implementation.
func strict(schema *ast.Schema, typ *ast.Type, v any) []string {
	if v == nil {
		if typ.NonNull {
			return []string{fmt.Sprintf("Expected non-nullable type %q not to be null.", typ.String())}
		}
		return nil
	}
	if typ.Elem != nil {
		list, ok := v.([]any)
		if !ok {
			return strict(schema, typ.Elem, v)
		}
		var problems []string
		for _, member := range list {
			problems = append(problems, strict(schema, typ.Elem, member)...)
		}
		return problems
	}
	def := schema.Types[typ.NamedType]
	if def == nil {
		return []string{fmt.Sprintf("Unknown type %q.", typ.NamedType)}
	}
	switch def.Kind {
	case ast.Enum:
		s, ok := v.(string)
		if !ok || def.EnumValues.ForName(s) == nil {
			return []string{fmt.Sprintf("Value %v does not exist in %q enum.", v, def.Name)}
		}
	case ast.InputObject:
		return strictObject(schema, def, v)
	case ast.Scalar:
		if problem := strictScalar(def.Name, v); problem != "" {
			return []string{problem}
		}
	}
	return nil
}

func strictObject(schema *ast.Schema, def *ast.Definition, v any) (problems []string) {
	object, ok := v.(map[string]any)
	if !ok {
		return []string{fmt.Sprintf("Expected type %q to be an object.", def.Name)}
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		field := def.Fields.ForName(name)
		if field == nil {
			problems = append(problems, fmt.Sprintf("Field %q is not defined by type %q.", name, def.Name))
			continue
		}
		for _, problem := range strict(schema, field.Type, object[name]) {
			problems = append(problems, fmt.Sprintf("at %q: %s", name, problem))
		}
	}
	for _, field := range def.Fields {
		if _, given := object[field.Name]; !given && field.Type.NonNull && field.DefaultValue == nil {
			problems = append(problems, fmt.Sprintf("Field %q of required type %q was not provided.", field.Name, field.Type.String()))
		}
	}
	return problems
}

func strictScalar(name string, v any) string {
	number, isNumber := v.(json.Number)
	s, isString := v.(string)
	_, isBool := v.(bool)
	ok := true
	switch name {
	case "Int":
		n, err := number.Int64()
		ok = isNumber && err == nil && n == int64(int32(n))
	case "Float":
		_, err := number.Float64()
		ok = isNumber && err == nil
	case "String":
		ok = isString
	case "Boolean":
		ok = isBool
	case "ID":
		_, err := number.Int64()
		ok = isString || (isNumber && err == nil)
	case "DateTime":
		_, err := time.Parse(time.RFC3339, s)
		ok = isString && err == nil
	case "Upload":
		_, ok = v.(Workbench)
	}
	if !ok {
		return fmt.Sprintf("%s cannot represent value: %v", name, v)
	}
	return ""
}

// text reads an argument that validation has found to be a text or an id.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}

func texts(v any) []string {
	list, ok := v.([]any)
	if !ok {
		if s := text(v); s != "" {
			return []string{s}
		}
		return nil
	}
	var out []string
	for _, s := range list {
		out = append(out, text(s))
	}
	return out
}

func number(v any) float64 {
	switch v := v.(type) {
	case float64:
		return v
	case int64:
		return float64(v)
	case json.Number:
		f, _ := v.Float64()
		return f
	}
	return 0
}

// list reads an argument that is a list or is not given.
func list(v any) []any {
	members, _ := v.([]any)
	return members
}
