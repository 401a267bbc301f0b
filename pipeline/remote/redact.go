package remote

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf16"
	"unicode/utf8"
)

// Hidden stands where a secret stood.
const Hidden = "***"

const (
	// minSecret is the length in bytes below which a secret is not looked for: "1" or "guest" would hide half of every
	// text and protects nothing.
	minSecret = 6
	// maxPassing bounds the secrets that [Redactor.Add] keeps. A token may live for a second while an answer, which can
	// quote the one that it was asked with, takes minutes to come.
	maxPassing = 300
)

// Redactor takes secrets out of texts: servers, proxies and libraries repeat what they were sent. It knows a secret as it is,
// and as it reads in JSON, in a URL and in base64; for Basic authentication it needs "user:password" as one secret. It is
// safe for concurrent use.
type Redactor struct {
	mu      sync.Mutex
	lasting []string // secrets
	passing []string // secrets, the oldest first

	known atomic.Pointer[strings.Replacer]
}

// NewRedactor returns a Redactor for secrets that do not change.
func NewRedactor(secrets ...string) *Redactor {
	r := &Redactor{lasting: secrets}
	r.rebuild()
	return r
}

// Add makes a secret known that is one of a series, such as an access token. The newest few hundred are remembered.
func (r *Redactor) Add(secret string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.Contains(r.passing, secret) {
		return
	}
	if len(r.passing) == maxPassing {
		r.passing = slices.Delete(r.passing, 0, 1)
	}
	r.passing = append(r.passing, secret)
	r.rebuild()
}

// rebuild is called under the lock, or before there is another user.
func (r *Redactor) rebuild() {
	var forms []string
	for _, s := range slices.Concat(r.lasting, r.passing) {
		if len(s) >= minSecret {
			forms = append(forms, formsOf(s)...)
		}
	}
	// Of two that begin at the same place the longer one counts: else the rest of it would show.
	slices.SortFunc(forms, func(a, b string) int { return cmp.Or(len(b)-len(a), cmp.Compare(a, b)) })
	var pairs []string
	for _, form := range slices.Compact(forms) {
		pairs = append(pairs, form, Hidden)
	}
	r.known.Store(strings.NewReplacer(pairs...))
}

// formsOf lists how a secret may read when somebody repeats it.
func formsOf(s string) []string {
	plain, safe := jsonSpelling(s, false), jsonSpelling(s, true)
	return []string{
		s, plain, safe, strings.ReplaceAll(plain, "/", `\/`), asciiSpelling(plain),
		url.QueryEscape(s), url.PathEscape(s),
		// Without the padding, which tells nothing.
		base64.RawStdEncoding.EncodeToString([]byte(s)), base64.RawURLEncoding.EncodeToString([]byte(s)),
	}
}

// jsonSpelling is s as it stands between the quotes of a JSON string, with or without what is escaped for the sake of HTML.
func jsonSpelling(s string, forHTML bool) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(forHTML)
	if err := enc.Encode(s); err != nil {
		return s
	}
	return strings.TrimSuffix(strings.TrimPrefix(b.String(), `"`), "\"\n")
}

// asciiSpelling is a JSON string in ASCII, as many libraries write it.
func asciiSpelling(spelled string) string {
	var b strings.Builder
	for _, unit := range utf16.Encode([]rune(spelled)) {
		if unit < utf8.RuneSelf {
			b.WriteByte(byte(unit))
		} else {
			fmt.Fprintf(&b, "\\u%04x", unit)
		}
	}
	return b.String()
}

// Redact returns a text from outside without the secrets, and without the user information of addresses in it, whoever's
// it is. A text is to be redacted before it is shortened: the rest of a secret that was cut is not recognised.
func (r *Redactor) Redact(text string) string { return HideUserInfo(r.known.Load().Replace(text)) }

var userInfo = regexp.MustCompile(`//[^/\s]*@`)

// HideUserInfo hides the name and the password inside the addresses of a text.
func HideUserInfo(text string) string { return userInfo.ReplaceAllString(text, "//"+Hidden+"@") }

// Writer returns a writer that hides the secrets in what it passes on. Each call has to bring whole lines. User information
// stays: who writes here chooses what it shows of an address.
func (r *Redactor) Writer(out io.Writer) io.Writer { return redacting{r, out} }

type redacting struct {
	*Redactor
	out io.Writer
}

func (w redacting) Write(lines []byte) (int, error) {
	if _, err := io.WriteString(w.out, w.known.Load().Replace(string(lines))); err != nil {
		return 0, err
	}
	return len(lines), nil
}
