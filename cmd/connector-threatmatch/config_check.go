package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// ConfigError is everything that is wrong with a configuration.
type ConfigError struct {
	Problems []Problem
}

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	// Name is the setting and where it stands.
	Name string
	// Value is the offending value, quoted, or "" for a secret or a missing one.
	Value string
	// Advice says what is allowed or what to do.
	Advice string
}

// Error lists the problems, one a line.
func (e *ConfigError) Error() string {
	var b strings.Builder
	if len(e.Problems) == 1 {
		b.WriteString("the configuration has a problem:")
	} else {
		fmt.Fprintf(&b, "the configuration has %d problems:", len(e.Problems))
	}
	for _, p := range e.Problems {
		b.WriteString("\n  ")
		b.WriteString(p.Name)
		if p.Value != "" {
			b.WriteString(" is ")
			b.WriteString(p.Value)
		}
		b.WriteString(": ")
		b.WriteString(p.Advice)
	}
	return b.String()
}

// origin is where a value came from.
type origin struct {
	name string // environment variable
	key  string // key in the file, when it came from there
	file string
	line int
}

func (o origin) String() string {
	if o.key == "" {
		return o.name
	}
	return fmt.Sprintf("%s (%s line %d, %s)", o.name, o.file, o.line, o.key)
}

const shownValueLimit = 100 // a value is shown to be recognised, not to be read

var userInfo = regexp.MustCompile(`//[^/\s]*@`)

// shown quotes a value for an error; what may be a password inside a URL is hidden.
func shown(value string) string {
	value = userInfo.ReplaceAllString(value, "//"+hidden+"@")
	if len(value) > shownValueLimit {
		value = strings.ToValidUTF8(value[:shownValueLimit], "") + "…"
	}
	return strconv.Quote(value)
}

// crossCheck finds what is wrong between settings that are each right by themselves.
func crossCheck(c Config) []Problem {
	var found []Problem
	switch mq := c.MQ; {
	case (mq.Cert == "") != (mq.Key == ""):
		found = append(found, Problem{Name: "MQ_USE_SSL_CERT and MQ_USE_SSL_KEY", Advice: "set both or neither: a certificate works only with its key"})
	case mq.Cert != "":
		if _, err := mq.clientCertificate(); err != nil {
			found = append(found, Problem{Name: "MQ_USE_SSL_CERT and MQ_USE_SSL_KEY", Advice: err.Error()})
		}
	}
	return found
}

// remarks are the warnings about a configuration that is valid.
func remarks(c Config) []Warning {
	var w []Warning
	if !c.OpenCTI.TLS.Verify {
		w = append(w, "OPENCTI_SSL_VERIFY=false: whoever can intercept the connection to OpenCTI can read its token")
	}
	if !c.MQ.RejectUnauthorized {
		w = append(w, "MQ_USE_SSL_REJECT_UNAUTHORIZED=false: RabbitMQ's certificate is not verified")
	}
	if tm := c.ThreatMatch; !tm.Profiles && !tm.Alerts && !tm.IOCs && !tm.Reports {
		w = append(w, "every dataset is switched off (THREATMATCH_IMPORT_PROFILES, _ALERTS, _IOCS, _REPORTS): nothing will be imported")
	}
	return w
}
