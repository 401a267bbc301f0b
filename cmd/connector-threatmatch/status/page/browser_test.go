package page

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

var shots = flag.String("shots", "", "write pictures of the page to this folder")

// patience is how long the browser may take for anything; it is met only where something is wrong.
const patience = 30 * time.Second

// startBrowser starts the one browser of a test.
func startBrowser(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("there is no chromium here: what the page is like in a browser is not tested; .ci/test-tools installs it")
	}
	// The default options spare a small /dev/shm; the tests may be run by root, whom the sandbox refuses.
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox)
	allocator, free := chromedp.NewExecAllocator(context.Background(), options...)
	browser, stop := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		if err := chromedp.Cancel(browser); err != nil {
			t.Error(err)
		}
		stop()
		free()
	})
	if err := chromedp.Do(browser); err != nil {
		t.Fatal(err)
	}
	return browser
}

// look is how somebody looks at the page.
type look struct {
	width, height int64
	scheme        string
	script        bool
}

func (l look) String() string {
	device := map[int64]string{320: "small", 390: "phone", 1280: "desktop"}[l.width]
	if l.script {
		return device + "-" + l.scheme
	}
	return device + "-" + l.scheme + "-noscript"
}

func looks() []look {
	return []look{
		{390, 844, "light", true}, {390, 844, "dark", true}, {1280, 900, "light", true}, {1280, 900, "dark", true},
		{390, 844, "light", false}, {1280, 900, "dark", false}, {320, 640, "light", true},
	}
}

// tab is a tab of the browser, and what went wrong in it.
type tab struct {
	t       *testing.T
	ctx     context.Context
	origin  string
	mu      sync.Mutex // guards what follows
	trouble []string
	losing  bool // the connection, on purpose: the browser's word about it is no trouble
}

// open opens the page of r.
func open(t *testing.T, browser context.Context, r *rig, as look) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser)
	t.Cleanup(cancel)
	b := &tab{t: t, ctx: ctx, origin: r.URL + "/"}
	if err := chromedp.Listen(ctx, b.hear); err != nil {
		t.Fatal(err)
	}
	call(b, network.Enable, network.EnableParams{})
	call(b, log.Enable, cdp.Empty{})
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: as.scheme}}})
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !as.script})
	b.do(chromedp.EmulateViewport(as.width, as.height), chromedp.Navigate(b.origin))
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, line := range b.trouble {
			t.Error(line)
		}
	})
	return b
}

// hear notes what no page may do: ask elsewhere, and fail.
func (b *tab) hear(event any) {
	wrong := ""
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		if url := e.Request.URL; !strings.HasPrefix(url, b.origin) && !strings.HasPrefix(url, "data:") {
			wrong = "asked elsewhere: " + url
		}
	case *runtime.EventExceptionThrown:
		wrong = "the script failed: " + e.ExceptionDetails.Text
	case *runtime.EventConsoleAPICalled:
		wrong = fmt.Sprintf("the console says: %s", e.Type)
	case *log.EventEntryAdded:
		wrong = fmt.Sprintf("the browser says: %s %s", e.Entry.Text, e.Entry.URL)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if wrong != "" && !b.losing {
		b.trouble = append(b.trouble, wrong)
	}
}

// act does something in a tab.
func act[T any](b *tab, action chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	result, err := chromedp.Run(ctx, action)
	if err != nil {
		b.t.Fatal(err)
	}
	return result
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	act(b, chromedp.Steps(steps...))
}

// call runs a command of the browser's protocol.
func call[P, R any](b *tab, command cdp.Command[P, R], params P) R {
	b.t.Helper()
	return act(b, func(ctx context.Context, t *chromedp.Target) (R, error) { return cdp.Call(ctx, t, command, params) })
}

// ask evaluates an expression in a tab.
func ask[T any](b *tab, expression string, options ...chromedp.EvaluateOption) T {
	b.t.Helper()
	return act(b, chromedp.Evaluate[T](expression, options...))
}

// until waits for a condition.
func (b *tab) until(condition string) {
	b.t.Helper()
	act(b, chromedp.Poll[bool](condition, chromedp.WithPollingInterval(10*time.Millisecond)))
}

// shoot takes a picture of the whole page for somebody to look at.
func (b *tab) shoot(name string) {
	if *shots == "" {
		return
	}
	picture := act(b, chromedp.FullScreenshot(100))
	if err := os.WriteFile(filepath.Join(*shots, name+".png"), picture, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

func TestThePageInABrowser(t *testing.T) {
	browser := startBrowser(t)
	for _, as := range looks() {
		t.Run(as.String(), func(t *testing.T) { testLook(t, browser, as) })
	}
	t.Run("it updates without a loss", func(t *testing.T) { testUpdate(t, browser) })
	t.Run("one sentence is read out", func(t *testing.T) { testReadOut(t, browser) })
	t.Run("a lost connection", func(t *testing.T) { testLost(t, browser) })
	t.Run("another program", func(t *testing.T) { testAnotherProgram(t, browser) })
	t.Run("a pause", func(t *testing.T) { testPause(t, browser) })
	t.Run("the keyboard", func(t *testing.T) { testKeyboard(t, browser) })
	t.Run("names", func(t *testing.T) { testNames(t, browser) })
	t.Run("what is hostile", func(t *testing.T) { testHostile(t, browser) })
}

func testLook(t *testing.T, browser context.Context, as look) {
	all := scenes()
	r := serve(t, all["at-rest"], soon)
	b := open(t, browser, r, as)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		r.show(all[name])
		b.do(chromedp.Reload())
		if wide := ask[[]string](b, tooWide); len(wide) > 0 {
			t.Errorf("%s: wider than the window: %q", name, wide)
		}
		if pale := ask[[]string](b, tooPale); len(pale) > 0 {
			t.Errorf("%s: hard to read: %q", name, pale)
		}
		b.shoot(name + "-" + as.String())
	}
}

// tooWide names what makes the page wider than the window.
const tooWide = `document.documentElement.scrollWidth <= innerWidth ? [] : [...document.querySelectorAll("body *")]
	.filter(e => e.getBoundingClientRect().right > innerWidth + 0.5 && !e.closest(".scroll")).map(e => e.tagName + " " + e.textContent.slice(0, 40))`

// tooPale names texts whose contrast to what is behind them is less than 4.5.
const tooPale = `(() => {
	const colour = text => text.match(/[\d.]+/g).map(Number);
	const channel = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
	const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
	const ground = e => {
		for (; e; e = e.parentElement) {
			const c = colour(getComputedStyle(e).backgroundColor);
			if (c.length < 4 || c[3] === 1) return c;
			if (c[3] !== 0) throw new Error("what lies behind " + e.tagName + " is not known");
		}
		throw new Error("nothing lies behind");
	};
	const pale = [];
	const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	let seen = 0;
	while (texts.nextNode()) {
		const e = texts.currentNode.parentElement;
		if (!texts.currentNode.data.trim() || !e.checkVisibility() || e.closest("meter, progress, noscript")) continue;
		seen++;
		const a = luminance(colour(getComputedStyle(e).color)), b = luminance(ground(e));
		const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (contrast < 4.5) pale.push(contrast.toFixed(2) + " " + texts.currentNode.data.trim().slice(0, 40));
	}
	return seen > 30 ? pale : ["only " + seen + " texts were seen"];
})()`
