package config

import (
	"fmt"
	"regexp"
	"strings"
)

// unfilled is a reference to a variable that whoever should have filled it in has left as it was. A default in it may be a secret.
var unfilled = regexp.MustCompile(`^\$\{(\w+)(?:[:?+-][^{}]*)?\}$`)

// unfilledAdvice says what to do about a text that is such a reference, "" of any other.
func unfilledAdvice(text string) string {
	found := unfilled.FindStringSubmatch(text)
	if found == nil {
		return ""
	}
	return fmt.Sprintf("holds ${%s} as it stands, for nothing has put the value of that variable there; write the value itself", found[1])
}

// bareName is what a shell would have filled in, and a password now and then.
var bareName = regexp.MustCompile(`^\$[A-Z_][A-Z0-9_]+$`)

// takenAsWritten is about those who read an environment file without the rules of a shell.
const takenAsWritten = "docker run, podman run and kubectl take an environment file as it stands"

// slip completes "it …" of a text that holds what only belongs to the file in which it was written, "" of any other.
func slip(text string) string {
	if len(text) > 1 && text[0] == text[len(text)-1] && strings.ContainsAny(text[:1], `"'`) {
		return "stands in quotes, which are part of it: " + takenAsWritten + "; write it without them"
	}
	if bareName.MatchString(text) {
		return "reads like a variable, and is taken as it stands; where the value of one is meant, write that"
	}
	if strings.Contains(text, " #") {
		return "holds a #, and what follows is part of it: " + takenAsWritten + "; put a comment on a line of its own"
	}
	return ""
}

// fromLine tells that the text was written on a line of an environment file, or of one for a secret.
func (o origin) fromLine() bool { return o.set && o.key == "" }
