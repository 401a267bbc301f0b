package state

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"
)

// answer is what the platform's answer to a ping means.
type answer int

const (
	echoed     answer = iota // the platform holds what was sent
	stale                    // it shows an older state, or has not stored this one yet: send it again
	doubted                  // empty, from a platform that does not say since when: ask before believing it
	fromBackup               // an older one than was committed, and it stays: that of a backup
	wiped                    // an operator has emptied it, or deleted the connector, which was registered anew since
)

// judge tells what an echo means. stamp is of the last reset seen; settled says that a ping was answered before, so that
// the mark of a reset that came earlier is gone.
func judge(sent string, e Held, stamp time.Time, settled bool) answer {
	timed := !e.Stamp.IsZero() && !stamp.IsZero()
	switch {
	case timed && e.Stamp.After(stamp):
		return wiped // even when it echoes: the queue was purged, or went with the connector
	case sameText(sent, e.State) || (isNothing(sent) && isNothing(e.State)):
		return echoed
	case !isNothing(e.State) || timed:
		return stale
	case settled:
		return doubted
	default:
		return stale
	}
}

// isNothing reports whether a state text stands for no state.
func isNothing(text string) bool {
	switch strings.TrimSpace(text) {
	case "", "null", "{}", `""`:
		return true
	}
	return false
}

// sameText reports whether two state texts say the same.
func sameText(a, b string) bool {
	if a == b {
		return true
	}
	var x, y bytes.Buffer
	if json.Compact(&x, []byte(a)) != nil || json.Compact(&y, []byte(b)) != nil {
		return false
	}
	return bytes.Equal(x.Bytes(), y.Bytes())
}
