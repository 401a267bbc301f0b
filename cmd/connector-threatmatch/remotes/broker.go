package remotes

import (
	"crypto/tls"
	"fmt"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
)

// Broker is where the platform says its queue is, with what the configuration says instead.
func Broker(cfg config.Config, q opencti.Queue) (rabbitmq.Connection, error) {
	mq := cfg.MQ
	conn := rabbitmq.Connection{Host: q.Host, Port: q.Port, VHost: q.VHost, User: q.User, Password: q.Password, UseSSL: q.UseSSL}
	if mq.Host != "" {
		conn.Host = mq.Host
	}
	if mq.Port != 0 {
		conn.Port = mq.Port
	}
	if mq.VHost != "" {
		conn.VHost = mq.VHost
	}
	if mq.User != "" {
		conn.User = mq.User
	}
	if mq.Pass != "" {
		conn.Password = mq.Pass.Reveal()
	}
	if mq.UseSSL != nil {
		conn.UseSSL = *mq.UseSSL
	}
	if !conn.UseSSL {
		return conn, nil
	}
	tls, err := brokerTLS(cfg)
	if err != nil {
		return rabbitmq.Connection{}, fmt.Errorf("set up TLS for RabbitMQ: %w", err)
	}
	tls.ServerName = conn.Host
	conn.TLS = tls
	return conn, nil
}

// brokerTLS is the TLS configuration for RabbitMQ, for when it is reached over TLS.
func brokerTLS(cfg config.Config) (*tls.Config, error) {
	pool, err := authorities(cfg.Network, cfg.MQ.CA)
	if err != nil {
		return nil, err
	}
	conf := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12, InsecureSkipVerify: !cfg.MQ.RejectUnauthorized}
	if cfg.MQ.Cert != "" {
		pair, err := cfg.MQ.ClientCertificate()
		if err != nil {
			return nil, err
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}
