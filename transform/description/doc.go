// Package description converts the HTML that ThreatMatch writes into descriptions. The Markdown shows what the HTML shows:
// every character of its text, its lines, lists and tables, emphasis, code, and the links that may be followed.
//
// It is made for texts of which nobody can say beforehand whether they are HTML, plain text or a mixture. What is markup is
// decided by one rule (see [scanner]): what only looks like a tag ("<script.exe>", "<username>", "a<b") is text. All
// conversions take time and memory linear in the input, and a bounded stack, whatever the input.
//
// # How
//
// A scanner splits the text. A cleaner says it again as HTML in which every "<" is markup, of the few elements that are
// shown, nested no deeper than Markdown can say. What is tidy becomes a tree at once (see [tree]), as almost all is; of the rest,
// and of long texts, golang.org/x/net/html makes one as a browser does, in pieces of bounded size. A renderer writes the tree as
// Markdown: blocks and tables, the lines in them as spans of one style each, and in those a backslash before each character that
// would act, and hardly before any other: names such as HKEY_LOCAL_MACHINE and paths stay what a search finds. Text without any
// markup takes the last step only, and of nothing but words ([Plain]) none. The flat text is made from the scanner's tokens, and so
// are the addresses of the links, whatever the format.
//
// # What differs from a browser
//
// Line ends of a text without blocks are kept. A link to anything but http, https, mailto and ftp is its text; one without
// text shows its address. Cells of a table lie flat, and a table of one column is the blocks in it. References need their
// semicolon, except in the flat text, so that "?a=1&copy=2" stays.
//
// # Why not a library
//
// Measured with the same scanner and cleaner before both: html-to-markdown 2.5 with its table and strikethrough plugins, and
// this renderer; and what stood here before, a writer over a scanner of its own. Wrong means that what a reader sees of the
// rendered Markdown, by goldmark with GitHub's extensions, is not what he sees of the HTML. The corpus has 11,326
// descriptions of 263 bytes; generated are the documents and paragraphs that the tests draw, full of characters that act. Time
// is CPU of a shared virtual machine.
//
//	                               html-to-markdown   this      before
//	lines, but for Links           570                2,500     1,840
//	wrong of 11,326 of the corpus  1                  0         580
//	wrong of 3,000 documents       2,093              0         2,366
//	wrong of 3,000 paragraphs      1,125              0         1,655
//	a description of the corpus    41 µs              6 µs      4 µs
//	allocations                    145                0         5
//	900 kB of lists in lists       1.6 s              1.0 s     0.06 s
//
// Readers of Markdown differ. What is written shows the same characters in goldmark and in micromark with its GitHub extension,
// which OpenCTI uses: compared for the corpus and for 100,000 generated texts.
//
// The library would be the smaller, but it is not right, and cannot be made so from outside. Strong text before a letter
// shows its stars ("**Target:**Government"), "&amp;lt;" becomes "<", a star in strong text ends it, and it adds spaces
// around code in strong text. It escapes every "_" that a letter follows, in 306 of the corpus's descriptions: the addresses
// that GitHub makes links of would show backslashes and lead elsewhere, and a search would no longer find names.
package description
