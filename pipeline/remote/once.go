package remote

import "strings"

// theSame stands for what another part of the error has said.
const theSame = "the same"

// leastRepeated is how long, in bytes, a text has to be before a reader would miss nothing when it stands once.
const leastRepeated = 24

// Once returns the text of an error in which what several of its parts say stands once. Errors that were joined often have one
// cause, such as the signal that ended all of them: a part that says no more than another is left out, and of one that ends
// as an earlier one does, the end becomes "the same". The text is otherwise that of [error.Error].
func Once(err error) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		var whole, parts []string
		for _, part := range e.Unwrap() {
			if part != nil {
				whole, parts = append(whole, part.Error()), append(parts, Once(part))
			}
		}
		if strings.Join(whole, "\n") != text {
			return text // its own way to put them together
		}
		return strings.Join(shortenedParts(parts), "\n")
	case interface{ Unwrap() error }:
		inner := e.Unwrap()
		if inner == nil {
			return text
		}
		if before, found := strings.CutSuffix(text, inner.Error()); found {
			return before + Once(inner)
		}
		if before, after, found := strings.Cut(text, inner.Error()); found && inner.Error() != "" {
			return before + Once(inner) + after
		}
	}
	return text
}

// shortenedParts leaves out the parts that others contain, and the ends that an earlier one has.
func shortenedParts(parts []string) []string {
	var kept []string
	for i, part := range parts {
		if !containedIn(part, parts, i) {
			kept = append(kept, part)
		}
	}
	said := kept
	kept = nil
	for i, part := range said {
		kept = append(kept, withoutEndOf(part, said[:i]))
	}
	return kept
}

// containedIn reports whether another part says all that part i says; of equal ones the first is kept.
func containedIn(part string, parts []string, i int) bool {
	for j, other := range parts {
		if j != i && strings.Contains(inLines(other), inLines(part)) && (other != part || j < i) {
			return true
		}
	}
	return false
}

// inLines puts each part of a text, from colon to colon, between line breaks: "no" is no part of "not found".
func inLines(text string) string { return "\n" + strings.ReplaceAll(text, ": ", "\n") + "\n" }

// withoutEndOf replaces the longest end of a part, from one of its colons on, with which an earlier part ends too.
func withoutEndOf(part string, earlier []string) string {
	for at := 0; ; {
		colon := strings.Index(part[at:], ": ")
		if colon < 0 {
			return part
		}
		at += colon + len(": ")
		end := part[at:]
		if len(end) < leastRepeated {
			return part
		}
		for _, other := range earlier {
			if strings.HasSuffix(other, ": "+end) {
				return part[:at] + theSame
			}
		}
	}
}
