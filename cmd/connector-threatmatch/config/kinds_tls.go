package config

import (
	"crypto/x509"
	"encoding/pem"
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
func certificates() kind[string] {
	const says = "PEM certificates, or the path of a readable file that holds them"
	return kind[string]{
		parse: func(s string) (string, bool) {
			text, ok := textOrFile(s)
			return text, ok && x509.NewCertPool().AppendCertsFromPEM([]byte(text))
		},
		says:  says,
		typ:   schemaType{Type: "string"},
		fault: fileFault(says),
	}
}

// privateKey reads a PEM key, as a text or from the file that a path names.
func privateKey() kind[Secret] {
	const says = "a private key in PEM, or the path of a readable file that holds one"
	return kind[Secret]{
		parse: func(s string) (Secret, bool) {
			text, ok := textOrFile(s)
			block, _ := pem.Decode([]byte(text))
			return Secret(text), ok && block != nil && strings.HasSuffix(block.Type, "PRIVATE KEY")
		},
		says:  says,
		typ:   schemaType{Type: "string", Format: "password"},
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

// pemBegin is what PEM has and no path.
const pemBegin = "-----BEGIN "

func textOrFile(s string) (string, bool) {
	if strings.Contains(s, pemBegin) {
		// Environment files cannot hold line breaks, so people write them as \n.
		return strings.ReplaceAll(s, `\n`, "\n"), true
	}
	data, err := readLimited(s)
	return string(data), err == nil
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
