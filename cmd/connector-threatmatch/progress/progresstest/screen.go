// Package progresstest is a terminal for tests of what is drawn on one: a real device, and behind it a screen.
package progresstest

import (
	"bufio"
	"io"
	"strings"
	"sync"
	"time"
)

// screen interprets what moves a terminal's cursor, as far as progress is drawn with it.
type screen struct {
	height int

	mu      sync.Mutex
	changed chan struct{} // closed at the next change; nil while nobody waits
	ended   bool          // nothing comes any more
	lines   [][]rune      // also those that have left at the top
	top     int           // the first that has not
	row     int           // where the cursor is
	column  int
}

// readFrom shows what comes, until nothing does.
func (s *screen) readFrom(in io.Reader) {
	r := bufio.NewReader(in)
	for !s.ended {
		c, _, err := r.ReadRune()
		n := 0
		if c == '\x1b' {
			n, c = readCommand(r)
			c = -c
		}
		s.mu.Lock()
		s.ended = err != nil
		s.heed(c, n)
		if s.changed != nil {
			close(s.changed)
			s.changed = nil
		}
		s.mu.Unlock()
	}
}

// readCommand reads what stands behind an escape, as in "[12A".
func readCommand(r *bufio.Reader) (n int, command rune) {
	for {
		c, _, err := r.ReadRune()
		switch {
		case err != nil:
			return 0, 0
		case c >= '0' && c <= '9':
			n = 10*n + int(c-'0')
		case c != '[':
			return n, c
		}
	}
}

// heed does what a letter asks for, which is below zero for one that stands behind an escape; mu is held.
func (s *screen) heed(c rune, n int) {
	switch c {
	case 0: // nothing came
	case -'A':
		s.row = max(s.row-n, s.top)
	case -'J':
		if s.row < len(s.lines) {
			s.lines = append(s.lines[:s.row], s.lines[s.row][:min(s.column, len(s.lines[s.row]))])
		}
	case '\r':
		s.column = 0
	case '\n':
		s.row++
		s.top = max(s.top, s.row+1-s.height)
	default:
		s.put(c)
	}
}

// put shows a letter at the cursor; mu is held.
func (s *screen) put(c rune) {
	for len(s.lines) <= s.row {
		s.lines = append(s.lines, nil)
	}
	for len(s.lines[s.row]) <= s.column {
		s.lines[s.row] = append(s.lines[s.row], ' ')
	}
	s.lines[s.row][s.column] = c
	s.column++
}

// text is what stands there; mu is held.
func (s *screen) text() (lines []string) {
	for _, line := range s.lines {
		lines = append(lines, strings.TrimRight(string(line), " "))
	}
	return lines
}

// patience is how long something may take to come.
const patience = time.Minute

// until waits until it stands there as wanted, nothing comes any more, or patience is at its end, and returns what stands there.
func (s *screen) until(wanted func([]string) bool) (lines []string) {
	late := time.After(patience)
	for {
		s.mu.Lock()
		lines = s.text()
		if s.ended || wanted(lines) {
			s.mu.Unlock()
			return lines
		}
		if s.changed == nil {
			s.changed = make(chan struct{})
		}
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-late:
			return lines
		}
	}
}
