package page

// icon is the page's own, so that browsers ask for none.
const icon = "data:image/svg+xml,%3Csvg xmlns=%27http://www.w3.org/2000/svg%27 viewBox=%270 0 16 16%27%3E%3Ccircle cx=%278%27 cy=%278%27 r=%277%27 fill=%27%230f6cbd%27/%3E" +
	"%3Cpath d=%27M5 8h6M8 5l3 3-3 3%27 fill=%27none%27 stroke=%27white%27 stroke-width=%272%27/%3E%3C/svg%3E"

// page is the whole page, as HTML.
func (v view) page() []byte { return append([]byte("<!DOCTYPE html>\n"), drawn(v.document())...) }

func (v view) document() *element {
	return el("html", attr("lang", "en"), lines(
		el("head", lines(
			el("meta", attr("charset", "utf-8")),
			el("meta", attr("name", "viewport"), attr("content", "width=device-width, initial-scale=1")),
			el("meta", attr("name", "color-scheme"), attr("content", "light dark")),
			el("title", text(v.title())),
			el("link", attr("rel", "icon"), attr("href", icon)),
			el("link", attr("rel", "stylesheet"), attr("href", "page.css?"+v.Build)),
			el("script", attr("src", "page.js?"+v.Build), attr("defer", "")),
		)),
		el("body", lines(
			el("a", attr("class", "skip"), attr("href", "#main"), text("Skip to the state")),
			v.live(),
		)),
	))
}

// live is the part of it that changes.
func (v view) live() *element {
	return el("div", attr("id", "live"), attr("data-build", v.Build), attr("data-title", v.title()), lines(
		v.header(),
		el("main", attr("id", "main"), attr("tabindex", "-1"), lines(
			v.stateSection(),
			v.waySection(),
			el("div", attr("class", "pair"), lines(v.datasetsSection(), v.importsSection())),
			v.stagesSection(),
			el("div", attr("class", "pair"), lines(v.problemsSection(), v.failedRequestsSection())),
			v.historySection(),
		)),
		el("footer", lines(el("p", text("Connector "), el("code", text(v.ConnectorID)), text(" · "), el("a", attr("href", "api/status"), text("This page as JSON"))))),
	))
}

func (v view) title() string { return either(v.Alarm, "Needs a hand", v.activity()) + " · " + v.Name }

// header is what the connector is, and how it is.
func (v view) header() node {
	at := newMoment(v.At, v.At)
	return el("header", lines(
		el("div", attr("class", "name"), lines(el("h1", text(v.Name)), softly(text("connector for OpenCTI")))),
		el("div", attr("class", "asof"), lines(
			el("p", text("As of "), el("time", attr("datetime", at.ISO()), text(at.Second()))),
			el("noscript", el("a", attr("href", "./"), text("Reload"))),
			el("button", attr("id", "pause"), attr("type", "button"), attr("data-keep", ""), attr("hidden", ""), text("Pause")),
		)),
		el("ul", attr("class", "verdicts"), attr("aria-label", "Health"), lines(
			el("li", text(v.activity())),
			verdict(v.Live.OK, "Live", "Not live: "+v.Live.Reason),
			verdict(v.Ready.OK, "Ready", "Not ready: "+v.Ready.Reason),
		)),
		el("dl", attr("class", "facts"), lines(
			fact("Next run", v.next()),
			fact("Version", text(v.Version)),
			fact("Up for", text(v.Uptime())),
		)),
	))
}

func verdict(ok bool, good, bad string) node {
	return el("li", attr("class", either(ok, "good", "bad")), text(either(ok, good, bad)))
}

// next is when the next run begins.
func (v view) next() node {
	switch {
	case v.Activity == "stopping" || v.Activity == "stopped":
		return text("after the next start")
	case v.Due() != "":
		return text(v.Due())
	case !v.NextRun.IsZero():
		return newMoment(v.NextRun, v.At).both()
	case v.Run != nil:
		return text("after the one under way")
	case v.Activity == "starting":
		return text("when OpenCTI knows the connector")
	}
	return text("none is due")
}

// stateSection answers what people come for.
func (v view) stateSection() node {
	return el("section", attr("class", "state"), attr("aria-labelledby", "state"), lines(
		el("h2", attr("id", "state"), attr("class", "hidden"), text("State")),
		el("p", attr("id", "state-read-out"), attr("class", "hidden"), attr("role", "status"), text(v.State())),
		el("p", attr("id", "says"), text(v.Headline())),
		el("dl", attr("class", "answers"), lines(each(v.Answers, answer.draw))),
	))
}

func (a answer) draw() node {
	return el("div", marked(a.Hands, either(len(a.Notes) > 0, "alarm", "calm")), lines(
		el("dt", text(a.Question)),
		el("dd", attr("class", "figure"), text(a.Says), when(a.When.Known(), group{text(" "), a.When.both()})),
		each(a.Notes, func(note string) node { return el("dd", text(note)) }),
	))
}
