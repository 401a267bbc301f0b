package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
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
	Encrypted string // whether it is reached over TLS
}

// Diagnosis is what a failure to reach a remote system means to an operator. The zero value says that nothing is known.
type Diagnosis struct {
	// Kind tells failures of one kind from those of another.
	Kind string
	// Lasting says that waiting will hardly mend it.
	Lasting bool
	// Remedy says what to do, in words that follow a colon.
	Remedy string
}

// Diagnose finds out why a remote system cannot be reached. What answered in the end, if only to refuse, is its client's to judge.
func Diagnose(err error, s Settings) Diagnosis {
	for _, find := range []func(error, Settings) Diagnosis{ofTrust, ofEncryption, ofNetwork} {
		if d := find(err, s); d.Kind != "" {
			return d
		}
	}
	return Diagnosis{}
}

// ofTrust looks for what is wrong with the server's certificate, or with where it leads.
func ofTrust(err error, s Settings) Diagnosis {
	var (
		redirect  *RedirectError
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &redirect):
		return Diagnosis{"redirect", true, "set " + s.Address + " to where it really is"}
	case errors.As(err, &authority):
		return Diagnosis{"authority", true, "its certificate comes from an authority that is not known here; name that authority's certificate in " + s.Authority}
	case errors.As(err, &host):
		return Diagnosis{"name", true, "its certificate is for another name; check " + s.Address}
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return Diagnosis{"expired", true, "its certificate has expired, or is not valid yet; renew it, or check the clock of this machine"}
	case errors.As(err, &invalid), errors.As(err, &verify):
		return Diagnosis{"certificate", true, "its certificate cannot be trusted; check it, and " + s.Authority}
	}
	return Diagnosis{}
}

// ofEncryption looks for TLS where there is none, and the reverse.
func ofEncryption(err error, s Settings) Diagnosis {
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return Diagnosis{"plain", true, "that port does not speak TLS; check the port, and " + s.Encrypted}
	case err != nil && strings.Contains(err.Error(), `malformed HTTP response "\x15\x03`):
		return Diagnosis{"encrypted", true, "that port speaks TLS; check the port, and " + s.Encrypted}
	}
	return Diagnosis{}
}

// ofNetwork looks for what keeps a connection from being made, or from lasting.
func ofNetwork(err error, s Settings) Diagnosis {
	var unresolved *net.DNSError
	var network net.Error
	switch {
	case errors.As(err, &unresolved) && unresolved.IsNotFound:
		return Diagnosis{"unresolved", true, "its name cannot be resolved; check " + s.Address + " and the DNS"}
	case errors.As(err, &unresolved):
		return Diagnosis{"dns", false, "the DNS does not answer; check it, and " + s.Address}
	case errors.Is(err, syscall.ECONNREFUSED):
		return Diagnosis{"refused", false, "nothing listens there; check that it runs, and " + s.Address}
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return Diagnosis{"unreachable", false, "there is no way to it from here; check the network, and " + s.Address}
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return Diagnosis{"reset", false, "it breaks connections off; check it, what lies between, and " + s.Address}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return Diagnosis{"timeout", false, "nothing comes back; check that it runs, the firewalls and proxies between, and " + s.Address}
	}
	return Diagnosis{}
}
