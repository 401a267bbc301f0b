package opencti_test

import (
	"testing"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
)

// What a ping is answered with, told from a stored state, a reset and a platform whose storage lags.
func TestWhatAPingIsAnsweredWith(t *testing.T) {
	type step struct {
		do     string // "reset", "stale", "register", or the state of a ping
		answer string
		held   string
		newer  bool // the answer's timestamp is newer than any seen before
	}
	for name, steps := range map[string][]step{
		"a state is stored and echoed": {
			{do: "A", answer: "A", held: "A"}, {do: "B", answer: "B", held: "B"},
		},
		"a reset answers one ping and does not store it": {
			{do: "A", answer: "A", held: "A"}, {do: "reset", held: ""},
			{do: "B", answer: "", held: "", newer: true}, {do: "B", answer: "B", held: "B"},
		},
		"a reset that registration reports still answers the first ping": {
			{do: "A", answer: "A", held: "A"}, {do: "reset", held: ""},
			{do: "register", answer: "", held: "", newer: true},
			{do: "B", answer: "", held: ""}, {do: "B", answer: "B", held: "B"},
		},
		"two resets are two orders": {
			{do: "reset"}, {do: "A", newer: true}, {do: "reset"}, {do: "A", newer: true}, {do: "A", answer: "A", held: "A"},
		},
		"a stale echo shows the state before, though the sent one is stored": {
			{do: "A", answer: "A", held: "A"}, {do: "stale", held: "A"},
			{do: "B", answer: "A", held: "B"}, {do: "B", answer: "B", held: "B"}, {do: "C", answer: "C", held: "C"},
		},
		"the first ping of all may be echoed as empty": {
			{do: "stale"}, {do: "A", answer: "", held: "A"}, {do: "A", answer: "A", held: "A"},
		},
		"a reset comes before a stale echo": {
			{do: "A", answer: "A", held: "A"}, {do: "stale", held: "A"}, {do: "reset"},
			{do: "B", answer: "", newer: true}, {do: "C", answer: "", held: "C"}, {do: "C", answer: "C", held: "C"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, c, _ := start(t, openctitest.Config{})
			seen := register(t, c).StateTimestamp
			for i, s := range steps {
				switch s.do {
				case "reset":
					if err := p.Reset(); err != nil {
						t.Fatal(err)
					}
				case "stale":
					p.StaleEcho(1)
				case "register":
					r := register(t, c)
					if r.State != s.answer || r.StateTimestamp.After(seen) != s.newer {
						t.Errorf("step %d: Register() = %+v", i, r)
					}
					seen = r.StateTimestamp
				default:
					asked, err := c.ConnectorState(t.Context())
					if err != nil || asked.State != p.State() {
						t.Errorf("step %d: ConnectorState() = %+v, %v", i, asked, err)
					}
					e := ping(t, c, s.do)
					if e.State != s.answer || e.StateTimestamp.After(seen) != s.newer {
						t.Errorf("step %d: %s was answered with %+v, last seen %v", i, s.do, e, seen)
					}
					seen = e.StateTimestamp
				}
				if p.State() != s.held {
					t.Errorf("step %d: after %s the platform holds %q, want %q", i, s.do, p.State(), s.held)
				}
			}
		})
	}
}
