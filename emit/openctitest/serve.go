package openctitest

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/validator/rules"
)

// maxRequest bounds a request. The largest asks for a hundred objects, or carries a state.
const maxRequest = 16 << 20

type request struct {
	Query         string         `json:"query"`
	OperationName string         `json:"operationName"`
	Variables     map[string]any `json:"variables"`
}

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

func refuse(w http.ResponseWriter, f *failure) {
	writeAnswer(w, http.StatusBadRequest, &answer{Errors: []*failure{f}})
}

// ServeHTTP answers POST /graphql.
func (p *Platform) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/graphql" {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "GraphQL takes POST", http.StatusMethodNotAllowed)
		return
	}
	req, f := readRequest(w, r)
	if f != nil {
		refuse(w, f)
		return
	}
	x, f := p.prepare(req)
	if f != nil {
		refuse(w, f)
		return
	}
	names, root := x.operations()
	p.mu.Lock()
	for _, name := range names {
		p.calls[name]++
	}
	call := p.treat(names, root)
	authorized := p.authorized(r)
	hook := p.onOperation
	p.mu.Unlock()

	if call.before(w) {
		return
	}
	a := &answer{Errors: []*failure{fail("AUTH_REQUIRED", "You must be logged in to do this.")}}
	if authorized {
		if hook != nil {
			for _, name := range names {
				hook(name, req.Variables)
			}
		}
		a = x.run()
	}
	call.after(r.Context())
	writeAnswer(w, http.StatusOK, a)
}

// authorized reports whether the request bears the token; the caller holds the lock.
func (p *Platform) authorized(r *http.Request) bool {
	want := "Bearer " + p.cfg.Token
	return !p.revoked && subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte(want)) == 1
}

func readRequest(w http.ResponseWriter, r *http.Request) (*request, *failure) {
	r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind != "application/json" {
		return nil, fail("BAD_REQUEST", "the content type must be application/json")
	}
	dec := json.NewDecoder(r.Body)
	dec.UseNumber()
	var req request
	if err := dec.Decode(&req); err != nil {
		return nil, fail("BAD_REQUEST", "the body must be a JSON object with query and variables: "+err.Error())
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fail("BAD_REQUEST", "the body must be one JSON object")
	}
	if req.Query == "" {
		return nil, fail("BAD_REQUEST", "the body must hold a query")
	}
	return &req, nil
}

// prepare parses and validates the operation, and coerces its variables.
func (p *Platform) prepare(req *request) (*execution, *failure) {
	doc, errs := gqlparser.LoadQueryWithRules(p.schema, req.Query, rules.NewDefaultRules())
	if len(errs) > 0 {
		return nil, validationFailure(errs)
	}
	op := doc.Operations.ForName(req.OperationName)
	if op == nil {
		return nil, fail("BAD_REQUEST", "no operation of that name")
	}
	vars, f := coerce(p.schema, op, req.Variables)
	if f != nil {
		return nil, f
	}
	return &execution{p: p, op: op, vars: vars}, nil
}

func validationFailure(errs gqlerror.List) *failure {
	return &failure{Message: errs[0].Message, Extensions: extensions{Code: "GRAPHQL_VALIDATION_FAILED"}}
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
