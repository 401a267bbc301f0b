package openctitest

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"

	"github.com/vektah/gqlparser/v2"
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
	authorized := p.authorized(r)
	hook := p.onOperation
	p.mu.Unlock()

	call := p.treat(names, root)
	if call.before(w) {
		return
	}
	a := &answer{Errors: []*failure{fail("AUTH_REQUIRED", "You must be logged in to do this.")}}
	if authorized {
		if hook != nil {
			for _, name := range names {
				hook(name)
			}
		}
		a = x.run(p.root(x.op.Operation))
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
	return &execution{op: op, vars: vars}, nil
}

func validationFailure(errs gqlerror.List) *failure {
	return &failure{Message: errs[0].Message, Extensions: extensions{Code: "GRAPHQL_VALIDATION_FAILED"}}
}
