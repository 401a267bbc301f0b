package config

import (
	"os"
	"strings"
)

// serverTrust reads true, false, or the path of the authorities to trust.
func serverTrust() kind[ServerTrust] {
	authorities := certificates()
	const says = "true, false, or the path of a readable file with PEM certificates"
	return kind[ServerTrust]{
		parse: func(s string) (ServerTrust, bool) {
			if verify, ok := parseBool(s); ok {
				return ServerTrust{Verify: verify}, true
			}
			ca, ok := authorities.parse(s)
			return ServerTrust{Verify: true, CA: ca}, ok
		},
		says:  says,
		typ:   schemaType{Type: "string"},
		fault: fileFault(says),
	}
}

// certificates reads PEM certificates, as a text or from the file that a path names.
func certificates() kind[PEM] { return inPEM("certificates", "", holdsCertificates) }

// privateKey reads a PEM key, as a text or from the file that a path names.
func privateKey() kind[PEM] { return inPEM("a private key", "password", holdsKey) }

func inPEM(what, format string, holds func(string) bool) kind[PEM] {
	says := what + " in PEM, or the path of a readable file with that"
	return kind[PEM]{
		parse: func(s string) (PEM, bool) {
			p, ok := readPEM(s)
			return p, ok && holds(p.Text.Reveal())
		},
		says:  says,
		typ:   schemaType{Type: "string", Format: format},
		fault: fileFault(says),
	}
}

// fileFault says what is wrong with the file that a text names instead of what it must be.
func fileFault(says string) func(string) string {
	return func(s string) string {
		if strings.Contains(s, pemBegin) {
			return ""
		}
		if _, err := readLimited(s); err != nil {
			return "must be " + says + "; as a path it cannot be read: " + reasonOf(err)
		}
		return "must be " + says + "; that file holds nothing of the kind"
	}
}

// stateFolder reads a path. It is not touched here: whether it can be written is found out by who writes it.
func stateFolder() kind[string] {
	k := singleLine()
	k.says = "the path of a folder"
	parse := k.parse
	k.parse = func(s string) (string, bool) {
		s, ok := parse(s)
		if !ok {
			return "", false
		}
		info, err := os.Stat(s)
		return s, err != nil || info.IsDir()
	}
	return k
}
