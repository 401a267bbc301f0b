package threatmatchtest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/klauspost/compress/gzip"
)

// Load reads a folder of profiles.ndjson, alerts.ndjson, reports.ndjson and indicators.ndjson, each plain or with .gz
// behind its name. Any may be missing, but not all. A line of the first three holds
// {"id": <number>, "date": "<ISO 8601>", "objects": [<STIX object>, …]}, a line of the last one an indicator. What the
// lines hold is served verbatim.
func Load(dir string) (*Folder, error) {
	f := new(Folder)
	found := false
	for _, name := range []string{"profiles", "alerts", "reports", "indicators"} {
		line := func(text []byte) error { return f.addItem(name, text) }
		if name == "indicators" {
			line = f.addIndicator
		}
		has, err := eachLine(dir, name+".ndjson", line)
		if err != nil {
			return nil, fmt.Errorf("load folder: %w", err)
		}
		found = found || has
	}
	if !found {
		return nil, fmt.Errorf("load folder: no profiles.ndjson, alerts.ndjson, reports.ndjson or indicators.ndjson, "+
			"plain or .gz, in %s", dir)
	}
	f.sortIndicators()
	return f, nil
}

func (f *Folder) addItem(set string, text []byte) error {
	var line struct {
		ID      *int64         `json:"id"`
		Date    time.Time      `json:"date"`
		Objects jsontext.Value `json:"objects"`
	}
	if err := json.Unmarshal(text, &line, lax); err != nil {
		return err
	}
	if line.ID == nil || line.Date.IsZero() || len(line.Objects) == 0 || line.Objects[0] != '[' {
		return errors.New("an item has an id, a date and an array of objects")
	}
	return f.Put(set, *line.ID, line.Date, line.Objects)
}

func (f *Folder) addIndicator(text []byte) error {
	i, err := parseIndicator(bytes.Clone(text))
	if err == nil {
		f.indicators = append(f.indicators, i)
	}
	return err
}

// eachLine calls line with each line of a file that is not empty, plain or gzip, and tells whether the file is there. The
// text is only valid during the call.
func eachLine(dir, name string, line func([]byte) error) (found bool, err error) {
	file, err := os.Open(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		name += ".gz"
		file, err = os.Open(filepath.Join(dir, name))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = file.Close() }() // only read
	var from io.Reader = file
	if filepath.Ext(name) == ".gz" {
		z, err := gzip.NewReader(file)
		if err != nil {
			return false, fmt.Errorf("read %s: %w", name, err)
		}
		defer func() { _ = z.Close() }() // only read
		from = z
	}
	lines := bufio.NewReaderSize(from, 256<<10)
	for n := 1; ; n++ {
		text, err := lines.ReadBytes('\n')
		if text = bytes.TrimSpace(text); len(text) > 0 {
			if err := line(text); err != nil {
				return false, fmt.Errorf("read %s line %d: %w", name, n, err)
			}
		}
		if err == io.EOF {
			return true, nil
		}
		if err != nil {
			return false, fmt.Errorf("read %s: %w", name, err)
		}
	}
}
