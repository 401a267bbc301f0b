package page

import (
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
)

// problemsSection is what the log has told.
func (v view) problemsSection() node {
	heading := text("Last problems")
	if len(v.Problems) == 0 {
		return section("problems", heading, el("p", text("The log has told of no error and no warning since the start.")))
	}
	return section("problems", heading, problems(v.Problems), earlier(v.EarlierProblems, problems))
}

// earlier is what is shown on request.
func earlier[T any](all []T, draw func([]T) node) node {
	return when(len(all) > 0, el("details", el("summary", said(number(len(all)), " earlier")), lines(draw(all))))
}

func problems(all []problem) node {
	return el("ul", attr("class", "problems"), lines(each(all, problem.draw)))
}

func (p problem) draw() node {
	return el("li", attr("data-key", p.Key), marked(p.Error && !p.Over, "trouble"), lines(
		el("p", mark(either(p.Error, "error", "warning")), when(p.Over, group{text(" "), mark("over")}), text(" "), p.When.both()),
		el("p", text(sentence(p.Says))),
		when(p.Dataset != "" || p.Item != "",
			softly(text(p.Dataset), when(p.Item != "", group{said(either(p.Dataset != "", ", ", ""), "item "), el("code", text(p.Item))}))),
		when(p.Reason != "", el("details", el("summary", text("Reason")), el("p", text(p.Reason)))),
	))
}

// historySection is the runs that have ended.
func (v view) historySection() node {
	heading := text("Runs that have ended")
	if len(v.Runs) > 0 {
		return section("history", heading, runs(v.Runs), earlier(v.EarlierRuns, runs))
	}
	first := ""
	if v.Run != nil {
		first = "; the first began " + newMoment(v.Run.Began, v.At).Relative()
	}
	return section("history", heading, el("p", said("No run has ended yet", first, ".")))
}

// skipped is said of the column of that name.
const skipped = "copies of objects that earlier runs had delivered; many items share an object"

func runs(all []run) node {
	figure := attr("class", "number")
	head := row(column(text("Purpose")), column(text("Began")), column(text("Took")), column(figure, text("Sent")),
		column(figure, el("abbr", attr("title", skipped), text("Skipped"))), column(figure, text("Left out")), column(figure, text("Not fetched")), column(text("Outcome")))
	return table(el("caption", attr("class", "hidden"), text("Runs, newest first")), head, each(all, run.draw))
}

func (r run) draw() node {
	return row(attr("data-key", r.Key), marked(r.Wrong, "trouble"), lines(
		el("th", attr("scope", "row"), attr("role", "rowheader"), text(purpose(r.Purpose))),
		cell("Began", "", r.When.both()),
		cell("Took", "brief", text(lasting(r.Ended.Sub(r.Began)))),
		cell("Sent", "number", text(words.Grouped(r.Sent))),
		cell("Skipped", "number", text(words.Grouped(r.Skipped))),
		cell("Left out", "number", text(words.Grouped(r.LeftOut))),
		cell("Not fetched", "number", text(words.Grouped(r.NotFetched))),
		cell("Outcome", "", when(r.Wrong, group{mark("failed"), text(" ")}), text(r.Outcome)),
	))
}
