package threatmatch

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"path"
	"runtime"
	"strings"
	"testing"
	"time"
)

// spentOn is how many bytes f allocates in all, garbage included: more than it ever holds.
func spentOn(f func()) int64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

func TestOddAnswersCostWhatTheyAreWorth(t *testing.T) {
	const size = 16 << 20
	many := func(element string) string { return strings.Repeat(element+",", size/(len(element)+1)) + element }
	list := func(b []byte) error { _, err := decodeList(b, false); return err }
	item := func(b []byte) error { _, err := decodeItem(b, false); return err }
	page := func(b []byte) error { _, err := decodePage(b, false); return err }
	groups := func(b []byte) error { _, err := decodeGroups(b, false); return err }
	for _, tt := range []struct {
		name   string
		decode func([]byte) error
		body   string
		times  int64 // of its bytes, at most
		fails  bool
	}{
		{"a list of zeros", list, `{"list":[` + many("0") + `]}`, 1, false},
		{"a list of objects", list, `{"list":[` + many("{}") + `]}`, 1, false},
		{"a list of texts by turns", list, `{"list":[` + many(`"a","b"`) + `]}`, 10, false},
		{"an item of zeros", item, `{"objects":[` + many("0") + `]}`, 1, false},
		{"a page of zeros", page, `{"more":false,"objects":[` + many("0") + `]}`, 2, true},
		{"a page of objects", page, `{"more":false,"objects":[` + many("{}") + `]}`, 2, true},
		{"groups of zeros", groups, `[` + many("0") + `]`, 2, true},
		{"an error", item, `{"error":"` + strings.Repeat("e", size) + `"}`, 1, true},
		{"a page for people", item, "<html>" + strings.Repeat("<p>", size/3), 1, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := []byte(tt.body)
			var err error
			spent := spentOn(func() { err, _ = decodeBody(body, func(b []byte, _ bool) error { return tt.decode(b) }) })
			if (err != nil) != tt.fails {
				t.Errorf("error %v", err)
			}
			if spent > tt.times*int64(len(body)) {
				t.Errorf("%d bytes cost %d", len(body), spent)
			}
			if err != nil && len(err.Error()) > errorBody+100 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		})
	}
}

func TestWhatCannotBeDataIsNotReadToItsEnd(t *testing.T) {
	for name, tt := range map[string]struct {
		begin string
		of    byte
		says  string
	}{
		"a page for people":            {"<html>", 'p', "HTML"},
		"one behind a byte order mark": {"\xef\xbb\xbf<html>", 'p', "HTML"},
		"one behind blanks":            {strings.Repeat(" \n", 9000) + "<html>", 'p', "HTML"},
		"a text":                       {"internal error", '!', "not JSON"},
		"an error":                     {`{"error":"sorry `, 'e', `an error: "sorry`},
		"an error behind blanks":       {"\xef\xbb\xbf" + strings.Repeat("\r\n", 9000) + `{ "error" : {"code":5,"x":"`, 'e', `an error: {"code":5`},
		"a number for an error":        {strings.Repeat(" ", 9000) + `{"error": 0, "list": "`, 'e', "an error: 0"},
	} {
		t.Run(name, func(t *testing.T) {
			endless := &countingBody{of: tt.of}
			a := newAPI(func(*http.Request, int) (*http.Response, error) {
				resp := reply(200, "")
				resp.Body, resp.ContentLength = prefixed{io.MultiReader(strings.NewReader(tt.begin), endless), endless}, -1
				return resp, nil
			})
			_, err := newClient(t, a, func(cfg *Config) { cfg.Attempts = 1 }).Item(t.Context(), "alerts", "1")
			if err == nil || errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), tt.says) || endless.read > 2*2*errorBody { // in two attempts
				t.Errorf("%d bytes were read: %v", endless.read, err)
			}
		})
	}
}

// prefixed is a body that begins with something else.
type prefixed struct {
	io.Reader
	io.Closer
}

func TestAnErrorThatSaysNothingIsNone(t *testing.T) {
	for _, nothing := range []string{"null", "false", `""`} {
		body := `{"error":` + nothing + `,"objects":[` + strings.Repeat("0,", errorBody) + `0]}`
		item, err := newClient(t, newAPI(always(200, body))).Item(t.Context(), "alerts", "1")
		if err != nil || len(item.Objects) != 2*errorBody+len("[0]") {
			t.Errorf("an error of %s: %d bytes, %v", nothing, len(item.Objects), err)
		}
	}
}

