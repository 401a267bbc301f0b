package config

import (
	"net/url"
	"strings"

	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// Effective is a setting as it counts. It is safe to show: secrets are masked, wherever they stand.
type Effective struct {
	Name   string `json:"name"`  // environment variable
	Value  string `json:"value"` // as it was written, "" where nothing sets it
	Secret bool   `json:"secret,omitempty"`
	Source Source `json:"source"`

	About   string `json:"about"`   // a sentence for operators
	Allowed string `json:"allowed"` // completes "must be …"
}

// Source is where the value of a setting comes from.
type Source struct {
	Kind SourceKind `json:"kind"`
	// Variable is the environment variable, as it is spelled there, when Kind is [FromEnvironment].
	Variable string `json:"variable,omitempty"`
	// File, Line and Key, as it is spelled there, are the place in the file when Kind is [FromFile]; File is the path when it is
	// [FromSecretFile], with the variable that holds it.
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	Key  string `json:"key,omitempty"`
}

// SourceKind is one of the kinds below.
type SourceKind string

// The kinds of sources.
const (
	FromDefault     SourceKind = "default"
	FromEnvironment SourceKind = "environment"
	FromFile        SourceKind = "file"
	FromSecretFile  SourceKind = "file of a secret"
	FromNowhere     SourceKind = "not set"
)

// Show returns every setting as it counts, whether it can be used or not, beside the warnings of [Load] and
// [StateDirWarnings], and the error of [Load]. A file that cannot be read at all leaves none to show.
func Show(path string, explicit bool, environ []string) ([]Effective, []Warning, error) {
	l, err := loadAll(path, explicit, environ)
	if err != nil {
		return nil, nil, err
	}
	var shown []Effective
	for _, e := range l.settings {
		shown = append(shown, Effective{
			Name: e.env, Value: e.shown(l.secrets), Secret: e.secret, Source: e.source(),
			About: strings.ReplaceAll(e.about, "`", ""), Allowed: e.value.allowed(),
		})
	}
	return shown, append(l.warnings, StateDirWarnings(l.cfg)...), l.wrong()
}

// effective is a setting with the text that counts.
type effective struct {
	setting
	text  string
	where origin
}

// secretsAmong knows the secrets of settings, of those that cannot be used too: people put the right one into the wrong place.
func secretsAmong(settings []effective) *remote.Redactor {
	var read Config
	var secrets []string
	for _, e := range settings {
		if e.secret && !strings.EqualFold(e.text, samplePlaceholder) {
			_ = e.value.read(&read, e.text)
			secrets = append(secrets, e.text, e.where.mistaken)
		}
	}
	return remote.NewRedactor(append(secrets, read.Secrets()...)...)
}

func (e effective) source() Source {
	switch {
	case e.where.secretFile != "":
		return Source{Kind: FromSecretFile, Variable: e.where.name, File: e.where.secretFile}
	case e.text == "":
		return Source{Kind: FromNowhere}
	case e.where.key != "":
		return Source{Kind: FromFile, File: e.where.file, Line: e.where.line, Key: e.where.key}
	case e.where.set:
		return Source{Kind: FromEnvironment, Variable: e.where.name}
	}
	return Source{Kind: FromDefault}
}

// shown is what may be seen of the text.
func (e effective) shown(hide *remote.Redactor) string {
	switch {
	case e.text == "":
		return ""
	case strings.EqualFold(e.text, samplePlaceholder):
		return e.text
	case e.secret && e.masked != nil:
		return e.masked(e.text)
	case e.secret:
		return remote.Hidden
	case strings.Contains(e.text, "-----BEGIN "):
		return "PEM" // of any length, and a key may stand beside the certificate
	}
	return hide.Redact(e.text)
}

// maskedHeaders shows the names of headers.
func maskedHeaders(text string) string {
	headers, ok := extraHeaders().parse(text)
	if !ok {
		return remote.Hidden
	}
	var shown []string
	for _, name := range headers.names() {
		shown = append(shown, name+": "+remote.Hidden)
	}
	return strings.Join(shown, ";")
}

// maskedProxy shows where a proxy is, and that it wants credentials.
func maskedProxy(text string) string {
	if strings.EqualFold(text, fromEnvironment) {
		return text // MQ_PROXY takes that word
	}
	if _, ok := proxyAddress().parse(text); !ok {
		return remote.Hidden
	}
	scheme, _, found := strings.Cut(text, "://")
	if !found {
		scheme, text = "http", "http://"+text
	}
	u, err := url.Parse(text)
	if err != nil {
		return remote.Hidden
	}
	if u.User != nil {
		return scheme + "://" + remote.Hidden + "@" + u.Host
	}
	return scheme + "://" + u.Host
}
