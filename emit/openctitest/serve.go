package openctitest

import (
	"bytes"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptrace"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator/rules"
)

// maxRequest bounds a request. The largest asks for many objects, or carries a state.
const maxRequest = 16 << 20

type request struct {
	Query         string         `json:"query"`
	OperationName string         `json:"operationName"`
	Variables     map[string]any `json:"variables"`
}

var _ http.Handler = (*Platform)(nil)

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
	x, refused := p.prepare(req)
	if len(refused) > 0 {
		refuse(w, refused...)
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
	if !p.cfg.namesErrorsInCapitals() {
		a.nameAsBefore()
	}
	call.after(r.Context())
	writeAnswer(w, http.StatusOK, a)
}

// root is what an operation of a kind can ask for.
func (p *Platform) root(kind ast.Operation) object {
	if kind == ast.Mutation {
		return object{
			"registerConnector":   method(p.register),
			"pingConnector":       method(p.ping),
			"resetStateConnector": method(p.resetState),
			"workAdd":             method(p.workAdd),
			"workEdit":            method(p.workEdit),
			"stixBundlePush":      method(p.pushBundle),
			"uploadPending":       method(p.uploadPending),
			"draftWorkspaceAdd":   method(p.addDraft),
		}
	}
	return object{
		"about":                         object{"version": p.cfg.Version},
		"connector":                     method(p.findConnector),
		"connectors":                    method(p.allConnectors),
		"me":                            method(p.me),
		"work":                          method(p.findWork),
		"isWorkAlive":                   method(p.isWorkAlive),
		"stixObjectOrStixRelationship":  method(p.oneObject),
		"stixObjectOrStixRelationships": method(p.manyObjects),
		"schemaRelationsTypesMapping":   method(p.relationTypes),
	}
}

// authorized reports whether the request bears the token; the caller holds the lock.
func (p *Platform) authorized(r *http.Request) bool {
	want := "Bearer " + p.cfg.Token
	return !p.revoked && subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte(want)) == 1
}

func readRequest(w http.ResponseWriter, r *http.Request) (*request, *failure) {
	r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
	kind, params, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind == "multipart/form-data" {
		req, err := readUpload(r.Body, params["boundary"])
		if err != nil {
			return nil, fail("BAD_REQUEST", "the parts are not a GraphQL request with files: "+err.Error())
		}
		return req, nil
	}
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

// prepare parses and validates the document, and coerces the operation's variables. As there, all that is wrong is told at once.
func (p *Platform) prepare(req *request) (*execution, []*failure) {
	doc, errs := gqlparser.LoadQueryWithRules(p.schema, req.Query, rules.NewDefaultRules())
	var failures []*failure
	for _, err := range errs {
		failures = append(failures, invalidDocument(err.Message))
	}
	if failures != nil {
		return nil, failures
	}
	p.mu.Lock() // AcceptToken changes the configuration
	protects := p.cfg.protectsBatches()
	p.mu.Unlock()
	if protects {
		if f := tooManyCalls(doc); f != nil {
			return nil, []*failure{f}
		}
	}
	op := doc.Operations.ForName(req.OperationName)
	if op == nil {
		return nil, []*failure{fail("BAD_REQUEST", "no operation of that name")}
	}
	vars, failures := coerce(p.schema, op, req.Variables)
	if failures != nil {
		return nil, failures
	}
	return &execution{schema: p.schema, op: op, vars: vars, may: p.may}, nil
}

func invalidDocument(message string) *failure {
	return &failure{Message: message, Name: "GRAPHQL_VALIDATION_FAILED", Extensions: extensions{Code: "GRAPHQL_VALIDATION_FAILED"}}
}

// tooManyCalls is the platform's protection against batches: a document may hold each field of a query twice and each
// of a mutation once. As there, the fields of a fragment count once, however often the fragment is spread.
func tooManyCalls(doc *ast.QueryDocument) *failure {
	limits, calls := map[string]int{"Query": 2, "Mutation": 1}, map[string]int{}
	var count func(set ast.SelectionSet) *failure
	count = func(set ast.SelectionSet) *failure {
		for _, s := range set {
			switch s := s.(type) {
			case *ast.Field:
				of := s.ObjectDefinition.Name
				call := of + "->" + s.Name
				if calls[call]++; limits[of] > 0 && calls[call] > limits[of] {
					return invalidDocument(fmt.Sprintf("Allowed number of calls for %s has been exceeded (max: %d)", call, limits[of]))
				}
			case *ast.InlineFragment:
				if f := count(s.SelectionSet); f != nil {
					return f
				}
			}
		}
		return nil
	}
	for _, op := range doc.Operations {
		if f := count(op.SelectionSet); f != nil {
			return f
		}
	}
	for _, fragment := range doc.Fragments {
		if f := count(fragment.SelectionSet); f != nil {
			return f
		}
	}
	return nil
}

// Transport returns a way to the platform without a socket, for tests that run on a clock of their own. A connection
// that the platform would close ends the round trip with io.ErrUnexpectedEOF.
func (p *Platform) Transport() http.RoundTripper { return direct{p} }

type direct struct{ p *Platform }

// RoundTrip carries the request out before it returns; it reports the connection that HTTP would have used.
func (d direct) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if trace := httptrace.ContextClientTrace(r.Context()); trace != nil {
		if trace.GetConn != nil {
			trace.GetConn(r.URL.Host)
		}
		if trace.GotConn != nil {
			trace.GotConn(httptrace.GotConnInfo{})
		}
	}
	defer func() {
		if cause := recover(); cause != nil {
			if e, ok := cause.(error); !ok || !errors.Is(e, http.ErrAbortHandler) {
				panic(cause)
			}
			resp, err = nil, io.ErrUnexpectedEOF
		}
	}()
	served := r.Clone(r.Context())
	if served.Body == nil {
		served.Body = http.NoBody
	}
	defer func() { _ = served.Body.Close() }()
	w := &written{header: http.Header{}, status: http.StatusOK}
	d.p.ServeHTTP(w, served)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return &http.Response{
		Status: http.StatusText(w.status), StatusCode: w.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.header, Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()), Request: r,
	}, nil
}

type written struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *written) Header() http.Header         { return w.header }
func (w *written) WriteHeader(status int)      { w.status = status }
func (w *written) Write(b []byte) (int, error) { return w.body.Write(b) }
