package flags

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"
)

// maxFile bounds the configuration file in bytes.
const maxFile = 1 << 20

// setting is one key of the file.
type setting struct {
	source string
	value  any // string, bool, json.Number, []any, map[string]any or nil
}

// load reads the file and reports unknown keys. No path means no settings.
func load(path string, root *cobra.Command) (map[string]setting, []error) {
	if path == "" {
		return nil, nil
	}
	settings, err := read(path)
	if err != nil {
		return nil, []error{&Error{path, err}}
	}
	all := known(root)
	candidates := names(all)
	var problems []error
	for _, key := range sortedKeys(settings) {
		if _, ok := all[key]; ok && key != Config {
			continue
		}
		err := errors.New("no such setting")
		if key == Config {
			err = errors.New("a file cannot name another")
		} else if near := closest(key, candidates); near != "" {
			err = fmt.Errorf("no such setting, did you mean %q?", near)
		}
		problems = append(problems, &Error{settings[key].source, err})
	}
	return settings, problems
}

// read parses the file: a mapping from flag names to scalars or lists of scalars.
func read(path string) (map[string]setting, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, reason(err)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, reason(err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("the file is larger than %d bytes", maxFile)
	}
	values, err := parse(text)
	if err != nil {
		return nil, err
	}
	settings := make(map[string]setting, len(values))
	for key, value := range values {
		settings[key] = setting{source: path + ": " + key, value: value}
	}
	return settings, nil
}

// reason is err without the path, which the Error names already.
func reason(err error) error {
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		return pe.Err
	}
	return err
}

// parse turns YAML into values, refusing duplicate keys and more than one document.
func parse(text []byte) (map[string]any, error) {
	if documents(text) > 1 {
		// The decoder would read the first and drop the others without a word.
		return nil, errors.New("more than one YAML document")
	}
	doc, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, fmt.Errorf("parse YAML: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber() // a size in bytes must not turn into 8.589934592e+09
	var values map[string]any
	if err := d.Decode(&values); err != nil {
		return nil, errors.New("want a mapping from flag names to values")
	}
	return values, nil
}

// documents counts YAML documents that hold anything.
func documents(text []byte) int {
	count, empty := 0, true
	for line := range bytes.Lines(text) {
		line = bytes.TrimRight(line, " \t\r\n")
		switch {
		case bytes.Equal(line, []byte("---")) || bytes.HasPrefix(line, []byte("--- ")) || bytes.Equal(line, []byte("...")):
			empty = len(line) <= 3
			if !empty {
				count++
			}
		case len(line) > 0 && line[0] != '#' && line[0] != '%' && empty:
			count++
			empty = false
		}
	}
	return count
}

// texts is the value as it would stand on the command line, one text per use of the flag; none means an empty list.
func (s setting) texts(f *pflag.Flag) ([]string, error) {
	list, ok := s.value.([]any)
	if !ok {
		text, err := scalar(s.value)
		if err != nil {
			return nil, err
		}
		return []string{text}, nil
	}
	if _, ok := f.Value.(pflag.SliceValue); !ok {
		return nil, fmt.Errorf("a list, want one %s", f.Value.Type())
	}
	items := make([]string, 0, len(list))
	for _, item := range list {
		text, err := scalar(item)
		if err != nil {
			return nil, err
		}
		if f.Value.Type() == "stringSlice" {
			// Such a flag takes CSV: an item with a comma needs quotes.
			text = quoteCSV(text)
		}
		items = append(items, text)
	}
	return items, nil
}

func scalar(value any) (string, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case bool:
		return fmt.Sprint(v), nil
	case json.Number:
		return v.String(), nil
	case nil:
		return "", errors.New("no value")
	case []any:
		return "", errors.New("a list inside a list")
	}
	return "", errors.New("a mapping, want a value")
}

func quoteCSV(text string) string {
	if text == "" {
		return `""`
	}
	var b strings.Builder
	w := csv.NewWriter(&b)
	_ = w.Write([]string{text}) // a strings.Builder takes everything
	w.Flush()
	return strings.TrimSuffix(b.String(), "\n")
}

func sortedKeys(settings map[string]setting) []string {
	keys := make([]string, 0, len(settings))
	for key := range settings {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
