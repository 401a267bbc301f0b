package remote

import (
	"errors"
	"fmt"
	"testing"
)

// oddError puts its parts together in a way of its own.
type oddError struct{ parts []error }

func (e oddError) Error() string   { return fmt.Sprint(e.parts) }
func (e oddError) Unwrap() []error { return e.parts }

func TestWhatSeveralErrorsSayStandsOnce(t *testing.T) {
	signal := errors.New("settle what is under way within 4s: stopped by signal: terminated")
	refused := errors.New(`get token: 401 Unauthorized: {"error":"no"}; check the secret`)
	wrap := fmt.Errorf
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"nothing":                 {nil, ""},
		"one":                     {wrap("import alerts: %w", signal), "import alerts: " + signal.Error()},
		"two that differ":         {errors.Join(errors.New("a"), errors.New("b")), "a\nb"},
		"twice the same":          {errors.Join(signal, signal), signal.Error()},
		"a cause and what it did": {errors.Join(signal, wrap("post: %w", signal)), "post: " + signal.Error()},
		"the other way round":     {errors.Join(wrap("post: %w", signal), signal), "post: " + signal.Error()},
		"inside another": {wrap("open the work: %w", errors.Join(signal, wrap("post: %w", signal))),
			"open the work: post: " + signal.Error()},
		"inside another, with something behind": {wrap("open the work: %w (in vain)", errors.Join(signal, signal)),
			"open the work: " + signal.Error() + " (in vain)"},
		"of three datasets": {errors.Join(wrap("import alerts: list alerts: %w", refused), wrap("import iocs: find the group: %w", refused), wrap("import profiles: list profiles: %w", refused)),
			"import alerts: list alerts: " + refused.Error() + "\nimport iocs: find the group: the same\nimport profiles: list profiles: the same"},
		"of three, of which one differs": {errors.Join(wrap("a: %w", signal), wrap("b: %w", refused), wrap("c: %w", signal)),
			"a: " + signal.Error() + "\nb: " + refused.Error() + "\nc: the same"},
		"joined twice":                          {errors.Join(errors.Join(signal, nil), wrap("x: %w", errors.Join(signal, signal))), "x: " + signal.Error()},
		"of which one begins a word of another": {errors.Join(errors.New("no"), errors.New("a: not found")), "no\na: not found"},
		"a short end":                           {errors.Join(wrap("read a: EOF"), wrap("read b: EOF")), "read a: EOF\nread b: EOF"},
		"several in a sentence":                 {wrap("%w and %w", signal, signal), signal.Error() + " and " + signal.Error()},
		"in a way of its own":                   {oddError{[]error{signal, signal}}, fmt.Sprint([]error{signal, signal})},
		"one without a text":                    {wrap("x%w", errors.New("")), "x"},
	} {
		if got := Once(tt.err); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}
