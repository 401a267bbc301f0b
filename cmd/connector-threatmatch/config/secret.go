package config

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// Secret is a text that no log line, error or dump of the configuration shows. [Secret.Reveal] is the only way to it.
type Secret string

// Reveal returns the text itself.
func (s Secret) Reveal() string { return string(s) }

// String returns a placeholder, or "" for the empty secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return remote.Hidden
}

// Format hides the secret from every verb of fmt, %#v and %x included.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// MarshalText hides the secret from every encoder.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Headers are extra HTTP headers whose values, mostly credentials, are never shown.
type Headers http.Header

// Format shows the names only.
func (h Headers) Format(f fmt.State, _ rune) {
	_, _ = f.Write([]byte("[" + strings.Join(h.names(), " ") + "]"))
}

// MarshalText shows the names only.
func (h Headers) MarshalText() ([]byte, error) { return []byte(strings.Join(h.names(), " ")), nil }

func (h Headers) names() []string {
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
