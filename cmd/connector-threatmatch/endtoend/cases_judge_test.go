package endtoend

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	"golang.org/x/net/html"
)

// expectation is what must come of a case.
type expectation struct {
	Arrives []arriving
	Never   []members
	Again   int // messages that a later run may send at most
}

// members are members of an object with their values.
type members map[string]any

// fit reports whether an object has all of them.
func (m members) fit(object map[string]any) bool {
	for name, value := range m {
		if has, there := object[name]; !there || !reflect.DeepEqual(has, value) {
			return false
		}
	}
	return true
}

// arriving is what must be so of the objects that fit Where. Has and the texts are those of the last object that has the
// member, Across the values in a list of any of them, and Lacks speaks of the last object.
type arriving struct {
	Where, Has               members
	Across                   map[string][]any
	Lacks                    []string
	Contains, Without, Shows map[string]string
}

// judge says what is wrong with what came of a case.
func (e expectation) judge(runs []played) (wrong []string) {
	complain := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	var all []map[string]any
	for i, run := range runs {
		if run.err != nil {
			complain("run %d ends with: %v", i+1, run.err)
		}
		for _, what := range run.refused {
			complain("run %d sends what is not imported: %s", i+1, what)
		}
		if i > 0 && len(run.objects) > e.Again {
			complain("run %d sends %d objects again, at most %d may come: %s", i+1, len(run.objects), e.Again, written(run.objects))
		}
		all = append(all, run.objects...)
	}
	for _, a := range e.Arrives {
		fit := slices.DeleteFunc(slices.Clone(all), func(o map[string]any) bool { return !a.Where.fit(o) })
		for _, what := range a.judge(fit) {
			complain("where %s: %s", written(a.Where), what)
		}
	}
	for _, never := range e.Never {
		if i := slices.IndexFunc(all, never.fit); i >= 0 {
			complain("it sends %s", written(all[i]))
		}
	}
	return wrong
}

// judge says what is wrong with the objects that fit, in the order in which they came.
func (a arriving) judge(fit []map[string]any) (wrong []string) {
	complain := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if len(fit) == 0 {
		return []string{"nothing arrives"}
	}
	for name, want := range a.Has {
		if got, there := lastWith(fit, name)[name]; !there || !reflect.DeepEqual(got, want) {
			complain("%s is %s, want %s", name, written(got), written(want))
		}
	}
	for name, want := range a.Across {
		var got []any
		for _, o := range fit {
			list, _ := o[name].([]any)
			got = append(got, list...)
		}
		for _, value := range want {
			if !slices.ContainsFunc(got, func(v any) bool { return reflect.DeepEqual(v, value) }) {
				complain("%s has %s over all copies, and not %s", name, written(got), written(value))
			}
		}
	}
	for _, name := range a.Lacks {
		if value, there := fit[len(fit)-1][name]; there {
			complain("%s is %s, and should not be there", name, written(value))
		}
	}
	for name, part := range a.Contains {
		if text, _ := lastWith(fit, name)[name].(string); !strings.Contains(text, part) {
			complain("%s is %q, without %q", name, text, part)
		}
	}
	for name, part := range a.Without {
		value, there := lastWith(fit, name)[name]
		if text, isText := value.(string); there && !isText || strings.Contains(text, part) {
			complain("%s is %s, want a text without %q", name, written(value), part)
		}
	}
	for name, part := range a.Shows {
		text, _ := lastWith(fit, name)[name].(string)
		if seen := shown(text); !strings.Contains(seen, flat(part)) {
			complain("%s shows %q, without %q: %q", name, seen, part, text)
		}
	}
	return wrong
}

// lastWith is the last object that has a member, nil when none has.
func lastWith(objects []map[string]any, name string) map[string]any {
	for _, o := range slices.Backward(objects) {
		if _, has := o[name]; has {
			return o
		}
	}
	return nil
}

// written is a value as JSON.
func written(value any) string {
	var out strings.Builder
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return err.Error()
	}
	return strings.TrimSpace(out.String())
}

// shown is what a reader sees of Markdown that is rendered as GitHub does, with every white space alike.
func shown(markdown string) string {
	var rendered bytes.Buffer
	if err := goldmark.New(goldmark.WithExtensions(extension.GFM)).Convert([]byte(markdown), &rendered); err != nil {
		return err.Error()
	}
	var seen strings.Builder
	for z := html.NewTokenizer(&rendered); ; {
		switch z.Next() {
		case html.TextToken:
			seen.Write(z.Text())
		case html.ErrorToken:
			return flat(seen.String())
		}
	}
}

func flat(text string) string { return strings.Join(strings.Fields(text), " ") }