func TestBlanksBeforeAnAnswerTakeNoRoom(t *testing.T) {
	blank := strings.Repeat(" \n", 8<<20)
	for after, says := range map[string]string{"": "empty", `{"objects":[]}`: ""} {
		c := newClient(t, newAPI(func(*http.Request, int) (*http.Response, error) {
			resp := reply(200, "")
			resp.Body, resp.ContentLength = io.NopCloser(io.MultiReader(strings.NewReader(blank), strings.NewReader(after))), -1
			return resp, nil
		}), func(cfg *Config) { cfg.Attempts = 1 })
		var err error
		spent := spentOn(func() { _, err = c.Item(t.Context(), "alerts", "1") })
		if (err != nil) != (says != "") || err != nil && !strings.Contains(err.Error(), says) || spent > 1<<20 {
			t.Errorf("%d blanks and %q cost %d bytes: %v", len(blank), after, spent, err)
		}
	}
}

func TestAnswersThatAreAlwaysSmallMayNotBeLarge(t *testing.T) {
	endless := &countingBody{of: '['}
	large := func() *http.Response {
		resp := reply(200, "")
		resp.Body, resp.ContentLength = endless, -1
		return resp
	}
	a := newAPI(func(*http.Request, int) (*http.Response, error) { return large(), nil })
	a.away = true // so that it answers for groups, too
	c := newClient(t, a)
	if _, err := c.Groups(t.Context()); !errors.Is(err, ErrTooLarge) || endless.read > smallBody+1 {
		t.Errorf("of groups %d bytes were read: %v", endless.read, err)
	}
	endless.read = 0
	if _, err := c.List(t.Context(), "alerts", time.Time{}); !errors.Is(err, ErrTooLarge) || endless.read > listBody+1 {
		t.Errorf("of a list %d bytes were read: %v", endless.read, err)
	}
	endless.read, a.token = 0, large
	if _, err := c.fetchToken(t.Context()); !errors.Is(err, ErrTooLarge) || endless.read > smallBody+1 {
		t.Errorf("of a token %d bytes were read: %v", endless.read, err)
	}
}

func TestALargeAnswerOfKnownLengthIsHeldOnce(t *testing.T) {
	body := `{"objects":["` + strings.Repeat("a", 32<<20) + `"]}`
	c := newClient(t, newAPI(always(200, body)))
	var err error
	spent := spentOn(func() { _, err = c.Item(t.Context(), "alerts", "1") })
	if most := int64(len(body)) + 5*pooledBuffer; err != nil || spent > most { // the buffer that it begins in has doubled
		t.Errorf("%d bytes cost %d, want %d at most: %v", len(body), spent, most, err)
	}
}

func TestAnItemOfAnySizeComesVerbatim(t *testing.T) {
	for _, size := range []int{1000, pooledBuffer / 4, pooledBuffer - 1, pooledBuffer, pooledBuffer + 1, 3 * pooledBuffer} {
		objects := func(of string) string {
			return `["` + strings.Repeat(of, size-len(`{"objects":[""]}`)) + `"]`
		}
		c := newClient(t, newAPI(func(r *http.Request, _ int) (*http.Response, error) {
			return reply(200, `{"objects":`+objects(path.Base(r.URL.Path))+`}`), nil
		}))
		kept := map[string]json.RawMessage{}
		for _, id := range []string{"1", "2", "3"} { // a later answer may be read into the buffer of an earlier one
			item, err := c.Item(t.Context(), "alerts", id)
			if err != nil {
				t.Fatal(err)
			}
			kept[id] = item.Objects
		}
		for id, item := range kept {
			if string(item) != objects(id) {
				t.Errorf("of an answer of %d bytes item %s is another text of %d", size, id, len(item))
			}
		}
	}
}

func TestAnAnswerThatIsTooLargeNamesTheSettingThatHelps(t *testing.T) {
	blanks := strings.Repeat(" ", listBody)
	for helps, ask := range map[string]func(*Client) error{
		"THREATMATCH_IMPORT_FROM_DATE": func(c *Client) error { _, err := c.List(t.Context(), "alerts", time.Time{}); return err },
		"CONNECTOR_MEMORY":             func(c *Client) error { _, err := c.Item(t.Context(), "alerts", "1"); return err },
	} {
		c := newClient(t, newAPI(always(200, `{"list":[`+blanks+`],"objects":[]}`)), func(cfg *Config) { cfg.MaxBody = listBody })
		if err := ask(c); !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), helps) {
			t.Errorf("%s: %v", helps, err)
		}
	}
}
