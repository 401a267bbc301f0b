package remotes

import (
	"cmp"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
)

// Broker is where the platform says its queue is, with what the configuration says instead.
func Broker(cfg config.Config, keys *Keyring, q opencti.Queue) rabbitmq.Connection {
	mq := cfg.MQ
	conn := rabbitmq.Connection{VHost: q.VHost, User: q.User, Password: q.Password, UseSSL: q.UseSSL}
	conn.Host, conn.Port, conn.Others = brokerHosts(mq, q)
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

// brokerHosts are the hosts of the configuration, else the platform's: OpenCTI tells the text that it makes a URL of, where an
// IPv6 address stands in brackets.
func brokerHosts(mq config.MQ, q opencti.Queue) (name string, port int, others []rabbitmq.Host) {
	hosts, port := mq.Hosts, cmp.Or(mq.Port, q.Port)
	if len(hosts) == 0 {
		told, ok := config.BrokerHosts(q.Host)
		if !ok {
			return q.Host, port, nil // dialling it tells what is wrong
		}
		hosts = told
	}
	for _, h := range hosts[1:] {
		others = append(others, rabbitmq.Host{Name: h.Name, Port: cmp.Or(h.Port, port)})
	}
	return hosts[0].Name, cmp.Or(hosts[0].Port, port), others
}