func TestEachKindOfWrongAnswerIsSeen(t *testing.T) {
	const one = `[[{"id": "a", "n": 1, "text": "**x:**y", "list": ["p", "q"]}]]`
	const copies = `[[{"id": "a", "n": 1, "list": ["p"], "text": "x"}, {"id": "a", "n": 2, "list": ["q"]}, {"id": "b", "n": 3, "text": "z"}], []]`
	for _, tt := range []struct{ expect, runs, wrong string }{
		{`{"arrives": [{"where": {"id": "a", "n": 1}}]}`, one, ""},
		{`{"arrives": [{"where": {"id": "a", "n": 2}}]}`, one, "nothing arrives"},
		{`{"arrives": [{"where": {"id": "a", "list": ["q", "p"]}}]}`, one, "nothing arrives"},
		{`{"arrives": [{"where": {"id": "a"}, "has": {"n": 2, "text": "x"}}]}`, copies, ""},
		{`{"arrives": [{"where": {"id": "a"}, "has": {"n": 1}}]}`, copies, "n is 2, want 1"},
		{`{"arrives": [{"where": {"id": "a"}, "has": {"n": "2"}}]}`, copies, `n is 2, want "2"`},
		{`{"arrives": [{"where": {"id": "a"}, "has": {"list": ["q", "p"]}}]}`, one, `list is ["p","q"]`},
		{`{"arrives": [{"where": {"id": "b"}, "has": {"list": null}}]}`, copies, "list is null"},
		{`{"arrives": [{"where": {"id": "a"}, "across": {"list": ["q", "p"]}}]}`, copies, ""},
		{`{"arrives": [{"where": {"id": "a"}, "across": {"list": ["p", "r"]}}]}`, copies, `not "r"`},
		{`{"arrives": [{"where": {"id": "b"}, "across": {"list": ["p"]}}]}`, copies, `not "p"`},
		{`{"arrives": [{"where": {"id": "a"}, "lacks": ["text", "other"]}]}`, copies, ""},
		{`{"arrives": [{"where": {"id": "a"}, "lacks": ["n"]}]}`, copies, "n is 2, and should not be there"},
		{`{"arrives": [{"where": {"id": "a"}, "lacks": ["n"]}]}`, `[[{"id": "a", "n": null}]]`, "n is null, and"},
		{`{"arrives": [{"where": {"id": "a"}, "contains": {"text": "x:*"}}]}`, one, ""},
		{`{"arrives": [{"where": {"id": "a"}, "contains": {"text": "xy"}}]}`, one, `without "xy"`},
		{`{"arrives": [{"where": {"id": "b"}, "contains": {"list": "p"}}]}`, copies, `without "p"`},
		{`{"arrives": [{"where": {"id": "a"}, "without": {"text": "z", "other": "z"}}]}`, one, ""},
		{`{"arrives": [{"where": {"id": "a"}, "without": {"text": "x"}}]}`, copies, `without "x"`},
		{`{"arrives": [{"where": {"id": "a"}, "without": {"list": "z"}}]}`, one, "want a text"},
		{`{"arrives": [{"where": {"id": "a"}, "shows": {"text": "x:y"}}]}`, `[[{"id": "a", "text": "**x:**y"}]]`, `shows "**x:**y"`},
		{`{"arrives": [{"where": {"id": "a"}, "shows": {"text": "x: y \\a <b> c"}}]}`, `[[{"id": "a", "text": "**x:** y\n\\\\a &lt;b>\n\n- c"}]]`, ""},
		{`{"arrives": [{"where": {"id": "a"}, "shows": {"text": "[1]: https://e.example"}}]}`, `[[{"id": "a", "text": "[1]: https://e.example"}]]`, `shows ""`},
		{`{"arrives": [{"where": {"id": "b"}, "shows": {"other": "x"}}]}`, copies, `shows ""`},
		{`{"never": [{"id": "a", "n": 3}]}`, copies, ""},
		{`{"never": [{"id": "a", "n": 1}]}`, copies, `it sends {"id":"a"`},
		{`{"never": [{"id": "a"}]}`, `[[], [{"id": "a"}]]`, `it sends {"id":"a"`},
		{`{"never": [{"id": "c"}], "again": 1}`, `[[{"id": "a"}, {"id": "b"}], [{"id": "a"}]]`, ""},
		{`{"never": [{"id": "c"}], "again": 1}`, `[[], [{"id": "a"}, {"id": "b"}]]`, "run 2 sends 2 objects again"},
		{`{"never": [{"id": "c"}]}`, `[[], [], [{"id": "a"}]]`, "run 3 sends 1 objects again"},
	} {
		c, err := readExample([]byte(`{"expect": ` + tt.expect + `}`))
		must(t, err)
		var runs []played
		for _, o := range decode(t, []byte(`{"runs": `+tt.runs+`}`))["runs"].([]any) {
			var run played
			for _, o := range o.([]any) {
				run.objects = append(run.objects, o.(map[string]any))
			}
			runs = append(runs, run)
		}
		wrong := strings.Join(c.Expect.judge(runs), "\n")
		if (wrong == "") != (tt.wrong == "") || !strings.Contains(wrong, tt.wrong) {
			t.Errorf("%s of %s\nis said to be wrong by %q, want %q", tt.expect, tt.runs, wrong, tt.wrong)
		}
	}
	var e expectation
	for want, runs := range map[string][]played{
		"":                                    {{}, {}},
		"run 2 ends with: lost":               {{}, {err: errors.New("lost")}},
		"run 1 sends what is not imported: a": {{refused: []string{"a"}}},
	} {
		if wrong := strings.Join(e.judge(runs), "\n"); wrong != want {
			t.Errorf("%q, want %q", wrong, want)
		}
	}
}
