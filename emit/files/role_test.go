package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/filestest"
)

// nobody takes away what the environment of the test may say, and clouds that it may run in.
func nobody(t *testing.T) func(*BucketConfig) {
	for name := range strings.FieldsSeq(`AWS_ACCESS_KEY_ID AWS_ACCESS_KEY AWS_SECRET_ACCESS_KEY AWS_SECRET_KEY AWS_SESSION_TOKEN AWS_ROLE_ARN
		AWS_WEB_IDENTITY_TOKEN_FILE AWS_CONTAINER_CREDENTIALS_RELATIVE_URI AWS_CONTAINER_CREDENTIALS_FULL_URI AWS_REGION
		AWS_CONTAINER_AUTHORIZATION_TOKEN AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE`) {
		t.Setenv(name, "")
	}
	return func(cfg *BucketConfig) {
		cfg.AccessKey, cfg.SecretKey = "", ""
		// A proxy that nothing but the server is reached by.
		cfg.Transport.Proxy = func(r *http.Request) (*url.URL, error) {
			if strings.HasPrefix(r.URL.Host, "169.254.") {
				return url.Parse("http://127.0.0.1:1")
			}
			return nil, nil
		}
		cfg.Transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			if strings.HasPrefix(address, "169.254.") {
				return nil, errors.New("no cloud is here")
			}
			return new(net.Dialer).DialContext(ctx, network, address)
		}
	}
}

func TestTheEnvironmentsCredentialsAreUsedWhereNoKeysAreSet(t *testing.T) {
	s := filestest.Start(t)
	change := nobody(t)
	t.Setenv("AWS_ACCESS_KEY_ID", filestest.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", filestest.SecretKey)
	if err := open(t, s.Host, s.Port, change).Put(t.Context(), "a.json", []byte("{}")); err != nil {
		t.Error(err)
	}
}

// TestARolesCredentialsAreUsedAndRenewed has those of a container; they last for seconds.
func TestARolesCredentialsAreUsedAndRenewed(t *testing.T) {
	s := filestest.Start(t)
	change := nobody(t)
	var asked, away atomic.Int32
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		if away.Load() > 0 {
			http.Error(w, "away", http.StatusInternalServerError)
			return
		}
		_, _ = io.WriteString(w, fmt.Sprintf(`{"AccessKeyId":%q,"SecretAccessKey":%q,"Token":"","Expiration":%q}`,
			filestest.AccessKey, filestest.SecretKey, time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)))
	}))
	defer agent.Close()
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", agent.URL)
	b := open(t, s.Host, s.Port, change)
	for range 2 {
		if err := b.Put(t.Context(), "a.json", []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	if asked.Load() < 2 {
		t.Error("credentials that had expired were not renewed")
	}
	away.Store(1)
	if err := b.Put(t.Context(), "b.json", []byte("{}")); !IsTemporary(err) {
		t.Errorf("while the role cannot be asked: %v", err)
	}
	away.Store(0)
	if err := b.Put(t.Context(), "b.json", []byte("{}")); err != nil {
		t.Error(err)
	}
}

// TestWithoutKeysAndRoleNobodyIsAsked wants no attempt to write as anybody, which would be refused for a reason that misleads.
func TestWithoutKeysAndRoleNobodyIsAsked(t *testing.T) {
	s := filestest.Start(t)
	var calls atomic.Int32
	host, port := before(t, s, func(w http.ResponseWriter, r *http.Request, server http.Handler) {
		calls.Add(1)
		server.ServeHTTP(w, r)
	})
	err := open(t, host, port, nobody(t)).Put(t.Context(), "a.json", []byte("{}"))
	if err == nil || IsTemporary(err) || !strings.Contains(err.Error(), "no cloud is here") || !strings.Contains(err.Error(), "S3_ACCESS_KEY") || calls.Load() > 0 {
		t.Errorf("%d calls: %v", calls.Load(), err)
	}
}
