package description

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/html"
)

// maxLinks bounds the addresses that are taken from one description: each becomes an object in OpenCTI.
const maxLinks = 50

// Links returns the addresses that the links of an HTML text lead to, in order, each once, at most 50: absolute ones of the web
// and of files (http, https, ftp), which net/url can read and which name a host. Addresses that only stand in the text are not
// links.
func Links(s string) []string {
	var links []string
	for sc := newScanner(s); len(links) < maxLinks; {
		t, ok := sc.next()
		if !ok {
			break
		}
		if t.kind != startTag || t.name != "a" {
			continue
		}
		tag := html.NewTokenizer(strings.NewReader("<a " + t.raw + ">"))
		tag.Next()
		address := copied(destination(attr(&html.Node{Attr: tag.Token().Attr}, "href")))
		if u, err := url.Parse(address); err == nil && u.Hostname() != "" && !slices.Contains(links, address) {
			links = append(links, address)
		}
	}
	return links
}

// destination returns an address that may be followed, "" for any other: only those of the web, of mail and of files. The
// characters that a browser skips are left out before its scheme is read.
func destination(href string) string {
	href = strings.Map(func(r rune) rune {
		if r == '\t' || r == '\n' || r == '\r' {
			return -1
		}
		return r
	}, strings.TrimFunc(href, func(r rune) bool { return r <= ' ' }))
	switch scheme, rest, _ := strings.Cut(href, ":"); strings.ToLower(scheme) {
	case "http", "https", "mailto", "ftp":
		if rest != "" {
			return href
		}
	}
	return ""
}

// copied writes an address as a browser's address line does: one word, with nothing in it that begins or ends something. (A
// tick in a link's address could be the end of code that begins before the link.)
func copied(address string) string {
	if !strings.ContainsFunc(address, apart) {
		return address
	}
	var out strings.Builder
	for _, r := range address {
		if apart(r) {
			fmt.Fprintf(&out, "%%%02X", r)
		} else {
			out.WriteRune(r)
		}
	}
	return out.String()
}

func apart(r rune) bool { return r <= ' ' || r == 0x7f || r == '<' || r == '>' || r == '`' || r == '"' }

// destinationText writes an address so that it fits between a link's parentheses.
func destinationText(address string) string {
	address = copied(address)
	var out strings.Builder
	for i := range len(address) {
		switch c := address[i]; {
		case c == '&' && startsReference.MatchString(address[i:min(len(address), i+40)]):
			out.WriteString("&amp;")
		case c == '(' || c == ')' || c == '\\':
			out.WriteByte('\\')
			fallthrough
		default:
			out.WriteByte(c)
		}
	}
	return out.String()
}
