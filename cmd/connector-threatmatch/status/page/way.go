package page

import (
	"strings"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
)

// unitsDiffer is said below the stations.
const unitsDiffer = "Each station counts in its own unit: an item of ThreatMatch becomes one or more objects, of which many items share some; " +
	"each object that is new or changed is one message to OpenCTI."

// waySection is the stations that intelligence passes.
func (v view) waySection() node {
	stations := each(v.Way, v.station)
	if stations == nil {
		stations = el("li", el("p", text("Nothing is known of it yet.")))
	}
	return section("way", text("From ThreatMatch to OpenCTI"),
		el("ol", attr("class", "way"), lines(stations)),
		el("p", attr("class", "soft units"), text(unitsDiffer)))
}

func (v view) station(at snapshot.Station) node {
	class := strings.TrimSpace(either(at.Slowest, "slowest", "") + either(at.Trouble, " trouble", ""))
	return el("li", marked(class != "", class), lines(
		el("h3", text(station(at.Name))),
		when(at.Slowest, mark("slowest")),
		when(at.Trouble, mark("trouble")),
		el("p", attr("class", "figure"), text(v.Pass(at))),
		when(at.Name == snapshot.QueueName && v.Queue.Threshold != 0, v.fill(at.Trouble)),
		el("p", text(v.Tells(at))),
	))
}

// fill is how full the queue is.
func (v view) fill(trouble bool) node {
	size, bound := words.Bytes(v.Queue.Bytes), words.Bytes(v.Queue.Threshold)
	return el("p",
		el("meter", attr("aria-label", "Size of the queue"), attr("min", "0"), attr("max", number(v.Queue.Threshold)), attr("value", number(v.Queue.Bytes)), text(size)),
		when(trouble, said(" ", size, " of ", bound)),
		when(v.Queue.Buffering, group{text(" "), mark("full")}))
}
