package config

import (
	"errors"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/token"
)

// quotedSource is what the parser's reasons quote of the file: texts, and single letters other than the marks of YAML.
var quotedSource = regexp.MustCompile("\"(?:[^\"\\\\]|\\\\.)*\"?|'(?:[^' ,:@`{}\\[\\]\\\\]|\\\\[^t])[^']*'")

// parserReason says where and why a file is not YAML. The library's error shows the lines around the place, and its reasons
// quote single words; both may be a secret, or the rest of one that a quote or a colon has cut, so neither is taken.
func parserReason(err error) (at *token.Token, reason string) {
	syntax, ok := errors.AsType[yaml.Error](err)
	if !ok {
		return nil, "is not YAML" // the parser gave up
	}
	said := syntax.GetMessage()
	if _, twice := errors.AsType[*yaml.DuplicateKeyError](err); twice || strings.Contains(said, "already defined") {
		return syntax.GetToken(), "holds a key a second time"
	}
	said = strings.ReplaceAll(said, "\t", `\t`)
	return syntax.GetToken(), "is not YAML: " + quotedSource.ReplaceAllString(said, "…")
}
