package transform

import (
	"bytes"
	"iter"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// The functions of this file walk over compact JSON that has been validated. On anything else they report failure, or
// stop early, but never read past the end.

// member is one name and value of an object. The name is without quotes and free of escapes, the value as it stands.
type member struct {
	// quoted is the name as it stands, with quotes.
	quoted []byte
	name   []byte
	value  []byte
	// canonical says that the value is known to be a text in its shortest form.
	canonical bool
}

// appendMembers appends the members of an object to dst.
func appendMembers(dst []member, object []byte) ([]member, bool) {
	dst, end, _ := scanObject(dst, object, 0)
	return dst, end == len(object)
}

// scanObject appends the members of the object that begins at a place of a text. It returns the position behind the object, and how
// many arrays and objects stand within each other at most; -1 where there is none, or where there are blanks between its tokens.
func scanObject(dst []member, text []byte, at int) (members []member, end, levels int) {
	if len(text) < at+2 || text[at] != '{' {
		return dst, -1, 0
	}
	for i := at + 1; i < len(text); {
		if text[i] == '}' {
			return dst, i + 1, levels + 1
		}
		nameEnd := skipString(text, i)
		if nameEnd < 0 || nameEnd >= len(text) || text[nameEnd] != ':' {
			return dst, -1, 0
		}
		end, deep, compact := skipLevels(text, nameEnd+1)
		if end <= nameEnd+1 || !compact {
			return dst, -1, 0
		}
		quoted := text[i:nameEnd]
		dst = append(dst, member{quoted: quoted, name: unquote(quoted), value: text[nameEnd+1 : end]})
		i, levels = end, max(levels, deep)
		if i < len(text) && text[i] == ',' {
			i++
		}
	}
	return dst, -1, 0
}

// elements yields the elements of an array; anything else has none.
func elements(array []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		if !isList(array) {
			return
		}
		for i := 1; i < len(array) && array[i] != ']'; {
			end := skipValue(array, i)
			if end <= i || !yield(array[i:end]) {
				return
			}
			i = end
			if i < len(array) && array[i] == ',' {
				i++
			}
		}
	}
}

// skipString returns the position behind the string that begins at i, -1 when there is none.
func skipString(b []byte, i int) int {
	if i >= len(b) || b[i] != '"' {
		return -1
	}
	start := i + 1
	for i = start; ; i++ {
		j := bytes.IndexByte(b[i:], '"')
		if j < 0 {
			return -1
		}
		i += j
		escapes := 0
		for i-escapes > start && b[i-escapes-1] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			return i + 1
		}
	}
}

// skipValue returns the position behind the value that begins at i, -1 when there is none. Blanks do not disturb it, and belong to
// the literal that they stand behind.
func skipValue(b []byte, i int) int {
	end, _, _ := skipLevels(b, i)
	return end
}

// skipLevels is skipValue, and tells how many arrays and objects stand within each other at most, and whether there are no blanks.
func skipLevels(b []byte, i int) (end, levels int, compact bool) {
	if i >= len(b) {
		return -1, 0, false
	}
	switch b[i] {
	case '"':
		return skipString(b, i), 0, true
	case '{', '[':
		return skipNested(b, i)
	}
	compact = true
	for i < len(b) && b[i] != ',' && b[i] != '}' && b[i] != ']' {
		compact = compact && b[i] > ' '
		i++
	}
	return i, 0, compact
}

func skipNested(b []byte, i int) (end, levels int, compact bool) {
	depth := 0
	compact = true
	for i < len(b) {
		switch b[i] {
		case '"':
			if i = skipString(b, i); i < 0 {
				return -1, 0, false
			}
			continue
		case '{', '[':
			depth++
			levels = max(levels, depth)
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1, levels, compact
			}
		case ' ', '\t', '\r', '\n':
			compact = false
		}
		i++
	}
	return -1, 0, false
}

// isDeeper reports whether arrays and objects stand within each other more than most times.
func isDeeper(value []byte, most int) bool {
	depth := 0
	for i := 0; i < len(value); i++ {
		switch value[i] {
		case '"':
			if i = skipString(value, i) - 1; i < 0 {
				return false
			}
		case '{', '[':
			if depth++; depth > most {
				return true
			}
		case '}', ']':
			depth--
		}
	}
	return false
}

func isString(value []byte) bool { return len(value) >= 2 && value[0] == '"' }

func isList(value []byte) bool { return len(value) >= 2 && value[0] == '[' }

func isNull(value []byte) bool { return string(value) == "null" }

// unquote returns what a string means; without escapes that is a part of it, not a copy.
func unquote(quoted []byte) []byte {
	if len(quoted) < 2 {
		return nil
	}
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	return appendUnquoted(nil, quoted)
}

// appendUnquoted appends what a string means.
func appendUnquoted(dst, quoted []byte) []byte {
	// The only error on validated text is a lone surrogate, for which U+FFFD already stands.
	dst, _ = jsontext.AppendUnquote(dst, quoted)
	return dst
}

// appendQuoted appends a string in its shortest form. Errors are impossible: what is not Unicode becomes U+FFFD.
func appendQuoted[T string | []byte](dst []byte, s T) []byte {
	dst, _ = jsontext.AppendQuote(dst, s)
	return dst
}

// readTime reads a timestamp, zero when it is none.
func readTime(value []byte) time.Time {
	const year = len(`"2006`)
	if !isString(value) || len(value) <= year || isSeen(value[1]) && value[year] != '-' && bytes.IndexByte(value[:year+1], '\\') < 0 {
		return time.Time{} // as of most texts one look tells
	}
	at, _ := pipeline.ParseTime(unquote(value))
	return at
}
