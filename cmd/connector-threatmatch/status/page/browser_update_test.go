package page

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	browserpage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
)

var (
	desktop = look{1280, 900, "light", true}
	phone   = look{390, 844, "light", true}
)

// says is the condition that the page says something.
func says(text string) string {
	return fmt.Sprintf(`document.getElementById("says").textContent.includes(%q)`, text)
}

// testUpdate sees that what somebody does with the page stays while it changes.
func testUpdate(t *testing.T, browser context.Context) {
	s := afterFailure()
	r := serve(t, s, soon)
	b := open(t, browser, r, phone)
	b.do(chromedp.Click("summary"))
	ask[bool](b, `document.querySelector("summary").focus(), window.kept = document.querySelector("details"), kept.open`)
	s.Says = "Something else is so now"
	s.Problems = append([]snapshot.Problem{{At: now, Says: "one more", Reason: "another reason"}}, s.Problems...)
	s.History, s.Way = s.History[1:], running().Way
	r.show(s)
	b.until(says("Something else"))
	if !ask[bool](b, `kept.isConnected && kept.open && document.activeElement === kept.querySelector("summary") && kept.textContent.includes("401")`) {
		t.Error("what was unfolded or focused is so no more")
	}
	if ask[int](b, `document.querySelectorAll("details").length`) != 2 || ask[int](b, `document.querySelectorAll("details[open]").length`) != 1 {
		t.Error("the new problem is not there, or is unfolded in place of the old one")
	}
	if ask[float64](b, "scrollY") == 0 {
		t.Error("it has scrolled back")
	}
	want := ask[string](b, `fetch("./").then(a => a.text()).then(text => {
		const drawn = new DOMParser().parseFromString(text, "text/html").getElementById("live");
		for (const unlike of ["#pause"]) drawn.querySelector(unlike).remove();
		return drawn.textContent.replace(/\s+/g, " ");
	})`, chromedp.EvalAwaitPromise)
	got := ask[string](b, `(() => {
		const live = document.getElementById("live").cloneNode(true);
		live.querySelector("#pause").remove();
		return live.textContent.replace(/\s+/g, " ");
	})()`)
	if got != want {
		t.Errorf("after the update it is\n%s\nbut drawn anew\n%s", got, want)
	}
}

// testReadOut sees that screen readers hear one sentence, and that only when it changes.
func testReadOut(t *testing.T, browser context.Context) {
	s := running()
	r := serve(t, s, soon)
	b := open(t, browser, r, desktop)
	if n := ask[int](b, `document.querySelectorAll("[role=status], [role=alert], [role=log], [aria-live]").length`); n != 1 {
		t.Errorf("%d parts are read out", n)
	}
	ask[int](b, `window.heard = 0, new MutationObserver(() => heard++).observe(document.getElementById("state-read-out"), {childList: true, characterData: true, subtree: true}), 0`)
	for range 3 {
		further := *s.Run
		further.Sent += 1000
		s.Says = words.Counted(further.Sent, "object") + " are sent"
		s.Run = &further
		r.show(s)
		b.until(fmt.Sprintf(`document.querySelector(".answers").textContent.includes(%q)`, words.Grouped(further.Sent)))
	}
	if n := ask[int](b, "heard"); n != 0 {
		t.Errorf("it was read out %d times though it did not change", n)
	}
	s.Way = brokerAway().Way
	r.show(s)
	b.until("heard > 0")
}

func testLost(t *testing.T, browser context.Context) {
	r := serve(t, atRest(), soon)
	b := open(t, browser, r, desktop)
	waitFor(t, func() bool { return len(r.page.listeners) == 1 })
	b.mu.Lock()
	b.losing = true
	b.mu.Unlock()
	r.refuse.Store(true)
	r.CloseClientConnections()
	b.until(says("not updated any more"))
	b.shoot("lost-" + desktop.String())
	waitFor(t, func() bool { return r.refused.Load() > 0 }) // after which a browser does not try again by itself
	r.refuse.Store(false)
	b.until(says("At rest") + ` && !document.querySelector(".lost")`)
}

