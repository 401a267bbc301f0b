// Package openctitest simulates the OpenCTI platform as a connector meets it: its GraphQL endpoint, the exchanges and
// queues that it declares on a broker, and what an operator does to a connector meanwhile.
//
// A [Platform] is an http.Handler. It parses and validates every operation against a schema, answers as the platform
// does, and keeps what it was told for whoever wants to look at it. Faults are set by rule, see [Platform.Fault].
package openctitest
