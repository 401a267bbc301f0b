// Connector-threatmatch imports ThreatMatch intelligence into OpenCTI: it reads its configuration, wires the pipeline
// together and keeps its schedule.
//
// Without a command it runs the connector until it is told to stop. `sandbox` runs it against a simulated ThreatMatch,
// OpenCTI and RabbitMQ, `config` validates and shows the configuration. The exit status is 0 when all went well, 1 when a
// run failed, and 2 when the configuration or the command line is wrong; 130 and 143 mean that a second SIGINT or
// SIGTERM, a second or more after the first, ended the program at once.
package main
