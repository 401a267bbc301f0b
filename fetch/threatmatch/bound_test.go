package threatmatch

import (
	"encoding/json"
	"errors"
	"net/http"
	"path"
	"runtime"
	"strings"
	"testing"
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

func TestAPageForPeopleIsNotReadToItsEnd(t *testing.T) {
	endless := &countingBody{of: '<'}
	a := newAPI(func(*http.Request, int) (*http.Response, error) {
		resp := reply(200, "")
		resp.Body, resp.ContentLength = endless, -1
		return resp, nil
	})
	_, err := newClient(t, a, func(cfg *Config) { cfg.Attempts = 1 }).Item(t.Context(), "alerts", "1")
	if err == nil || errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "HTML") || endless.read > 2*2*errorBody { // in two attempts
		t.Errorf("%d bytes were read: %v", endless.read, err)
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
