package description

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// shared opens a reference file beside the repository, or skips the test.
func shared(t testing.TB, name string) *os.File {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "..", "..", "shared", name))
	if err != nil {
		t.Skipf("reference data is not here: %v", err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// checkShown says what a reader of the Markdown sees that a reader of the HTML does not, and which characters the flat text
// lacks.
func checkShown(t rapid.TB, test testing.TB, s string) {
	t.Helper()
	markdown := Convert(context.Background(), Markdown, s)
	shown := rendered(test, markdown)
	compare(t, s, markdown, see(test, shown), seeDescription(test, s))
	if isHTML(s) {
		compare(t, s, markdown, characters(test, shown), characters(test, s))
		flat := Convert(context.Background(), Text, s)
		compare(t, s, flat, withoutGaps(flat), characters(test, s))
	}
}

// compare says where what is shown of a text differs from what should be.
func compare(t rapid.TB, s, as, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	at = max(0, at-60)
	t.Errorf("%q\nshows …%.200q\n want …%.200q\n with %q", s, got[at:], want[at:], as)
}

// TestTheCasesShowTheCharactersOfTheText walks the case of the reference data.
func TestTheCasesShowTheCharactersOfTheText(t *testing.T) {
	var c struct {
		Items  map[string]map[string][]struct{ ID, Description string }
		Expect struct {
			Arrives []struct {
				Where          struct{ ID string }
				Shows, Without struct{ Description string }
			}
		}
	}
	if err := json.NewDecoder(shared(t, "cases/descriptions-show-the-characters-of-the-text.json")).Decode(&c); err != nil {
		t.Fatal(err)
	}
	descriptions := make(map[string]string)
	for _, dataset := range c.Items {
		for _, item := range dataset {
			for _, o := range item {
				descriptions[o.ID] = o.Description
				checkShown(t, t, o.Description)
			}
		}
	}
	for _, e := range c.Expect.Arrives {
		markdown := Convert(context.Background(), Markdown, descriptions[e.Where.ID])
		shown := strings.NewReplacer("⟦b⟧", "", "⟦⟧", "").Replace(see(t, rendered(t, markdown)))
		if !strings.Contains(shown, e.Shows.Description) {
			t.Errorf("%q shows %q, want %q", markdown, shown, e.Shows.Description)
		}
		if e.Without.Description != "" && strings.Contains(markdown, e.Without.Description) {
			t.Errorf("%q has %q", markdown, e.Without.Description)
		}
	}
	if len(c.Expect.Arrives) < 10 || len(descriptions) < 9 {
		t.Errorf("only %d expectations of %d descriptions", len(c.Expect.Arrives), len(descriptions))
	}
}

// TestTheCorpusShowsWhatItsHTMLShows takes every description of the corpus, of the recorded run and of the cases.
func TestTheCorpusShowsWhatItsHTMLShows(t *testing.T) {
	seen := make(map[string]bool)
	var visit func(v any)
	visit = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				visit(e)
			}
		case map[string]any:
			if s, ok := v["description"].(string); ok {
				seen[s] = true
			}
			for _, e := range v {
				visit(e)
			}
		}
	}
	for _, name := range []string{"data/corpus/profiles.ndjson.gz", "data/corpus/alerts.ndjson.gz", "data/corpus/indicators.ndjson.gz", "golden/small_requests.jsonl.gz"} {
		z, err := gzip.NewReader(shared(t, name))
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(z)
		for lines.Buffer(nil, 1<<26); lines.Scan(); {
			var v any
			if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
				t.Fatal(err)
			}
			visit(v)
		}
		if err := lines.Err(); err != nil {
			t.Fatal(err)
		}
	}
	cases, err := filepath.Glob(filepath.Join("..", "..", "..", "shared", "cases", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range cases {
		var v any
		if err := json.NewDecoder(shared(t, filepath.Join("cases", filepath.Base(name)))).Decode(&v); err != nil {
			t.Fatal(err)
		}
		visit(v)
	}
	if len(seen) < 11000 {
		t.Errorf("only %d descriptions", len(seen))
	}
	for s := range seen {
		checkShown(t, t, s)
	}
}

func TestWhatActsInMarkdownIsShown(t *testing.T) {
	for _, s := range []string{
		"<p>a<br>===</p><p>a<br>---</p><p>a | b<br>--- | ---<br>c | d</p><p>***</p><p>_ _ _</p><p>````</p><p>~~~</p>",
		"<p>1. x</p><p>2) x</p><p>- y</p><p>+ y</p><p>* y</p><p># z</p><p>######</p><p>&gt; q</p><p>[x]: y</p><p>[x] y</p>",
		"<ul><li>[ ] x</li><li>- y</li><li># z</li></ul><h1>C #</h1><h2>###</h2><h3>[x]</h3>",
		"<p>**<b>x</b>** _<i>y</i>_ ~<s>z</s>~ `<code>`</code>` <s>~</s></p>",
		"<p>&amp;lt; &amp;copy; &amp;#35; &lt;b&gt; &lt;!-- &lt;x@y.z&gt; a&lt;b <script.exe> <username> if a<b then</p>",
		"<p>x<b>y</b>z x<b>y:</b>z x<b>(y)</b>z x<i>y</i>z <i>x</i><b>y</b><i>z</i> <b>x<i>y</i></b>z <s>x.</s>y <b>x<code>y</code></b>z</p>",
		"<p><b>a <i>b</b> c</i></p><p><b> a </b>b<i>&nbsp;c&nbsp;</i>d</p><p><b><code>a</code></b><code>b</code></p>",
		"<p><<b>0@0>0</b> <<i>b</i>> <<s>x@e.x</s>></p>",
		"<p>!<a href='https://e.x/'>a</a> ![x](y) [x](y) [x][y] <a href='https://e.x/(a)\\*_&amp;copy;| b'>[x] ] (</a></p>",
		"<p>a<b>b</b>c a<s>b</s>c a<i>b</i>c e<b>a<i>p</i></b> e<s>a<b>:</b></s> <b>a</b>b<b>c</b> a<b>.</b>b <b>a</b><i>b</i>c</p>",
		"<p>ftp://e.x/<s>(</s> www.<i>.e</i> <s>a</s>@e.x a/<i>@e.x)</i> a<code>@e.x</code> \\ a@e.x` <code>a</code> ``<a href='https://e.x/``'>b</a></p>",
		"**a\n***\n", "~~~x\n~~~x\n~~~", "<p>~~~ `<code>~</code> 😀<b>(a)</b>😀 😀*a</p>", "_*\n__ _\n_b", "<p>**a<br>***<br>b</p><p>|<br>:<br>:-:<br>_<br>__</p>",
		"\\\r\n- a\r- b\r===",
		"<p>https://e.x/__a__ http://e.x/a_b, (https://e.x/*a*) www.e.x/~~a~~ <b>https://e.x</b>a https://e.x/<code>a</code> \\https://e.x/*</p>",
		"<p>`<img src='https://e.x/i.png' alt='`[*]'></p><p>a\\<br>\\*b\\ c\\</p>",
		"<table><tr><td><code>\\|</code> <code>a\\|b|c</code></td><td>www.e.x|y \\|</td></tr></table><p><i>a_b@e.x</i> <i>a</i> <s>*b</s> *c<i>_</i>*</p>",
		"<table><tr><td>a|b\\|c</td><td><code>a|b</code> <a href='https://e.x/|'>a|b</a></td></tr><tr><td>x<ul><li>y</li></ul></td><td><table><tr><td>z</td></tr></table></td></tr></table>",
		"<ul><li>a</li></ul><ul><li>b</li></ul><ol><li>a</li></ol><ol><li>b</li></ol><ol start=7><li>a<ol start=3><li>b</li></ol></li></ol>",
		"<ul><li>a</li></ul><ul><li>**</li><li>*</li></ul><ul><li>--</li><li>_</li></ul>",
		"<ul><li><b>a</li><li>b</li></ul>",
		"<blockquote><pre>a\n\n  ```\n</pre><ul><li><pre>x\n y</pre></li></ul></blockquote>",
		"\\\\files\\ADMIN$ __init__ a_b_c\n# a\n1. b\n\n    c\n\td\n[e]: f <username> `rev <<<'x'`",
	} {
		checkShown(t, t, s)
	}
}

func TestWhatAReaderSeesOfAnyHTMLSurvives(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) { checkShown(rt, t, blocks(2).Draw(rt, "html")) })
}

