package remotes

import (
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
)

// Broker is where the platform says its queue is, with what the configuration says instead.
func Broker(cfg config.Config, keys *Keyring, q opencti.Queue) rabbitmq.Connection {
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
	conn.TLS = keys.brokerTLS
	return conn
}
