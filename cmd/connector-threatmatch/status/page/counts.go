package page

import (
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
)

// failedRequestsSection is why requests to ThreatMatch failed.
func (v view) failedRequestsSection() node {
	heading := text("Requests to ThreatMatch that failed")
	if len(v.FailedRequests) == 0 {
		return section("failed-requests", heading, el("p", text("None since the start.")))
	}
	return section("failed-requests", heading, counts(v.FailedRequests, cause),
		softly(text("Since the start; each attempt counts. What may pass is tried again.")))
}

// counts is how often things were met, under their names in words.
func counts(all []snapshot.Count, in func(name string) string) node {
	return el("ul", attr("class", "counts"), lines(each(all, func(c snapshot.Count) node {
		return el("li", el("span", text(in(c.Name))), text(" "), el("b", text(words.Grouped(c.Count))))
	})))
}
