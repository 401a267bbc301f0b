// Package emit orders objects, packs them into messages, delivers them, and keeps the work's books.
//
// Order: nothing is sent before what it refers to. An object whose references are all on their way or delivered is
// placed; one that waits for another is parked and placed when that one has been. Placed objects are cut into batches,
// sorted by dependency level and published in that order on one channel. Objects that wait for each other are freed by
// cutting a reference of the cycle, always the same one. What still waits when the run has brought all it can is cleaned
// of the references that nothing brings, as OpenCTI's own splitter would; so is, earlier, what has waited longest where
// too many wait. The disk remembers what was taken away, and what brings it makes the object whole again.
//
// Once: a version of an object is sent once in a run, and between runs only when its content has changed.
//
// An [Emitter] is fed from one goroutine. Confirms arrive on the publisher's; a mutex joins the two.
package emit
