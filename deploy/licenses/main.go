// Command licenses prints the licences and notices of all that is in a Go program beside the project's own code: those of the modules
// that the program names and of Go's standard library.
package main

import (
	"bufio"
	"bytes"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// legal are the names of files that have to go with a copy of the code.
var legal = regexp.MustCompile(`(?i)^((un)?licen[cs]e|copying|copyright|notice|patents)([-._].*)?$`)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: licenses PROGRAM")
		os.Exit(2)
	}
	out := bufio.NewWriter(os.Stdout)
	if err := errors.Join(write(out, os.Args[1]), out.Flush()); err != nil {
		fmt.Fprintln(os.Stderr, "licenses:", err)
		os.Exit(1)
	}
}

func write(out io.Writer, path string) error {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read what %s says of its build: %w", path, err)
	}
	goroot, err := goCommand("env", "GOROOT")
	if err != nil {
		return err
	}
	// What Go's folder holds beside its own licence belongs to tools that are in no program.
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(goroot)), "LICENSE"))
	if err != nil {
		return fmt.Errorf("read Go's own licence, which Go from go.dev has: %w", err)
	}
	section(out, "Go's standard library "+info.GoVersion, "LICENSE", text)
	if len(info.Deps) == 0 {
		return nil
	}
	list := []string{"list", "-m", "-f", "{{.Dir}}"}
	for _, m := range info.Deps {
		list = append(list, m.Path)
	}
	folders, err := goCommand(list...)
	if err != nil {
		return err
	}
	// What the program was built from lies on this machine.
	for i, dir := range strings.Split(strings.TrimSuffix(string(folders), "\n"), "\n") {
		m := info.Deps[i]
		if err := writeModule(out, m.Path+" "+m.Version, dir); err != nil {
			return fmt.Errorf("find the licence of %s: %w", m.Path, err)
		}
	}
	return nil
}

// writeModule prints what a module holds, also for code of others below its root. One without a licence is an error.
func writeModule(out io.Writer, name, dir string) error {
	found := 0
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && entry.Name() == "testdata":
			return fs.SkipDir
		case !entry.Type().IsRegular() || !legal.MatchString(entry.Name()) || strings.HasSuffix(entry.Name(), ".go"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		within, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		section(out, name, filepath.ToSlash(within), text)
		found++
		return nil
	})
	if err == nil && found == 0 {
		err = errors.New("it has none")
	}
	return err
}

func section(out io.Writer, name, file string, text []byte) {
	text = bytes.TrimRight(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")), "\n ")
	fmt.Fprintf(out, "==== %s: %s\n\n%s\n\n", name, file, text)
}

func goCommand(args ...string) ([]byte, error) {
	cmd := exec.Command("go", args...)
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
	}
	return text, nil
}
