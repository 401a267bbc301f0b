package rabbitmqtest

import (
	"cmp"
	"net/url"
)

// Config describes a Broker. The zero value is a broker like a fresh RabbitMQ on a free port of the loopback interface.
type Config struct {
	User, Password string // default guest and guest
	VHost          string // the only one; default /

	// InMemory opens no socket: clients come by [Broker.Dial]. Nothing then waits on the network, so that a test under
	// testing/synctest can hold client and broker in its bubble.
	InMemory bool

	// OnMessage is called for each message that reached a queue, after it did and before its publisher hears of it, from
	// the goroutine that reads the publisher's connection: a slow callback makes a slow broker. It may call all of the
	// broker's methods except Close. With Discard the body is valid during the call only.
	OnMessage func(Message)

	// MaxMessageSize is how large a body may be, in bytes, default 128 MiB as in RabbitMQ 3. The channel is closed over a larger one.
	MaxMessageSize uint64
	// NamesNoSizes leaves the two sizes out of what is said then, which RabbitMQ does not.
	NamesNoSizes bool

	// Discard counts messages and does not keep them: to readers of a queue it is empty, whatever Depth says.
	Discard bool
}

// withDefaults names what config leaves open.
func (config Config) withDefaults() Config {
	config.User = cmp.Or(config.User, "guest")
	config.Password = cmp.Or(config.Password, "guest")
	config.VHost = cmp.Or(config.VHost, "/")
	config.MaxMessageSize = cmp.Or(config.MaxMessageSize, maxMessage)
	return config
}

func amqpURL(user, password, addr, vhost string) string {
	u := url.URL{Scheme: "amqp", User: url.UserPassword(user, password), Host: addr}
	return u.String() + "/" + url.PathEscape(vhost)
}
