package page

import (
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
)

// datasetsSection is how far the run is with each.
func (v view) datasetsSection() node {
	if v.Run == nil {
		return section("datasets", text("Datasets"), el("p", text("No run is under way. "), v.nextInWords()))
	}
	datasets := each(v.Run.Datasets, v.dataset)
	if datasets == nil {
		datasets = el("li", text("It reads nothing: it sends again what OpenCTI could not import."))
	}
	return section("datasets", said(purpose(v.Run.Purpose), ": its datasets"),
		el("p", text("Since "), newMoment(v.Run.Began, v.At).both(), said(": ", words.Counted(v.Run.Sent, "object"), " sent, ", words.Grouped(v.Run.Skipped), " skipped, ",
			words.Grouped(v.Run.LeftOut), " left out, ", words.Grouped(v.Run.NotFetched), " not fetched.")),
		when(v.Run.Skipped != 0, softly(text("Skipped: copies of objects that earlier runs had delivered; many items share an object."))),
		el("ul", attr("class", "datasets"), lines(datasets)))
}

// nextInWords says when the next run begins where none is under way.
func (v view) nextInWords() node {
	switch {
	case v.Due() != "":
		return said("The next run is ", v.Due(), ".")
	case !v.NextRun.IsZero():
		return group{text("The next begins at "), newMoment(v.NextRun, v.At).both(), text(".")}
	case v.Activity == "starting":
		return text("The first begins when OpenCTI knows the connector.")
	case v.Activity == "stopped":
		return text("The next begins after the next start.")
	}
	return text("None is due.")
}

func (v view) dataset(d snapshot.Dataset) node {
	since := soft("from its begin")
	if !d.Since.IsZero() {
		since = el("span", attr("class", "soft"), text("changed since "), newMoment(d.Since, v.At).clock())
	}
	share := percent(d.Share)
	return el("li", marked(d.Failure != "", "trouble"), lines(
		group{el("h3", text(d.Name)), text(" "), since},
		el("p", el("progress", attr("aria-label", d.Name), attr("max", "1"), attr("value", number(d.Share)), text(share)), said(" ", share)),
		el("p", said(words.Counted(d.Items, "item"), " read"), v.toBeRead(d), text("."),
			when(d.Failure != "", group{text(" "), mark("failed"), said(" ", sentence(d.Failure))})),
	))
}

// toBeRead is what is left of a dataset, and for how long.
func (v view) toBeRead(d snapshot.Dataset) node {
	var left node
	switch {
	case d.Done:
		left = text(", done")
	case d.Left != 0:
		left = said(", ", words.Grouped(d.Left), " left")
	case !d.Until.IsZero():
		left = group{text(", all up to "), newMoment(d.Until, v.At).clock()}
	}
	toGo := v.ToGo(d)
	return group{left, when(toGo != "", said(", ", toGo))}
}
