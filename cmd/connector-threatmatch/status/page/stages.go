package page

import (
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
)

// stagesSection is the stages of the run under way.
func (v view) stagesSection() node {
	heading := text("Inside the connector")
	if len(v.Stages) == 0 {
		return section("stages", heading, el("p", text("Its stages are shown while a run is under way.")))
	}
	says := "The stages of the run. Where the room before a stage is full, this stage is slower than those before it."
	if outside := v.Outside(); outside != "" {
		says = "The stages of the run. None of them limits it: the run waits for " + sentence(outside) + " Meanwhile the rooms before the stages fill."
	}
	head := row(column(text("Stage")), column(attr("class", "number"), text("Rate")), column(attr("class", "number"), text("Passed")), column(text("Room before it")))
	return section("stages", heading, table(el("caption", text(says)), head, each(v.Stages, v.stage)))
}

func (v view) stage(s snapshot.Stage) node {
	slowest := s.Bottleneck && v.Outside() == ""
	return row(marked(slowest, "slowest"), lines(
		el("th", attr("scope", "row"), attr("role", "rowheader"), text(s.Name), when(slowest, group{text(" "), mark("bottleneck")}), text(" "), soft(task(s.Name))),
		cell("Rate", "number", text(rate(s.Rate, s.Unit))),
		cell("Passed", "number", text(amount(s.Passed, s.Unit))),
		cell("Room before it", "", room(s)),
	))
}

// room is how full it is before a stage.
func room(s snapshot.Stage) node {
	if s.Room == nil {
		return text("none: it is the first")
	}
	share := percent(s.Room.Share)
	return group{
		el("meter", attr("aria-label", "Room before "+s.Name+", of late"), attr("min", "0"), attr("max", "1"), attr("value", number(s.Room.Share)), text(share)),
		said(" ", share, " full "), soft("now ", filled(s.Room.Used, s.Room.Bound, s.Room.Unit)),
	}
}
