package page

import (
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
)

// importsSection is what OpenCTI has made of what it was sent.
func (v view) importsSection() node {
	i := v.Imports
	nodes := []node{when(i.Unknown != "", el("p", mark("not known"), said(" ", sentence(i.Unknown))))}
	switch {
	case v.NotAsked():
		nodes = append(nodes, el("p", text("OpenCTI was not asked yet how much it has imported.")))
	case i.Left() != 0:
		nodes = append(nodes, v.underImport()...)
	case i.Unknown == "":
		nodes = append(nodes, v.allImported(), when(i.Rate != 0, v.lastPace()))
	}
	if len(i.Failed) > 0 {
		nodes = append(nodes, el("h3", text("Not imported, by reason")), counts(i.Failed, func(reason string) string { return reason }))
	}
	if !i.AsOf.IsZero() {
		nodes = append(nodes, softly(text("OpenCTI was asked at "), newMoment(i.AsOf, v.At).both(), text(".")))
	}
	return section("imports", text("OpenCTI’s imports"), nodes...)
}

// underImport is how far OpenCTI is.
func (v view) underImport() []node {
	i := v.Imports
	known := i.Unknown == ""
	return []node{
		el("p", attr("class", "figure"), said(words.Grouped(i.Done), " of ", words.Counted(i.Expected, "message")),
			when(!known, group{text(" "), soft("as of ", newMoment(i.AsOf, v.At).Clock())})),
		el("p", el("progress", attr("aria-label", "Messages that OpenCTI is through with"), attr("max", number(i.Expected)), attr("value", number(i.Done)), text(words.Grouped(i.Done))),
			said(" ", percent(float64(i.Done)/float64(i.Expected)))),
		el("dl", attr("class", "facts"), lines(
			fact("Left", text(words.Counted(i.Left(), "message"))),
			when(known, fact("Pace", text(v.Pace()))),
			when(known && v.Run == nil, fact("Imported by", v.Imported().both())),
		)),
		softly(said("Of all that OpenCTI was sent, earlier runs included", either(v.Run != nil, "; the run adds to it", ""), ".")),
	}
}

func (v view) allImported() node {
	if v.Imports.Expected == 0 {
		return el("p", text("OpenCTI has nothing to import."))
	}
	failed := ""
	if n := v.NotImported(); n != 0 {
		failed = ", " + words.Grouped(n) + " of them failed"
	}
	return el("p", said("OpenCTI is through with all that it was sent: ", words.Counted(v.Imports.Expected, "message"), failed, "."))
}

// lastPace is how fast it was when it was at work.
func (v view) lastPace() node {
	i := v.Imports
	at := when(!i.RateAt.IsZero(), group{text(" when it was last at work, "), newMoment(i.RateAt, v.At).both()})
	return softly(said("It imported ", rate(i.Rate, "messages")), at, text("."))
}
