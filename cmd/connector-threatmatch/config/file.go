package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxConfigBytes is far above any real config.yml and far below what would hurt.
const maxConfigBytes = 1 << 20

// readFile reads the settings of a config.yml. Blank ones count as not set.
func readFile(path string, explicit bool, table []setting) (readings, []Problem, []Warning) {
	r := readings{path: filepath.Base(path), values: map[string]reading{}}
	if path == "" {
		return r, nil, nil
	}
	data, err := readLimited(path)
	if errors.Is(err, fs.ErrNotExist) && !explicit {
		return r, nil, nil
	}
	var text string
	if err == nil {
		text, err = readableText(data)
	}
	if err != nil {
		fault := faultOfFile(path, err, "correct the path", "Docker makes one where the file that it should mount is missing: put the file in its place")
		return r, []Problem{{Name: path, Advice: fault}}, nil
	}
	w := configWalk{readings: r, paths: pathsOf(table), blankOff: map[string]bool{}, secrets: map[string]string{}}
	for _, s := range table {
		w.blankOff[s.key()], w.secrets[s.path] = s.blankOff, s.fileVariable()
	}
	w.document([]byte(text))
	return w.readings, w.problems, w.warnings
}

func readLimited(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfigBytes+1))
	if err == nil && len(data) > maxConfigBytes {
		err = fmt.Errorf("larger than %d bytes", maxConfigBytes)
	}
	return data, err
}

// reasonOf is the reason without the path, which the problem names already.
func reasonOf(err error) string {
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		return pathError.Err.Error()
	}
	return err.Error()
}

// configWalk collects what stands in a parsed config.yml.
type configWalk struct {
	readings
	paths    map[string]string // spelling → key
	blankOff map[string]bool   // by key: a blank value counts
	secrets  map[string]string // key of a secret → variable for a file with it
	problems []Problem
	warnings []Warning
}

func (w *configWalk) problem(at *token.Token, advice string) {
	name := w.path
	if at != nil && at.Position != nil {
		name = fmt.Sprintf("%s line %d", w.path, at.Position.Line)
	}
	w.problems = append(w.problems, Problem{Name: name, Advice: advice})
}

func (w *configWalk) document(data []byte) {
	file, err := parseYAML(data)
	if err != nil {
		w.problem(parserReason(err))
		return
	}
	bodies := 0
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if bodies++; bodies > 1 {
			w.problem(doc.Body.GetToken(), "begins a second YAML document; only one is read")
			return
		}
		w.sections(doc.Body)
	}
}

// parseYAML turns a panic of the parser, which reads what anybody may have written, into an error.
func parseYAML(data []byte) (file *ast.File, err error) {
	defer func() {
		if p := recover(); p != nil {
			file, err = nil, errors.New("parse YAML: the parser gave up")
		}
	}()
	return parser.ParseBytes(data, 0)
}

func (w *configWalk) sections(body ast.Node) {
	entries, ok := entriesOf(body)
	if !ok {
		if !isEmptyNode(body) {
			w.problem(body.GetToken(), "must hold sections: opencti, connector, threatmatch, mq")
		}
		return
	}
	for _, entry := range entries {
		name := keyText(entry)
		if !w.isSection(name) {
			w.problem(entry.Key.GetToken(), fmt.Sprintf("unknown key %q; the closest known is %q", name, w.closestKey(name)))
			continue
		}
		w.section(name, entry.Value)
	}
}

func (w *configWalk) section(section string, body ast.Node) {
	entries, ok := entriesOf(body)
	if !ok {
		if !isEmptyNode(body) {
			w.problem(body.GetToken(), fmt.Sprintf("%s must hold keys with values", section))
		}
		return
	}
	for _, entry := range entries {
		w.entry(section+keyDelimiter+keyText(entry), entry)
	}
}

