package config

import (
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// ownHeaders are those without which a request would not be one of this connector's, or its answer not be understood.
var ownHeaders = []string{"Accept", "Accept-Encoding", "Authorization", "Connection", "Content-Length", "Content-Type", "Host", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

const headersSay = `headers like "Name: value;Other: value"`

// extraHeaders reads "Name: value;Other: value", as the Python client of OpenCTI does.
func extraHeaders() kind[Headers] {
	return kind[Headers]{
		parse: func(s string) (Headers, bool) {
			h, fault := parseHeaders(s)
			return h, fault == ""
		},
		says: headersSay,
		typ:  schemaType{Type: "string", Format: "password"},
		fault: func(s string) string {
			_, fault := parseHeaders(s)
			return fault
		},
	}
}

// parseHeaders says what is wrong with the text, if anything, and shows nothing of it but names that are no secret.
func parseHeaders(s string) (h Headers, fault string) {
	read := http.Header{}
	for i, part := range strings.Split(s, ";") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		name, value, found := strings.Cut(part, ":")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		which := fmt.Sprintf("must be %s; part %d of it ", headersSay, i+1)
		switch {
		case !found:
			return nil, which + "has no colon: a value cannot hold a semicolon"
		case !httpguts.ValidHeaderFieldName(name):
			return nil, which + "has a name that HTTP does not allow"
		case !httpguts.ValidHeaderFieldValue(value):
			return nil, which + "has a value that HTTP does not allow, such as one with a line break"
		}
		switch name := textproto.CanonicalMIMEHeaderKey(name); {
		case name == "Authorization":
			return nil, "cannot hold Authorization, which OPENCTI_TOKEN makes; take it out"
		case slices.Contains(ownHeaders, name):
			return nil, "cannot hold " + name + ", which the connector sets by itself; take it out"
		}
		read.Add(name, value)
	}
	return Headers(read), ""
}
