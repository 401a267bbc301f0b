package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// fileSuffix makes of the name of a secret the variable that holds the path of a file with it, as containers mount secrets.
const fileSuffix = "_FILE"

// fileVariable is the environment variable that names a file with the setting's value, "" for a setting that is no secret.
func (s setting) fileVariable() string {
	if !s.secret {
		return ""
	}
	return s.env + fileSuffix
}

// readSecretFile reads a secret from the file at path, which the variable called name holds. Blanks and line breaks around it are cut
// later, as those of every value.
func readSecretFile(name, path string) reading {
	path = strings.TrimSpace(path)
	r := reading{name: name, secretFile: path}
	data, err := readLimited(path)
	if err == nil {
		r.text, err = readableText(data)
	}
	switch {
	case err != nil && !isPath(path):
		r.secretFile, r.mistaken = "", path
		r.fault = "holds no path of a file that can be read, and is not shown, for it may be the secret itself: give it the path of a file, or set " + strings.TrimSuffix(name, fileSuffix) + " in its place"
	case err != nil:
		r.fault = faultOfFile(path, err, "mount the secret there, or correct the path", "give the path of the file in it that holds the secret")
	case strings.TrimSpace(r.text) == "":
		r.text, r.fault = "", "is empty; write the secret into the file"
	}
	return r
}

// isPath tells a path from a secret that was put into its place.
func isPath(text string) bool {
	return filepath.IsAbs(text) || strings.HasPrefix(text, "./") || strings.HasPrefix(text, "../")
}

// faultOfFile says why a file cannot be read, and what to do about it: where there is none, and where there is a folder.
func faultOfFile(path string, err error, missing, folder string) string {
	info, statErr := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "there is no such file; " + missing
	case statErr == nil && info.IsDir():
		return "is a folder; " + folder
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("cannot be read: %s; let %s read the file", reasonOf(err), whoWeAre())
	}
	return "cannot be read: " + reasonOf(err)
}

// whoWeAre names the user as the owner of a file is named.
func whoWeAre() string {
	if id := os.Getuid(); id >= 0 {
		return fmt.Sprintf("user %d, as whom the connector runs,", id)
	}
	return "the connector's user"
}

// byteOrderMark is what editors of Windows put before UTF-8.
const byteOrderMark = "\ufeff"

// readableText is a file as text, without a byte order mark. What such editors call Unicode is an error of its own, for it shows as
// what was written.
func readableText(data []byte) (string, error) {
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return "", errors.New("is UTF-16; save it as UTF-8")
	}
	if !utf8.Valid(data) {
		return "", errors.New("is no text in UTF-8; save it as such")
	}
	return strings.TrimPrefix(string(data), byteOrderMark), nil
}
