package description

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestLinksAreTheAddressesThatMayBeFollowed(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     []string
	}{
		{"in order, each once", `<p><a href="https://e.x/b">1</a><A HREF='http://e.x/a'>2</A><a class=c href=https://e.x/b>3</a> <a href="ftp://e.x/f">4</a></p>`,
			[]string{"https://e.x/b", "http://e.x/a", "ftp://e.x/f"}},
		{"references", "<a href='https://e.x/?a=1&amp;b=2&copy=3&#x41;'>t</a>", []string{"https://e.x/?a=1&b=2&copy=3A"}},
		{"as a browser reads them", "<a href='\x01 ht&#9;tps:&#10;//e.x/\r\na b\\<c>é '>t</a>", []string{"https://e.x/a%20b\\%3Cc%3Eé"}},
		{"schemes", `<a href="mailto:a@e.x">t</a><a href="javascript:x()">t</a><a href="java&#9;script:x()">t</a><a href="data:x">t</a><a href="HTTPS://E.x">t</a>`,
			[]string{"HTTPS://E.x"}},
		{"without a host", `<a href="/a">t</a><a href="a.html">t</a><a href="#a">t</a><a href="//e.x/">t</a><a href="https:///a">t</a><a href="https:">t</a><a href="http://:80/">t</a><a>t</a><a href>t</a>`, nil},
		{"that cannot be read", "<a href='https://[e/'>t</a><a href='https://e x/'>t</a>", nil},
		{"that are text", "https://e.x/ [t](https://e.x/) &lt;a href='https://e.x/'> <!-- <a href='https://e.x/'> --><script><a href='https://e.x/'></script><img src='https://e.x/'>", nil},
		{"without text", "<a href='https://e.x/'></a>", []string{"https://e.x/"}},
		{"none", "", nil},
	} {
		if got := Links(c.in); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q of %q, want %q", c.name, got, c.in, c.want)
		}
	}
}

func TestLinksAreBounded(t *testing.T) {
	var in strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&in, "<a href='https://e.x/%d'>t</a>", i)
	}
	if links := Links(in.String()); len(links) != 50 || links[49] != "https://e.x/49" {
		t.Errorf("%d links: %q", len(links), links)
	}
}

func FuzzLinks(f *testing.F) {
	for _, s := range []string{"<a href='https://e.x/?a=1&amp;b'>", "<a href=' ht\ntp://e.x'>t</a><a href=\"javascript:x\">", "<a b href=ftp://e.x/`>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, address := range Links(s) {
			if u, err := url.Parse(address); err != nil || u.Hostname() == "" || !slices.Contains([]string{"http", "https", "ftp"}, u.Scheme) || strings.ContainsAny(address, " \t\r\n<>\"") {
				t.Errorf("%q is no address, of %q", address, s)
			}
		}
	})
}
