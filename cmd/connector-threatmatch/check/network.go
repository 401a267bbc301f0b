package check

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// certificateSoon is when a certificate that ends is worth a word.
const certificateSoon = 14 * 24 * time.Hour

// place is where something listens, how it is reached, and which settings say so.
type place struct {
	scheme, host, port string
	way                remote.Way
	proxy              *url.URL           // nil for none
	tls                func() *tls.Config // nil where it is not to be reached over TLS
	settings           remote.Settings
}

func (p place) address() string { return net.JoinHostPort(p.host, p.port) }

// placeOf is where requests to a URL go.
func placeOf(way remote.Way, address string, settings remote.Settings) (place, error) {
	u, err := url.Parse(address)
	if err != nil {
		return place{}, wrong("check "+settings.Address, "%s is no URL", settings.Address)
	}
	p := place{scheme: u.Scheme, host: u.Hostname(), port: portOf(u), way: way, settings: settings}
	if u.Scheme == "https" {
		p.tls = way.TLS
	}
	return p.throughProxy()
}

// throughProxy finds out by which proxy a place is reached.
func (p place) throughProxy() (place, error) {
	var err error
	if p.proxy, err = p.way.ProxyTo(&url.URL{Scheme: p.scheme, Host: p.address()}); err != nil {
		return place{}, wrong("check "+p.settings.Proxy, "the proxy cannot be told: %v", err)
	}
	return p, nil
}

// handedOver reports whether the proxy takes requests instead of opening connections.
func (p place) handedOver() bool {
	return p.proxy != nil && p.scheme == "http" && !strings.HasPrefix(p.proxy.Scheme, "socks")
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

// resolve finds the addresses of the host, of the proxy's where there is one: that looks up the other.
func (p place) resolve(ctx context.Context) (string, string, error) {
	of, host, settings := "", p.host, p.settings
	if p.proxy != nil {
		of, host, settings.Address = "the proxy ", p.proxy.Hostname(), p.settings.Proxy
	}
	if net.ParseIP(host) != nil {
		return of + host + " is an address", "", nil
	}
	found, err := net.DefaultResolver.LookupHost(ctx, host)
	if err == nil {
		return fmt.Sprintf("%s%s is %s", of, host, strings.Join(found[:min(len(found), 3)], ", ")), "", nil
	}
	return "", "", unreached(of+host, err, settings)
}

// connect opens a connection, with TLS where that is wanted, and closes it.
func (p place) connect(ctx context.Context) (string, string, error) {
	socket, err := p.open(ctx)
	if err != nil {
		return "", "", unreached(p.address(), err, p.settings)
	}
	defer socket.Close()
	by := ""
	if p.proxy != nil {
		by = ", by way of the proxy " + remote.ProxyAddress(p.proxy)
	}
	if p.tls == nil {
		return p.address() + by + ", not encrypted", "", nil
	}
	conf := p.tls().Clone()
	if conf.ServerName == "" {
		conf.ServerName = p.host
	}
	secured, err := remote.Secure(ctx, socket, conf)
	if err != nil {
		known := remote.Diagnose(err, p.settings)
		if known.Lasting {
			return "", "", unreached(p.address(), err, p.settings)
		}
		return "", "", wrong("if this port does not speak TLS, "+p.settings.Plain,
			"%s accepts connections but no TLS: %s", p.address(), cmp.Or(known.Problem, err.Error()))
	}
	shown := secured.ConnectionState()
	seen := fmt.Sprintf("%s%s, %s", p.address(), by, tls.VersionName(shown.Version))
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

// open opens a socket to the place, or to the proxy that takes its requests.
func (p place) open(ctx context.Context) (net.Conn, error) {
	if !p.handedOver() {
		return p.way.Open(ctx, p.scheme, p.address())
	}
	socket, err := new(net.Dialer).DialContext(ctx, "tcp", remote.ProxyAddress(p.proxy))
	if err != nil {
		return nil, &remote.ProxyError{Proxy: p.proxy.Scheme + "://" + remote.ProxyAddress(p.proxy), Err: err}
	}
	return socket, nil
}

// unreached says why something cannot be reached.
func unreached(what string, err error, settings remote.Settings) error {
	known := remote.Diagnose(err, settings)
	if known.Problem == "" {
		return wrong("check "+settings.Address, "%s cannot be connected to: %v", what, err)
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
	return p.tls == nil && p.proxy == nil && !errors.Is(ctx.Err(), context.Canceled) && speaksTLS(ctx, p.address())
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
	_, alert := remote.Alert(err)
	return err == nil || alert // an alert is an answer in TLS, too
}
