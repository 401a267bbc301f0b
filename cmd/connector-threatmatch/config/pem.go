package config

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
)

// PEM is what a setting holds in PEM. Where a path was given the file can be read anew.
type PEM struct {
	Text Secret // a key may be among it
	File string // "" for a text that stands in the setting itself
}

// IsZero reports whether there is none.
func (p PEM) IsZero() bool { return p.Text == "" }

// Again reads what the file holds now; of a text that stands in the setting it returns that. The error names no path.
func (p PEM) Again() (PEM, error) {
	if p.File == "" {
		return p, nil
	}
	data, err := readLimited(p.File)
	if err != nil {
		return PEM{}, errors.New("cannot be read: " + reasonOf(err))
	}
	return PEM{Text: pemText(string(data)), File: p.File}, nil
}

// CertificatesAgain reads certificates as [PEM.Again] does, and wants to find some.
func (p PEM) CertificatesAgain() (PEM, error) {
	now, err := p.Again()
	if err == nil && p.File != "" && !holdsCertificates(now.Text.Reveal()) {
		err = errors.New("holds no certificate in PEM")
	}
	return now, err
}

// pemBegin is what PEM has and no path.
const pemBegin = "-----BEGIN "

func readPEM(s string) (PEM, bool) {
	if strings.Contains(s, pemBegin) {
		return PEM{Text: pemText(s)}, true
	}
	p, err := PEM{File: s}.Again()
	return p, err == nil
}

// pemText is a text without what editors add to it. Environment files cannot hold line breaks, so people write them as \n.
func pemText(s string) Secret {
	return Secret(strings.ReplaceAll(strings.TrimSpace(strings.TrimPrefix(s, byteOrderMark)), `\n`, "\n"))
}

func holdsCertificates(text string) bool { return x509.NewCertPool().AppendCertsFromPEM([]byte(text)) }

func holdsKey(text string) bool { return keyIn([]byte(text)) != nil }

// keyIn finds the first key in a text, nil for none: OpenSSL writes a curve's parameters before it.
func keyIn(text []byte) *pem.Block {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return block
		}
	}
	return nil
}
