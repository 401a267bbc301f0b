// Package rabbitmqtest holds the message brokers that tests, the sandbox and the benchmark run against.
//
// [Broker] speaks as much AMQP 0-9-1 as a publishing connector and a draining test need, in this process and at full
// speed, and fails on command. [Node] is a private RabbitMQ node made from the installed rabbitmq-server. One
// conformance test runs against both, so that the first cannot drift from the second.
//
// A Broker has one virtual host, forgets everything at Close and keeps messages in memory whatever their delivery mode.
// It knows direct and fanout exchanges; transactions and topic or headers exchanges are answered with 540
// (NOT_IMPLEMENTED), which closes the connection, and keeps an auto-delete exchange. It differs from RabbitMQ in three more ways: a refused login is
// answered at once, not after three seconds; a confirm does not wait for a disk; and consumers of one queue are served in
// bursts rather than one message each in turn.
package rabbitmqtest
