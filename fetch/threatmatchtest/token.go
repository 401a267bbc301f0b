package threatmatchtest

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// tokens are the access tokens that were issued and not revoked.
type tokens struct {
	config Config

	mu     sync.Mutex
	issued int
	expiry map[string]time.Time
}

// issue returns a token that is accepted until expiry. Those long expired are forgotten, which bounds the map.
func (t *tokens) issue(now, expiry time.Time) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	for token, end := range t.expiry {
		if now.Sub(end) > time.Hour {
			delete(t.expiry, token)
		}
	}
	if t.expiry == nil {
		t.expiry = make(map[string]time.Time)
	}
	t.issued++
	token := "sandbox-token-" + strconv.Itoa(t.issued)
	t.expiry[token] = expiry
	return token
}

// check reports whether an Authorization header bears a token that is accepted.
func (t *tokens) check(header string, now time.Time) bool {
	token, bearer := strings.CutPrefix(header, "Bearer ")
	t.mu.Lock()
	defer t.mu.Unlock()
	end, issued := t.expiry[token]
	return bearer && issued && now.Before(end)
}

// Revoke makes every token issued so far an unknown one.
func (t *tokens) Revoke() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.expiry)
}

// maxTokenRequest is far above what two credentials need.
const maxTokenRequest = 64 << 10

// token answers the token endpoint.
func (t *tokens) token(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		refuse(w, http.StatusMethodNotAllowed, "method not allowed")
		return
	}
	var sent struct {
		ID     *string `json:"client_id"`
		Secret *string `json:"client_secret"`
	}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err == nil && media != "application/json" {
		err = fmt.Errorf("content type %q", media)
	}
	if err == nil {
		var body []byte
		if body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxTokenRequest)); err == nil {
			err = json.Unmarshal(body, &sent)
		}
	}
	switch {
	case err != nil || sent.ID == nil || sent.Secret == nil:
		refuse(w, http.StatusBadRequest, "a JSON object with client_id and client_secret is expected")
	case *sent.ID != t.config.ClientID || *sent.Secret != t.config.ClientSecret:
		refuse(w, http.StatusUnauthorized, "invalid client credentials")
	default:
		now := t.config.Now()
		expiry := now.Add(t.config.TokenLifetime)
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"access_token":%q,"expires_at":%s}`, t.issue(now, expiry), t.expiresAt(expiry))
	}
}

// expiresAt is a time in whole seconds, with a fraction when the lifetime has one.
func (t *tokens) expiresAt(end time.Time) string {
	if t.config.TokenLifetime%time.Second != 0 {
		return strconv.FormatFloat(float64(end.UnixMilli())/1000, 'f', 3, 64)
	}
	return strconv.FormatInt(end.Unix(), 10)
}
