// Package completion writes scripts with which shells complete the commands, flags and values of a command line.
//
// A script holds all that it offers, so that completing runs no program. It is made from kong's model, and so never behind
// the command line; what is hidden in the help is not offered either.
package completion

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/alecthomas/kong"
)

// Bash returns the script for bash, of version 3.2 or newer.
func Bash(app *kong.Application) string { return bash(names(app), placesOf(app)) }

// Zsh returns the script for zsh; it can be evaluated, or stand in $fpath.
func Zsh(app *kong.Application) string { return zsh(names(app), placesOf(app)) }

// Fish returns the script for fish, of version 3.0 or newer.
func Fish(app *kong.Application) string { return fish(names(app), placesOf(app)) }

// program is how the program and the functions of a script are called.
type program struct {
	name     string
	function string
}

func names(app *kong.Application) program {
	return program{app.Name, "_" + regexp.MustCompile(`\W`).ReplaceAllString(app.Name, "_")}
}

// place is a point of a command line: the program itself, or one of its commands.
type place struct {
	path     string // the commands up to here, with blanks between them
	commands []word
	flags    []flag
	argument offer
}

// word is a word and what it is for.
type word struct{ text, about string }

// flag is a flag with its spellings, such as --config and -c.
type flag struct {
	spellings []string
	about     string
	valued    bool // a value follows
	value     offer
}

// offer is what can stand for a value; nothing when neither is set.
type offer struct {
	words []string
	files bool
}

// placesOf lists the places of a command line, the program first.
func placesOf(app *kong.Application) []place {
	var places []place
	var visit func(node *kong.Node, path string, inherited []flag)
	visit = func(node *kong.Node, path string, inherited []flag) {
		p := place{path: path, flags: append(inherited[:len(inherited):len(inherited)], flagsOf(node.Flags)...)}
		for _, child := range node.Children {
			if !child.Hidden {
				p.commands = append(p.commands, word{child.Name, child.Help})
			}
		}
		if len(node.Positional) > 0 {
			p.argument = offerOf(node.Positional[0])
		}
		own := len(places)
		places = append(places, p)
		for _, child := range node.Children {
			if !child.Hidden {
				visit(child, strings.TrimSpace(path+" "+child.Name), p.flags)
			}
		}
		if node.DefaultCmd != nil { // its flags work without its name
			places[own].flags = append(p.flags[:len(p.flags):len(p.flags)], flagsOf(node.DefaultCmd.Flags)...)
		}
	}
	visit(app.Node, "", nil)
	return places
}

func flagsOf(flags []*kong.Flag) []flag {
	var found []flag
	for _, f := range flags {
		if f.Hidden {
			continue
		}
		spellings := []string{"--" + f.Name}
		if f.Short != 0 {
			spellings = append(spellings, "-"+string(f.Short))
		}
		switch f.Tag.Negatable {
		case "":
		case "_":
			spellings = append(spellings, "--no-"+f.Name)
		default:
			spellings = append(spellings, "--"+f.Tag.Negatable)
		}
		valued := !f.IsBool() && !f.IsCounter()
		found = append(found, flag{spellings, f.Help, valued, offerOf(f.Value)})
	}
	return found
}

func offerOf(v *kong.Value) offer {
	if v.Enum != "" {
		return offer{words: v.EnumSlice()}
	}
	placeholder := v.Tag.PlaceHolder
	switch {
	case v.Tag.Type == "path", strings.HasPrefix(v.Tag.Type, "existing"), placeholder == "PATH", placeholder == "FILE", placeholder == "DIR":
		return offer{files: true}
	}
	return offer{}
}

// quoted is a text as one word of a shell.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// walk is what bash and zsh share: it follows the words of a line in $word, with the place in $at and a flag that waits for its
// value in $flag.
func walk(places []place) string {
	var commands, flags []string
	for _, p := range places {
		for _, c := range p.commands {
			commands = append(commands, quoted(p.path+"|"+c.text))
		}
		for _, f := range p.flags {
			if f.valued {
				for _, s := range f.spellings {
					flags = append(flags, quoted(p.path+"|"+s))
				}
			}
		}
	}
	return fmt.Sprintf(`        case "$at|$word" in
            %s)
                at="${at:+$at }$word" ;;
            %s)
                flag=$word ;;
        esac
`, strings.Join(commands, "|"), strings.Join(flags, "|"))
}

// valuesCase is what bash and zsh share about the values of flags: for each that has something to offer, what say makes of it.
func valuesCase(places []place, say func(offer) string) string {
	var b strings.Builder
	b.WriteString("        case \"$at|$flag\" in\n")
	for _, p := range places {
		for _, f := range p.flags {
			if !f.valued || !f.value.files && len(f.value.words) == 0 {
				continue
			}
			var patterns []string
			for _, s := range f.spellings {
				patterns = append(patterns, quoted(p.path+"|"+s))
			}
			fmt.Fprintf(&b, "            %s) %s ;;\n", strings.Join(patterns, "|"), say(f.value))
		}
	}
	b.WriteString("        esac\n")
	return b.String()
}
