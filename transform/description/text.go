package description

import (
	"bytes"
	"strings"
)

// toText returns the characters of an HTML text without any separator between elements. A run of nothing but white space
// shrinks to one space or line end, outside of preformatted elements.
func toText(s string) string {
	w := textWriter{out: make([]byte, 0, len(s))}
	sc := newScanner(s)
	for {
		t, ok := sc.next()
		if !ok {
			break
		}
		switch t.kind {
		case text:
			w.run = appendLoose(w.run, t.raw, sc.atEnd())
			continue
		case cdata:
			w.flush()
			w.run = append(w.run, t.raw...)
			w.flush()
			continue
		}
		w.flush()
		switch {
		case t.kind == startTag && !t.selfClosing && !elements[t.name].void && t.name != "script" && t.name != "style":
			w.open(t.name)
		case t.kind == endTag:
			w.close(t.name)
		}
	}
	w.flush()
	return string(w.out)
}

type textWriter struct {
	out []byte
	// run is the text since the last markup.
	run []byte
	// stack holds the open elements; count says how often each is among them, so that an end tag without a start costs
	// no walk.
	stack []string
	count map[string]int
	// kept and unseen count the open elements that keep white space, and those whose text is not shown.
	kept, unseen int
}

func (w *textWriter) flush() {
	if len(w.run) == 0 {
		return
	}
	switch {
	case w.unseen > 0:
	case w.kept == 0 && allSpace(w.run):
		if bytes.IndexByte(w.run, '\n') >= 0 {
			w.out = append(w.out, '\n')
		} else {
			w.out = append(w.out, ' ')
		}
	default:
		w.out = append(w.out, w.run...)
	}
	w.run = w.run[:0]
}

func (w *textWriter) open(name string) {
	if w.count == nil {
		w.count = make(map[string]int)
	}
	w.stack = append(w.stack, name)
	w.count[name]++
	w.weigh(name, 1)
}

// close ends the element and all that were opened inside it and left open.
func (w *textWriter) close(name string) {
	if w.count[name] == 0 {
		return
	}
	for {
		top := w.stack[len(w.stack)-1]
		w.stack = w.stack[:len(w.stack)-1]
		w.count[top]--
		w.weigh(top, -1)
		if top == name {
			return
		}
	}
}

func (w *textWriter) weigh(name string, by int) {
	switch name {
	case "pre", "textarea":
		w.kept += by
	case "template", "rt", "rp":
		w.unseen += by
	}
}

// appendLoose decodes references as a lenient parser does: the semicolon may be missing where something else ends the
// name, but not at the very end of the text; an unknown name loses its semicolon.
func appendLoose(dst []byte, s string, last bool) []byte {
	for {
		i := strings.IndexByte(s, '&')
		if i < 0 {
			return append(dst, s...)
		}
		dst = append(dst, s[:i]...)
		s = s[i:]
		name, n := looseReference(s, last)
		if n == 0 {
			dst = append(dst, '&')
			s = s[1:]
			continue
		}
		if name[0] == '#' {
			dst = append(dst, string(numbered(name[1:]))...)
		} else if chars, ok := named(name); ok {
			dst = append(dst, chars...)
		} else {
			dst = append(append(dst, '&'), name...)
		}
		s = s[n:]
	}
}

// looseReference returns the name ("amp", "#38") at the start of s and its length in s, semicolon included; 0 when there
// is none.
func looseReference(s string, last bool) (name string, length int) {
	end := 1
	if len(s) > 1 && s[1] == '#' {
		n := numberLen(s[2:])
		end = 2 + n
		if n == 0 || end < len(s) && isHexLetter(s[end]) {
			return "", 0
		}
	} else {
		for end < len(s) && (isLetter(s[end]) || end > 1 && (isDigit(s[end]) || s[end] == '-' || s[end] == '.')) {
			end++
		}
		if end == len(s) && last {
			// Something has to end the name: its last dash or point does when nothing else is left.
			end = strings.LastIndexAny(s, "-.")
		}
		if end <= 1 {
			return "", 0
		}
	}
	if end == len(s) {
		if last {
			return "", 0
		}
		return s[1:end], end
	}
	if s[end] == ';' {
		return s[1:end], end + 1
	}
	return s[1:end], end
}
