package description

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/html/atom"
)

// maxLinks bounds the addresses that are taken from one description: each becomes an object in OpenCTI.
const maxLinks = 50

// Links returns the addresses that the links of an HTML text lead to, in order, each once, at most 50: absolute ones of the web
// and of files (http, https, ftp), which net/url can read and which name a host. Addresses that only stand in the text are not
// links.
func Links(s string) []string { return new(Converter).AppendLinks(nil, s) }

// AppendLinks appends what [Links] returns.
func (c *Converter) AppendLinks(links []string, s string) []string {
	most := len(links) + maxLinks
	if !isLong(s) {
		c.scan(s)
		for _, t := range c.tokens {
			if len(links) < most {
				links = appendLink(links, t)
			}
		}
		return links
	}
	for sc := newScanner(s); len(links) < most; {
		t, ok := sc.next()
		if !ok {
			break
		}
		links = appendLink(links, t)
	}
	return links
}

// appendLink appends the address of a token that begins a link, unless it stands there already.
func appendLink(links []string, t token) []string {
	if t.kind != startTag || t.as != atom.A {
		return links
	}
	address := copied(destination(valueOf(t.raw, "href")))
	if slices.Contains(links, address) {
		return links
	}
	if _, ok := Host(address); ok {
		links = append(links, address)
	}
	return links
}

// Host returns the host that an address names; false says that net/url cannot read it, or that it names none.
func Host(address string) (host string, ok bool) {
	if host = plainHost(address); host != "" {
		return host, true
	}
	u, err := url.Parse(address)
	if err != nil {
		return "", false
	}
	return u.Hostname(), u.Hostname() != ""
}

// plainHost is Host for almost all addresses of the web, "" for the rest: https, a host without a port, and nothing behind it that
// means something else than itself.
func plainHost(address string) string {
	rest, ok := strings.CutPrefix(address, "https://")
	if !ok {
		if rest, ok = strings.CutPrefix(address, "http://"); !ok {
			return ""
		}
	}
	end := 0
	for end < len(rest) && (isLetter(rest[end]) || isDigit(rest[end]) || rest[end] == '.' || rest[end] == '-') {
		end++
	}
	if end < len(rest) && rest[end] != '/' {
		return ""
	}
	for i := end; i < len(rest); i++ {
		if c := rest[i]; !isLetter(c) && !isDigit(c) && strings.IndexByte("/-._~!$&'()*+,;=:@?#", c) < 0 {
			return ""
		}
	}
	return rest[:end]
}

// destination returns an address that may be followed, "" for any other: only those of the web, of mail and of files. The
// characters that a browser skips are left out before its scheme is read.
func destination(href string) string {
	href = strings.TrimFunc(href, func(r rune) bool { return r <= ' ' })
	if !isWhole(href) {
		href = strings.Map(func(r rune) rune {
			if r == '\t' || r == '\n' || r == '\r' {
				return -1
			}
			return r
		}, href)
	}
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

// isWhole says that there are no characters in an address that a browser skips.
func isWhole(href string) bool {
	return strings.IndexByte(href, '\n') < 0 && strings.IndexByte(href, '\t') < 0 && strings.IndexByte(href, '\r') < 0 && utf8.ValidString(href)
}

// appendDestination appends an address so that it fits between a link's parentheses.
func appendDestination(dst []byte, address string) []byte {
	address = copied(address)
	for i := range len(address) {
		switch c := address[i]; {
		case c == '&' && referenceAt(address[i:min(len(address), i+40)]) > 0:
			dst = append(dst, "&amp;"...)
		case c == '(' || c == ')' || c == '\\':
			dst = append(dst, '\\', c)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}
