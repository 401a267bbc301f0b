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
	dst, _, ok := scanMembers(dst, object)
	return dst, ok
}

// scanMembers is appendMembers, and tells how many arrays and objects stand within each other at most.
func scanMembers(dst []member, object []byte) (members []member, levels int, ok bool) {
	if len(object) < 2 || object[0] != '{' {
		return dst, 0, false
	}
	for i := 1; i < len(object); {
		if object[i] == '}' {
			return dst, levels + 1, i == len(object)-1
		}
		nameEnd := skipString(object, i)
		if nameEnd < 0 || nameEnd >= len(object) || object[nameEnd] != ':' {
			return dst, 0, false
		}
		end, deep := skipLevels(object, nameEnd+1)
		if end <= nameEnd+1 {
			return dst, 0, false
		}
		quoted := object[i:nameEnd]
		dst = append(dst, member{quoted: quoted, name: unquote(quoted), value: object[nameEnd+1 : end]})
		i, levels = end, max(levels, deep)
		if i < len(object) && object[i] == ',' {
			i++
		}
	}
	return dst, 0, false
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

// skipValue returns the position behind the value that begins at i, -1 when there is none.
func skipValue(b []byte, i int) int {
	end, _ := skipLevels(b, i)
	return end
}

// skipLevels is skipValue, and tells how many arrays and objects stand within each other at most.
func skipLevels(b []byte, i int) (end, levels int) {
	if i >= len(b) {
		return -1, 0
	}
	switch b[i] {
	case '"':
		return skipString(b, i), 0
	case '{', '[':
		return skipNested(b, i)
	}
	for i < len(b) && b[i] != ',' && b[i] != '}' && b[i] != ']' {
		i++
	}
	return i, 0
}

func skipNested(b []byte, i int) (end, levels int) {
	depth := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			if i = skipString(b, i); i < 0 {
				return -1, 0
			}
			continue
		case '{', '[':
			depth++
			levels = max(levels, depth)
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1, levels
			}
		}
		i++
	}
	return -1, 0
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
	if !isString(value) {
		return time.Time{}
	}
	at, _ := pipeline.ParseTime(unquote(value))
	return at
}
