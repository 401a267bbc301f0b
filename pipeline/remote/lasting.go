package remote

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
)

// Lasting reports failures of a request that another attempt meets again, because they lie in the configuration: a
// redirect to elsewhere, a certificate that does not hold, a server that does not speak TLS. Everything else that keeps an
// answer from coming may pass.
func Lasting(err error) bool {
	var (
		redirect  *RedirectError
		verify    *tls.CertificateVerificationError
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		record    tls.RecordHeaderError
	)
	return errors.As(err, &redirect) || errors.As(err, &verify) || errors.As(err, &authority) ||
		errors.As(err, &host) || errors.As(err, &record)
}
