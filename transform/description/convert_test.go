package description

import (
	"context"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestMarkdownKeepsWhatHTMLSays(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"paragraphs", "<p>a</p>\n<p>b\n c</p>", "a\n\nb c"},
		{"line breaks", "<p>a<br>b<br/><br />c<br></p>", "a  \nb\n\nc"},
		{"headings", "<h3>a</h3>b<h1></h1>", "### a\n\nb"},
		{"emphasis", "<p><b>a</b>, <em> b </em>c <s>d</s></p>", "**a**, _b_ c ~~d~~"},
		{"emphasis over paragraphs", "<b><p>a</p><p>b</p></b>", "**a**\n\n**b**"},
		{"tags that cross", "<p><b>a <i>b</b> c</i></p>", "**a _b_** _c_"},
		{"emphasis beside letters", "<p><b>Target:</b>Government a<i>b</i>c</p>", "**Target:**&#71;overnment &#97;_b_&#99;"},
		{"links", `<p><a href="https://e.x/?a=1&amp;b=2">t</a> <a href='https://e.x/a b(1'>x]</a> <a name=n>n</a></p>`,
			`[t](https://e.x/?a=1&b=2) [x\]](https://e.x/a%20b\(1) n`},
		{"a link over paragraphs", `<a href="https://e.x/"><p>a</p><p>b</p></a>`, "[a](https://e.x/)\n\n[b](https://e.x/)"},
		{"a link without text", `<p><a href="https://e.x/"></a></p>`, "[https://e.x/](https://e.x/)"},
		{"a link that runs code", "<p><a href=' JavaScript:x()'>t</a><a href='java&#9;script:x()'>u</a><a href='data:x'>v</a><a href='x'>w</a></p>", "tuvw"},
		{"images", `<p><img src="https://e.x/i.png" alt="a [b]"><img alt="only words"></p>`, `![a \[b\]](https://e.x/i.png)only words`},
		{"lists", "<ul><li>a<ul><li>b</li><li>c</li></ul></li><li>d</li></ul><p>e</p>", "- a\n  - b\n  - c\n- d\n\ne"},
		{"numbered lists", "<ol start=9><li>a</li><li>b<ol><li>c</ol></ol>", "9. a\n10. b\n    1. c"},
		{"text in a list before its items", "<ol>a <b>b</b><li>c<li>d</ol>", "a **b**\n\n1. c\n2. d"},
		{"text in a list without items", "<ol>0", "0"},
		{"paragraphs in items", "<ol><li><p>a</p><p>b</p></li></ol>", "1. a\n\n   b"},
		{"quotations", "<blockquote><p>a</p><p>b</p></blockquote>c", "> a\n>\n> b\n\nc"},
		{"a table with a head", "<table><tr><th>A</th><th>B</th></tr><tr><td>1|2</td><td><b>x</b><br>y</td></tr></table>z",
			"| A | B |\n| --- | --- |\n| 1\\|2 | **x** y |\n\nz"},
		{"a table without a head", "<table><tr><th>A</th><td>1</td></tr><tr><th>B</th><td>2<td>3</tr></table>",
			"|  |  |  |\n| --- | --- | --- |\n| A | 1 |\n| B | 2 | 3 |"},
		{"a table in a table", "<table><tr><td>a<table><tr><td>b</td><td>c</td></tr></table></td><td>d</td></tr></table>",
			"|  |  |\n| --- | --- |\n| a b c | d |"},
		{"a table that only arranges", "<table><tr><td>a</td></tr><tr><td>b</td></tr></table>", "a\n\nb"},
		{"code", "<p><code>a &lt;b&gt; `c` <b>d</b></code></p>", "`` a <b> `c` `` **`d`**"},
		{"code blocks", "<pre>\n a\n  <b>b</b> &lt;c&gt;\n```\n</pre>d", "````\n a\n  b <c>\n```\n````\n\nd"},
		{"rules", "a<hr>b", "a\n\n___\n\nb"},
		{"accents and references", "<p>déjà 北京 &eacute;&ndash;&#8220;&#128;</p>", "déjà 北京 é–“€"},
		{"scripts go", "<p>a</p><script>var b='<p>';</script><style>c</style><!-- d --><template>e</template>", "a"},
		{"citations", "<p>x.(Citation: A B 2020)(Citation: C)</p>", "x.(Citation: A B 2020)(Citation: C)"},
		{"letters of Markdown", `<p>a_b*c C:\Users 1. x #tag [T1]</p>`, `a_b*c C:\Users 1. x #tag [T1]`},
		{"what would become a heading", "<p># a</p>", `\# a`},
		{"what would become markup", "<p>&lt;b&gt; &amp;lt; &lt;user&gt; a &lt; b</p>", `\<b> \&lt; \<user> a < b`},
		{"placeholders", "<p>net use <start ip> user@<domain> if a<b then <1> <Time> x</p>", `net use \<start ip> user@\<domain> if a\<b then <1> \<Time> x`},
		{"foreign tags", "<p><o:p>a</o:p> <path>b</path></p>", "a b"},
		{"lines of the author", "a\n\n * b <code>c</code>\n * d<br>\ne <b> f </b>", "a\n\n\\* b `c`  \n\\* d  \ne **f**"},
		{"what stands in no item", "<ul><li>a</li><ul><li>b</li></ul>c</ul>", "- a\n  - b\n\n  c"},
		{"lists side by side", "<ol><li>a</li></ol><ol><li>b</li></ol>", "1. a\n\n1) b"},
		{"addresses of mail", "<p><i>a@e.x</i> <b>b@e.x</b> <i>@name</i> c_d@e.x <b>x</b>@e.x</p>", `_a\@e.x_ **b@e.x** _@name_ c_d@e.x **x**\@e.x`},
		{"strong letters", "<p>a<b>b</b>c un<b>believ</b>able <b>x:</b> y <b>a</b>.</p>", "a**b**c un**believ**able **x:** y **a**."},
		{"blocks in code blocks", "<pre><div>a</div><div> b<br>c</div>d</pre>", "```\na\n b\nc\nd\n```"},
		{"addresses", "<p>https://e.x/a_b https://e.x/__a__ <b>www.e.x</b></p>", `https://e.x/a_b https\://e.x/\_\_a\_\_ **www\.e.x**`},
		{"cdata", "<p><![CDATA[a & b]]></p>", "a & b"},
		{"cells without a table", "<td>a</td><td>b</td>", "a b"},
		{"definitions", "<dl><dt>a</dt><dd>b</dd></dl>", "a  \nb"},
	} {
		if got := Convert(t.Context(), Markdown, c.in); got != c.want {
			t.Errorf("%s: %q\n got %q\nwant %q", c.name, c.in, got, c.want)
		}
	}
}

