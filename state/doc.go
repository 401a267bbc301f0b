// Package state keeps what was delivered: the cursors in OpenCTI's connector state and, in state/index, the objects on
// disk.
//
// The state is a small JSON text that a person can read in OpenCTI. It is stored by a ping, and it counts as committed
// only when the answer to a ping echoes it. An answer that holds something else is one of two things that must not be
// confused: a stale echo (the platform's storage lags: the state is kept and sent again) or a reset (an operator emptied
// it: that is obeyed, the next run is a first run).
//
// The platform stores what anybody with the connector's id sends. So each ping is preceded by a look at what is there: a state
// that neither this process nor the one before it wrote is another instance's, which is said before it is covered. Nothing is
// lost by covering it, for a state says only what its writer has delivered, or taken over.
//
// Confirmed is not imported: OpenCTI's workers drop the messages of a work that was deleted, without a word. So the state
// remembers each work, and where its run began, until OpenCTI has imported it. A work that is found deleted before takes the
// state back there, and the number of its run joins those that the index is not believed about. And it counts the commits, as the
// index does: a state that has counted fewer, and stays, is that of a platform that was restored from a backup: it is
// taken over, as at the start, and a run under way is void.
package state
