package config

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// Error is everything that is wrong with a configuration. It never shows a secret.
type Error struct {
	Problems []Problem
}

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	// Name is the setting and where it stands.
	Name string
	// Value is the offending value, quoted, or "" for a secret or a missing one.
	Value string
	// Advice says what is allowed or what to do.
	Advice string
}

// Error lists the problems, one a line.
func (e *Error) Error() string {
	var b strings.Builder
	if len(e.Problems) == 1 {
		b.WriteString("the configuration has a problem:")
	} else {
		fmt.Fprintf(&b, "the configuration has %d problems:", len(e.Problems))
	}
	for _, p := range e.Problems {
		b.WriteString("\n  " + p.String())
	}
	return b.String()
}

// String is the problem as one sentence.
func (p Problem) String() string {
	if p.Value == "" {
		return p.Name + ": " + p.Advice
	}
	return p.Name + " is " + p.Value + ": " + p.Advice
}

// Warning is something about the configuration that does not stop the connector but that its operator should know.
type Warning string

// origin is where a value came from.
type origin struct {
	name string // environment variable
	set  bool   // by the environment or the file, else it is the default or nothing
	key  string // key in the file, when it came from there
	file string
	line int

	secretFile, fault, mistaken string // as in [reading]
}

func (o origin) String() string {
	switch {
	case o.secretFile != "":
		return fmt.Sprintf("%s (%s)", o.name, o.secretFile)
	case o.key == "":
		return o.name
	}
	return fmt.Sprintf("%s (%s line %d, %s)", o.name, o.file, o.line, o.key)
}

const shownValueLimit = 100 // a value is shown to be recognised, not to be read

// quotedValue quotes a value for an error; secrets in it, and what may be a password inside a URL, are hidden.
func quotedValue(secrets *remote.Redactor, value string) string {
	value = secrets.Redact(value)
	if len(value) > shownValueLimit {
		value = strings.ToValidUTF8(value[:shownValueLimit], "") + "…"
	}
	return strconv.Quote(value)
}
