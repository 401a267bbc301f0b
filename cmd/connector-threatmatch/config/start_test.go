package config

import (
	"strings"
	"testing"
	"time"
)

func TestAStartThatIsNearlyRightIsToldWhatItLacks(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for text, want := range map[string]string{
		"2026-03-05": "lies in the future",
		"0001-01-01": "lies before the year 1970",
		"P200Y":      "is longer than 100 years",
		"P0.5M":      "has a fraction of a year or month",
		"-P1D":       "must not be negative; write P1D",
		"86400":      "lacks a unit; 86400 seconds are PT86400S",
		"-86400":     "must be",
		"0":          "must be an ISO 8601",
		"00":         "must be an ISO 8601",
		"PT0S":       "must be an ISO 8601",
		"-PT0S":      "must be an ISO 8601",
		"yesterday":  "must be",
	} {
		if start, err := ParseStart(text, now); err == nil || !strings.Contains(err.Error(), text) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is read as %s: %v, want %s", text, start, err, want)
		}
	}
	_, _, err := Load("", false, []string{"THREATMATCH_IMPORT_FROM_DATE=86400"})
	if want := `THREATMATCH_IMPORT_FROM_DATE is "86400": lacks a unit; 86400 seconds are PT86400S`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the variable: %v", err)
	}
}
