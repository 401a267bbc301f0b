package remotes

import (
	"crypto/tls"
	"crypto/x509"
	"sync"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
)

// Keyring holds the certificates that the settings name. Those in files it reads again for each connection that is opened; a file that
// cannot be used then counts as it was last, and the log says so once.
type Keyring struct {
	system *x509.CertPool
	verify struct{ platform, broker bool }
	all    lasting[config.PEM] // HTTPS_CA_CERTIFICATES
	// platform and broker are the authorities that one of them has for itself.
	platform, broker lasting[config.PEM]
	client           lasting[clientPair]
}

// NewKeyring returns the certificates of a configuration. The log, which may be nil, is told of files that cannot be used any more.
func NewKeyring(cfg config.Config, log *zap.Logger) (*Keyring, error) {
	if log == nil {
		log = zap.NewNop()
	}
	system, err := x509.SystemCertPool()
	if err != nil {
		return nil, failed("load the system's certificate authorities", err)
	}
	k := &Keyring{
		system:   system,
		all:      certificates("HTTPS_CA_CERTIFICATES", cfg.Network.CA, log),
		platform: certificates("OPENCTI_SSL_VERIFY", cfg.OpenCTI.TLS.CA, log),
		broker:   certificates("MQ_USE_SSL_CA", cfg.MQ.CA, log),
		client:   lasting[clientPair]{name: "MQ_USE_SSL_CERT and MQ_USE_SSL_KEY", log: log, good: clientPair{mq: cfg.MQ}, again: clientPair.renewed},
	}
	k.verify.platform, k.verify.broker = cfg.OpenCTI.TLS.Verify, cfg.MQ.RejectUnauthorized
	if k.client.good, err = k.client.good.opened(); err != nil {
		return nil, failed("set up the client certificate for RabbitMQ", err)
	}
	return k, nil
}

// authorities are the system's, what HTTPS_CA_CERTIFICATES adds, and more.
func (k *Keyring) authorities(more ...config.PEM) *x509.CertPool {
	pool := k.system.Clone()
	for _, p := range append(more, k.all.now()) {
		pool.AppendCertsFromPEM([]byte(p.Text.Reveal())) // found valid when it was read
	}
	return pool
}

// plainTLS makes the settings for a connection with nothing of its own: to ThreatMatch's API, or to a proxy.
func (k *Keyring) plainTLS() *tls.Config {
	return &tls.Config{RootCAs: k.authorities(), MinVersion: tls.VersionTLS12}
}

// platformTLS makes the settings for a connection to OpenCTI.
func (k *Keyring) platformTLS() *tls.Config {
	return &tls.Config{RootCAs: k.authorities(k.platform.now()), MinVersion: tls.VersionTLS12, InsecureSkipVerify: !k.verify.platform}
}

// brokerTLS makes the settings for a connection to RabbitMQ, for when it is reached over TLS.
func (k *Keyring) brokerTLS() *tls.Config {
	return &tls.Config{
		RootCAs: k.authorities(k.broker.now()), MinVersion: tls.VersionTLS12, InsecureSkipVerify: !k.verify.broker,
		Certificates: k.client.now().pair,
	}
}

func certificates(name string, p config.PEM, log *zap.Logger) lasting[config.PEM] {
	return lasting[config.PEM]{name: name, log: log, good: p, again: config.PEM.CertificatesAgain}
}

// clientPair is a client certificate with its key, and what it was made of.
type clientPair struct {
	mq   config.MQ
	pair []tls.Certificate // one, or none
}

// opened makes the pair of what the settings held.
func (c clientPair) opened() (clientPair, error) {
	if c.mq.Cert.IsZero() {
		return c, nil
	}
	pair, err := c.mq.ClientCertificate()
	return clientPair{c.mq, []tls.Certificate{pair}}, err
}

// renewed reads both files again. While only one of them is new they do not fit.
func (c clientPair) renewed() (clientPair, error) {
	cert, err := c.mq.Cert.Again()
	if err != nil {
		return c, failed("the certificate", err)
	}
	key, err := c.mq.Key.Again()
	if err != nil {
		return c, failed("the key", err)
	}
	if cert == c.mq.Cert && key == c.mq.Key {
		return c, nil // a key that is encrypted takes a while to be opened
	}
	c.mq.Cert, c.mq.Key = cert, key
	return c.opened()
}

// lasting is what files hold, or held when they could last be used.
type lasting[T any] struct {
	name  string // the settings
	log   *zap.Logger
	again func(T) (T, error) // reads once more

	mu   sync.Mutex
	good T
	told string // the error that was told of, "" while all is well
}

// now reads once more, and returns what is good.
func (l *lasting[T]) now() T {
	l.mu.Lock()
	defer l.mu.Unlock()
	found, err := l.again(l.good)
	switch {
	case err == nil:
		l.good = found
		if l.told != "" {
			l.told = ""
			l.log.Info("certificates can be read again", zap.String("setting", l.name))
		}
	case err.Error() != l.told:
		l.told = err.Error()
		l.log.Error("what "+l.name+" names cannot be used any more; the connector goes on with what it held before: mend the file",
			zap.String("setting", l.name), zap.Error(err))
	}
	return l.good
}
