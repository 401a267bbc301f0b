package description

import (
	"context"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// checkPlain checks that what is plain is shown as it would be if it were converted.
func checkPlain(t rapid.TB, s string) (plain bool) {
	shown, plain := Plain([]byte(s))
	for _, f := range []Format{Markdown, Text} {
		if got := Convert(context.Background(), f, s); plain && got != string(shown) {
			t.Errorf("%v of %q:\n got %q\nwant %q", f, s, shown, got)
		}
	}
	if links := Links(s); plain && len(links) > 0 {
		t.Errorf("%q has links: %q", s, links)
	}
	return plain
}

// TestPlainTextIsShownAsIfItWereConverted puts every character that could do something at the beginning of words, among them and at
// their end.
func TestPlainTextIsShownAsIfItWereConverted(t *testing.T) {
	odd := []string{"", "\u00e9", "北京", "😀", "\u00a0", "\u3000", "\u2028", "\xff", "  ", "\r\n", "\n\n", "    ", "<b>", "<p>", "</p>", "<x>", "&amp;", "www.e.x", "http://e.x/", "1. ", "- ", "a@b.c", "---"}
	for c := range rune(128) {
		odd = append(odd, string(c), string(c)+" ", " "+string(c))
	}
	plain, all := 0, 0
	for _, o := range odd {
		for _, s := range []string{o, o + "the words", "the" + o + "words", "the words" + o} {
			for _, s := range []string{s, "<p>" + s + "</p>", "<p>" + s, s + "</p>", "<p>" + s + "</p>\n"} {
				if all++; checkPlain(t, s) {
					plain++
				}
			}
		}
	}
	if plain < all/8 || plain > all*7/8 {
		t.Errorf("%d of %d were plain", plain, all)
	}
}

// TestTextsAreNotSaidToBecomeShorterThanTheyDo holds what keeps a text in one piece.
func TestTextsAreNotSaidToBecomeShorterThanTheyDo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawTags.Draw(t, "tags") + rapid.SampledFrom([]string{"<b/>", "<tt/>", "<blockquote/>", `""''`, "&nvlt;", "<dl/>", "\n\n\n"}).Draw(t, "more")
		for _, lines := range []bool{false, true} {
			cleaned := 0
			for piece := range clean(s, lines) {
				cleaned += len(piece)
			}
			if most := mostCleaned(s); cleaned > most {
				t.Errorf("%q becomes %d bytes, said were %d", s, cleaned, most)
			}
		}
	})
}

func TestLongerTextsAreReadAtOnceAsAParserReadsThem(t *testing.T) {
	var c Converter
	for _, unit := range []string{"<p>some *words* &amp; more</p>\n", "<ul><li>one</li><li><b>two</b></li></ul>", "<table><tr><td>a</td><td>b</td></tr></table>", "words <br>", "<a href=\"https://e.x/\">a</a> "} {
		for _, size := range []int{maxPiece/16 + 1, maxPiece / 8} {
			s := strings.Repeat(unit, size/len(unit)+1)
			if got, want := c.Append(t.Context(), nil, Markdown, s), appendLong(t.Context(), nil, s); string(got) != string(want) {
				t.Errorf("%q, %d bytes: %d bytes, want %d", unit, len(s), len(got), len(want))
			}
			if isLong(s) || c.text != s {
				t.Errorf("%q, %d bytes: it was not read at once", unit, len(s))
			}
		}
	}
	if s := strings.Repeat(`""''`, maxPiece/36); !isLong(s) {
		t.Errorf("a text of %d bytes that becomes five times as long is read at once", len(s))
	}
}
