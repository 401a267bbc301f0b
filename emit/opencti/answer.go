package opencti

import (
	"bytes"
	"cmp"
	"encoding/json"
	"html"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// maxMessage bounds what an error repeats of the platform's words: enough for any of its messages, too little for a
// page of HTML or the dump of an object.
const maxMessage = 500

type envelope struct {
	Data   json.RawMessage `json:"data"`
	Errors json.RawMessage `json:"errors"`
}

// parseAnswer splits an answer into its data or its failure. The failure's operation is left to the caller.
func parseAnswer(secrets *remote.Redactor, status int, body []byte) (json.RawMessage, *Error) {
	var env envelope
	if !looksJSON(body) || json.Unmarshal(body, &env) != nil {
		return nil, notGraphQL(secrets, status, body)
	}
	if listed := splitErrors(env.Errors); len(listed) > 0 {
		return nil, graphQLError(secrets, status, listed)
	}
	if status < 200 || status > 299 {
		return nil, foreign(&Error{Status: status, Message: http.StatusText(status), Temporary: temporaryStatus(status)})
	}
	if len(env.Data) == 0 || bytes.Equal(env.Data, []byte("null")) {
		return nil, foreign(&Error{Status: status, Message: "the answer holds no data"})
	}
	return env.Data, nil
}

func looksJSON(body []byte) bool {
	return bytes.HasPrefix(bytes.TrimSpace(body), []byte("{"))
}

// splitErrors returns the members of errors. Whatever is there and not an empty list counts as one: an answer that
// tries to report a failure is none that succeeded.
func splitErrors(raw json.RawMessage) []json.RawMessage {
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		return nil
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return []json.RawMessage{raw}
	}
	return list
}

func graphQLError(secrets *remote.Redactor, status int, listed []json.RawMessage) *Error {
	e := &Error{Status: status}
	for i, raw := range listed {
		var fields, extensions map[string]json.RawMessage
		_ = json.Unmarshal(raw, &fields)
		_ = json.Unmarshal(fields["extensions"], &extensions)
		name, message, code := text(fields["name"]), cut(text(fields["message"]), 4*maxMessage), text(extensions["code"])
		if message == "" && name == "" && code == "" {
			message = cut(string(raw), 4*maxMessage)
		}
		// As they were said: a secret that is an everyday word must not keep an answer from being understood.
		for _, word := range []string{name, message, code, text(extensions["name"])} {
			if word != "" {
				e.words = append(e.words, word)
			}
		}
		if tooManyParts.MatchString(message) {
			e.tooMany = true
		} else {
			names, guessed := unknownMembers(message, code)
			e.unknown, e.guessed = append(e.unknown, names...), e.guessed || guessed
		}
		if i > 0 {
			continue
		}
		e.Message = tidy(secrets, message)
		e.Name = tidy(secrets, cmp.Or(name, message, code))
	}
	e.Temporary = temporaryStatus(status) || e.says("DATABASE_ERROR", "LOCK_ERROR", "TIMEOUT", "DatabaseError", "LockError")
	return e
}

// text decodes a JSON string; anything else is no text.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// lesson is a name that the platform does not know, and as what.
type lesson struct {
	name string
	as   role
}

// role is what a name stands for in a question. What one type has as a field may be an argument of another.
type role int

const (
	anything role = iota // also what the platform has not said
	field
	argument
)

var (
	unknownName = regexp.MustCompile(
		`(?i:(cannot query field|unknown argument|unknown type|unknown field|field)) ["'` + "`" + `]?(\w+)["'` + "`" + `]?`)
	anyName = regexp.MustCompile(`\w+`)
)

// roles are what the wordings of [unknownName] speak of, in lower case. The others speak of types and of members of an input.
var roles = map[string]role{"cannot query field": field, "unknown argument": argument}

