package description

import (
	"context"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var tags = strings.Split("<p>,</p>,<br>,<b>,</b>,<i>,</i>,<s>,</s>,<ul>,</ul>,<ol start=3>,</ol>,<li>,</li>,<h1>,</h1>,"+
	"<h2>,</h2>,<pre>,</pre>,<blockquote>,</blockquote>,<hr>,<code>,</code>,<table>,</table>,<thead>,</thead>,<tbody>,</tbody>,<tr>,</tr>,<td>,</td>,<th>,</th>,"+
	"<caption>,</caption>,<template>,</template>,<q>,<u>,</u>,<div/>,<a href=https://e.x/>,<a href='https://e.x/?a=1&amp;b'>,</a>,<a title=x/ href=\"mailto:a&copy\">,"+
	"<img src=ftp://e.x alt=x>,a,b c,&#10;,&#13;,\n,\n, ,\r,&nbsp;,&lt;,<![CDATA[&]]>,<dt>,</dt>,<p a='", ",")

// drawTags draws text of a few tags, in order or not.
var drawTags = rapid.Custom(func(t *rapid.T) string {
	few := rapid.SliceOfN(rapid.SampledFrom(tags), 1, 6).Draw(t, "few")
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom(append(few, "a")), 1, 14).Draw(t, "tags"), "")
})

// TestATidyDescriptionIsReadAsAParserReadsIt has what the tree takes for tidy become the same by way of the parser.
func TestATidyDescriptionIsReadAsAParserReadsIt(t *testing.T) {
	tidy, all := 0, 0
	var c Converter
	check := func(t rapid.TB, s string) {
		got := string(c.Append(context.Background(), nil, Markdown, s))
		if want := string(appendLong(context.Background(), nil, s)); got != want {
			t.Errorf("%q\n got %q\nwant %q", s, got, want)
		}
		if all++; !c.tree.untidy {
			tidy++
		}
	}
	for _, s := range []string{
		"<p><b>a</p>b", "<b><p>a</b>b</p>", "<p><b>a<p>b", "<p><b>a<ul><li>b</ul>c", "<ul><li><b>a<li>b</ul>c", "<ul><b>a<li>b</b></ul>c", "<ul><li><b>a</ul>c",
		"<table><tr><td><b>a<td>b</table>c", "<table>a<tr><td>b<td>c</table>", "<table><tr><td>a<td>b</p>c</table>", "<p><table></p>a</table>", "<table><tr><p>a<td>b<td>c</table>",
		"<a href=https://e.x/a>x<a href=https://e.x/b>y</a>z", "<h1>a<h2>b</h2>c</h1>d", "<h1>a</h2>b", "<pre>\n\na</pre>", "<ul>&amp; <li>a</ul>", "<ul>a&nbsp;<li>a</ul>",
		"<table><tr><td>a<td>b</th>c</table>", "<table><thead><tr><th>a<th>b</tbody>c</table>", "<ol><p>a</li>b</ol>", "<blockquote><li>a</blockquote>b",
	} {
		check(t, s)
	}
	rapid.Check(t, func(t *rapid.T) {
		check(t, blocks(2).Draw(t, "html"))
		check(t, drawTags.Draw(t, "tags"))
	})
	if tidy < all/4 || tidy == all {
		t.Errorf("%d of %d were tidy", tidy, all)
	}
}
