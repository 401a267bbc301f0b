package openctitest

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Rule applies a fault to some calls of an operation.
type Rule struct {
	// Operation is a name as OnOperation gives it, "workEdit" for all of its fields, or empty for every operation.
	Operation string
	// From and To are the first and last call that the fault hits, counted from 1 since the rule was set. From 0 means 1;
	// To 0 means From alone, and a negative To that it never ends.
	From, To int
	Do       Do
}

// Do is what a fault does to a call.
type Do func(*call)

// call is how one request will be treated. Faults change it.
type call struct {
	status    int
	html      string
	delay     time.Duration
	drop      bool
	refuse    bool
	name      string
	message   string
	asGraphQL bool
}

// Status answers with an HTTP status and a page in place of GraphQL, without carrying the operation out.
func Status(code int, html string) Do {
	return func(c *call) { c.status, c.html = code, html }
}

// Slow carries the operation out and waits before it answers.
func Slow(d time.Duration) Do {
	return func(c *call) { c.delay = d }
}

// DropAnswer carries the operation out and closes the connection in place of answering.
func DropAnswer(c *call) { c.drop = true }

// Refuse closes the connection without carrying the operation out.
func Refuse(c *call) { c.refuse = true }

// GraphQLError answers with an error of GraphQL, with status 200, without carrying the operation out.
func GraphQLError(name, message string) Do {
	return func(c *call) { c.asGraphQL, c.name, c.message = true, name, message }
}

// Until is a fault that ends by itself at a moment.
func Until(end time.Time, do Do) Do {
	return func(c *call) {
		if time.Now().Before(end) {
			do(c)
		}
	}
}

// faults are what is to go wrong.
type faults struct {
	ruling  sync.Mutex // guards all below, and what is counted of each
	rules   []*activeRule
	failing []*activeFailure // imports
}

type activeRule struct {
	Rule
	seen, hits int
}

// Fault sets a rule. The function that it returns tells how many calls the rule has hit.
func (f *faults) Fault(r Rule) (hits func() int) {
	if r.From <= 0 {
		r.From = 1
	}
	if r.To == 0 {
		r.To = r.From
	}
	active := &activeRule{Rule: r}
	f.ruling.Lock()
	defer f.ruling.Unlock()
	f.rules = append(f.rules, active)
	return func() int {
		f.ruling.Lock()
		defer f.ruling.Unlock()
		return active.hits
	}
}

// ClearFaults removes all rules.
func (f *faults) ClearFaults() {
	f.ruling.Lock()
	defer f.ruling.Unlock()
	f.rules = nil
}

// treat counts the call and returns how the rules want it treated.
func (f *faults) treat(operations, root []string) *call {
	f.ruling.Lock()
	defer f.ruling.Unlock()
	treated := &call{}
	for _, r := range f.rules {
		if r.Operation != "" && !slices.Contains(operations, r.Operation) && !slices.Contains(root, r.Operation) {
			continue
		}
		r.seen++
		if r.seen >= r.From && (r.To < 0 || r.seen <= r.To) {
			r.hits++
			r.Do(treated)
		}
	}
	return treated
}

// before does what a fault wants instead of the operation, and reports whether that was all.
func (c *call) before(w http.ResponseWriter) bool {
	switch {
	case c.refuse:
		panic(http.ErrAbortHandler)
	case c.status != 0:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(c.status)
		_, _ = w.Write([]byte(c.html))
	case c.asGraphQL:
		writeAnswer(w, http.StatusOK, &answer{Errors: []*failure{{Name: c.name, Message: c.message, Extensions: extensions{Code: c.name}}}})
	default:
		return false
	}
	return true
}

// after does what a fault wants once the operation is carried out.
func (c *call) after(ctx context.Context) {
	if c.delay > 0 {
		timer := time.NewTimer(c.delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	if c.drop {
		panic(http.ErrAbortHandler)
	}
}

// Failure has workers fail to import some objects.
type Failure struct {
	// ID is the object's, or empty for every object.
	ID string
	// Times is how many imports fail; 0 means 1, and a negative number that it never ends.
	Times int
	// Name and Message are the error's, as the platform answers the worker. Without a name the message stands for itself,
	// as that of a proxy in between does.
	Name, Message string
}

type activeFailure struct {
	Failure
	hits int
}

// FailImports sets a failure. The function that it returns tells how many imports have failed by it.
func (f *faults) FailImports(failing Failure) (hits func() int) {
	if failing.Times == 0 {
		failing.Times = 1
	}
	active := &activeFailure{Failure: failing}
	f.ruling.Lock()
	defer f.ruling.Unlock()
	f.failing = append(f.failing, active)
	return func() int {
		f.ruling.Lock()
		defer f.ruling.Unlock()
		return active.hits
	}
}

// ClearFailures removes all failures of imports.
func (f *faults) ClearFailures() {
	f.ruling.Lock()
	defer f.ruling.Unlock()
	f.failing = nil
}

// planned returns the message of the failure that is set for an object.
func (f *faults) planned(id string) string {
	f.ruling.Lock()
	defer f.ruling.Unlock()
	for _, fails := range f.failing {
		if (fails.ID == "" || fails.ID == id) && (fails.Times < 0 || fails.hits < fails.Times) {
			fails.hits++
			if fails.Name == "" {
				return fails.Message
			}
			return answered(fails.Name, fails.Message)
		}
	}
	return ""
}

// answered writes an error as workers report it, which is how Python writes a dictionary.
func answered(name, message string) string {
	quote := func(s string) string {
		s = strings.ReplaceAll(s, `\`, `\\`)
		if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
			return `"` + s + `"`
		}
		return "'" + strings.ReplaceAll(s, "'", `\'`) + "'"
	}
	return "{'name': " + quote(name) + ", 'error_message': " + quote(message) + "}"
}
