package completion

import (
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// grammar has everything that a command line can offer.
type grammar struct {
	Config  string `short:"c" placeholder:"PATH" help:"It's a file: $HOME or \\."`
	Verbose bool   `negatable:""`
	Secret  string `hidden:""`

	Run   struct{ Fast bool } `cmd:"" default:"withargs" help:"Run."`
	Group struct {
		Show struct {
			Format string `enum:"env,yaml" default:"env" help:"One of."`
		} `cmd:"" help:"Show it."`
		Hidden struct{} `cmd:"" hidden:""`
		Load   struct {
			Path string `arg:"" type:"existingfile"`
		} `cmd:""`
	} `cmd:"" help:"A group."`
	Shell struct {
		Name string `arg:"" enum:"bash,zsh"`
	} `cmd:""`
	Count struct{ Number int } `cmd:""`
	Store struct {
		Path string `arg:"" placeholder:"FILE"`
	} `cmd:""`
	Look struct {
		At []string `enum:"this,that"`
	} `cmd:""`
}

func model(t *testing.T) *kong.Application {
	t.Helper()
	var g grammar
	parser, err := kong.New(&g, kong.Name("the-program"))
	if err != nil {
		t.Fatal(err)
	}
	return parser.Model
}

// lines are command lines up to the cursor, with what is offered there; "FILES" stands for names of files.
func lines() map[string]string {
	return map[string]string{
		"":                                 "count group look run shell store",
		"g":                                "group",
		"x":                                "",
		"--f":                              "--fast",
		"--":                               "--config --fast --help --no-verbose --verbose",
		"group ":                           "load show",
		"--config some group sh":           "show",
		"--config run group sh":            "show",
		"--verbose group sh":               "show",
		"group show --":                    "--config --format --help --no-verbose --verbose",
		"group show --format ":             "env yaml",
		"group --config x show --format e": "env",
		"group show --format env --ver":    "--verbose",
		"shell ":                           "bash zsh",
		"shell b":                          "bash",
		"count --number ":                  "",
		"--config ":                        "FILES",
		"run -c ":                          "FILES",
		"group load ":                      "FILES",
		"store ":                           "FILES",
		"look --at ":                       "that this",
		"look --at thi":                    "this",
	}
}

// judge compares what a shell offers.
func judge(t *testing.T, line, out string) {
	t.Helper()
	got := strings.Fields(out)
	slices.Sort(got)
	if want := lines()[line]; strings.Join(slices.Compact(got), " ") != want {
		t.Errorf("%q: %q, want %q", line, got, want)
	}
}

// in runs a shell that is installed, or skips the test.
func in(t *testing.T, shell string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(shell)
	if err != nil {
		t.Skipf("%s is not installed", shell)
	}
	out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// wordsOf splits a line as shells do, with the empty word under the cursor.
func wordsOf(line string) []string {
	return append([]string{"the-program"}, strings.Split(line, " ")...)
}

func TestBashOffersWhatCanStandThere(t *testing.T) {
	const ask = `set -u
eval "$1"; shift
compopt() { echo FILES; }
at=outside; complete -p the-program >/dev/null
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
$(complete -p the-program | sed 's/.*-F \([^ ]*\).*/\1/')
printf '%s\n' ${COMPREPLY[@]+"${COMPREPLY[@]}"}
[[ $at == outside ]]`
	for line := range lines() {
		judge(t, line, in(t, "bash", append([]string{"--norc", "-c", ask, "bash", Bash(model(t))}, wordsOf(line)...)...))
	}
	for _, words := range [][]string{{"group", "show", "--format", "="}, {"group", "show", "--format", "=", ""}} {
		judge(t, "group show --format ", in(t, "bash", append([]string{"--norc", "-c", ask, "bash", Bash(model(t)), "the-program"}, words...)...))
	}
}

func TestZshOffersWhatCanStandThere(t *testing.T) {
	const ask = `emulate zsh
compdef() { function_of=$1; }
eval "$1"; shift
_files() { echo FILES; }
_describe() { local of=${@[-1]}; local -a all=(${(P)of}); print -l -- ${${(M)${all%%:*}:#$PREFIX*}}; }
compadd() { shift; print -l -- ${(M)@:#$PREFIX*}; }
complete_it() { local -a words=("$@"); local CURRENT=$# PREFIX=${@[-1]}; $function_of; return 0; }
complete_it "$@"`
	for line := range lines() {
		judge(t, line, in(t, "zsh", append([]string{"-f", "-c", ask, "zsh", Zsh(model(t))}, wordsOf(line)...)...))
	}
}

func TestFishOffersWhatCanStandThere(t *testing.T) {
	const ask = `eval $argv[1]; complete -C $argv[2] | string replace -r '\t.*' ''; true`
	for line, want := range lines() {
		if want == "FILES" {
			continue // those of the working directory
		}
		judge(t, line, in(t, "fish", "--no-config", "-c", ask, Fish(model(t)), "the-program "+line))
	}
}

func TestWhatIsHiddenIsNotOffered(t *testing.T) {
	for shell, script := range map[string]string{"bash": Bash(model(t)), "zsh": Zsh(model(t)), "fish": Fish(model(t))} {
		for _, hidden := range []string{"secret", "hidden"} {
			if strings.Contains(script, hidden) {
				t.Errorf("%s offers %s", shell, strconv.Quote(hidden))
			}
		}
	}
}
