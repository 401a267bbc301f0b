// Package rabbitmq delivers messages to one RabbitMQ queue and says of each when the broker has taken it over.
//
// A [Publisher] takes messages in order, keeps each until the broker has confirmed it, and publishes it again when it
// was not taken: after a nack, after a return (the queue is missing), after a lost channel or connection, and when a
// confirm does not come in time. What was on the wire behind a message that
// was not taken goes again too, so that every message can be found behind all that were handed over before it. A message
// can therefore reach the queue twice, never less than once.
//
// # Confirms
//
// The library sees returns and confirms on two Go channels. The broker sends the return of a message ahead of the
// message's confirm, and so a message counts as confirmed only after the returns that have arrived by then were looked
// through. A return carries no delivery tag; it is matched by the body that it brings back, so that messages need no
// property for the purpose.
//
// # Hosts
//
// A broker may be a cluster with several hosts. A host that fails is followed by the next one at once; when all have failed,
// that is one failure, which is paced, told of and answered by asking the platform as that of a single host is.
//
// # Threads
//
// One goroutine owns the connection: it connects, settles confirms, calls back, and reconnects. It waits for two others
// that live as long as a connection: one writes to the socket, because a write may block for as long as the broker likes,
// and one follows the broker's alarms.
package rabbitmq
