// Package apiqueue sends messages through OpenCTI's API, which puts them into the queue itself, for a connector that cannot reach
// RabbitMQ.
//
// There are two kinds of platforms behind stixBundlePush:
//
//   - From the end of August 2026 on the platform splits a bundle before it answers, puts each object into the queue, and tells the
//     work to expect them. Such a platform gets bundles of many objects.
//   - Before, the whole bundle goes into the queue, and the worker that comes to it splits it: it puts the objects behind whatever is
//     in the queue by then, that is behind what refers to them, and tells the work only then, which may be complete by that time.
//     Such a platform gets each object in a bundle of its own, which its workers import where it stands, and the work is told here.
//
// Which kind it is shows with the first object of a run: it goes alone, and the work is asked what it expects then. Either way the
// queue holds what a connector that reaches RabbitMQ would have put there, in the same order, but that OpenCTI imports it in the
// name of the token's user, and with "update" set. Of two objects of a bundle with one id OpenCTI keeps the last, so there are none.
// (OpenCTI's sendStixBundle, pushBundleToWorker and push handler, releases 6.3 to 7.260820.)
package apiqueue