func TestTextThatDoesNotActPassesUnchanged(t *testing.T) {
	for _, s := range []string{"", " ", "a_b*c", "x 1. y", "#tag", "a\n  b  \n", "a <1> b", "a & b &copy=2 &", "x < y > z", "<<<", `C:\Users`, "~/a ~/b",
		"<-", "the ``` mark", "5 * 3 * 2", "[T1] (x)", "$HOME", "https://e.x/a_b?c=1&d=2"} {
		for _, f := range []Format{Markdown, HTML, Text} {
			want := s
			if f == Text {
				want = strings.Replace(want, "&copy", "©", 1)
			}
			if got := Convert(t.Context(), f, s); got != want {
				t.Errorf("%v: %q became %q", f, s, got)
			}
		}
	}
	if got := Convert(t.Context(), Markdown, "x &amp; y &#8211; caf&eacute;"); got != "x & y – café" {
		t.Errorf("references: %q", got)
	}
}

func TestTextThatActsIsEscaped(t *testing.T) {
	for in, want := range map[string]string{
		"1. x": `1\. x`, "#tag\n# head": "#tag\n\\# head", "- a\n\n  b  \n": "\\- a\n\n  b  \n", "if a<b then": `if a\<b then`,
		"user@<domain>": `user@\<domain>`, `\\host\c$`: `\\\host\c$`, "`rev <<<'x'`": "\\`rev <<<'x'\\`", "a\n    b": "a\n   b", "a</": "a\\</",
		"List<int> x": `List\<int> x`, "if a<b then c>d": `if a\<b then c>d`, "<username> <IP Address> <Time>": `\<username> \<IP Address> \<Time>`,
	} {
		if got := Convert(t.Context(), Markdown, in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
		if got := Convert(t.Context(), Text, in); got != in {
			t.Errorf("%q became the text %q", in, got)
		}
	}
}

func TestTextBeyondTheReference(t *testing.T) {
	for in, want := range map[string]string{
		"<ruby>a<rt>b</rt></ruby>":         "ab",
		"<pre> <b></div> </pre> <i></i>  ": "    ",
		"&unknown;x &notit; a&ampb&#65g":   "&unknown;x ¬it; a&b&#65g",
		"a&amp<b>b</b>&amp":                "a&b&amp",
		"<textarea>  \n </textarea>":       "  \n ",
		"<script src='x'/>a</script>":      "a",
		"x </b y":                          "x </b y",
		"<a href='x>y' title=z>t</a><b/>u": "tu",
		"a<!-- b --!>c":                    "ac",
		"a<!-- b -- >c":                    "ac",
		"<![CDATA[a":                       "a",
		"<SCRIPT>x</ScRiPt >y":             "y",
		"</b <i>x</i>":                     " x",
	} {
		if got := Convert(t.Context(), Text, in); got != want {
			t.Errorf("%q:\n got %q\nwant %q", in, got, want)
		}
	}
}

// TestHostileTextsCostLinearTime gives each pattern many repetitions; what is quadratic takes a hundred times as long.
func TestHostileTextsCostLinearTime(t *testing.T) {
	const size = 100_000
	for _, unit := range []string{"<div>", "</div>", "<b>a", "<td>a<tr>*", "<table><tr><td>x", "<ul><li>x", "<blockquote>x", "<a href=xxxxxxxxxxxxxxxxxx>y<p>",
		"<b x=\"<b x='", "<a b='", "<p a=b ", "<!--", "--", "</", "<a", "<x y>", "</x y", "&#", "&amp", "<code>`", "<![CDATA[", "<u><i><b>x", "<zz></zz>", "<p/>",
		"<pre>`", "<br>", "-- ", "<td>", "[<a href=x>]", "<q>", "<o:p></o:p>", "<i>(</i>a", "<i>a</i>(", "*a ", "\n[", "\\", "http://", "<code>a</code><b>b</b>",
		" <a href='https://e.x/'>y</a>", "<img src='https://e.x/' alt='*'>", "<h1>", "<p>x", "<template>", "<a href='https://e.x/'><b><i><s><code>x<p>", "x",
		"@a", "<i>@a</i>b", "www.<b>", "<pre><p>", "***\n", `<table><tr><td><code>\|`} {
		tails := []string{"", "'\">-->"}
		if strings.HasSuffix(unit, ">") {
			tails = tails[:1]
		}
		for _, tail := range tails {
			in := strings.Repeat(unit, size/len(unit)) + tail
			for _, f := range []Format{Markdown, Text} {
				start := time.Now()
				out := Convert(t.Context(), f, in)
				if took := time.Since(start); took > time.Minute {
					t.Errorf("%v of %q took %v", f, unit, took)
				}
				if len(out) > 24*size {
					t.Errorf("%v of %q became %d bytes", f, unit, len(out))
				}
			}
		}
	}
}

func TestLongDescriptionsKeepTheirParagraphs(t *testing.T) {
	in := strings.Repeat("<p>some *words* of a paragraph</p><ul><li>item</li></ul>", 20_000)
	out := Convert(t.Context(), Markdown, in)
	if want := strings.TrimSuffix(strings.Repeat("some \\*words\\* of a paragraph\n\n- item\n\n", 20_000), "\n\n"); out != want {
		t.Errorf("%d bytes became %d, want %d", len(in), len(out), len(want))
	}
}

func TestALongDescriptionEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := Convert(ctx, Markdown, strings.Repeat("<p>text</p>", maxPiece)); len(got) > 0 {
		t.Errorf("%d bytes were written", len(got))
	}
}

