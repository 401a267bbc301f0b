// Package configtest makes an environment that is a valid configuration, for tests.
package configtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	random "math/rand/v2"
	"net"
	"strconv"
	"testing"
	"time"
)

// What the environment says where a test wants to find it again. The two secrets hold "nobody-may-see".
const (
	Token        = "4f9a1c7e-token-nobody-may-see" // OPENCTI_TOKEN
	ClientSecret = "s3cr3t-nobody-may-see"         // THREATMATCH_CLIENT_SECRET
	ConnectorID  = "2b6a4f0e-6b5d-4c55-9d6e-0f6f7c3b1a20"
)

// Environ returns the settings without a default, and serves no status, for tests run side by side; with changes: an empty value takes
// a variable away.
func Environ(changes map[string]string) []string {
	vars := map[string]string{
		"OPENCTI_URL": "http://opencti:8080", "OPENCTI_TOKEN": Token, "CONNECTOR_ID": ConnectorID,
		"THREATMATCH_CLIENT_ID": "client", "THREATMATCH_CLIENT_SECRET": ClientSecret,
		"CONNECTOR_STATUS_ADDRESS": "off",
	}
	for k, v := range changes {
		vars[k] = v
	}
	var list []string
	for k, v := range vars {
		if v != "" {
			list = append(list, k+"="+v)
		}
	}
	return list
}

// Authority makes a certificate and its key, both PEM.
func Authority(t testing.TB) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour), IsCA: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

// Listen listens on a port, on the loopback interface or on all, that nobody gets for the near end of a connection: the
// listener can be closed and its port be had again. Systems take those from 32768 upwards.
func Listen(t testing.TB, host string) net.Listener {
	t.Helper()
	for attempts := 1; ; attempts++ {
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(10_000+random.N(20_000))))
		if err == nil {
			return l
		}
		if attempts == 100 {
			t.Fatal(err)
		}
	}
}
