package openctitest

import (
	"slices"
	"strings"
	"time"
)

// maxWorkErrors is how many failed imports a work keeps.
const maxWorkErrors = 100

// Work is the books of one work.
type Work struct {
	ID        string
	Name      string
	MultiPart bool
	// Expected is the sum of ExpectationCalls.
	Expected         int
	ExpectationCalls []int
	// Processed counts the messages that workers have reported on, failed ones included.
	Processed int
	// Closed counts the calls of toProcessed; InError and Message are the last one's.
	Closed  int
	InError bool
	Message string
	Deleted bool
	// Draft is the draft that it brings things into, if any.
	Draft string
	// Complete is set once every expected message was processed, for a work of many parts not before it was closed.
	Complete bool
	Errors   []WorkError
}

// LeftOut is how many messages the connector itself has reported as not coming, by name.
func (w Work) LeftOut() (n int) {
	for _, e := range w.Errors {
		if e.Source == "" && strings.HasPrefix(e.Message, "left out: ") {
			n++
		}
	}
	return n
}

// WorkError is one of a work's errors. Source is empty, and null to a client, for what toProcessed reported, and
// reportExpectation without one.
type WorkError struct {
	Time    time.Time
	Message string
	Source  string
}

type work struct {
	Work
	openedAt, closedAt, completedAt time.Time
	completedNumber                 int
	messages                        []WorkError
}

func (w *work) clone() *work {
	c := *w
	c.ExpectationCalls, c.Errors, c.messages = slices.Clone(w.ExpectationCalls), slices.Clone(w.Errors), slices.Clone(w.messages)
	return &c
}

// describe returns the work as the schema has it. Of a complete work the platform has no counts but the completed number.
func (w *work) describe() object {
	status, tracking := "progress", object{"import_expected_number": w.Expected, "import_processed_number": w.Processed}
	if w.Complete {
		status = "complete"
		tracking = object{"import_expected_number": w.completedNumber, "import_processed_number": w.completedNumber}
	}
	return object{
		"id": w.ID, "name": w.Name, "status": status, "tracking": tracking,
		"timestamp": date(w.openedAt), "received_time": date(w.openedAt),
		"processed_time": dateOrNull(w.closedAt), "completed_time": dateOrNull(w.completedAt), "completed_number": w.completedNumber,
		"messages": describeMessages(w.messages), "errors": describeMessages(w.Errors),
	}
}

func describeMessages(messages []WorkError) []object {
	out := []object{}
	for _, m := range messages {
		var source any
		if m.Source != "" {
			source = m.Source
		}
		out = append(out, object{"timestamp": date(m.Time), "message": m.Message, "source": source, "sequence": nil})
	}
	return out
}

func addExpectations(w *work, args map[string]any) error {
	n, given := args["expectations"]
	if !given || n == nil || number(n) < 0 {
		return fail("FUNCTIONAL_ERROR", "expectations must be a number that is not negative")
	}
	w.expect(int(number(n)))
	return nil
}

func (w *work) expect(n int) {
	w.ExpectationCalls = append(w.ExpectationCalls, n)
	w.Expected += n
}

// reportExpectation is what a worker calls when it is through with a message, and others who do its work.
func reportExpectation(w *work, args map[string]any) error {
	var failed *WorkError
	if said, ok := args["error"].(map[string]any); ok {
		failed = &WorkError{Message: text(said["error"]), Source: text(said["source"])}
	}
	w.report(failed)
	return nil
}

func toProcessed(w *work, args map[string]any) error {
	w.Closed++
	w.closedAt = time.Now()
	w.Message, w.InError = text(args["message"]), args["inError"] == true
	if w.Message != "" {
		told := WorkError{Time: w.closedAt, Message: w.Message}
		if w.InError {
			w.Errors = append(w.Errors, told)
		} else {
			w.messages = append(w.messages, told)
		}
	}
	if w.Processed >= w.Expected {
		w.complete(max(w.Processed, 1)) // of a work without messages the platform says that it had one
	}
	return nil
}

func addDraftContext(w *work, args map[string]any) error {
	w.Draft = text(args["draftContext"])
	return nil
}

// report is what a worker says of one message: that it is done with it, and what went wrong.
func (w *work) report(failed *WorkError) {
	w.Processed++
	if failed != nil && len(w.Errors) < maxWorkErrors {
		failed.Time = time.Now()
		w.Errors = append(w.Errors, *failed)
	}
	if w.Processed >= w.Expected && (!w.MultiPart || w.Closed > 0) {
		w.complete(w.Processed)
	}
}

func (w *work) complete(number int) {
	w.Complete, w.completedNumber, w.completedAt = true, number, time.Now()
}