// words are what text is made of, with all that means something in Markdown.
var words = rapid.Map(rapid.SliceOfN(rapid.SampledFrom(strings.Split("a,b,word,é,北京,“,’, , , ,\n,*,_,**,__,~,~~,`,``,```,#,##,1.,2),-,+,|,&gt;,&lt;,&amp;,&amp;lt;,"+
	`\,\\,[,],(,),[x]:,](,!,=,===,---,:,.,$,&nbsp;,&#8203;,https://e.x/a_b,ftp://e.x/*,www.,www.e.x,a_b@e.x,@e.x,<user>,a<b,&lt;!--,[ ],[^1]:,\|,    ,	`, ",")), 1, 5),
	func(s []string) string { return strings.Join(s, "") })

// phrases draws what has no lines of its own.
func phrases(depth int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		var b strings.Builder
		for range rapid.IntRange(1, 4).Draw(t, "phrases") {
			form := "%s"
			if depth > 0 {
				form = rapid.SampledFrom([]string{"%s", "%s", "%s", "<b>%s</b>", "<i>%s</i>", "<s>%s</s>", "<code>%s</code>", "<a href='https://e.x/(_a_'>z%s</a>", "<a href='https://e.x/`a'>z%s</a>", `<a href='https://e.x/\*)'>z%s</a>`,
					"<a href='https://e.x/&amp;copy;|'>z%s</a>", "%s<br>", "%s<img src='https://e.x/i.png' alt='z`*[]_\\'>"}).Draw(t, "form")
			}
			if strings.Contains(form, "%s<") || form == "%s" || form == "<code>%s</code>" {
				fmt.Fprintf(&b, form, words.Draw(t, "words"))
			} else {
				fmt.Fprintf(&b, form, phrases(depth-1).Draw(t, "inner"))
			}
		}
		return b.String()
	})
}

