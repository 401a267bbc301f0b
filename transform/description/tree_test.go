package description

import (
	"context"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestATidyDescriptionIsReadAsAParserReadsIt draws tags in order and out of order: what the tree takes for tidy becomes the same
// by way of the parser.
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
	rapid.Check(t, func(t *rapid.T) {
		check(t, blocks(2).Draw(t, "html"))
		check(t, rapid.Map(rapid.SliceOfN(rapid.SampledFrom(strings.Split("<p>,</p>,<p>,</p>,<br>,<b>,</b>,<i>,</i>,<s>,</s>,<ul>,</ul>,<ol start=3>,</ol>,<li>,</li>,<h1>,</h1>,"+
			"<h2>,</h2>,<pre>,</pre>,<blockquote>,</blockquote>,<hr>,<code>,</code>,<table>,</table>,<thead>,</thead>,<tbody>,</tbody>,<tr>,</tr>,<td>,</td>,<th>,</th>,"+
			"<caption>,</caption>,<template>,</template>,<q>,<u>,</u>,<div/>,<a href=https://e.x/>,<a href='https://e.x/?a=1&amp;b'>,</a>,<a title=x/ href=\"mailto:a&copy\">,"+
			"<img src=ftp://e.x alt=x>,a,b c,&#10;,&#13;,\n,\n, ,\r,&nbsp;,&lt;,<![CDATA[&]]>,<dt>,</dt>,<p a='", ",")), 1, 14), func(s []string) string {
			return strings.Join(s, "")
		}).Draw(t, "tags"))
	})
	if tidy < all/4 || tidy == all {
		t.Errorf("%d of %d were tidy", tidy, all)
	}
}