// entry takes a key with its value, or says why not.
func (w *configWalk) entry(spelled string, entry *ast.MappingValueNode) {
	at := entry.Key.GetToken()
	key, known := w.paths[spelled]
	if !known {
		w.unknownKey(spelled, at)
		return
	}
	text, ok := scalarText(entry.Value)
	if !ok {
		w.problem(at, fmt.Sprintf("%s must be a plain value", spelled))
		return
	}
	if strings.TrimSpace(text) == "" && !w.blankOff[key] {
		return
	}
	if earlier, twice := w.values[key]; twice {
		w.problem(at, fmt.Sprintf("%s says the same as %s in line %d; keep one", spelled, earlier.name, earlier.line))
		return
	}
	w.values[key] = reading{text: text, name: spelled, line: at.Position.Line}
}

// unknownKey says what to do about a key that is no setting.
func (w *configWalk) unknownKey(spelled string, at *token.Token) {
	secret, _ := strings.CutSuffix(spelled, strings.ToLower(fileSuffix))
	switch {
	case givenUpKey(spelled) != "":
		w.warnings = append(w.warnings, Warning(fmt.Sprintf("%s line %d: %s is ignored: %s", w.path, at.Position.Line, spelled, givenUpKey(spelled))))
	case foreignKey(spelled) != "":
		w.problem(at, fmt.Sprintf("remove %s: %s", spelled, foreignKey(spelled)))
	case w.secrets[secret] != "":
		w.problem(at, fmt.Sprintf("unknown key %q; the path of a file with a secret is read from the environment only: set %s there", spelled, w.secrets[secret]))
	default:
		w.problem(at, fmt.Sprintf("unknown key %q; the closest known is %q", spelled, w.closestKey(spelled)))
	}
}

func (w *configWalk) isSection(name string) bool {
	for path := range w.paths {
		if section, _, _ := strings.Cut(path, keyDelimiter); section == name {
			return true
		}
	}
	return false
}

// closestKey finds the known key that an unknown one was probably meant to be.
func (w *configWalk) closestKey(unknown string) string {
	var known []string
	for _, path := range slices.Sorted(maps.Keys(w.paths)) {
		section, last, _ := strings.Cut(path, keyDelimiter)
		if strings.Contains(unknown, keyDelimiter) {
			known = append(known, path)
			continue
		}
		known = append(known, section)
		if last == unknown {
			return path // a key that lost its section
		}
	}
	best, _ := nearestName(unknown, known)
	return best
}

func entriesOf(n ast.Node) ([]*ast.MappingValueNode, bool) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	}
	return nil, false
}

func isEmptyNode(n ast.Node) bool {
	switch n.(type) {
	case nil, *ast.NullNode, *ast.CommentGroupNode:
		return true
	}
	return false
}

func keyText(entry *ast.MappingValueNode) string {
	if s, ok := entry.Key.(*ast.StringNode); ok {
		return s.Value
	}
	return entry.Key.GetToken().Value
}

// scalarText is a value as it was written, so that no number or date is read as something else on the way. A list of
// scalars is joined by commas, which is how the environment spells a list, or by semicolons where one has a comma in it.
func scalarText(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case nil, *ast.NullNode:
		return "", true
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	case *ast.SequenceNode:
		var parts []string
		for _, value := range n.Values {
			if _, nested := value.(*ast.SequenceNode); nested {
				return "", false
			}
			part, ok := scalarText(value)
			if !ok {
				return "", false
			}
			parts = append(parts, part)
		}
		if strings.Contains(strings.Join(parts, ""), ",") {
			return strings.Join(parts, ";") + ";", true
		}
		return strings.Join(parts, ","), true
	}
	return "", false
}

func pathsOf(table []setting) map[string]string {
	paths := map[string]string{}
	for _, s := range table {
		if s.path == "" {
			continue
		}
		for _, path := range append([]string{s.path}, s.older...) {
			paths[path] = s.key()
		}
	}
	return paths
}
