package pipeline

import (
	"fmt"
	"runtime/debug"
)

// Fault is the reason where the program itself is at fault: it panicked over what it was to transform.
const Fault Reason = "fault of the connector"

// Broken is an error that a panic has become; Stack is nil where it has not.
type Broken interface {
	error
	Stack() []byte
}

// panicked is a panic that was caught.
type panicked struct {
	value any
	stack []byte
}

// Error says what the panic said.
func (p *panicked) Error() string {
	return fmt.Sprintf("the connector fails over it, please report this: %v", p.value)
}

// Stack is where it happened.
func (p *panicked) Stack() []byte { return p.stack }

// LeftOut implements [LeftOut].
func (p *panicked) LeftOut() (why Reason, number int) { return Fault, 1 }

// Catch calls f and returns its panic as an error, nil for none: a single object that nobody has foreseen must not end, and end
// again after each restart, the import of all others.
func Catch(f func()) (err Broken) {
	defer func() {
		if value := recover(); value != nil {
			err = &panicked{value, debug.Stack()}
		}
	}()
	f()
	return nil
}
