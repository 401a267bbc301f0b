package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
)

// ClientCertificate pairs MQ_USE_SSL_CERT with its key, which a passphrase may protect. The error quotes neither.
func (c MQ) ClientCertificate() (tls.Certificate, error) {
	key, err := c.decryptedKey()
	if err != nil {
		return tls.Certificate{}, err
	}
	pair, err := tls.X509KeyPair([]byte(c.Cert), key)
	if err != nil {
		return tls.Certificate{}, errors.New("must be a certificate and its own key")
	}
	return pair, nil
}

// decryptedKey opens a PEM key of the traditional form (DEK-Info header). A key that is not encrypted passes as it is.
func (c MQ) decryptedKey() ([]byte, error) {
	key := []byte(c.Key.Reveal())
	block, _ := pem.Decode(key)
	switch {
	case block == nil:
		return nil, errors.New("the key is no PEM")
	case block.Type == "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("encrypted PKCS #8 keys are not supported; convert the key with `openssl pkey -traditional -aes256`")
	//lint:ignore SA1019 operators have such keys
	case !x509.IsEncryptedPEMBlock(block):
		return key, nil
	case c.Passphrase == "":
		return nil, errors.New("the key is encrypted; set MQ_USE_SSL_PASSPHRASE")
	}
	//lint:ignore SA1019 operators have such keys
	der, err := x509.DecryptPEMBlock(block, []byte(c.Passphrase.Reveal()))
	if err != nil {
		return nil, errors.New("MQ_USE_SSL_PASSPHRASE does not open the key")
	}
	return pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: der}), nil
}
