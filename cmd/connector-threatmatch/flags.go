package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/opencti-connectors/threatmatch/fetch"
)

// datasets are the names that commands take for datasets.
func datasets() []string {
	return []string{fetch.ProfilesDataset, fetch.AlertsDataset, fetch.ReportsDataset, fetch.IndicatorsDataset}
}

// choice adds a flag that takes one of some words. What it is for names a placeholder in back quotes, as for every flag.
func choice(at *cobra.Command, to *string, name, about string, words ...string) {
	choices(at, words, name, about, &oneOf{words, to})
}

// datasetFlag adds a flag that takes some of the datasets, with commas between them or each with the flag anew.
func datasetFlag(at *cobra.Command, to *[]string, about string) {
	choices(at, datasets(), "dataset", about, &someOf{datasets(), to})
}

func choices(at *cobra.Command, words []string, name, about string, value pflag.Value) {
	at.Flags().Var(value, name, about)
	offer(at, name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

// file adds a flag that takes a path, for which shells offer names of files. A ~/ before it stands for the home, also where the
// shell leaves it.
func file(at *cobra.Command, flags *pflag.FlagSet, to *string, name, short, about string) {
	flags.VarP((*path)(to), name, short, about)
	offer(at, name, files)
}

// offer has shells offer what can stand for the value of a flag.
func offer(at *cobra.Command, name string, what cobra.CompletionFunc) {
	if err := at.RegisterFlagCompletionFunc(name, what); err != nil {
		panic(err) // there is no such flag
	}
}

// files leaves it to the shell to offer names of files.
func files(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveDefault
}

// progressFlag adds --no-progress, and what it undoes.
func progressFlag(flags *pflag.FlagSet, shown *bool, about string) {
	flags.BoolVar(shown, "progress", true, about)
	flags.BoolFunc("no-progress", about, func(text string) error {
		off, err := strconv.ParseBool(text)
		*shown = !off
		return err
	})
	flags.Lookup("progress").Hidden = true
}

// word is the argument of a name that is one of some words.
func word(name, text string, words []string) (string, error) {
	var chosen string
	if err := (&oneOf{words, &chosen}).Set(text); err != nil {
		return "", usageError{fmt.Errorf("%s: %w", name, err)}
	}
	return chosen, nil
}

// oneOf is the value of a flag that is one of some words.
type oneOf struct {
	words []string
	to    *string
}

// Set refuses other words.
func (o *oneOf) Set(text string) error {
	if !slices.Contains(o.words, text) {
		return fmt.Errorf("%q is not one of %s", text, strings.Join(o.words, ", "))
	}
	*o.to = text
	return nil
}

// String is the word, and Type how it is called in the help.
func (o *oneOf) String() string { return *o.to }
func (o *oneOf) Type() string   { return "word" }

// someOf is the value of a flag that is some of some words.
type someOf struct {
	words []string
	to    *[]string
}

// Set adds words that have commas between them, and none for a text without any, as of a variable that is empty.
func (s *someOf) Set(text string) error {
	if text == "" {
		return nil
	}
	for word := range strings.SplitSeq(text, ",") {
		if err := (&oneOf{s.words, new(string)}).Set(word); err != nil {
			return err
		}
		*s.to = append(*s.to, word)
	}
	return nil
}

// String is the words, and Type how they are called in the help.
func (s *someOf) String() string { return strings.Join(*s.to, ",") }
func (s *someOf) Type() string   { return "words" }

// path is the path of a file.
type path string

// Set puts the home in the place of a ~, and refuses what is the next flag rather than a path.
func (p *path) Set(text string) error {
	if strings.HasPrefix(text, "--") {
		return fmt.Errorf("%q is a flag; a path that is called so begins with ./", text)
	}
	if below, found := strings.CutPrefix(text, "~/"); found {
		home, err := os.UserHomeDir()
		if err != nil {
			return err
		}
		text = filepath.Join(home, below)
	}
	*p = path(text)
	return nil
}

// String is the path, and Type how it is called in the help.
func (p *path) String() string { return string(*p) }
func (p *path) Type() string   { return "path" }
