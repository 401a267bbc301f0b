package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// certificateSoon is when a certificate that ends is worth a word.
const certificateSoon = 14 * 24 * time.Hour

// place is where something listens, and which settings say so.
type place struct {
	host, port string
	tls        *tls.Config // nil where it is not to be reached over TLS
	proxied    bool        // host and port are a proxy's

	setting  string // that names the host
	trust    string // what to set so that another authority is trusted
	plain    string // what to do where it does not speak TLS
	encrypts string // what to do where it does
}

func (p place) address() string { return net.JoinHostPort(p.host, p.port) }

// placeOf is where requests to a URL go, a proxy where the carrier uses one.
func placeOf(carrier *http.Transport, address, setting, trust string) (place, error) {
	u, err := url.Parse(address)
	if err != nil {
		return place{}, wrong("check "+setting, "%s is no URL", setting)
	}
	p := place{
		host: u.Hostname(), port: portOf(u), setting: setting, trust: trust,
		plain:    "let " + setting + " begin with http://, or name the port that speaks TLS",
		encrypts: "let " + setting + " begin with https://",
	}
	proxy, err := carrier.Proxy(&http.Request{URL: u})
	switch {
	case err != nil:
		return place{}, wrong("check HTTP_PROXY, HTTPS_PROXY and NO_PROXY", "the proxy cannot be told: %v", err)
	case proxy != nil:
		p.host, p.port, p.proxied, p.setting = proxy.Hostname(), portOf(proxy), true, "HTTP_PROXY and HTTPS_PROXY"
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
	remedy := fmt.Sprintf("check the host in %s, and the DNS of this machine or container", p.setting)
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		return "", "", wrong(remedy, "there is no host %s%s", of, p.host)
	}
	return "", "", wrong(remedy, "%s%s cannot be looked up: DNS does not answer", of, p.host)
}

// connect opens a connection, with TLS where that is wanted, and closes it.
func (p place) connect(ctx context.Context) (string, string, error) {
	socket, err := new(net.Dialer).DialContext(ctx, "tcp", p.address())
	if err != nil {
		return "", "", p.dialFault(err)
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
		if known := p.tlsFault(err); known != nil {
			return "", "", known
		}
		said := err.Error()
		if ctx.Err() != nil {
			said = "nothing comes back"
		}
		return "", "", wrong("if this port does not speak TLS, "+p.plain, "%s accepts connections but no TLS: %s", p.address(), said)
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

func (p place) dialFault(err error) error {
	check := "check host and port in " + p.setting
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return wrong(check+", and that it runs", "nothing listens at %s", p.address())
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return wrong(check+"; a firewall may be in the way", "%s does not answer", p.address())
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return wrong(check+", and this machine's network", "there is no way to %s", p.address())
	}
	return wrong(check, "%s cannot be connected to: %v", p.address(), err)
}

// tlsFault names what is wrong with a certificate, or that there is no TLS at all; nil for everything else.
func (p place) tlsFault(err error) error {
	var (
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &authority):
		issuer := "somebody"
		if authority.Cert != nil {
			issuer = authority.Cert.Issuer.String()
		}
		return wrong("put that authority's certificate (PEM, or the path of a file) into "+p.trust,
			"the certificate of %s is signed by an authority that is not trusted here: %s", p.address(), issuer)
	case errors.As(err, &host):
		return wrong("name the host in "+p.setting+" as its certificate does", "the certificate of %s is for another host: %v", p.address(), host)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return wrong("have it renewed; or this machine's clock is wrong", "the certificate of %s has expired or is not valid yet", p.address())
	case errors.As(err, &invalid):
		return wrong("have it replaced", "the certificate of %s does not hold: %v", p.address(), invalid)
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return wrong(p.plain, "%s does not speak TLS", p.address())
	}
	return nil
}

// plainFault says that a place which was reached without TLS speaks it, nil where it does not.
func (p place) plainFault(ctx context.Context) error {
	if p.tls != nil || p.proxied || errors.Is(ctx.Err(), context.Canceled) || !speaksTLS(ctx, p.address()) {
		return nil
	}
	return wrong(p.encrypts, "%s speaks TLS, and is to be reached without", p.address())
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
