package config

import (
	"strings"

	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// setting is one row of the table that [allSettings] holds: everything there is to know about a setting.
type setting struct {
	env   string   // environment variable
	old   []string // deprecated spellings of it, accepted too
	also  []string // other spellings, accepted without a word
	path  string   // key in config.yml, "" when it is read from the environment only
	older []string // deprecated spellings of path

	value    reader // how to read it, and into which field
	def      string // default, "" for none
	why      string // the reason for the default, where it is not upstream's
	about    string // one sentence for operators
	required bool
	blankOff bool // a blank text switches it off, where blank ones of other settings count as not set
	secret   bool
	masked   func(text string) string // what may be shown of the secret, nil for nothing of it
	// file is the field for the path of the secret's file, which is read again then; nil for a secret that is read once.
	file func(*Config) *string
	// successor is the setting that takes the place of a deprecated one, whose value [takeOlderInterval] hands on; no sample has it.
	successor string
	managed   bool // handed out by OpenCTI's connector manager, so not asked for in its form
}

// reader parses a value into its field and describes what it accepts.
type reader interface {
	read(c *Config, text string) bool
	allowed() string
	advice(text string) string // for one that it does not take
	schema() schemaType
}

// keyDelimiter stands between a section and a key of it.
const keyDelimiter = "."

// key is the name under which layers hold the setting.
func (s setting) key() string {
	if s.path != "" {
		return s.path
	}
	return "environment" + keyDelimiter + s.env
}

// samplePlaceholder is what the sample files hold where an operator has to put something.
const samplePlaceholder = "ChangeMe"

// store parses the setting's effective text, which is trimmed, into cfg. The problems show no secret.
func (s setting) store(cfg *Config, text string, where origin, secrets *remote.Redactor) []Problem {
	problem := Problem{Name: where.String()}
	switch {
	case where.fault != "":
		problem.Advice = where.fault
		return []Problem{problem}
	case text == "" && s.required:
		problem.Advice = "is required and not set"
		if s.path != "" {
			problem.Advice += "; set the variable, or " + s.path + " in config.yml"
		}
		if name := s.fileVariable(); name != "" {
			problem.Advice += ", or " + name + " to the path of a file that holds it"
		}
		return []Problem{problem}
	case text == "":
		return nil
	case strings.EqualFold(text, samplePlaceholder):
		problem.Value, problem.Advice = quotedValue(secrets, text), "the sample's placeholder; replace it"
		return []Problem{problem}
	case unfilledAdvice(text) != "":
		problem.Advice = unfilledAdvice(text)
		return []Problem{problem}
	case s.value.read(cfg, text):
		if s.file != nil && *s.file(cfg) == "" {
			*s.file(cfg) = where.secretFile
		}
		return nil
	}
	if !s.secret {
		problem.Value = quotedValue(secrets, text)
	}
	problem.Advice = s.value.advice(text)
	if wrong := slip(text); wrong != "" && where.fromLine() {
		problem.Advice += "; it " + wrong
	}
	return []Problem{problem}
}

// kind is how values of one type are read and described.
type kind[T any] struct {
	parse func(string) (T, bool)
	says  string // completes "must be …"
	typ   schemaType
	fault func(string) string // says what is wrong with a value that is nearly allowed, "" of any other; nil for a kind without such
}

// advice says of a value that is not allowed what to write.
func (k kind[T]) advice(text string) string {
	if k.fault != nil {
		if fault := k.fault(text); fault != "" {
			return fault
		}
	}
	return "must be " + k.says
}

// schemaType is a kind's part of the JSON Schema.
type schemaType struct {
	Type             string
	Format           string
	Enum             []string
	Const            string
	Minimum          *float64
	ExclusiveMinimum *float64
	Maximum          *float64
}

// into ties a kind to a field of the configuration.
func into[T any](k kind[T], field func(*Config) *T) reader {
	return fieldReader[T]{kind: k, field: field}
}

type fieldReader[T any] struct {
	kind  kind[T]
	field func(*Config) *T
}

func (r fieldReader[T]) read(c *Config, text string) bool {
	v, ok := r.kind.parse(text)
	if ok {
		*r.field(c) = v
	}
	return ok
}

func (r fieldReader[T]) allowed() string           { return r.kind.says }
func (r fieldReader[T]) advice(text string) string { return r.kind.advice(text) }
func (r fieldReader[T]) schema() schemaType        { return r.kind.typ }