// testAnotherProgram sees that a page whose program was replaced loads the scripts and styles of the new one.
func testAnotherProgram(t *testing.T, browser context.Context) {
	b := open(t, browser, serve(t, atRest(), soon), desktop)
	anyLoad := func(browserpage.EventLoadEventFired) bool { return true }
	act(b, chromedp.WaitEvent(browserpage.LoadEventFired, anyLoad, chromedp.Evaluate[string](`document.getElementById("live").dataset.build = "another"`)))
	b.until(`document.getElementById("live").dataset.build !== "another"`)
}

func testPause(t *testing.T, browser context.Context) {
	r := serve(t, atRest(), soon)
	b := open(t, browser, r, desktop)
	b.do(chromedp.Click("#pause"))
	b.until(`document.getElementById("pause").textContent === "Go on"`)
	waitFor(t, func() bool { return len(r.page.listeners) == 0 })
	r.show(running())
	b.do(chromedp.Click("#pause"))
	b.until(says("Importing"))
}

func testKeyboard(t *testing.T, browser context.Context) {
	b := open(t, browser, serve(t, afterFailure(), soon), desktop)
	var reached []string
	for {
		b.do(chromedp.KeyEvent(kb.Tab))
		at := ask[string](b, `(e => e === document.body ? "" : e.id || e.className || e.textContent)(document.activeElement)`)
		if at == "" || len(reached) > 20 {
			break
		}
		if !ask[bool](b, `getComputedStyle(document.activeElement).outlineStyle === "solid"`) {
			t.Errorf("nothing shows that %s has the focus", at)
		}
		reached = append(reached, at)
	}
	if want := []string{"skip", "pause", "Reason", "This page as JSON"}; !slices.Equal(reached, want) {
		t.Errorf("Tab reaches %q, not %q", reached, want)
	}
	b.do(chromedp.Focus(".skip"), chromedp.KeyEvent(kb.Enter))
	b.until(`document.activeElement.id === "main"`)
}

// testNames sees that whoever does not see the page is told what is what.
func testNames(t *testing.T, browser context.Context) {
	for _, as := range []look{desktop, phone} {
		b := open(t, browser, serve(t, buffering(), soon), as)
		met := map[string]int{}
		for _, node := range call(b, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{}).Nodes {
			if node.Ignored || node.Role == nil {
				continue
			}
			role := strings.Trim(string(node.Role.Value), `"`)
			met[role]++
			named := node.Name != nil && strings.Trim(string(node.Name.Value), `"`) != ""
			if slices.Contains([]string{"meter", "progressIndicator", "progressbar", "region", "table", "button", "link", "heading", "RootWebArea", "columnheader", "rowheader"}, role) && !named {
				t.Errorf("%s: a %s has no name", as, role)
			}
		}
		for role, want := range map[string]int{
			"banner": 1, "main": 1, "contentinfo": 1, "region": 8, "meter": 4, "progressbar": 2, "table": 2, "columnheader": 12, "rowheader": 9, "status": 1,
		} {
			if met[role] != want {
				t.Errorf("%s: %d of the role %s, want %d; all: %v", as, met[role], role, want, met)
			}
		}
	}
}

// testHostile sees that the browser, too, takes for text what attacks the page: an alert would stop it, an image ask elsewhere.
func testHostile(t *testing.T, browser context.Context) {
	r := serve(t, atRest(), soon)
	b := open(t, browser, r, phone)
	r.show(attacked())
	b.until(`document.title.includes("<script>alert(1)")`)
	if ask[int](b, `document.querySelectorAll("script, img").length`) != 1 {
		t.Error("it has made elements")
	}
	if wide := ask[[]string](b, tooWide); len(wide) > 0 {
		t.Errorf("wider than the window: %q", wide)
	}
}
