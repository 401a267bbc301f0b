package completion

import (
	"fmt"
	"strings"
)

func zsh(p program, places []place) string {
	var b strings.Builder
	fmt.Fprintf(&b, `#compdef %[1]s
# zsh completion for %[1]s. For this shell: source <(%[1]s completion zsh)
%[2]s() {
    local at= flag= word= i
    local -a offered flags
    for ((i = 2; i < CURRENT; i++)); do
        word=${words[i]}
        if [[ -n $flag ]]; then flag=; continue; fi
`, p.name, p.function)
	b.WriteString(walk(places))
	b.WriteString("    done\n    if [[ -z $flag && $PREFIX == --*=* ]]; then\n        flag=${PREFIX%%=*}\n        compset -P '*='\n    fi\n    if [[ -n $flag ]]; then\n")
	b.WriteString(valuesCase(places, zshOffer))
	b.WriteString("        return 1\n    fi\n    case $at in\n")
	for _, at := range places {
		var words, flags []string
		for _, c := range at.commands {
			words = append(words, quoted(c.text+":"+c.about))
		}
		for _, w := range at.argument.words {
			words = append(words, quoted(w))
		}
		for _, f := range at.flags {
			for _, s := range f.spellings {
				flags = append(flags, quoted(s+":"+f.about))
			}
		}
		fmt.Fprintf(&b, "        %s)\n            offered=(%s)\n            flags=(%s) ;;\n", quoted(at.path), strings.Join(words, " "), strings.Join(flags, " "))
	}
	b.WriteString("    esac\n    if [[ $PREFIX == -* ]]; then\n        _describe -o flag flags\n        return\n    fi\n")
	for _, at := range places {
		if at.argument.files {
			fmt.Fprintf(&b, "    if [[ $at == %s ]]; then _files; return; fi\n", quoted(at.path))
		}
	}
	fmt.Fprintf(&b, `    _describe command offered
}
if [[ $funcstack[1] == %[2]s ]]; then
    %[2]s "$@"
else
    compdef %[2]s %[1]s
fi
`, p.name, p.function)
	return b.String()
}

func zshOffer(o offer) string {
	if o.files {
		return "_files; return"
	}
	var words []string
	for _, w := range o.words {
		words = append(words, quoted(w))
	}
	return "compadd -- " + strings.Join(words, " ") + "; return"
}
