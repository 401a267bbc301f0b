package description

import (
	"bytes"
	"regexp"
	"strings"
	"unicode/utf8"
)

var (
	// tagLike begins what could be taken for a tag, a comment or an address in angle brackets.
	tagLike = regexp.MustCompile(`^<(?:[A-Za-z/!?]|[^\s<>]+@)`)
	// address is what becomes a link without being marked as one, unless its colon or point is escaped. A backslash in it, or
	// a mark behind it, would be taken for a part of it.
	address      = regexp.MustCompile(`(?i)(?:(?:https?|ftp)://|www\.)[^\s\p{Z}]*`)
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

// guard escapes what would make a line something else than text.
func (at place) guard(s string) string {
	if at != inParagraph && at != inHeading {
		return s
	}
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
	// hasAddress says that something may become a link of its own.
	hasAddress bool
	at         place
}

func newEscaper(l *line, at place) *escaper {
	e := &escaper{text: l.text, at: at}
	e.hasAddress = bytes.Contains(e.text, []byte("://")) || bytes.IndexByte(e.text, '@') >= 0 || bytes.Contains(bytes.ToLower(e.text), []byte("www."))
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
		for _, m := range address.FindAllIndex(e.text[s.from:s.to], -1) {
			dst = e.appendChars(dst, s, i, s.from+m[0])
			i = s.from + m[1]
			escaped := e.appendChars(nil, s, s.from+m[0], i)
			touches := i == s.to && !alone
			barred := e.at == inCell && bytes.IndexByte(escaped, '|') >= 0
			if touches || barred || len(escaped) > m[1]-m[0] {
				escaped = addressStart.ReplaceAll(escaped, []byte(`$1\$2`))
			}
			dst = append(dst, escaped...)
		}
	}
	return e.appendChars(dst, s, i, s.to)
}

func (e *escaper) appendChars(dst []byte, s span, from, to int) []byte {
	for from < to {
		dst, from = e.appendChar(dst, s, from)
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
		acts = tagLike.Match(e.text[i:]) // marks of the line's own may stand in an address
	case '&':
		acts = startsReference.Match(e.text[i:min(i+40, s.to)])
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
