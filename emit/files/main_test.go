package files

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const connector = "Threat Match"

// clock is a time that a test sets.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func (c *clock) days(n float64) { c.at = c.at.Add(time.Duration(n * float64(day))) }

var noon = time.Date(2026, 10, 25, 0, 59, 59, 999_999_000, time.UTC)

// document is a bundle of some size in its document.
func document(kind Kind, filler int) [][]byte {
	bundle := `{"type":"bundle","id":"bundle--1","objects":[{"id":"x--1","filler":"` + strings.Repeat("abcdefghijklmnopq", filler/17+1)[:filler] + `"}]}`
	return Document{Kind: kind, ApplicantID: "user", Connector: Connector{ID: "id", Name: connector, Type: "EXTERNAL_IMPORT", Scope: []string{"a", "b"}}}.Around([]byte(bundle))
}

func joined(text [][]byte) string {
	var all []byte
	for _, part := range text {
		all = append(all, part...)
	}
	return string(all)
}
