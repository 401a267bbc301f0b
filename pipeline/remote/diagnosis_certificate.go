package remote

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ofTrust looks for what is wrong with the server's certificate, or with where it leads.
func ofTrust(err error, s Settings) Diagnosis {
	var (
		redirect  *RedirectError
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
	)
	its := "its certificate" + described(shownBy(err))
	switch {
	case errors.As(err, &redirect):
		return lasting("redirect", "it redirects to elsewhere", "set "+s.Address+" to where it really is")
	case errors.As(err, &authority):
		return lasting("authority", its+" comes from an authority that is not known here", "name that authority's certificate in "+s.Authority)
	case errors.As(err, &host):
		return lasting("name", its+" is for another name ("+strings.TrimPrefix(host.Error(), "x509: ")+")", "check "+s.Address)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return lasting("expired", ofTime(its, shownBy(err), invalid.Cert), "renew it, or check the clock of this machine")
	case errors.As(err, &invalid), errors.As(err, &verify):
		return lasting("certificate", its+" cannot be trusted", "check it, and "+s.Authority)
	}
	return Diagnosis{}
}

// ofTime says of a certificate that its time is over or has not come, or that of one that vouches for it.
func ofTime(its string, shown, late *x509.Certificate) string {
	if shown != nil && late != nil && !shown.Equal(late) {
		its = "the authority behind " + its + ", " + late.Subject.String() + ","
	}
	switch {
	case late == nil:
		return its + " has expired, or is not valid yet"
	case time.Now().Before(late.NotBefore):
		return its + " is not valid before " + late.NotBefore.UTC().Format(time.DateTime) + " UTC"
	}
	return its + " has expired on " + late.NotAfter.UTC().Format(time.DateTime) + " UTC"
}

// ofClientCertificate looks for what a server has against the client's certificate, or its absence.
func ofClientCertificate(err error, s Settings) Diagnosis {
	var client *ClientCertificateError
	var unheard *UnheardError
	said, _ := Alert(err)
	set := "set " + s.Client
	if s.Client == "" {
		set = "let it take connections without one from here: the connector has no setting for it"
	}
	switch known := errors.As(err, &client); {
	case known && client.Shown != nil:
		return lasting("client certificate", fmt.Sprintf("it does not take the client certificate%s (%s)", described(client.Shown), said),
			set+" to one that has not expired and whose authority it trusts")
	case known, said == "certificate required":
		return lasting("no client certificate", "it asks for a client certificate, and is shown none", set)
	case slices.Contains(aboutCertificates, said):
		return lasting("client certificate", "it does not take the client certificate ("+said+")", set)
	case errors.As(err, &unheard):
		return passing("unheard", "it ends connections without an answer",
			"check it, and what lies between; it also asks for a client certificate, and is shown none: if it needs one, "+set)
	}
	return Diagnosis{}
}

// aboutCertificates are the alerts that say what is wrong with a certificate, in the words of Go's package for TLS.
var aboutCertificates = []string{
	"bad certificate", "unsupported certificate", "revoked certificate", "expired certificate", "unknown certificate",
	"unknown certificate authority",
}

// shownBy returns the certificate that an error is about, nil where it names none.
func shownBy(err error) *x509.Certificate {
	var (
		verify    *tls.CertificateVerificationError
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
	)
	switch {
	case errors.As(err, &verify) && len(verify.UnverifiedCertificates) > 0:
		return verify.UnverifiedCertificates[0]
	case errors.As(err, &authority):
		return authority.Cert
	case errors.As(err, &host):
		return host.Certificate
	}
	return nil
}

// described tells certificates apart: whose it is, who vouches for it, and until when. It is "" for none.
func described(c *x509.Certificate) string {
	if c == nil {
		return ""
	}
	subject := c.Subject.String()
	if subject == "" {
		subject = strings.Join(c.DNSNames, ", ")
	}
	return fmt.Sprintf(" (%s, issued by %s, valid until %s)", subject, c.Issuer.String(), c.NotAfter.UTC().Format(time.DateOnly))
}
