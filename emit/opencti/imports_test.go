package opencti_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/openctitest"
)

func TestAnImportsErrorIsReadInAllItsForms(t *testing.T) {
	const notAllowed = "The relationship type uses is not allowed between Intrusion-Set and Vulnerability"
	for _, tt := range []struct {
		said, name, message string
		final               bool
	}{
		{`{'name': 'FUNCTIONAL_ERROR', 'error_message': '` + notAllowed + `'}`, "FUNCTIONAL_ERROR", notAllowed, true},
		{`{"name": "FUNCTIONAL_ERROR", "error_message": "` + notAllowed + `"}`, "FUNCTIONAL_ERROR", notAllowed, true},
		{`{'name': 'FUNCTIONAL_ERROR', 'message': 'older'}`, "FUNCTIONAL_ERROR", "older", true},
		{`{'name': 'FunctionalError', 'message': 'oldest'}`, "FunctionalError", "oldest", true},
		{`{'name': 'VALIDATION_ERROR', 'error_message': "the actor's name", 'genre': 'BUSINESS', 'http_status': 500}`, "VALIDATION_ERROR", "the actor's name", true},
		{`{'name': 'UNSUPPORTED_ERROR', 'error_message': 'both \'kinds\' of "quotes"'}`, "UNSUPPORTED_ERROR", `both 'kinds' of "quotes"`, true},
		{`{'name': 'UNSUPPORTED_ERROR', 'error_message': 'caf\xe9 \u2026\ntwo \\ \U0001f600'}`, "UNSUPPORTED_ERROR", `café … two \ 😀`, true},
		{`{'http_status': 400, 'data': {'name': 'LOCK_ERROR', 'ids': ['a', "b'}"]}, 'none': None, 'name': 'FUNCTIONAL_ERROR', 'error_message': 'x'}`, "FUNCTIONAL_ERROR", "x", true},
		{`{'name': 'FUNCTIONAL_ERROR', 'error_message': 'cut o`, "FUNCTIONAL_ERROR", "FUNCTIONAL_ERROR", true},
		{`ValueError: {'name': 'FUNCTIONAL_ERROR', 'error_message': 'x'}`, "FUNCTIONAL_ERROR", "x", true},
		{`ValueError({'name': 'FUNCTIONAL_ERROR', 'error_message': 'x'})`, "FUNCTIONAL_ERROR", "x", true},
		{`{"errors":[{"message":"no","name":"FUNCTIONAL_ERROR","data":{"genre":"BUSINESS"}}],"data":null}`, "FUNCTIONAL_ERROR", "no", true},
		{`{"errors":[{"message":"no","extensions":{"code":"VALIDATION_ERROR"}}]}`, "VALIDATION_ERROR", "no", true},
		{`FUNCTIONAL_ERROR: x`, "FUNCTIONAL_ERROR", "x", true},
		{`FUNCTIONAL_ERROR`, "FUNCTIONAL_ERROR", "FUNCTIONAL_ERROR", true},
		{`Too large element in bundle`, "", "Too large element in bundle", true},
		{`Incompatible element in bundle`, "", "Incompatible element in bundle", true},

		{`{'name': 'MISSING_REFERENCE_ERROR', 'error_message': 'Element(s) not found', 'unresolvedIds': ['identity--1']}`, "MISSING_REFERENCE_ERROR", "Element(s) not found", false},
		{`{'name': 'LOCK_ERROR', 'error_message': 'Execution timeout, too many concurrent call on the same entities'}`, "LOCK_ERROR",
			"Execution timeout, too many concurrent call on the same entities", false},
		{`{'name': 'LOCK_ERROR', 'error_message': "{'name': 'FUNCTIONAL_ERROR'}"}`, "LOCK_ERROR", "{'name': 'FUNCTIONAL_ERROR'}", false},
		{`{'name': 'LOCK_ERROR', 'name': 'FUNCTIONAL_ERROR'}`, "LOCK_ERROR", "LOCK_ERROR", false},
		{`{'name': 'DATABASE_ERROR', 'error_message': 'A database error has occurred'}`, "DATABASE_ERROR", "A database error has occurred", false},
		{`{'name': 'FORBIDDEN_ACCESS', 'error_message': 'You are not allowed to do this.'}`, "FORBIDDEN_ACCESS", "You are not allowed to do this.", false},
		{`{'name': 'A_NAME_OF_TOMORROW', 'error_message': 'x'}`, "A_NAME_OF_TOMORROW", "x", false},
		{`{'name': 'Variable "$input" got invalid value', 'error_message': 'Variable "$input" got invalid value'}`, "", `Variable "$input" got invalid value`, false},
		{`{'name': None, 'error_message': 'FUNCTIONAL_ERROR'}`, "", "FUNCTIONAL_ERROR", false},
		{`<html><title>502 Bad Gateway</title> {'name': 'FUNCTIONAL_ERROR'}</html>`, "", "<html><title>502 Bad Gateway</title> {'name': 'FUNCTIONAL_ERROR'}</html>", false},
		{`HTTPConnectionPool(host='opencti', port=8080): Read timed out. (read timeout=300)`, "", `HTTPConnectionPool(host='opencti', port=8080): Read timed out. (read timeout=300)`, false},
		{`Request timed out`, "", "Request timed out", false},
		{`'name'`, "", "'name'", false},
		{`{}`, "", "{}", false},
		{`{'name'`, "", "{'name'", false},
		{"", "", "", false},
	} {
		name, message := opencti.ParseImportError(tt.said)
		e := opencti.ImportError{Name: name, Message: strings.Join(strings.Fields(message), " ")}
		if e.Name != tt.name || e.Message != tt.message || e.Final() != tt.final {
			t.Errorf("%s\nis %q, %q, final %t", tt.said, e.Name, e.Message, e.Final())
		}
	}
}

