package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
)

// Settings names the settings that say how a remote system is reached, for the advice to an operator.
type Settings struct {
	Address   string // where it is
	Authority string // which authorities are trusted
	Plain     string // what to do where a port does not speak TLS that should
	Encrypted string // what to do where a port speaks TLS that should not
	Proxy     string // which proxy is used; "" where there is no such setting
	Client    string // which client certificate is shown; "" where there is no such setting
}

// SettingsOf names the settings of a system whose address is a URL.
func SettingsOf(url, authority string) Settings {
	return Settings{
		Address: url, Authority: authority,
		Plain:     "let " + url + " begin with http://, or name the port that speaks TLS",
		Encrypted: "let " + url + " begin with https://",
		Proxy:     "HTTPS_PROXY (HTTP_PROXY where " + url + " begins with http://) and NO_PROXY",
	}
}

// Diagnosis is what a failure of a remote system means to an operator. The zero value says that nothing is known.
type Diagnosis struct {
	// Kind tells failures of one kind from those of another.
	Kind string
	// Lasting says that waiting will hardly mend it.
	Lasting bool
	// Slow says that the system is there and asks for time: it has as much as for an answer.
	Slow bool
	// Problem says what is wrong, and Remedy what to do, without a word of the server's that may hold a secret.
	Problem, Remedy string
}

// String is the problem with its remedy, in words that follow a colon.
func (d Diagnosis) String() string {
	if d.Problem == "" || d.Remedy == "" {
		return d.Problem + d.Remedy
	}
	return d.Problem + "; " + d.Remedy
}

// CutFrom takes out of a text what the diagnosis says anyway.
func (d Diagnosis) CutFrom(text string) string {
	for _, said := range []string{d.String(), d.Remedy} {
		if said != "" {
			text = strings.ReplaceAll(text, "; "+said, "")
		}
	}
	return text
}

func lasting(kind, problem, remedy string) Diagnosis {
	return Diagnosis{Kind: kind, Lasting: true, Problem: problem, Remedy: remedy}
}

func passing(kind, problem, remedy string) Diagnosis {
	return Diagnosis{Kind: kind, Problem: problem, Remedy: remedy}
}

// Diagnose finds out why a remote system cannot be reached. What answered in the end, if only to refuse, is its client's to judge.
func Diagnose(err error, s Settings) Diagnosis {
	for _, find := range []func(error, Settings) Diagnosis{ofProxy, ofClientCertificate, ofTrust, ofEncryption, ofNetwork} {
		if d := find(err, s); d.Kind != "" {
			return d
		}
	}
	return Diagnosis{}
}

// ofEncryption looks for TLS where there is none, and the reverse.
func ofEncryption(err error, s Settings) Diagnosis {
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return lasting("plain", "that port does not speak TLS", s.Plain)
	case err != nil && strings.Contains(err.Error(), `malformed HTTP response "\x15\x03`):
		return Encrypted(s)
	}
	return Diagnosis{}
}

// Encrypted is the diagnosis of a port that speaks TLS and was asked without.
func Encrypted(s Settings) Diagnosis {
	return lasting("encrypted", "that port speaks TLS", s.Encrypted)
}

// AsksForTLS reports whether the answer to a request is what servers say to one without TLS at a port with it: each in its own
// words, and all with a 400.
func AsksForTLS(status int, body string) bool {
	return status == http.StatusBadRequest &&
		(strings.Contains(body, "HTTPS") || strings.Contains(body, "SSL")) && strings.Contains(body, "HTTP ")
}

// Mute is the diagnosis of a system of which nothing is heard.
func Mute(s Settings) Diagnosis {
	return passing("timeout", "nothing comes back", "see whether it hangs or is overloaded (ask who runs it, or look at its log and restart it) "+
		"and whether a firewall or proxy lies between, and check "+s.Address)
}

// ofNetwork looks for what keeps a connection from being made, or from lasting.
func ofNetwork(err error, s Settings) Diagnosis {
	var unresolved *net.DNSError
	var network net.Error
	switch {
	case errors.As(err, &unresolved) && unresolved.IsNotFound:
		return lasting("unresolved", "its name cannot be resolved", "check the DNS of this machine or container, and "+s.Address)
	case errors.As(err, &unresolved):
		return passing("dns", "the DNS does not answer", "check it, and "+s.Address)
	case errors.Is(err, syscall.ECONNREFUSED):
		return passing("refused", "nothing listens there", "check that it runs, and "+s.Address)
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return passing("unreachable", "there is no way to it from here", "check the network, and "+s.Address)
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return passing("reset", "it breaks connections off", between(s))
	case errors.Is(err, io.EOF):
		return passing("ended", "it ends connections without an answer", between(s))
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return Mute(s)
	}
	return Diagnosis{}
}

// between is what to do about connections that come to nothing, which is also what some servers with TLS have for a request
// without.
func between(s Settings) string {
	return "check it, what lies between, and " + s.Address + "; if that port speaks TLS, " + s.Encrypted
}
