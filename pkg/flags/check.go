package flags

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Check reports everything that is wrong with a configuration without changing any flag: keys of the file at path
// (empty = no file) that are no flag of any command under root, variables in environ ("NAME=value", as os.Environ gives
// them) that start with FAIRWAY_ and are neither a flag's nor among extra, and values that a flag of that name would
// refuse. Each error is a *Error; nil means that all is well. What values mean together is for the commands to check.
func Check(root *cobra.Command, path string, environ []string, extra ...string) []error {
	all := known(root)
	settings, problems := load(path, root)
	for _, key := range sortedKeys(settings) {
		s := settings[key]
		for _, f := range all[key] {
			texts, err := s.texts(f)
			if err == nil {
				err = try(f, texts)
			}
			if err != nil {
				problems = append(problems, &Error{s.source, err})
				break
			}
		}
	}
	return append(problems, checkEnv(all, environ, extra)...)
}

func checkEnv(all map[string][]*pflag.Flag, environ, extra []string) []error {
	byEnv := make(map[string][]*pflag.Flag, len(all))
	candidates := slices.Clone(extra)
	for name, fs := range all {
		byEnv[EnvName(name)] = fs
		candidates = append(candidates, EnvName(name))
	}
	slices.Sort(candidates)
	var problems []error
	for _, entry := range slices.Sorted(slices.Values(environ)) {
		name, text, ok := strings.Cut(entry, "=")
		if !ok || !strings.HasPrefix(name, EnvPrefix) || slices.Contains(extra, name) {
			continue
		}
		fs, ok := byEnv[name]
		if !ok {
			err := errors.New("no such setting")
			if near := closest(name, candidates); near != "" {
				err = fmt.Errorf("no such setting, did you mean %s?", near)
			}
			problems = append(problems, &Error{name, err})
			continue
		}
		for _, f := range fs {
			if err := try(f, []string{text}); err != nil && text != "" {
				problems = append(problems, &Error{name, err})
				break
			}
		}
	}
	return problems
}

// try gives the value to a flag of the same type. A type that is not listed is not tried.
func try(f *pflag.Flag, texts []string) error {
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	switch f.Value.Type() {
	case "bool":
		fs.Bool(f.Name, false, "")
	case "int":
		fs.Int(f.Name, 0, "")
	case "int32":
		fs.Int32(f.Name, 0, "")
	case "int64":
		fs.Int64(f.Name, 0, "")
	case "uint":
		fs.Uint(f.Name, 0, "")
	case "uint32":
		fs.Uint32(f.Name, 0, "")
	case "uint64":
		fs.Uint64(f.Name, 0, "")
	case "float64":
		fs.Float64(f.Name, 0, "")
	case "duration":
		fs.Duration(f.Name, 0, "")
	case "stringSlice":
		fs.StringSlice(f.Name, nil, "")
	default:
		return nil
	}
	return set(fs, fs.Lookup(f.Name), texts)
}
