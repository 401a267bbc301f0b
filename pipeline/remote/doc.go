// Package remote is what every client of a remote system does alike: how long it waits between two attempts
// ([Backoff]), how it is reached ([Way]) and which connections carry its requests ([NewTransport]), which redirects may have its credentials
// ([FollowRedirect]), which failures another attempt meets again ([Lasting]), what of its secrets may show ([Redactor]), and how
// an error reads of which several parts say the same ([Once]).
// What differs from one system to the next, such as the bounds of its waits and which status is worth a repetition, stands
// with its client.
package remote
