package opencti

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// MaxImportErrors bounds the errors of a report. The platform keeps the first hundred of a work: where there are so many,
// there may be more.
const MaxImportErrors = 100

// WorkReport is what became of a work so far.
type WorkReport struct {
	// Complete says that the platform expects nothing more of it: the work was closed, and every message was processed.
	Complete bool
	// Processed says that the work was closed, by [Client.CloseWork] or by an operator.
	Processed bool
	// Expected and Done are numbers of messages. Done counts those that failed too. Of a complete work the platform keeps
	// one number for both.
	Expected, Done int
	// Errors are the imports that failed, the first hundred at most. One with no Source is what [Client.CloseWork] or
	// [Client.ReportLeftOut] said.
	Errors []ImportError
}

// ImportError is a failure that a worker, or the connector itself, has put down in a work.
type ImportError struct {
	// At is zero when the platform does not say.
	At time.Time
	// Name is the platform's name for what went wrong, FUNCTIONAL_ERROR for one; empty when the message gives none.
	Name string
	// Message says what went wrong, in one line.
	Message string
	// Source is the JSON text of the object that failed, or a sentence in place of one that is long ("Bundle too large") or
	// incompatible.
	Source string
}

// What a worker says, in place of the platform, of an object with more references than its WORKER_OBJECTS_MAX_REFS allows,
// and of one whose id or ends are of a type that OpenCTI does not know.
const (
	tooManyRefs  = "Too large element in bundle"
	incompatible = "Incompatible element in bundle"
)

// LeftOut reports that the connector itself has named an object that it could not send, with [Client.ReportLeftOut].
func (e ImportError) LeftOut() bool { return e.Source == "" && strings.HasPrefix(e.Message, leftOut) }

// Said is how many of the errors are what [Client.CloseWork] and [Client.ReportLeftOut] said: no imports that failed.
func (r WorkReport) Said() (n int) {
	for _, e := range r.Errors {
		if e.Source == "" {
			n++
		}
	}
	return n
}

// Final reports that the same object fails again whenever it is sent: the platform does not take what it says. Everything
// else counts as passing: LOCK_ERROR, MISSING_REFERENCE_ERROR, a time-out, a proxy's page, and whatever is not known.
//
// The names are those of OpenCTI's errors (config/errors in opencti-graphql), also as releases before 5.12 wrote them.
func (e ImportError) Final() bool {
	switch e.Name {
	case "FUNCTIONAL_ERROR", "VALIDATION_ERROR", "UNSUPPORTED_ERROR", "FunctionalError", "ValidationError", "UnsupportedError":
		return true
	}
	return e.Name == "" && (strings.HasPrefix(e.Message, tooManyRefs) || strings.HasPrefix(e.Message, incompatible))
}

// LacksReference reports that OpenCTI did not find what the object refers to.
func (e ImportError) LacksReference() bool {
	return e.Name == "MISSING_REFERENCE_ERROR" || e.Name == "MissingReferenceError"
}

// Work tells what became of a work so far. It fails with ErrWorkNotAlive when the platform does not know the work.
func (c *Client) Work(ctx context.Context, workID string) (WorkReport, error) {
	answer, err := workReport(ctx, c, workID)
	if err != nil {
		return WorkReport{}, err
	}
	w := answer.Work
	if w == nil {
		return WorkReport{}, fmt.Errorf("call OpenCTI workReport: %w", ErrWorkNotAlive)
	}
	report := WorkReport{Complete: w.Status == "complete", Processed: w.Processed_time != nil}
	if t := w.Tracking; t != nil {
		report.Expected, report.Done = count(t.Import_expected_number), count(t.Import_processed_number)
	}
	for _, e := range w.Errors[:min(len(w.Errors), MaxImportErrors)] {
		if e == nil {
			continue
		}
		name, message := parseImportError(str(e.Message))
		report.Errors = append(report.Errors, ImportError{
			At: e.Timestamp.time(), Name: tidy(c.secrets, name), Message: tidy(c.secrets, message), Source: str(e.Source),
		})
	}
	return report, nil
}

func count(n *int) int {
	if n == nil {
		return 0
	}
	return max(0, *n)
}

