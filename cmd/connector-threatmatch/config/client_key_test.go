package config

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/youmark/pkcs8"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
)

// lockedKeys are encrypted forms of a key in PEM, by what they are: those of the libraries, and those of OpenSSL where it is there.
func lockedKeys(t *testing.T, key, passphrase string) map[string]string {
	t.Helper()
	block, _ := pem.Decode([]byte(key))
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	older, err := x509.EncryptPEMBlock(strings.NewReader(strings.Repeat("salt", 16)), "PRIVATE KEY", block.Bytes, []byte(passphrase), x509.PEMCipherAES256) //lint:ignore SA1019 operators have such keys
	if err != nil {
		t.Fatal(err)
	}
	newer, err := pkcs8.MarshalPrivateKey(private, []byte(passphrase), nil)
	if err != nil {
		t.Fatal(err)
	}
	locked := map[string]string{
		"traditional": string(pem.EncodeToMemory(older)),
		"PKCS #8":     string(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: newer})),
	}
	if _, err := exec.LookPath("openssl"); err != nil {
		return locked
	}
	plain := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(plain, []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, how := range map[string][]string{
		"OpenSSL's own way": {"pkey", "-aes256"}, "OpenSSL's older way": {"pkey", "-aes256", "-traditional"},
		"OpenSSL with scrypt": {"pkcs8", "-topk8", "-scrypt"},
	} {
		cmd := exec.Command("openssl", append(how, "-in", plain, "-passout", "env:PHRASE")...)
		cmd.Env = append(os.Environ(), "PHRASE="+passphrase)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		locked[name] = string(out)
	}
	return locked
}

func TestAnEncryptedKeyIsOpenedByItsPassphrase(t *testing.T) {
	const passphrase = configtest.ClientSecret
	cert, key := configtest.Authority(t)
	for name, locked := range lockedKeys(t, key, passphrase) {
		if !strings.Contains(locked, "ENCRYPTED") {
			t.Fatalf("%s is not encrypted: %s", name, locked)
		}
		settings := map[string]string{"MQ_USE_SSL_CERT": cert, "MQ_USE_SSL_KEY": locked, "MQ_USE_SSL_PASSPHRASE": passphrase}
		if _, err := load(t, settings).MQ.ClientCertificate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for given, want := range map[string]string{
			passphrase + "x": "MQ_USE_SSL_PASSPHRASE does not open the key", "": "the key is encrypted; set MQ_USE_SSL_PASSPHRASE",
		} {
			settings["MQ_USE_SSL_PASSPHRASE"] = given
			_, _, err := Load("", false, configtest.Environ(settings))
			if err == nil || strings.Contains(err.Error(), passphrase) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s, passphrase %q: %v", name, given, err)
			}
		}
	}
}

// OpenSSL writes a curve's parameters before its key, and people keep certificate and key in one file.
func TestAKeyMayFollowSomethingElse(t *testing.T) {
	cert, key := configtest.Authority(t)
	parameters := string(pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}}))
	for name, before := range map[string]string{"parameters": parameters, "the certificate": cert} {
		settings := map[string]string{"MQ_USE_SSL_CERT": cert, "MQ_USE_SSL_KEY": before + key}
		if _, err := load(t, settings).MQ.ClientCertificate(); err != nil {
			t.Errorf("%s before a key: %v", name, err)
		}
		for form, locked := range lockedKeys(t, key, "right") {
			settings["MQ_USE_SSL_KEY"], settings["MQ_USE_SSL_PASSPHRASE"] = before+locked, "right"
			if _, err := load(t, settings).MQ.ClientCertificate(); err != nil {
				t.Errorf("%s before %s: %v", name, form, err)
			}
		}
		settings["MQ_USE_SSL_KEY"] = before
		if _, _, err := Load("", false, configtest.Environ(settings)); err == nil || !strings.Contains(err.Error(), "a private key in PEM") {
			t.Errorf("%s alone: %v", name, err)
		}
	}
}

// The older form does not tell a wrong passphrase: one of some hundred seems to fit.
func TestNoWrongPassphraseBlamesTheCertificate(t *testing.T) {
	cert, key := configtest.Authority(t)
	settings := map[string]string{"MQ_USE_SSL_CERT": cert, "MQ_USE_SSL_KEY": lockedKeys(t, key, "right")["traditional"]}
	for i := range 600 {
		settings["MQ_USE_SSL_PASSPHRASE"] = strings.Repeat("wrong", 1+i)
		_, _, err := Load("", false, configtest.Environ(settings))
		if err == nil || !strings.Contains(err.Error(), "MQ_USE_SSL_PASSPHRASE does not open the key") {
			t.Fatalf("passphrase %d: %v", i, err)
		}
	}
}

func TestAKeyThatIsEncryptedInAnotherWaySaysHowToWriteItAnew(t *testing.T) {
	cert, _ := configtest.Authority(t)
	odd := string(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("odd")}))
	settings := map[string]string{"MQ_USE_SSL_CERT": cert, "MQ_USE_SSL_KEY": odd, "MQ_USE_SSL_PASSPHRASE": "right"}
	if _, _, err := Load("", false, configtest.Environ(settings)); err == nil || !strings.Contains(err.Error(), "openssl pkey -aes256") {
		t.Error(err)
	}
}
