package completion

import (
	"fmt"
	"strings"
)

func bash(p program, places []place) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# bash completion for %[1]s. For this shell: eval "$(%[1]s completion bash)"
%[2]s() {
    local cur=${COMP_WORDS[COMP_CWORD]} at= flag= word= offered= flags= i
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $word == = ]]; then continue; fi # bash makes three words of --flag=value
        if [[ -n $flag ]]; then flag=; continue; fi
`, p.name, p.function)
	b.WriteString(walk(places))
	b.WriteString("    done\n    COMPREPLY=()\n    if [[ $cur == = ]]; then cur=; fi\n    if [[ -n $flag ]]; then\n")
	b.WriteString(valuesCase(places, bashOffer))
	b.WriteString("        COMPREPLY=($(compgen -W \"$offered\" -- \"$cur\"))\n        return\n    fi\n    case $at in\n")
	for _, at := range places {
		var words, flags []string
		for _, c := range at.commands {
			words = append(words, c.text)
		}
		for _, f := range at.flags {
			flags = append(flags, f.spellings...)
		}
		fmt.Fprintf(&b, "        %s) offered=%s flags=%s", quoted(at.path), quoted(strings.Join(append(words, at.argument.words...), " ")), quoted(strings.Join(flags, " ")))
		if at.argument.files {
			b.WriteString("; compopt -o default 2>/dev/null")
		}
		b.WriteString(" ;;\n")
	}
	fmt.Fprintf(&b, `    esac
    if [[ $cur == -* ]]; then offered=$flags; fi
    COMPREPLY=($(compgen -W "$offered" -- "$cur"))
}
complete -F %s %s
`, p.function, p.name)
	return b.String()
}

// bashOffer leaves words for compgen, or files to the shell; a shell without compopt offers none.
func bashOffer(o offer) string {
	if o.files {
		return "compopt -o default 2>/dev/null; return"
	}
	return "offered=" + quoted(strings.Join(o.words, " "))
}
