// Package pipeline moves items from sources through a transformer to a sink and commits only what is confirmed.
//
// One goroutine a dataset pulls pages; the items go over a bounded channel to parallel transformers and from there to
// the one goroutine that feeds the sink. The sink settles each item when the broker has confirmed its objects. When the
// oldest pages of a dataset are settled, the committer commits their cursor. Opening a page blocks while too many pages
// of the dataset are unsettled: that bound, the channels' and the sink's own are the backpressure, and they bound memory.
//
// The guarantee: a cursor is committed only after everything before it was settled, whatever ends the run.
package pipeline