// FuzzImportErrors: whatever a worker writes, an error is read that names nothing that was not said, and a name that is
// not known to be final is passing.
func FuzzImportErrors(f *testing.F) {
	for _, seed := range []string{
		`{'name': 'FUNCTIONAL_ERROR', 'error_message': "it's", 'n': [1, {'a': (2,)}]}`, `{"name":"LOCK_ERROR","error_message":"\u2026"}`,
		`{"errors":[{"message":"no","extensions":{"code":"VALIDATION_ERROR"}}]}`, `ValueError({'name': 'X_Y'})`, `{'name': '\x4`, `{'a': {`, `\`, "\xff",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, said string) {
		name, message := opencti.ParseImportError(said)
		if name == "" && message == "" && strings.TrimSpace(said) != "" {
			t.Errorf("%q says nothing", said)
		}
		if utf8.ValidString(said) && len(name)+len(message) > 8*len(said) {
			t.Errorf("%q says more than it does: %q, %q", said, name, message)
		}
		e := opencti.ImportError{Name: name, Message: message}
		plain := !strings.ContainsRune(said, '\\')
		if plain && e.Final() && !strings.Contains(said, "_ERROR") && !strings.Contains(said, " element in bundle") {
			t.Errorf("%q is final", said)
		}
	})
}

func TestAWorkTellsWhatBecameOfIt(t *testing.T) {
	at := time.Date(2025, 4, 17, 15, 24, 0, 123e6, time.UTC)
	const object = `{"type":"relationship","id":"relationship--1","nb_deps":3}`
	many := strings.TrimSuffix(strings.Repeat(`{"message":"x"},`, 250), ",")
	for _, tt := range []struct {
		name, work string
		want       opencti.WorkReport
	}{
		{"new", `{"status":"wait","processed_time":null,"tracking":null,"errors":null}`, opencti.WorkReport{}},
		{"closed", `{"status":"progress","processed_time":"2025-04-17T15:24:00.123Z","tracking":{"import_expected_number":3,"import_processed_number":null},"errors":[]}`,
			opencti.WorkReport{Processed: true, Expected: 3}},
		{"complete", `{"status":"complete","processed_time":"2025-04-17T15:24:00.123Z","tracking":{"import_expected_number":3,"import_processed_number":3},"errors":[
			null, {"timestamp":"2025-04-17T15:24:00.123Z","message":"{'name': 'FUNCTIONAL_ERROR', 'error_message': 'a\\nb'}","source":` + quote(object) + `},
			{"timestamp":null,"message":null,"source":null}]}`,
			opencti.WorkReport{Complete: true, Processed: true, Expected: 3, Done: 3, Errors: []opencti.ImportError{
				{At: at, Name: "FUNCTIONAL_ERROR", Message: "a b", Source: object}, {},
			}}},
		{"many errors", `{"status":"complete","errors":[` + many + `]}`,
			opencti.WorkReport{Complete: true, Errors: make([]opencti.ImportError, 100)}},
	} {
		url, _ := serve(t, answering(200, "application/json", `{"data":{"work":`+tt.work+`}}`))
		got, err := connect(t, opencti.Config{URL: url}).Work(t.Context(), "w")
		if tt.name == "many errors" {
			for i := range tt.want.Errors {
				tt.want.Errors[i].Message = "x"
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", tt.name, err, diff)
		}
	}
	url, _ := serve(t, answering(200, "application/json", `{"data":{"work":null}}`))
	if got, err := connect(t, opencti.Config{URL: url}).Work(t.Context(), "w"); !errors.Is(err, opencti.ErrWorkNotAlive) {
		t.Errorf("Work() = %+v, %v", got, err)
	}
}

func TestAWorkTellsWhatItsWorkersReported(t *testing.T) {
	p, c, _ := start(t, openctitest.Config{Relations: map[string][]string{"Malware_City": {"originates-from"}}})
	register(t, c)
	id, err := c.AddWork(t.Context(), "run")
	if err != nil {
		t.Fatal(err)
	}
	p.Hold("malware--1")
	p.HoldObject(openctitest.Held{StandardID: "location--2", Type: "City"})
	p.FailImports(openctitest.Failure{ID: "tool--4", Name: "LOCK_ERROR", Message: "the platform's lock"})
	objects := []string{
		`{"type":"tool","id":"tool--3","name":"x"}`,
		`{"type":"tool","id":"tool--4","name":"x"}`,
		`{"type":"relationship","id":"relationship--5","relationship_type":"uses","source_ref":"malware--1","target_ref":"location--2"}`,
		`{"type":"note","id":"note--6","object_refs":["tool--0"]}`,
		`{"type":"unheard","id":"unheard--7"}`,
	}
	if err := c.AddExpectations(t.Context(), id, len(objects)); err != nil {
		t.Fatal(err)
	}
	for i, o := range objects {
		if i == 1 {
			if r, err := c.Work(t.Context(), id); err != nil || r.Complete || r.Processed || r.Expected != 5 || r.Done != 1 || len(r.Errors) != 0 {
				t.Errorf("Work() of an open work = %+v, %v", r, err)
			}
		}
		message, _ := json.Marshal(map[string]any{"work_id": id, "content": []byte(`{"type":"bundle","objects":[` + o + `]}`)})
		p.Import(message)
	}
	if err := c.CloseWork(t.Context(), id, "done", false); err != nil {
		t.Fatal(err)
	}
	r, err := c.Work(t.Context(), id)
	if err != nil || !r.Complete || !r.Processed || r.Done != 5 {
		t.Errorf("Work() = %+v, %v", r, err)
	}
	var got []string
	for _, e := range r.Errors {
		if e.At.IsZero() {
			t.Errorf("%+v has no time", e)
		}
		got = append(got, fmt.Sprintf("%s %s final %t", e.Name, e.Message, e.Final()))
	}
	want := []string{
		"LOCK_ERROR the platform's lock final false",
		"FUNCTIONAL_ERROR Only stix-core-relationship can be created through this method. final true",
		"MISSING_REFERENCE_ERROR Element(s) not found final false",
		" Incompatible element in bundle final true",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(r.Errors) > 1 {
		var source struct{ ID string }
		if err := json.Unmarshal([]byte(r.Errors[1].Source), &source); err != nil || source.ID != "relationship--5" {
			t.Errorf("source %q: %v", r.Errors[1].Source, err)
		}
	}
}

// A hundred errors with the longest objects that a worker reports, all of whose characters are escaped, are one answer.
func TestAWorkWithTheLongestErrorsIsRead(t *testing.T) {
	source := strings.Repeat(`"`, 49_999)
	one := fmt.Sprintf(`{"message":"{'name': 'LOCK_ERROR'}","source":%s}`, quote(source))
	url, _ := serve(t, answering(200, "application/json", `{"data":{"work":{"status":"complete","errors":[`+strings.Repeat(one+",", 99)+one+`]}}}`))
	got, err := connect(t, opencti.Config{URL: url}).Work(t.Context(), "w")
	if err != nil || len(got.Errors) != 100 || got.Errors[99].Source != source {
		t.Errorf("%d errors, %v", len(got.Errors), err)
	}
}

func TestAnErrorOfAWorkShowsNoSecret(t *testing.T) {
	url, _ := serve(t, answering(200, "application/json",
		`{"data":{"work":{"status":"progress","errors":[{"message":"{'name': 'X_ERROR', 'error_message': 'Bearer `+token+`'}"}]}}}`))
	got, err := connect(t, opencti.Config{URL: url}).Work(t.Context(), "w")
	if err != nil || len(got.Errors) != 1 || strings.Contains(got.Errors[0].Message, token) {
		t.Errorf("Work() = %+v, %v", got, err)
	}
}
