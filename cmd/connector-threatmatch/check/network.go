package check

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// certificateSoon is when a certificate that ends is worth a word.
const certificateSoon = 14 * 24 * time.Hour

// place is where something listens, and which settings say so.
type place struct {
	host, port string
	tls        *tls.Config // nil where it is not to be reached over TLS
	proxied    bool        // host and port are a proxy's
	settings   remote.Settings
}

func (p place) address() string { return net.JoinHostPort(p.host, p.port) }

// placeOf is where requests to a URL go, a proxy where the carrier uses one.
func placeOf(carrier *http.Transport, address string, settings remote.Settings) (place, error) {
	u, err := url.Parse(address)
	if err != nil {
		return place{}, wrong("check "+settings.Address, "%s is no URL", settings.Address)
	}
	p := place{host: u.Hostname(), port: portOf(u), settings: settings}
	proxy, err := carrier.Proxy(&http.Request{URL: u})
	switch {
	case err != nil:
		return place{}, wrong("check HTTP_PROXY, HTTPS_PROXY and NO_PROXY", "the proxy cannot be told: %v", err)
	case proxy != nil:
		p.host, p.port, p.proxied, p.settings.Address = proxy.Hostname(), portOf(proxy), true, "HTTP_PROXY and HTTPS_PROXY"
	case u.Scheme == "https":
		p.tls = carrier.TLSClientConfig.Clone()
	}
	return p, nil
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

// reach checks that a place can be found and connected to.
func (p *part) reach(ctx context.Context, at place) {
	p.must(ctx, "host name", at.resolve)
	p.must(ctx, "connection", at.connect)
}

// resolve finds the addresses of the host.
func (p place) resolve(ctx context.Context) (string, string, error) {
	of := ""
	if p.proxied {
		of = "the proxy "
	}
	if net.ParseIP(p.host) != nil {
		return of + p.host + " is an address", "", nil
	}
	found, err := net.DefaultResolver.LookupHost(ctx, p.host)
	if err == nil {
		return fmt.Sprintf("%s%s is %s", of, p.host, strings.Join(found[:min(len(found), 3)], ", ")), "", nil
	}
	return "", "", p.unreached(of+p.host, err)
}

// connect opens a connection, with TLS where that is wanted, and closes it.
func (p place) connect(ctx context.Context) (string, string, error) {
	socket, err := new(net.Dialer).DialContext(ctx, "tcp", p.address())
	if err != nil {
		return "", "", p.unreached(p.address(), err)
	}
	defer socket.Close()
	if p.tls == nil {
		if p.proxied {
			return "by way of the proxy " + p.address(), "", nil
		}
		return p.address() + ", not encrypted", "", nil
	}
	conf := p.tls.Clone()
	if conf.ServerName == "" {
		conf.ServerName = p.host
	}
	secured := tls.Client(socket, conf)
	if err := secured.HandshakeContext(ctx); err != nil {
		known := remote.Diagnose(err, p.settings)
		if known.Lasting {
			return "", "", p.unreached(p.address(), err)
		}
		return "", "", wrong("if this port does not speak TLS, "+p.settings.Plain,
			"%s accepts connections but no TLS: %s", p.address(), cmp.Or(known.Problem, err.Error()))
	}
	shown := secured.ConnectionState()
	seen := fmt.Sprintf("%s, %s", p.address(), tls.VersionName(shown.Version))
	if conf.InsecureSkipVerify {
		return seen + ", certificate not verified", "", nil
	}
	end := shown.PeerCertificates[0].NotAfter
	seen += ", certificate valid until " + end.UTC().Format(time.DateOnly)
	if time.Until(end) < certificateSoon {
		return seen, "have the certificate renewed before it ends", nil
	}
	return seen, "", nil
}

// unreached says why something cannot be reached.
func (p place) unreached(what string, err error) error {
	known := remote.Diagnose(err, p.settings)
	if known.Problem == "" {
		return wrong("check "+p.settings.Address, "%s cannot be connected to: %v", what, err)
	}
	return wrong(known.Remedy, "%s: %s", what, known.Problem)
}

// explain says what is wrong with a call of something that was reached: what its client knows of that, what was said, and
// otherwise a remedy for what nobody knows.
func (p place) explain(ctx context.Context, known remote.Diagnosis, said, otherwise string) error {
	switch {
	case known.Lasting:
	case p.speaksTLS(ctx):
		known = remote.Encrypted(p.settings)
	case ctx.Err() != nil:
		known, said = remote.Mute(p.settings), fmt.Sprintf("waited for %s", stepLimit)
	}
	if known.Problem == "" {
		return wrong(cmp.Or(known.Remedy, otherwise), "%s", said)
	}
	return wrong(cmp.Or(known.Remedy, otherwise), "%s (%s)", known.Problem, said)
}

// speaksTLS finds out whether a place that was reached without TLS speaks it.
func (p place) speaksTLS(ctx context.Context) bool {
	return p.tls == nil && !p.proxied && !errors.Is(ctx.Err(), context.Canceled) && speaksTLS(ctx, p.address())
}

// speaksTLS finds out whether a place speaks TLS. Nothing that is worth protecting is sent there, so anybody may answer. It has
// a little time of its own, for it is asked when something else has failed, perhaps by using all there was.
func speaksTLS(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepLimit/3)
	defer cancel()
	socket, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	defer socket.Close()
	err = tls.Client(socket, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(ctx)
	var alert tls.AlertError
	return err == nil || errors.As(err, &alert) // an alert is an answer in TLS, too
}
