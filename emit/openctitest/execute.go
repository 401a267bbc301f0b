package openctitest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/vektah/gqlparser/v2/ast"
)

// object is a value of a GraphQL object type. Its members are values, or a method when getting them does something.
type object map[string]any

// method is a member that is worked out when it is asked for.
type method func(args map[string]any) (any, error)

// execution is one validated operation.
type execution struct {
	schema *ast.Schema
	op     *ast.OperationDefinition
	vars   map[string]any
	may    func(member string) bool // whether the user may ask for a member, written as Type.member
	errs   []*failure
}

// operations returns the names by which calls are counted and faults are set, and the root fields.
func (x *execution) operations() (names, root []string) {
	add := func(to []string, name string) []string {
		if slices.Contains(to, name) {
			return to
		}
		return append(to, name)
	}
	for _, field := range x.fieldsOf(x.op.SelectionSet, "") {
		root = add(root, field.Name)
		if field.Name != "workEdit" {
			names = add(names, field.Name)
			continue
		}
		for _, edit := range x.fieldsOf(field.SelectionSet, "") {
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
	actual, _ := of["__typename"].(string)
	for _, field := range x.fieldsOf(set, actual) {
		value, err := x.member(of, field)
		at := append(path[:len(path):len(path)], field.Alias)
		whole := true
		if err != nil {
			x.errs = append(x.errs, asFailure(err, at))
			value = nil
		} else {
			value, whole = x.below(value, field.SelectionSet, at)
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

// below answers the selection of a member: of an object, of each in a list, or of a plain value, which has none.
func (x *execution) below(value any, set ast.SelectionSet, path []string) (any, bool) {
	switch value := value.(type) {
	case object:
		return x.project(value, set, path)
	case []object:
		members := make([]any, len(value))
		for i, member := range value {
			projected, whole := x.project(member, set, append(path[:len(path):len(path)], fmt.Sprint(i)))
			if !whole {
				return nil, false
			}
			members[i] = projected
		}
		return members, true
	}
	return value, true
}

func (x *execution) member(of object, field *ast.Field) (any, error) {
	if field.Name == "__typename" {
		if name, ok := of["__typename"]; ok {
			return name, nil
		}
		return field.ObjectDefinition.Name, nil
	}
	if !x.may(field.ObjectDefinition.Name + "." + field.Name) {
		return nil, fail("FORBIDDEN_ACCESS", "You are not allowed to do this.")
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

// fieldsOf flattens fragments. Of an object whose type the schema leaves open, actual is the type, and fragments on
// others say nothing of it; where actual is empty there is but one type, and validation has seen to the conditions.
func (x *execution) fieldsOf(set ast.SelectionSet, actual string) []*ast.Field {
	fits := func(condition string) bool {
		if actual == "" || condition == "" || condition == actual {
			return true
		}
		return slices.ContainsFunc(x.schema.PossibleTypes[condition], func(d *ast.Definition) bool { return d.Name == actual })
	}
	var fields []*ast.Field
	for _, s := range set {
		switch s := s.(type) {
		case *ast.Field:
			fields = append(fields, s)
		case *ast.FragmentSpread:
			if fits(s.Definition.TypeCondition) {
				fields = append(fields, x.fieldsOf(s.Definition.SelectionSet, actual)...)
			}
		case *ast.InlineFragment:
			if fits(s.TypeCondition) {
				fields = append(fields, x.fieldsOf(s.SelectionSet, actual)...)
			}
		}
	}
	return fields
}

// answer is what GraphQL answers with.
type answer struct {
	Errors []*failure `json:"errors,omitempty"`
	Data   any        `json:"data"`
}

// failure is an error as the platform writes it.
type failure struct {
	Message    string     `json:"message"`
	Name       string     `json:"name,omitempty"`
	Path       []string   `json:"path,omitempty"`
	Extensions extensions `json:"extensions"`
}

func (f *failure) Error() string { return f.Message }

type extensions struct {
	Code string `json:"code,omitempty"`
}

func fail(name, message string) *failure {
	return &failure{Name: name, Message: message, Extensions: extensions{Code: name}}
}

func writeAnswer(w http.ResponseWriter, status int, a *answer) {
	body, err := json.Marshal(a)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

func refuse(w http.ResponseWriter, failures ...*failure) {
	writeAnswer(w, http.StatusBadRequest, &answer{Errors: failures})
}

// nameAsBefore names errors as releases before 5.12 did, ForbiddenAccess for one, which had no codes.
func (a *answer) nameAsBefore() {
	for i, f := range a.Errors {
		var name strings.Builder
		for word := range strings.SplitSeq(strings.ToLower(f.Name), "_") {
			if word != "" {
				name.WriteString(strings.ToUpper(word[:1]) + word[1:])
			}
		}
		named := *f
		named.Name, named.Extensions.Code = name.String(), ""
		a.Errors[i] = &named
	}
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

func date(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func dateOrNull(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return date(t)
}

func nullable(s *string) any {
	if s == nil {
		return nil
	}
	return *s
}