// unknownMembers returns what a validation error calls unknown. The wording of the reference implementation
// and its many ports is tried first: it also repeats whole input values, whose other names are not meant. BAD_USER_INPUT by
// itself is no such error: a server says that, too, of what it does not like for now. guessed says that the wording is another, and
// the names are all of its words.
func unknownMembers(message, code string) (unknown []lesson, guessed bool) {
	worded := false
	lower := strings.ToLower(message)
	for _, phrase := range []string{"cannot query field", "unknown argument", "unknown type", "unknown field", "is not defined by type"} {
		worded = worded || strings.Contains(lower, phrase)
	}
	if !worded && code != "GRAPHQL_VALIDATION_FAILED" {
		return nil, false
	}
	for _, m := range unknownName.FindAllStringSubmatch(message, -1) {
		unknown = append(unknown, lesson{m[2], roles[strings.ToLower(m[1])]})
	}
	if unknown != nil {
		return unknown, false
	}
	for _, word := range anyName.FindAllString(message, -1) {
		unknown = append(unknown, lesson{name: word})
	}
	return unknown, true
}

// namesAny reports whether any of the names is a word of a query.
func namesAny(query string, unknown []lesson) bool {
	if len(unknown) == 0 {
		return false
	}
	words := anyName.FindAllString(query, -1)
	return slices.ContainsFunc(unknown, func(l lesson) bool { return slices.Contains(words, l.name) })
}

// tooManyParts is what protections say that bound what a request may ask: OpenCTI's own ("Allowed number of calls for
// Query->x has been exceeded (max: 2)") and GraphQL Armor's ("Aliases limit of 15 exceeded, found 100"). A limit of requests
// in a time is none of them.
var tooManyParts = regexp.MustCompile(`Allowed number of calls .*exceeded|(?i:\b(?:alias(?:es)?|depth|cost|directives?|tokens?) limit of \d+ exceeded)`)

var pageTitle = regexp.MustCompile(`(?is)<title[^>]*>(.*?)</title>`)

// notGraphQL names what came instead of GraphQL: mostly a proxy's error page, or a wrong OPENCTI_URL.
func notGraphQL(secrets *remote.Redactor, status int, body []byte) *Error {
	e := &Error{Status: status, Temporary: temporaryStatus(status) || (status >= 200 && status < 300)}
	kind, said := "text", string(body)
	if bytes.HasPrefix(bytes.TrimSpace(body), []byte("<")) {
		kind, said = "an HTML page", ""
		if m := pageTitle.FindSubmatch(body); m != nil {
			said = html.UnescapeString(string(m[1]))
		}
	}
	said = tidy(secrets, said)
	switch {
	case len(bytes.TrimSpace(body)) == 0:
		e.Message = "an empty answer instead of JSON"
	case looksJSON(body):
		e.Message = "an answer that is not valid JSON"
	case said == "":
		e.Message = kind + " instead of JSON"
	default:
		e.Message = kind + " instead of JSON (" + strings.TrimSpace(cut(said, 120)) + ")"
	}
	return foreign(e)
}

// foreign adds to an error without GraphQL what to think of its status.
func foreign(e *Error) *Error {
	if IsTooLarge(e) {
		e.Message += "; OpenCTI (app:max_payload_body_size), or a proxy before it, takes no request of that size"
		return e
	}
	if e.foreign = isForeign(e.Status); e.foreign {
		e.Message += "; " + notThere
	}
	return e
}

// notThere is what to think of where something else than OpenCTI answers.
const notThere = "is OPENCTI_URL this OpenCTI's base URL, as a browser shows it, without /dashboard?"

// isForeign reports whether a status without GraphQL is that of a server of something else, rather than of a platform, or a proxy
// before it, that is not well.
func isForeign(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired:
		return false
	case http.StatusNotImplemented:
		return true
	}
	return status < http.StatusInternalServerError && !temporaryStatus(status)
}

// tidy makes one bounded line of a text from outside, without secrets and control characters.
func tidy(secrets *remote.Redactor, s string) string {
	s = cut(secrets.Redact(s), 4*maxMessage)
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.IsSpace(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "�"))
	return cut(strings.Join(strings.Fields(s), " "), maxMessage)
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
