package process

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv("BENCH_PROCESS_TEST") == "hold" {
		_, _ = os.Stdin.Read(make([]byte, 1)) // until it is told to end
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// hold starts this program as one that does nothing until its input ends, which the returned function sees to.
func hold(t *testing.T, ctx context.Context) (p *Process, release func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "BENCH_PROCESS_TEST=hold")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if p, err = Start(ctx, cmd); err != nil {
		t.Fatal(err)
	}
	return p, func() { _ = in.Close() }
}

func TestAProgramIsToldToEndWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p, release := hold(t, ctx)
	defer release()
	cancel()
	if _, err := p.Wait(time.Hour); err == nil || !strings.Contains(err.Error(), "terminated") {
		t.Errorf("it was not told to end: %v", err)
	}
}

func TestTheFootprintHoldsMemoryOverTime(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("memory is read from Linux's /proc")
	}
	p, release := hold(t, t.Context())
	var f Footprint
	p.look(&f)
	if len(f.Memory) != 1 || f.Memory[0].Resident < f.Memory[0].Anonymous || f.Peak < f.Anonymous || f.Anonymous == 0 {
		t.Errorf("%+v", f)
	}
	release()
	f, err := p.Wait(time.Hour)
	if err != nil || f.Wall <= 0 || f.Started.IsZero() {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestWhatIsSaidOfTheProcessorIsThisProcess(t *testing.T) {
	before, told := OwnCPU()
	if !told {
		t.Skip("this system does not tell")
	}
	for deadline := time.Now().Add(5 * time.Minute); ; {
		if now, _ := OwnCPU(); now > before {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it does not grow")
		}
	}
}

func TestWhatChildrenTookIsKnownWhenTheyHaveEnded(t *testing.T) {
	before, told := ChildrenCPU()
	if !told {
		t.Skip("this system does not tell")
	}
	p, release := hold(t, t.Context())
	release()
	f, err := p.Wait(time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if after, _ := ChildrenCPU(); f.CPU <= 0 || after-before < f.CPU {
		t.Errorf("%s is known of a child that took %s", after-before, f.CPU)
	}
}
