package files

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

// roleLimit bounds the question for a role's credentials: outside of a cloud nobody may answer it.
const roleLimit = 15 * time.Second

// role gets the credentials that AWS gives to where the program runs: the environment's, else those of the role of the pod, the
// container or the machine. Unlike the chain of the library it does not go on without, as nobody, where there are none.
type role struct {
	environment credentials.EnvAWS
	given       credentials.IAM
	fromOutside bool // that is, of the environment
	had         bool
}

// newRole asks by way of a transport, but for addresses of the machine's own link, at which clouds answer: no proxy knows those.
func newRole(transport *http.Transport) *role {
	own := transport.Clone()
	if proxy := own.Proxy; proxy != nil {
		own.Proxy = func(r *http.Request) (*url.URL, error) {
			if ip := net.ParseIP(r.URL.Hostname()); ip != nil && (ip.IsLinkLocalUnicast() || ip.IsLoopback()) {
				return nil, nil
			}
			return proxy(r)
		}
	}
	own.DisableKeepAlives = true // it asks once in hours
	return &role{given: credentials.IAM{Client: &http.Client{Transport: own, Timeout: roleLimit}}}
}

// RetrieveWithCredContext implements [credentials.Provider].
func (r *role) RetrieveWithCredContext(cc *credentials.CredContext) (credentials.Value, error) {
	value, err := r.environment.RetrieveWithCredContext(cc)
	if r.fromOutside = err == nil && value.AccessKeyID != "" && value.SecretAccessKey != ""; r.fromOutside {
		return value, nil
	}
	if value, err = r.given.RetrieveWithCredContext(cc); err == nil && value.AccessKeyID == "" {
		err = errors.New("it has no credentials")
	}
	switch {
	case err == nil:
		r.had = true
		return value, nil
	case r.had:
		return value, fmt.Errorf("renew the role's credentials: %w", err)
	}
	return value, &LastingError{Problem: "there are no keys for the server, and no role that gives some (" + err.Error() + ")",
		Remedy: "set S3_ACCESS_KEY and S3_SECRET_KEY, or give the machine, the container or the pod a role in AWS", cause: err}
}

// Retrieve implements [credentials.Provider].
func (r *role) Retrieve() (credentials.Value, error) { return r.RetrieveWithCredContext(nil) }

// IsExpired implements [credentials.Provider].
func (r *role) IsExpired() bool {
	if r.fromOutside {
		return r.environment.IsExpired()
	}
	return r.given.IsExpired()
}
