package config

import (
	"slices"
	"strings"
	"testing"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
)

func TestHeadersAreReadAsThePythonClientReadsThem(t *testing.T) {
	for text, want := range map[string][]string{
		"X-One:a":                               {"X-One", "a"},
		" x-one : a:b://c ; ;":                  {"X-One", "a:b://c"},
		"X-One: \"a, b\"; X-Two:":               {"X-One", "\"a, b\"", "X-Two", ""},
		"CF-Access-Client-Id: x; User-Agent: y": {"Cf-Access-Client-Id", "x", "User-Agent", "y"},
	} {
		got, fault := parseHeaders(text)
		var flat []string
		for _, name := range got.names() {
			flat = append(append(flat, name), got[name]...)
		}
		if fault != "" || !slices.Equal(flat, want) {
			t.Errorf("%q is %q, %s", text, flat, fault)
		}
	}
}

func TestHeadersThatCannotBeSentAreNamedAndNothingElseOfThem(t *testing.T) {
	for text, want := range map[string]string{
		"X-Key: nobody; may-see":               `part 2 of it has no colon: a value cannot hold a semicolon`,
		"nobody may see: x":                    "part 1 of it has a name that HTTP does not allow",
		"A: b; X-Key: nobody-may\nsee":         "part 2 of it has a value that HTTP does not allow, such as one with a line break",
		"authorization: Bearer nobody-may-see": "cannot hold Authorization, which OPENCTI_TOKEN makes; take it out",
		"X-Key: nobody; HOST: may-see":         "cannot hold Host, which the connector sets by itself; take it out",
		"Content-Type: nobody/may-see":         "cannot hold Content-Type, which the connector sets by itself",
		"Accept-Encoding: nobody":              "cannot hold Accept-Encoding, which the connector sets by itself",
	} {
		_, _, err := Load("", false, configtest.Environ(map[string]string{"OPENCTI_CUSTOM_HEADERS": text}))
		if err == nil || !strings.Contains(err.Error(), "OPENCTI_CUSTOM_HEADERS: ") || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "nobody") || strings.Contains(err.Error(), "see") {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}
