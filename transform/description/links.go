package description

import (
	"fmt"
	"strings"
)

// destination returns an address that may be followed, "" for any other: only those of the web, of mail and of files.
func destination(href string) string {
	href = strings.Map(func(r rune) rune {
		if r == '\t' || r == '\n' || r == '\r' {
			return -1
		}
		return r
	}, strings.Trim(href, " \t\r\n\f"))
	switch scheme, rest, _ := strings.Cut(href, ":"); strings.ToLower(scheme) {
	case "http", "https", "mailto", "ftp":
		if rest != "" {
			return href
		}
	}
	return ""
}

// destinationText writes an address so that it fits between a link's parentheses.
func destinationText(href string) string {
	var out strings.Builder
	for i := range len(href) {
		switch c := href[i]; {
		case c <= ' ' || c == 0x7f || c == '<' || c == '>':
			fmt.Fprintf(&out, "%%%02X", c)
		case c == '&' && startsReference.MatchString(href[i:min(len(href), i+40)]):
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
