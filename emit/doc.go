// Package emit orders objects, packs them into messages, delivers them, and keeps the work's books.
//
// # What becomes of an object
//
//	word       what it means                                             who moves it on
//	asked      the index knows it and is not sure: OpenCTI is asked      inquiry, with the answer: it need not be sent, or
//	           whether it holds it                                       goes its way
//	parked     waits in this run for what it refers to                   order, when the last of that is placed;
//	                                                                     resolver, when nothing will bring it
//	placed     all that it refers to goes before it                      delivery, with the next batch
//	delivered  the broker has confirmed it, now or in an earlier run     nobody: the index knows it, for as long as it is
//	                                                                     trusted
//	cleaned    sent without references that nothing brings; the shelf    shelf, when one of them is placed:
//	           has it whole                                              it is placed once more, whole
//	held back  not sent, for it makes no sense without what nothing      shelf, likewise
//	           brings, or what would close a circle; the shelf has it
//	outvoted   a copy with more weight came before it went: what it     shelf, at once, as an addition
//	           states beside its text goes by itself
//	unimported sent, and OpenCTI's workers could not import it for a      shelf, at the begin of the next run: it is sent again
//	           reason that passes; the shelf has it
//
// Of an object in a circle that makes sense without the reference that closes it, that reference is cut: it is sent so, and
// nothing more is to come. A parked object is also shelved once it has waited for a while: its page can be committed then
// (the pipeline says [pipeline.Kept]), and its text needs no memory. A run that was cut short leaves it there, and the next
// one takes it up. An object is settled, and in the end the item that brought it, when it is delivered, or when the shelf
// has noted that it was cleaned or held back.
//
// # Copies
//
// An object comes many times, and its copies differ. Of those of one version one text is sent, the same in whatever order they
// come; what others state of author, markings, labels and external references adds up. What comes too late for the object's
// message goes as an addition: a pseudo-object that refers to the object, has an id of its own (the object's, a line break and a
// hash), and so is ordered, shelved, remembered and followed up like any other. The file copies has the rules.
//
// # What is believed
//
// Confirmed is not imported, and what OpenCTI holds it can lose. So trust says how far a record of the index is believed, and
// where it is not, OpenCTI is asked before an object is skipped or referred to. What OpenCTI does not answer is unknown:
// nothing is cut, dropped or skipped for that, and a run that never gets an answer fails with what waits on the shelf. Only
// where OpenCTI refuses to answer for good is the index believed alone, and a reference to what nobody has sent is cut. What
// was cut or held back is asked for again at the end of every run. What its workers made of a run is found out afterwards, by
// the package followup: it marks in the index what they could not import, and puts it on the shelf.
//
// # Who does what
//
// An [Emitter] hands what the pipeline brings to its parts, each with a state of its own, and is fed from one goroutine:
//
//   - order decides what may go: nothing before what it refers to. It does no I/O. Objects that wait for each other are freed
//     by cutting a reference of the cycle, always the same one.
//   - shelf is what waits on disk, beyond the run.
//   - inquiry knows what OpenCTI has to be asked and what follows from its answers; holdings asks, on a goroutine of its own.
//   - resolver ends all waiting when the run brings nothing more, and of the oldest where too many wait: what waits is cleaned
//     as OpenCTI's own splitter would, or held back.
//   - delivery cuts what is placed into batches sorted by depth, publishes them on one channel, and settles what is confirmed. A
//     container that is too large for a message goes in parts, and what the broker does not take for its size is left out.
//   - [Books] keep the run's work, and the [Gauge] asks before a batch, through them, how much waits in OpenCTI's queue and whether
//     the work is still there: OpenCTI says of a deleted one only when it is asked, and a run on it is void.
//
// A version of an object is sent once in a run, and between runs only when its content has changed. The publisher calls back
// on its own goroutine; it only leaves word in a queue, which the feeding goroutine works off with every call, while it
// publishes or waits for the broker or for room in OpenCTI's queue, and before it returns, also with an error.
package emit
