package threatmatchtest

// The words of the prose, as they stand inside a JSON string: some outside ASCII, raw or escaped. There are 128 of them, so
// that seven random bits choose one.
var words = [128]string{
	"access", "account", "activity", "actor", "adversary", "affiliate", "alias", "analyst",
	"archive", "artefact", "attribution", "backdoor", "banking", "beacon", "botnet", "broker",
	"browser", "build", "campaign", "certificate", "chain", "channel", "cluster", "code",
	"collection", "command", "compiler", "confidence", "configuration", "contractor", "control", "credential",
	"decoy", "defence", "delivery", "diplomatic", "discovery", "document", "domain", "downloader",
	"driver", "dropper", "embassy", "encryption", "endpoint", "energy", "escalation", "espionage",
	"exfiltration", "exploit", "extension", "extortion", "finance", "firmware", "forum", "fraud",
	"gateway", "government", "handler", "harvesting", "hosting", "identity", "implant", "infrastructure",
	"initial", "injection", "insider", "intrusion", "journalist", "kernel", "keylogger", "lateral",
	"leak", "library", "loader", "logistics", "macro", "malicious", "manufacturing", "maritime",
	"marketplace", "memory", "mobile", "module", "monitoring", "movement", "network", "observed",
	"operator", "overlap", "passive", "payload", "persistence", "phishing", "pipeline", "plug-in",
	"privilege", "provider", "proxy", "ransomware", "registrar", "relay", "remote", "reporting",
	"resolver", "rootkit", "sandbox", "script", "shellcode", "signed", "spear-phishing", "stealer",
	"supply", "targeting", "telecom", "tunnel", "victim", "wallet", "webshell", "zero-day",
	"d\\u00e9j\\u00e0", "naïve", "Übersicht", "Киев", "北京", "\\u0645\\u0648\\u0642\\u0639", "čeština", "\\ud83d\\udd12",
}

// words appends n words with spaces between them.
func (p *pen) words(d *draw, n int) {
	b := p.b
	for n > 0 {
		bits := d.next()
		for range min(n, 9) {
			b = append(append(b, words[bits&127]...), ' ')
			bits >>= 7
		}
		n -= 9
	}
	p.b = b[:len(b)-1]
}

// html appends a description of n blocks, as it stands inside a JSON string.
func (p *pen) html(d *draw, n int) {
	for range n {
		p.block(d)
	}
}

func (p *pen) block(d *draw) {
	switch kind := d.below(16); kind {
	case 0, 1, 2, 3:
		p.str("<p>")
		p.words(d, 20+d.below(30))
		p.str(".</p>\\n")
	case 4, 5:
		p.str("<p>")
		p.words(d, 8+d.below(20))
		p.str(` <a href=\"https://example.org/r/`)
		p.int(d.below(10_000))
		p.str(`?a=1&amp;b=2\" target=\"_blank\">source &#8220;ref&#8221;</a> `)
		p.words(d, 8+d.below(20))
		p.str(".</p>\\n")
	case 6, 7:
		p.str("<p><strong>")
		p.words(d, 2+d.below(3))
		p.str(".</strong> ")
		p.words(d, 10+d.below(20))
		p.str(".<br />")
		p.words(d, 10)
		p.str(".</p>\\n")
	case 8, 9:
		p.list(d)
	case 10, 11:
		p.table(d)
	case 12:
		p.str("<h3>")
		p.words(d, 2+d.below(3))
		p.str("</h3>\\n<p>")
		p.words(d, 15+d.below(15))
		p.str(".&nbsp;")
		p.words(d, 15)
		p.str(`. <span style=\"color: #ff0000;\">`)
		p.words(d, 3)
		p.str("</span>.</p>\\n")
	case 13:
		p.str("<p>")
		p.words(d, 10)
		p.str(`: if a<b then <em>`)
		p.words(d, 3)
		p.str(`</em>; fewer than <10 files in <code>C:\\Users\\&lt;user&gt;\\AppData</code>, List<string> and \"1 < 2 > 0\" & more. `)
		p.words(d, 10)
		p.str("</p>\\n")
	case 14:
		p.str("<p>")
		p.words(d, 12)
		p.str(`&hellip; caf&eacute; &euro;5&nbsp;000 &amp;lt;b&amp;gt; <user@example.org> <i>`)
		p.words(d, 4)
		p.str("</i> &mdash; ")
		p.words(d, 12)
		p.str("</p>\\n")
	default:
		p.words(d, 15+d.below(15))
		p.str(".\\n\\n")
	}
}

func (p *pen) list(d *draw) {
	open, end := "<ul>\\n", "</ul>\\n"
	if d.one(3) {
		open, end = "<ol>\\n", "</ol>\\n"
	}
	p.str(open)
	for range 1 + d.below(3) {
		p.str("<li>")
		p.words(d, 6+d.below(6))
		p.str(".</li>\\n<li>R&amp;D &ndash; ")
		p.words(d, 6)
		p.str(".</li>\\n")
	}
	p.str(end)
}

func (p *pen) table(d *draw) {
	p.str("<table><tr><th>Key</th><th>Value</th></tr>")
	for range 1 + d.below(4) {
		p.str("<tr><td>")
		p.words(d, 1+d.below(2))
		p.str("</td><td>")
		p.words(d, 3+d.below(5))
		p.str("</td></tr>")
	}
	p.str("<tr><td>Port</td><td>")
	p.int(1024 + d.below(64_000))
	p.str(" &lt; 65536</td></tr></table>\\n")
}
