package files

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	suffix = ".json"
	// longestPrefix leaves room in the 255 bytes of a file's name for the time, and for the suffix of one that is being written.
	longestPrefix = 200
	// tick is the least time between two names, and the last digit of one.
	tick = time.Microsecond
)

// Names gives names to a connector's files. Sorted as texts they are in the order in which they were given, also over restarts
// as long as the clock is not set back. It is safe for concurrent use.
type Names struct {
	prefix string

	mu   sync.Mutex
	last time.Time
}

// NewNames returns the names of a connector's files, for its name in OpenCTI.
func NewNames(connector string) *Names { return &Names{prefix: prefixOf(connector)} }

// Next is a name that was not given before: <connector>-<YYYYMMDD-HHMMSS>-<Unix time>.json, in UTC, for local time goes back once
// a year.
func (n *Names) Next(now time.Time) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	now = now.UTC().Truncate(tick)
	if !now.After(n.last) {
		now = n.last.Add(tick)
	}
	n.last = now
	return fmt.Sprintf("%s%s-%d.%06d%s", n.prefix, now.Format("20060102-150405"), now.Unix(), now.Nanosecond()/int(tick), suffix)
}

// prefixOf is how the names of a connector's files begin: its name in lower case, spaces to _ as OpenCTI's own client does it, and
// so what a file or a key cannot have.
func prefixOf(connector string) string {
	replaced := strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || unicode.IsControl(r) || r == utf8.RuneError || strings.ContainsRune(`/\:*?"<>|`, r) {
			return '_'
		}
		return r
	}, strings.ToLower(connector))
	if strings.HasPrefix(replaced, ".") {
		replaced = "_" + replaced[1:]
	}
	for len(replaced) > longestPrefix {
		_, size := utf8.DecodeLastRuneInString(replaced)
		replaced = replaced[:len(replaced)-size]
	}
	return replaced + "-"
}

// tail is what follows the prefix. OpenCTI's own client has other numbers of decimals.
var tail = regexp.MustCompile(`^\d{8}-\d{6}-(\d{1,12})(?:\.\d+)?\.json$`)

// writtenAt is when a connector's file got its name; of the names of others it is false, such as those of a connector whose name
// begins with this one's.
func writtenAt(prefix, name string) (time.Time, bool) {
	rest, own := strings.CutPrefix(name, prefix)
	if !own {
		return time.Time{}, false
	}
	parts := tail.FindStringSubmatch(rest)
	if parts == nil {
		return time.Time{}, false
	}
	seconds, err := strconv.ParseInt(parts[1], 10, 64)
	return time.Unix(seconds, 0), err == nil
}
