package description

import (
	"bytes"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

var (
	// tagLike begins what could be taken for a tag, a comment or an address in angle brackets.
	tagLike      = regexp.MustCompile(`^<(?:[A-Za-z/!?]|[^\s<>]+@)`)
	addressStart = regexp.MustCompile(`(?i)(https?|ftp|www)(://|\.)`)
	// domain follows the "@" in an address of mail.
	domain = regexp.MustCompile(`^[\w-]{1,255}\.`)
	// lineStart is what makes a line a list, a heading, a quotation, a fence, a rule, a table, a definition or a task; of a rule
	// of marks that act at both ends it is the whole line, to which a list's star may belong.
	lineStart = regexp.MustCompile("^[ \t]*(?:[0-9]{1,9}([.)])(?:\\s|$)|(#{1,6}(?:\\s|$)|>|[-+*](?:\\s|$)|`{3,}[^`]*$|~{3}|" +
		`-[-\s]*$|=+\s*$|[:|\s]*-[-:|\s]*$)|((?:_\s*){3,}$|\*[*\s]*$))`)
	// task is a box that a list's item begins with.
	task = regexp.MustCompile(`^\[[ xX]\](?:[^(]|$)`)
	// closingHashes are not shown at a heading's end.
	closingHashes = regexp.MustCompile(`(?:^|\s)#+$`)
)

// place says where a line stands, which decides what its beginning and end would do.
type place uint8

const (
	inParagraph place = iota
	inHeading
	inCell
	// inLabel is the description of a picture: what stands in it may have its partner outside.
	inLabel
)

// rules escapes every mark of one, since what is left of a run could be the end of something.
var rules = strings.NewReplacer("*", `\*`, "_", `\_`)

// guard escapes what would make the lines from a place on something else than text.
func (p *paper) guard(from int, at place) {
	if (at == inParagraph || at == inHeading) && at.mayBeMore(p.text[from:]) {
		guarded := at.guarded(string(p.text[from:]))
		p.text = append(p.text[:from], guarded...)
	}
}

// mayBeMore says of almost all that is nothing but text that it is.
func (at place) mayBeMore(s []byte) bool {
	if len(s) == 0 {
		return false
	}
	if len(s) > 2 && s[0] == '[' && s[2] == ']' { // it may be a task
		return true
	}
	if at == inHeading {
		return s[len(s)-1] == '#'
	}
	for {
		i := 0
		for i < len(s) && (s[i] == ' ' || s[i] == '\t') {
			i++
		}
		if i < len(s) && beginsMore(s[i]) {
			return true
		}
		next := bytes.IndexByte(s, '\n')
		if next < 0 {
			return false
		}
		s = s[next+1:]
	}
}

// beginsMore says whether a character is one that [lineStart] may begin with.
func beginsMore(c byte) bool {
	switch c {
	case '#', '>', '-', '+', '*', '`', '~', '=', ':', '|', '_', '\f', '\r':
		return true
	}
	return isDigit(c)
}

// guarded escapes what would make a line something else than text.
func (at place) guarded(s string) string {
	if task.MatchString(s) {
		s = `\` + s
	}
	if at == inHeading {
		if m := closingHashes.FindStringIndex(s); m != nil {
			return s[:m[1]-1] + `\#`
		}
		return s
	}
	var out strings.Builder
	for line := range strings.Lines(s) {
		act := 0
		if m := lineStart.FindStringSubmatchIndex(strings.TrimRight(line, " \t\n")); m != nil {
			act = max(m[2], m[4], m[6])
			switch rest := line[act:]; {
			case rest[0] == '~':
				text := strings.TrimLeft(rest, "~")
				out.WriteString(line[:act] + strings.Repeat("&#126;", len(rest)-len(text)))
				act = len(line) - len(text)
			case m[6] >= 0:
				out.WriteString(line[:act] + rules.Replace(rest))
				act = len(line)
			default:
				out.WriteString(line[:act] + `\`)
			}
		}
		out.WriteString(line[act:])
	}
	return out.String()
}

// escaper knows which characters of a line would act as markup, by the rules of CommonMark and of GitHub's tables,
// strikethrough and links.
type escaper struct {
	text []byte
	// opens and pairs say which of the characters that mark at both ends ("**", "`") may begin something, and which have a
	// partner, in the text or as the line's own marks.
	opens, pairs [128]bool
	// hasAddress says that something may become a link of its own, and plain that no character acts.
	hasAddress, plain bool
	at                place
}

func newEscaper(l *line, at place) escaper {
	e := escaper{text: l.text, at: at, plain: l.holds&(marking|acting) == 0}
	e.hasAddress = l.holds&mailing != 0 || l.holds&linking != 0 && bytes.Contains(l.text, []byte("://")) || l.holds&pointing != 0 && hasWWW(l.text)
	if l.holds&marking == 0 {
		return e
	}
	for _, s := range l.spans {
		picture := at == inLabel || s.raw && e.text[s.from] == '!'
		e.pairs['`'] = e.pairs['`'] || s.style.code || picture
		e.pairs['~'] = e.pairs['~'] || s.style.del || picture
		e.pairs['*'] = e.pairs['*'] || s.style.strong || picture
		e.pairs['_'] = e.pairs['_'] || s.style.em || picture
	}
	for _, s := range l.spans {
		for i := s.from; i < s.to && !s.raw && !s.style.code; i++ {
			if c := e.text[i]; isMark(c) {
				opens, ends, n := e.mark(s, i)
				e.pairs[c] = e.pairs[c] || ends && e.opens[c]
				e.opens[c] = e.opens[c] || opens
				i += n - 1
			}
		}
	}
	return e
}

// hasWWW says whether there is a "www." in a text, in letters of any size.
func hasWWW(s []byte) bool {
	for i := 0; ; i++ {
		next := bytes.IndexByte(s[i:], '.')
		if next < 0 {
			return false
		}
		if i += next; endsWith(s[:i], "www") {
			return true
		}
	}
}

// endsWith says whether a text ends with some letters of any size.
func endsWith(s []byte, letters string) bool {
	return len(s) >= len(letters) && bytes.EqualFold(s[len(s)-len(letters):], []byte(letters))
}

// mark reads a run of marks and says whether it may begin or end something. Where the span begins or ends there is a mark
// of the line's own beside it, or a letter that may be written as its number.
func (e *escaper) mark(s span, from int) (opens, ends bool, n int) {
	c, to := e.text[from], from+1
	for to < s.to && e.text[to] == c {
		to++
	}
	before, size := utf8.DecodeLastRune(e.text[:from])
	after, sizeAfter := utf8.DecodeRune(e.text[to:])
	befores, afters := []rune{before}, []rune{after}
	plain := s.style == style{}
	switch {
	case from == 0 && plain:
		befores = []rune{' '}
	case from-size <= s.from:
		befores = append(befores, '*')
	}
	switch {
	case to == len(e.text) && plain:
		afters = []rune{' '}
	case to+sizeAfter >= s.to:
		afters = append(afters, '*')
	}
	if mayBeWord(before) && !isWord(before) {
		befores = append(befores, 'a')
	}
	if mayBeWord(after) && !isWord(after) {
		afters = append(afters, 'a')
	}
	for _, before := range befores {
		for _, after := range afters {
			open, end := mayMark(c, before, after)
			opens, ends = opens || open, ends || end
		}
	}
	return opens, ends, to - from
}

// append appends a span of the line's text.
func (e *escaper) append(dst []byte, s span) []byte {
	i := s.from
	if s.style.href == "" && e.hasAddress {
		alone := s.from == 0 && s.to == len(e.text) && s.style == style{}
		for {
			from, to := nextAddress(e.text[i:s.to])
			if to == 0 {
				break
			}
			from, to = i+from, i+to
			dst = e.appendChars(dst, s, i, from)
			i = to
			at := len(dst)
			dst = e.appendChars(dst, s, from, to)
			touches := i == s.to && !alone
			barred := e.at == inCell && bytes.IndexByte(dst[at:], '|') >= 0
			if touches || barred || len(dst)-at > to-from {
				dst = append(dst[:at], addressStart.ReplaceAll(dst[at:], []byte(`$1\$2`))...)
			}
		}
	}
	return e.appendChars(dst, s, i, s.to)
}

// nextAddress finds the next one that becomes a link without being marked as one, unless its colon or point is escaped: it goes up
// to white space. A backslash in it, or a mark behind it, would be taken for a part of it. to is 0 where there is none.
func nextAddress(s []byte) (from, to int) {
	for at := 0; at < len(s); at++ {
		next := bytes.IndexAny(s[at:], ":.")
		if next < 0 {
			return 0, 0
		}
		at += next
		length := 0
		switch before := s[:at]; {
		case s[at] == '.':
			if endsWith(before, "www") {
				length = len("www")
			}
		case bytes.HasPrefix(s[at:], []byte("://")):
			length = schemeBefore(before)
		}
		if length > 0 {
			to = at
			for to < len(s) {
				r, size := utf8.DecodeRune(s[to:])
				if isSpaceOrSeparator(r) {
					break
				}
				to += size
			}
			return at - length, to
		}
	}
	return 0, 0
}

// schemeBefore returns the length of the scheme of an address that a text ends with. One letter of it is not ASCII for those who
// take letters of any size.
func schemeBefore(s []byte) int {
	for _, scheme := range [...]string{"https", "http\u017f", "http", "ftp"} {
		if endsWith(s, scheme) {
			return len(scheme)
		}
	}
	return 0
}

func isSpaceOrSeparator(r rune) bool {
	return r < utf8.RuneSelf && isSpace(byte(r)) || r >= utf8.RuneSelf && unicode.Is(unicode.Z, r)
}

func (e *escaper) appendChars(dst []byte, s span, from, to int) []byte {
	if e.plain {
		return append(dst, e.text[from:to]...)
	}
	for from < to {
		n := from
		for n < to && classes[e.text[n]]&(marking|acting) == 0 {
			n++
		}
		dst, from = append(dst, e.text[from:n]...), n
		if from < to {
			dst, from = e.appendChar(dst, s, from)
		}
	}
	return dst
}

// appendChar appends the character at i, or the run of marks, and returns where the next one is.
func (e *escaper) appendChar(dst []byte, s span, i int) ([]byte, int) {
	if e.text[i] == '~' && e.pairs['~'] {
		// Tildes beside a mark of tildes act even behind a backslash.
		return append(dst, "&#126;"...), i + 1
	}
	c, next := e.text[i], byte(' ')
	if i+1 < len(e.text) {
		next = e.text[i+1]
	}
	last := i+1 == s.to
	acts := false
	switch c {
	case '\\':
		_, size := utf8.DecodeRune(e.text[i+1:])
		// Before blanks that are read together with what follows it would act on that.
		owed := isSpace(next) && e.hasAddress || bytes.HasPrefix(e.text[i+1:], []byte("  \n"))
		beside := i+1+size >= s.to && (s.style != style{} || s.to < len(e.text))
		acts = isPunct(next) || next == '\n' || beside || owed
	case '<':
		acts = isLetter(next) || tagLike.Match(e.text[i:]) // marks of the line's own may stand in an address
	case '&':
		acts = referenceAt(e.text[i:min(i+40, s.to)]) > 0
	case '[':
		// At a line's start it may begin a definition, which is not shown; its name has at most 999 characters.
		begins := bytes.TrimRight(e.text[:i], " ")
		acts = s.style.href != "" || (len(begins) == 0 || begins[len(begins)-1] == '\n') && bytes.Contains(e.text[i:min(len(e.text), i+4000)], []byte("]:"))
	case ']':
		acts = s.style.href != "" || next == '('
	case '!':
		acts = last && s.to < len(e.text)
	case '@':
		// The name in an address of mail may hold marks, even the line's own.
		touches := s.style.em || s.from > 0 && !isSpace(e.text[s.from-1])
		acts = touches && i-s.from < 64 && bytes.IndexFunc(e.text[s.from:i], isGap) < 0 && domain.Match(e.text[i+1:])
	case '*', '_', '~', '`':
		opens, ends, n := e.mark(s, i)
		for acts = (opens || ends) && e.pairs[c]; n > 1; n-- {
			if acts {
				dst = append(dst, '\\')
			}
			dst, i = append(dst, c), i+1
		}
	}
	if acts {
		dst = append(dst, '\\')
	}
	return append(dst, c), i + 1
}

// mayMark says whether a mark between two characters may begin something, and whether it may end something. Beside another
// mark some readers take it for either.
func mayMark(mark byte, before, after rune) (begin, end bool) {
	begin = !isGap(after) && (isWord(after) || !isWord(before)) || after < utf8.RuneSelf && isMark(byte(after))
	end = !isGap(before) && (isWord(before) || !isWord(after)) || before < utf8.RuneSelf && isMark(byte(before))
	switch mark {
	case '`':
		return true, true
	case '_':
		return begin && !isWord(before), end && !isWord(after)
	}
	return begin, end
}
