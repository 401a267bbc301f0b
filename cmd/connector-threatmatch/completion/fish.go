package completion

import (
	"fmt"
	"strings"
)

func fish(p program, places []place) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# fish completion for %[1]s. For this shell: %[1]s completion fish | source
function %[2]s_at
    set -l at
    set -l flag
    for word in (commandline -opc)[2..-1]
        if test -n "$flag"
            set flag
            continue
        end
        switch "$at|$word"
`, p.name, p.function)
	var commands, flags []string
	for _, at := range places {
		for _, c := range at.commands {
			commands = append(commands, fishQuoted(at.path+"|"+c.text))
		}
		for _, f := range at.flags {
			if f.valued {
				for _, s := range f.spellings {
					flags = append(flags, fishQuoted(at.path+"|"+s))
				}
			}
		}
	}
	fmt.Fprintf(&b, `            case %s
                set at (string trim "$at $word")
            case %s
                set flag $word
        end
    end
    test "$at" = "$argv[1]"
end
complete -c %s -f
`, strings.Join(commands, " "), strings.Join(flags, " "), p.name)
	for _, at := range places {
		begin := fmt.Sprintf("complete -c %s -n %s", p.name, fishQuoted(p.function+"_at "+fishQuoted(at.path)))
		for _, c := range at.commands {
			fmt.Fprintf(&b, "%s -a %s -d %s\n", begin, fishQuoted(c.text), fishQuoted(c.about))
		}
		if len(at.argument.words) > 0 {
			fmt.Fprintf(&b, "%s -a %s\n", begin, fishQuoted(strings.Join(at.argument.words, " ")))
		}
		if at.argument.files {
			fmt.Fprintf(&b, "%s -F\n", begin)
		}
		for _, f := range at.flags {
			b.WriteString(begin)
			for _, s := range f.spellings {
				if long, isLong := strings.CutPrefix(s, "--"); isLong {
					b.WriteString(" -l " + long)
				} else {
					b.WriteString(" -s " + strings.TrimPrefix(s, "-"))
				}
			}
			switch {
			case f.value.files:
				b.WriteString(" -r -F")
			case len(f.value.words) > 0:
				b.WriteString(" -x -a " + fishQuoted(strings.Join(f.value.words, " ")))
			case f.valued:
				b.WriteString(" -x")
			}
			fmt.Fprintf(&b, " -d %s\n", fishQuoted(f.about))
		}
	}
	return b.String()
}

// fishQuoted is a text as one word of fish, which takes a quote and a backslash with a backslash before them.
func fishQuoted(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(text) + "'"
}