func FuzzConvert(f *testing.F) {
	for _, s := range []string{"<p>a &amp; <b>b</b></p>", "<table><tr><th>a<td>b</table>", "<ul><li><pre>x</pre><ol><li>y", "if a<b then <1> <x></x>",
		"<a href='x'>[</a><img src=y alt='|'>", "<!-- <![CDATA[ &#x41; &lt;b&gt;", "a\n<code>b\n</code><br>\n c", "<blockquote><h1>a<hr>"} {
		f.Add(s)
	}
	f.Add("<p>The actor's (known) host: www.e.x, 5% of it.</p>")
	f.Fuzz(func(t *testing.T, s string) {
		checkPlain(t, s)
		for _, format := range []Format{Markdown, Text} {
			out := Convert(t.Context(), format, s)
			if utf8.ValidString(s) && !utf8.ValidString(out) {
				t.Errorf("%v of %q is not Unicode: %q", format, s, out)
			}
			if len(out) > 64*len(s)+64 {
				t.Errorf("%v of %q grew to %d bytes", format, s, len(out))
			}
		}
	})
}

func BenchmarkConvert(b *testing.B) {
	in := strings.Repeat(`<p>Adversaries may <a href="https://e.x/">get a listing</a> of <code>accounts</code> &amp; more.(Citation: X)</p><ul><li>one</li></ul>`, 6)
	for _, f := range []Format{Markdown, Text} {
		b.Run(f.String(), func(b *testing.B) {
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				Convert(b.Context(), f, in)
			}
		})
	}
}
