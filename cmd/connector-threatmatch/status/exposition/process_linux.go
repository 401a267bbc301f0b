package exposition

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// AddProcess adds what the system knows of the program's process.
func (r *Registry) AddProcess() {
	for _, figure := range []struct {
		name, help string
		kind       Kind
		read       func() (float64, error)
	}{
		{"process_cpu_seconds_total", "Time that processors spent on the program.", Counter, processorTime},
		{"process_max_fds", "File descriptors that it may have.", Gauge, limit(syscall.RLIMIT_NOFILE)},
		{"process_network_receive_bytes_total", "Bytes that its network has received, of other processes there as well.", Counter, network("InOctets")},
		{"process_network_transmit_bytes_total", "Bytes that its network has sent, of other processes there as well.", Counter, network("OutOctets")},
		{"process_open_fds", "File descriptors that it has.", Gauge, openFiles},
		{"process_resident_memory_bytes", "Memory that it takes.", Gauge, pages(1)},
		{"process_start_time_seconds", "When it was started.", Gauge, started},
		{"process_virtual_memory_bytes", "Addresses that it has reserved.", Gauge, pages(0)},
		{"process_virtual_memory_max_bytes", "Addresses that it may reserve.", Gauge, limit(syscall.RLIMIT_AS)},
	} {
		r.Add(figure.name, figure.help, figure.kind, func(s *Samples) {
			if value, err := figure.read(); err == nil { // else the system does not tell, as in some sandboxes
				s.Add(value, nil)
			}
		})
	}
}

func processorTime() (float64, error) {
	var used syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	return float64(used.Utime.Nano()+used.Stime.Nano()) / 1e9, err
}

func limit(of int) func() (float64, error) {
	return func() (float64, error) {
		var bounds syscall.Rlimit
		err := syscall.Getrlimit(of, &bounds)
		return float64(bounds.Cur), err
	}
}

func openFiles() (float64, error) {
	files, err := os.ReadDir("/proc/self/fd")
	return float64(len(files) - 1), err // but for the folder itself
}

// pages reads a size in pages, in a column of statm.
func pages(column int) func() (float64, error) {
	return func() (float64, error) {
		rows, err := table("/proc/self/statm", "")
		if err != nil {
			return 0, err
		}
		n, err := parse(rows[0], column)
		return n * float64(os.Getpagesize()), err
	}
}

// started is when the process began, so long after the machine.
func started() (float64, error) {
	const (
		ticks = 100 // a second, whatever the kernel's own are
		begin = 19  // its column behind the process's name, which may hold blanks
	)
	text, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0, err
	}
	after, err := parse(strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])), begin)
	if err != nil {
		return 0, err
	}
	rows, err := table("/proc/stat", "btime")
	if err != nil {
		return 0, err
	}
	booted, err := parse(rows[0], 1)
	return booted + after/ticks, err
}

// network reads what the network of the process has carried: under a row of names stands one of figures.
func network(name string) func() (float64, error) {
	return func() (float64, error) {
		rows, err := table("/proc/self/net/netstat", "IpExt:")
		if err != nil {
			return 0, err
		}
		return parse(rows[len(rows)-1], slices.Index(rows[0], name))
	}
}

// table reads the rows of a file that begin with a word, in columns. There is one at least.
func table(path, begin string) (rows [][]string, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, begin) {
			rows = append(rows, strings.Fields(line))
		}
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("find %q in %s: there is none", begin, path)
	}
	return rows, nil
}

// parse reads the number in a column.
func parse(row []string, column int) (float64, error) {
	if column < 0 || column >= len(row) {
		return 0, fmt.Errorf("read column %d: there are %d", column, len(row))
	}
	return strconv.ParseFloat(row[column], 64)
}
