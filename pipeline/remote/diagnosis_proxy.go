package remote

import (
	"errors"
	"net"
)

// ofProxy looks for what is wrong with a proxy, or on the way to it.
func ofProxy(err error, s Settings) Diagnosis {
	at, handed := (*ProxyError)(nil), (*net.OpError)(nil)
	named := "the proxy"
	switch {
	case errors.As(err, &at):
		named += " " + at.Proxy
	case errors.As(err, &handed) && handed.Op == "proxyconnect": // of a plain request
		at = &ProxyError{Err: handed.Err}
	default:
		return Diagnosis{}
	}
	check := "check " + s.Proxy
	switch at.refusal {
	case badUser:
		return userRefused(named, s)
	case notAllowed:
		return lasting("proxy refuses", named+" does not let this through", "have it allowed there, or "+check)
	case cannotConnect:
		return passing("proxy cannot connect", named+" cannot reach it", "see that it runs and is known there, and check "+s.Address)
	}
	found := Diagnose(at.Err, Settings{
		Address: s.Proxy, Authority: "HTTPS_CA_CERTIFICATES", Proxy: s.Proxy,
		Plain: "let the proxy's address begin with http:// in " + s.Proxy, Encrypted: "let the proxy's address begin with https:// in " + s.Proxy,
	})
	if found.Kind == "" {
		return passing("proxy", named+" does not answer as one", check)
	}
	found.Kind, found.Problem = "proxy "+found.Kind, named+": "+found.Problem
	return found
}

// ProxyUser is the diagnosis of a plain request to which a proxy answers that it wants a user and a password, or others.
func ProxyUser(s Settings) Diagnosis { return userRefused("the proxy", s) }

func userRefused(named string, s Settings) Diagnosis {
	return lasting("proxy user", named+" does not take the user and password, or wants some", "check "+s.Proxy)
}
