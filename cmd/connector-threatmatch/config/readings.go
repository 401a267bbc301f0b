package config

import (
	"fmt"
	"slices"

	"github.com/agnivade/levenshtein"
	"github.com/knadh/koanf/maps"
)

// readings are the settings that one source holds, by [setting.key].
type readings struct {
	path   string // of the file
	values map[string]reading
}

type reading struct {
	text string
	name string // environment variable or key in the file, as spelled there
	line int

	secretFile string // path of the file from which the text comes, "" for none
	fault      string // why that file gives no text, and what to do
	mistaken   string // what stands in place of its path and may be the secret itself
}

func (r readings) layer() layer {
	l := layer{}
	for key, found := range r.values {
		l[key] = found.text
	}
	return l
}

// layer is one source of settings, by key; it is a koanf provider.
type layer map[string]any

// Read returns the settings as nested maps.
func (l layer) Read() (map[string]any, error) {
	return maps.Unflatten(map[string]any(l), keyDelimiter), nil
}

// ReadBytes is not offered: the settings are parsed already.
func (l layer) ReadBytes() ([]byte, error) {
	return nil, fmt.Errorf("read settings as bytes: not supported")
}

// nearestName finds the candidate with the fewest letters to change, the first in alphabetical order among equals.
func nearestName(name string, candidates []string) (best string, distance int) {
	slices.Sort(candidates)
	for _, c := range candidates {
		if d := levenshtein.ComputeDistance(name, c); best == "" || d < distance {
			best, distance = c, d
		}
	}
	return best, distance
}
