// Package check looks at everything that the connector needs before its first run, and says of each what is wrong with it and
// what to do.
//
// Nothing is changed and nothing is sent: the connector is not registered, no state is pinged, no queue is declared, and the
// state folder's lock is left to whoever holds it, and no file is written where bundles go. What it cannot see for that it says it has not tried. It can be run beside
// a connector that works.
//
// The checks of a remote build on each other, and what could not be tried because one before it failed is told as that. The
// remotes are looked at side by side, but for RabbitMQ, whose address is OpenCTI's to tell.
package check
