// Package threatmatch is a client of the ThreatMatch API: it reads lists, items, groups and indicators behind one token,
// one rate limit and one policy of retries.
//
// Every method either returns what the API holds or an error; an answer that is cut short, empty, no JSON, or of
// another shape than expected is never taken for "nothing there". Errors from the API are an [*Error] and say what an
// operator can do; they hold no secret.
//
// # Retries
//
// An attempt ends when its body has been read and understood, so that what is wrong with a body is retried like what is
// wrong with a status. Lost connections, time-outs, 408, 425, 429 and 5xx, undecodable bodies, and (fewer times) well
// formed answers that hold an error or not what was asked for are retried; the rest is not. A 401 drops the token, and
// the call is repeated once with a new one. The rate limit counts every request that leaves, retries and tokens too.
//
// # Outages
//
// A call that fails as if nobody were there, or something else than the API, is no verdict on what was asked for: one question
// that every API answers finds out, for all calls, whether the API is away, and then they wait for it as long as
// Config.Patience says. What an operator does about it is told in the meantime.
//
// # Clocks
//
// Tokens are judged by the server's clock, and [Client.Now] is never ahead of it, so that a local clock that is wrong by
// minutes neither breaks the token nor loses what changed in those minutes.
package threatmatch
