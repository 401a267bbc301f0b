package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"

	"github.com/youmark/pkcs8"
)

// ClientCertificate pairs MQ_USE_SSL_CERT with its key, which a passphrase may protect. The error quotes neither.
func (c MQ) ClientCertificate() (tls.Certificate, error) {
	key, err := c.decryptedKey()
	if err != nil {
		return tls.Certificate{}, err
	}
	pair, err := tls.X509KeyPair([]byte(c.Cert.Text.Reveal()), key)
	if err != nil {
		return tls.Certificate{}, errors.New("must be a certificate and its own key")
	}
	return pair, nil
}

var (
	errLocked     = errors.New("the key is encrypted; set MQ_USE_SSL_PASSPHRASE")
	errPassphrase = errors.New("MQ_USE_SSL_PASSPHRASE does not open the key")
)

// decryptedKey opens a PEM key. One that is not encrypted passes as it is.
func (c MQ) decryptedKey() ([]byte, error) {
	key := []byte(c.Key.Text.Reveal())
	block := keyIn(key)
	passphrase := []byte(c.Passphrase.Reveal())
	switch {
	case block == nil:
		return nil, errors.New("there is no key in PEM")
	case block.Type == "ENCRYPTED PRIVATE KEY":
		return openPKCS8(block.Bytes, passphrase)
	//lint:ignore SA1019 operators have such keys
	case !x509.IsEncryptedPEMBlock(block):
		return key, nil
	}
	return openTraditional(block, passphrase)
}

// openPKCS8 opens a key as OpenSSL 3 writes it.
func openPKCS8(der, passphrase []byte) ([]byte, error) {
	if len(passphrase) == 0 {
		return nil, errLocked
	}
	key, err := pkcs8.ParsePKCS8PrivateKey(der, passphrase)
	switch {
	case err != nil && strings.Contains(err.Error(), "incorrect password"):
		return nil, errPassphrase
	case err != nil:
		return nil, errors.New("the key is encrypted in a way that is not known here; write it anew with `openssl pkey -aes256`")
	}
	if der, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
		return nil, errors.New("the key is of a kind that is not known here")
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// openTraditional opens a key of the older form (DEK-Info header). That does not tell a wrong passphrase for certain: what comes out
// has to be a key, too.
func openTraditional(block *pem.Block, passphrase []byte) ([]byte, error) {
	if len(passphrase) == 0 {
		return nil, errLocked
	}
	//lint:ignore SA1019 operators have such keys
	der, err := x509.DecryptPEMBlock(block, passphrase)
	if err != nil || !isKey(der) {
		return nil, errPassphrase
	}
	return pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: der}), nil
}

func isKey(der []byte) bool {
	if _, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return true
	}
	if _, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return true
	}
	_, err := x509.ParseECPrivateKey(der)
	return err == nil
}
