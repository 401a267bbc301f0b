package remote

import (
	"net/http"
	"net/url"
	"strings"
)

// maxRedirects bounds a chain of them: a proxy's way to https, a moved path and then some.
const maxRedirects = 5

// RedirectError is a redirect that was not followed.
type RedirectError struct {
	// To is the scheme and host that it led to; the rest of an address may hold a secret.
	To  string
	why string
}

func (e *RedirectError) Error() string { return "the server redirects to " + e.To + ", " + e.why }

// FollowRedirect is the policy of a client whose requests carry credentials, for [http.Client.CheckRedirect]. A redirect is
// followed when it repeats the same request at the same service: host and port stay, or http becomes https at the same
// port or from the one's default port to the other's, which is how servers ask for encryption. Another port is another
// service, though the host be the same. What is not followed ends with a [*RedirectError].
func FollowRedirect(req *http.Request, via []*http.Request) error {
	before := via[len(via)-1]
	why := ""
	switch {
	case !sameService(before.URL, req.URL):
		why = "which is another server"
	case req.Method != before.Method:
		why = "in a way that turns a " + before.Method + " into a " + req.Method
	case len(via) > maxRedirects:
		why = "and that again and again"
	default:
		return nil
	}
	return &RedirectError{To: req.URL.Scheme + "://" + req.URL.Host, why: why}
}

func sameService(from, to *url.URL) bool {
	if !strings.EqualFold(from.Hostname(), to.Hostname()) {
		return false
	}
	fromPort, toPort := portOf(from), portOf(to)
	switch {
	case from.Scheme == to.Scheme:
		return fromPort == toPort
	case from.Scheme == "http" && to.Scheme == "https":
		return fromPort == toPort || fromPort == "80" && toPort == "443"
	}
	return false
}

func portOf(u *url.URL) string {
	switch port := u.Port(); {
	case port != "":
		return port
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}
