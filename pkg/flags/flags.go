// Package flags lets every command-line flag be given in three ways: as itself, as an environment variable
// (--data-dir = FAIRWAY_DATA_DIR), and as a key of an optional YAML file named by --config (data-dir: …). The flag wins
// over the environment, the environment over the file.
//
// It refuses to ignore: a key of the file that is no flag of any command is an error that names the closest one, and
// everything that is wrong is reported at once, not only the first.
package flags

import (
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const (
	// Config is the name of the flag that names the YAML file.
	Config = "config"
	// EnvPrefix starts the name of every environment variable.
	EnvPrefix = "FAIRWAY_"
)

// EnvName is the environment variable for a flag: "data-dir" has FAIRWAY_DATA_DIR.
func EnvName(flag string) string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// Error is one thing that is wrong with how a flag was given.
type Error struct {
	// Source is where: an environment variable's name, or "file: key".
	Source string
	Err    error
}

func (e *Error) Error() string { return e.Source + ": " + e.Err.Error() }

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// AddConfig adds the --config flag to fs.
func AddConfig(fs *pflag.FlagSet) {
	fs.String(Config, "", "YAML `file` with values for flags that are given neither as flag nor in the environment")
}

// Resolve sets the flags of cmd that were not given on the command line: from the environment (lookup is os.LookupEnv, or
// a test's), else from the file that --config names. Set an empty variable to have it ignored. Flags that were set count
// as changed, so that required flags may come from anywhere; call it before those are checked, in PersistentPreRunE.
//
// Keys of the file that are flags of other commands of the same tree are left to those, so that one file serves all. The
// error joins one *Error for each thing that is wrong; flags that are right are set all the same.
func Resolve(cmd *cobra.Command, lookup func(string) (string, bool)) error {
	cmd.InheritedFlags() // merges the persistent flags of parents into cmd.Flags
	fs := cmd.Flags()
	settings, problems := load(configPath(fs, lookup), cmd.Root())
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Changed || !settable(f) {
			return
		}
		if text, ok := lookup(EnvName(f.Name)); ok && text != "" {
			if err := set(fs, f, []string{text}); err != nil {
				problems = append(problems, &Error{EnvName(f.Name), err})
			}
			return
		}
		s, ok := settings[f.Name]
		if !ok || f.Name == Config {
			return
		}
		texts, err := s.texts(f)
		if err == nil {
			err = set(fs, f, texts)
		}
		if err != nil {
			problems = append(problems, &Error{s.source, err})
		}
	})
	return errors.Join(problems...)
}

// configPath is the file to read; empty = none.
func configPath(fs *pflag.FlagSet, lookup func(string) (string, bool)) string {
	f := fs.Lookup(Config)
	if f == nil {
		return ""
	}
	if !f.Changed {
		if text, ok := lookup(EnvName(Config)); ok && text != "" {
			return text
		}
	}
	return f.Value.String()
}

// settable excludes the flags that ask for something instead of setting it. FAIRWAY_VERSION is what an image may well
// carry.
func settable(f *pflag.Flag) bool { return f.Name != "help" && f.Name != "version" }

// set gives a flag its value; several texts are the items of a list.
func set(fs *pflag.FlagSet, f *pflag.Flag, texts []string) error {
	if slice, ok := f.Value.(pflag.SliceValue); ok && len(texts) == 0 {
		if err := slice.Replace([]string{}); err != nil {
			return err
		}
		f.Changed = true
		return nil
	}
	for _, text := range texts {
		if err := fs.Set(f.Name, text); err != nil {
			return invalid(f, err)
		}
	}
	return nil
}

// invalid says what was expected. pflag's own text would repeat the flag's name and its shorthand.
func invalid(f *pflag.Flag, err error) error {
	if bad, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		err = bad.Unwrap()
		if num, ok := errors.AsType[*strconv.NumError](err); ok {
			err = num.Err
		}
		return fmt.Errorf("%q is not a valid %s: %w", bad.GetValue(), f.Value.Type(), err)
	}
	return err
}

// known maps the names of all settable flags of a tree of commands to those flags.
func known(root *cobra.Command) map[string][]*pflag.Flag {
	all := map[string][]*pflag.Flag{}
	seen := map[*pflag.Flag]bool{}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for _, fs := range []*pflag.FlagSet{c.Flags(), c.PersistentFlags()} {
			fs.VisitAll(func(f *pflag.Flag) {
				if settable(f) && !seen[f] {
					seen[f] = true
					all[f.Name] = append(all[f.Name], f)
				}
			})
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
	return all
}

// names of all flags that may stand in a file, sorted.
func names(all map[string][]*pflag.Flag) []string {
	out := make([]string, 0, len(all))
	for name := range all {
		if name != Config {
			out = append(out, name)
		}
	}
	sort.Strings(out)
	return out
}