// parseImportError takes apart what a worker reports. That is the text of a Python exception: mostly a dict that holds the
// name and the message of the platform's error, or else the body of an answer that was no 200, or any text.
func parseImportError(said string) (name, message string) {
	said = strings.TrimSpace(said)
	if name, message, ok := graphQLFailure(said); ok {
		return name, message
	}
	if dict, ok := dictOf(said); ok {
		name, message := dict["name"], cmp.Or(dict["error_message"], dict["message"])
		// Where an error has no name the worker repeats its message as one.
		if !errorName.MatchString(name) {
			name, message = "", cmp.Or(message, name)
		}
		if name != "" || message != "" {
			return name, cmp.Or(message, name)
		}
	}
	if m := leadingName.FindStringSubmatch(said); m != nil {
		return m[1], cmp.Or(m[2], m[1])
	}
	return "", said
}

var (
	errorName   = regexp.MustCompile(`^\w+$`)
	leadingName = regexp.MustCompile(`(?s)^([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?:: *(.*))?$`)
	// dictStart is the class of an exception, where a text has it, and the dict that the exception was made of.
	dictStart = regexp.MustCompile(`^(?:[A-Za-z_.]*(?:Error|Exception)(?:: *|\())?\{`)
)

// graphQLFailure reads an answer of the platform that the worker took over whole.
func graphQLFailure(said string) (name, message string, ok bool) {
	var answer struct {
		Errors []struct {
			Name, Message string
			Extensions    struct{ Code string }
		}
	}
	if !strings.HasPrefix(said, "{") || json.Unmarshal([]byte(said), &answer) != nil || len(answer.Errors) == 0 {
		return "", "", false
	}
	first := answer.Errors[0]
	name = cmp.Or(first.Name, first.Extensions.Code)
	message = cmp.Or(first.Message, name)
	return name, message, message != ""
}

// dictOf returns the texts that a Python dict or a JSON object holds under its own keys. One that was cut off, or that goes
// on in a way that is not understood, is read as far as it goes.
func dictOf(said string) (map[string]string, bool) {
	start := dictStart.FindString(said)
	if start == "" {
		return nil, false
	}
	texts := map[string]string{}
	rest := said[len(start):]
	for {
		key, after, ok := quoted(strings.TrimLeft(rest, " ,\t\r\n"))
		if !ok {
			return texts, true
		}
		if after, ok = strings.CutPrefix(strings.TrimLeft(after, " \t\r\n"), ":"); !ok {
			return texts, true
		}
		after = strings.TrimLeft(after, " \t\r\n")
		value, rested, isText := quoted(after)
		if !isText {
			if rest, ok = skipValue(after); !ok {
				return texts, true
			}
			continue
		}
		if _, twice := texts[key]; !twice {
			texts[key] = value
		}
		rest = rested
	}
}

// skipValue passes over a value that is no text, to the comma or brace that ends it.
func skipValue(s string) (rest string, ok bool) {
	depth := 0
	for s != "" {
		switch s[0] {
		case '\'', '"':
			if _, s, ok = quoted(s); !ok {
				return "", false
			}
			continue
		case '{', '[', '(':
			depth++
		case '}', ']', ')', ',':
			if depth == 0 {
				return s, true
			}
			if s[0] != ',' {
				depth--
			}
		}
		s = s[1:]
	}
	return "", false
}

// quoted reads the literal of a text, in either kind of quotes, at the head of s.
func quoted(s string) (value, rest string, ok bool) {
	if s == "" || (s[0] != '\'' && s[0] != '"') {
		return "", s, false
	}
	quote := s[0]
	var out strings.Builder
	for i := 1; i < len(s); {
		switch {
		case s[i] == quote:
			return out.String(), s[i+1:], true
		case s[i] == '\\' && i+1 < len(s):
			i += unescape(&out, s[i:])
		default:
			out.WriteByte(s[i])
			i++
		}
	}
	return "", s, false
}

var (
	escapes    = map[byte]string{'n': "\n", 't': "\t", 'r': "\r", 'b': "\b", 'f': "\f"}
	hexEscapes = map[byte]int{'x': 2, 'u': 4, 'U': 8}
)

// unescape writes what the escape at the head of s means, and returns its length.
func unescape(out *strings.Builder, s string) int {
	kind := s[1]
	if plain, ok := escapes[kind]; ok {
		out.WriteString(plain)
		return 2
	}
	digits, ok := hexEscapes[kind]
	if !ok || len(s) < 2+digits {
		out.WriteByte(kind)
		return 2
	}
	code, err := strconv.ParseUint(s[2:2+digits], 16, 32)
	if err != nil {
		out.WriteByte(kind)
		return 2
	}
	out.WriteRune(rune(code))
	return 2 + digits
}