// blocks draws what has.
func blocks(depth int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		var b strings.Builder
		for range rapid.IntRange(1, 3).Draw(t, "blocks") {
			line := func() string { return phrases(2).Draw(t, "line") }
			inner := line
			if depth > 0 {
				inner = func() string { return blocks(depth-1).Draw(t, "inner") }
			}
			switch rapid.IntRange(0, 8).Draw(t, "block") {
			case 0, 1:
				b.WriteString("<p>" + line() + "</p>")
			case 2:
				b.WriteString("<h2>" + line() + "</h2>")
			case 3:
				b.WriteString("<pre>z" + words.Draw(t, "code") + "\n " + words.Draw(t, "code") + "z</pre>")
			case 4:
				b.WriteString("<ul><li>" + inner() + "</li>\n<li>" + line() + "</li></ul>")
			case 5:
				b.WriteString("<ol start=4><li>" + inner() + "</li></ol>")
			case 6:
				b.WriteString("<blockquote>" + inner() + "</blockquote>")
			case 7:
				b.WriteString("<table><tr><th>z" + line() + "</th><th>z</th></tr><tr><td>" + line() + "</td><td>" + inner() + "</td></tr></table>")
			default:
				b.WriteString(line() + "<hr>")
			}
		}
		return b.String()
	})
}

func FuzzShown(f *testing.F) {
	for _, s := range []string{"<p>a &amp; <b>b:</b>c</p>", "<ul><li>*<li>[x]: y</ul>", "<a href='https://e.x/'>[</a><img src='https://e.x' alt='|'>", "<table><tr><td>`|<td>x</table>", "# a\n1. `b`"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) {
			t.Skip()
		}
		markdown := Convert(context.Background(), Markdown, s)
		want, got := seeDescription(t, s), see(t, rendered(t, markdown))
		// Empty links and pictures show their attributes.
		if lower := strings.ToLower(s); isHTML(s) && !strings.Contains(lower, "href") && !strings.Contains(lower, "alt") {
			compare(t, s, markdown, characters(t, rendered(t, markdown)), characters(t, s))
		}
		letters := func(s string) string {
			return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }), "")
		}
		compare(t, s, markdown, letters(got), letters(want))
	})
}
