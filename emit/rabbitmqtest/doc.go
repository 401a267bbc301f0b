// Package rabbitmqtest holds the message brokers that tests, the sandbox and the benchmark run against.
//
// [Broker] is the side of RabbitMQ that a publisher meets, in this process and at full speed, and fails on command. What
// arrived is read by its methods. [Node] is a private RabbitMQ node made from the installed rabbitmq-server, and [Cluster] some
// nodes that hold one set of queues. One conformance test runs against Broker and Node, so that the first cannot drift from the
// second.
//
// A Broker speaks AMQP 0-9-1, has one virtual host, forgets everything at Close and keeps messages in memory whatever
// their delivery mode. It has amq.direct and what is declared: durable direct exchanges, which are deleted while no queue
// is bound to them, and durable queues without arguments. Over the wire a queue is read by basic.get without
// acknowledgement alone. All else (consumers, transactions, other kinds of exchange and queue, limits as arguments) is
// answered with 540 (NOT_IMPLEMENTED), which closes the connection. In what it does it differs from RabbitMQ in two ways:
// a refused login is answered at once, not after three seconds, and a confirm does not wait for a disk.
package rabbitmqtest
