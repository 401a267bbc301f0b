package threatmatch

import (
	"bytes"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

func FuzzTokenAnswer(f *testing.F) {
	for _, s := range []string{`{"access_token":"a","expires_at":1795427084.5}`, `{"access_token":"a","expires_at":"1e400"}`,
		`{"expires_at":-1,"access_token":"\u0000"}`, `{"error":{}}`, `null`, `<html>`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var value string
		var expires float64
		err, _ := decodeBody(body, func(b []byte, lax bool) (err error) {
			value, expires, err = decodeToken(b, lax)
			return err
		})
		if err != nil {
			return
		}
		if value == "" || !validHeader(value) {
			t.Errorf("accepted the token %q", value)
		}
		now := time.Unix(1_700_000_000, 0)
		if tok := newToken(value, expires, now, now); tok.until.Before(now) || tok.until.After(now.Add(tokenMost)) {
			t.Errorf("expiry %v is used until %s", expires, tok.until)
		}
	})
}

func FuzzListAnswer(f *testing.F) {
	for _, s := range []string{`{"list":[3,1,"2","x","x"]}`, `{"list":[],"list":[1]}`, `{"list":[1e5,-0,"\ud800"]}`, `{"list":null}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var ids []string
		err, _ := decodeBody(body, func(b []byte, lax bool) (err error) {
			list, err := decodeList(b, lax)
			ids = list.ids
			return err
		})
		if err == nil && !slices.IsSortedFunc(ids, CompareIDs) {
			t.Errorf("%q is not in order", ids)
		}
		for i, id := range ids {
			if id == "" || i > 0 && ids[i-1] == id {
				t.Errorf("empty or repeated id in %q", ids)
			}
		}
	})
}

func FuzzItemAnswer(f *testing.F) {
	for _, s := range []string{`{"objects":[{"a":1E400}]}`, `{"objects":[{"a":1,"a":2}]}`, "{\"objects\":[\"\xff\"]}", `{"objects":[]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var item Item
		err, _ := decodeBody(body, func(b []byte, lax bool) (err error) {
			item, err = decodeItem(b, lax)
			return err
		})
		text := item.Objects
		if err == nil && (!bytes.Contains(body, text) || len(text) < 2 || text[0] != '[' || item.Strict && !jsontext.Value(text).IsValid()) {
			t.Errorf("%q became %q, strict: %t", body, text, item.Strict)
		}
	})
}

func FuzzPageAnswer(f *testing.F) {
	for _, s := range []string{`{"more":true,"objects":[{"a":1},2]}`, `{"objects":[]}`, `{"more":"false","objects":[{}]}`, `{"more":2,"objects":[]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var page IndicatorPage
		err, _ := decodeBody(body, func(b []byte, lax bool) (err error) {
			page, err = decodePage(b, lax)
			return err
		})
		for _, o := range page.Objects {
			if err == nil && (len(o) == 0 || !bytes.Contains(body, o)) {
				t.Errorf("%q gave %q", body, o)
			}
		}
	})
}

func FuzzGroupsAnswer(f *testing.F) {
	for _, s := range []string{`[{"id":"1","name":"All content"}]`, `[]`, `{"error":"no"}`, `[1]`, `[{"id":null}]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		err, _ := decodeBody(body, func(b []byte, lax bool) error {
			list, err := decodeGroups(b, lax)
			if err == nil && list.groups == nil {
				t.Errorf("%q is neither groups nor an error", body)
			}
			return err
		})
		if err == nil && !bytes.Contains(body, []byte("[")) {
			t.Errorf("%q was accepted", body)
		}
	})
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"1", "-1", "10000000000", "1e999", "NaN", "0x1p-2", "Fri, 31 Dec 1999 23:59:59 GMT", "soon", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		c := Config{Now: time.Now}.withDefaults()
		h := http.Header{"Retry-After": {value}}
		if d, _ := retryAfter(h, time.Now()); d < 0 {
			t.Errorf("%q: %s", value, d)
		}
		wait := c.backoff(0, 0, 0, &http.Response{StatusCode: 429, Header: h})
		if wait < c.Backoff.Min/2 || wait > c.RetryAfterMax+c.Backoff.Min {
			t.Errorf("%q makes the client wait %s", value, wait)
		}
	})
}
