package progresstest

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
)

// failed is a test that takes note of why it fails, and goes on.
type failed struct {
	testing.TB
	why string
}

func (f *failed) Helper()                         {}
func (f *failed) Fatalf(format string, of ...any) { f.why = fmt.Sprintf(format, of...) }

func TestATextThatDoesNotComeFailsTheTestWithWhatStandsThere(t *testing.T) {
	for name, c := range map[string]struct {
		ends bool // behind what is written
		text string
		want string
	}{
		"it stands there":               {false, "step 2", ""},
		"it stood there before the end": {true, "step 2", ""},
		"it does not come":              {false, "step 3", `["step 1" "step 2"]`},
		"nothing comes any more":        {true, "step 3", `["step 1" "step 2"]`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				in, out := io.Pipe()
				defer out.Close()
				s := &screen{height: 24}
				go s.readFrom(in)
				if _, err := io.WriteString(out, "step 1\r\nstep 2"); err != nil {
					t.Fatal(err)
				}
				if c.ends {
					_ = out.Close()
				}
				test := &failed{TB: t}
				(&Terminal{screen: s}).Until(test, c.text)
				if (test.why == "") != (c.want == "") || !strings.Contains(test.why, c.want) {
					t.Errorf("it fails with %q, want %q", test.why, c.want)
				}
			})
		})
	}
}
