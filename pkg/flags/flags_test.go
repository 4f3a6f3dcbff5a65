package flags

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// settings is what the commands of the test tree take.
type values struct {
	Dir     string
	Debug   bool
	Count   int
	Bytes   int64
	Grace   time.Duration
	Allow   []string
	Level   string
	Quota   string
	Version bool
}

// tree is a root with a persistent flag and two commands, one of which has all types of flags.
func tree(env map[string]string) (*cobra.Command, *values) {
	v := &values{}
	lookup := func(name string) (string, bool) { text, ok := env[name]; return text, ok }
	root := &cobra.Command{Use: "fairway", SilenceErrors: true, SilenceUsage: true}
	root.PersistentFlags().StringVar(&v.Level, "log-level", "info", "")
	AddConfig(root.PersistentFlags())
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return Resolve(cmd, lookup) }

	up := &cobra.Command{Use: "up", RunE: func(*cobra.Command, []string) error { return nil }}
	up.Flags().StringVar(&v.Dir, "data-dir", "/default", "")
	up.Flags().BoolVar(&v.Debug, "debug", false, "")
	up.Flags().IntVar(&v.Count, "count", 1, "")
	up.Flags().Int64Var(&v.Bytes, "quota-bytes", 1, "")
	up.Flags().DurationVar(&v.Grace, "grace", time.Second, "")
	up.Flags().StringSliceVar(&v.Allow, "allow", []string{"default"}, "")
	up.Flags().BoolVar(&v.Version, "version", false, "")

	other := &cobra.Command{Use: "other", RunE: func(*cobra.Command, []string) error { return nil }}
	other.Flags().StringVar(&v.Quota, "quota", "", "")
	_ = other.MarkFlagRequired("quota")
	root.AddCommand(up, other)
	return root, v
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fairway.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func defaults(change func(v *values)) *values {
	v := &values{Dir: "/default", Count: 1, Bytes: 1, Grace: time.Second, Allow: []string{"default"}, Level: "info"}
	if change != nil {
		change(v)
	}
	return v
}

func TestResolve(t *testing.T) {
	tests := []struct {
		name string
		args []string
		env  map[string]string
		file string // empty = none
		want *values
	}{
		{name: "nothing", want: defaults(nil)},
		{name: "every type from the environment", env: map[string]string{
			"FAIRWAY_DATA_DIR": "/e", "FAIRWAY_DEBUG": "true", "FAIRWAY_COUNT": "-3", "FAIRWAY_QUOTA_BYTES": "8589934592",
			"FAIRWAY_GRACE": "1m30s", "FAIRWAY_ALLOW": "10.0.0.0/8,::1/128", "FAIRWAY_LOG_LEVEL": "debug",
		}, want: &values{"/e", true, -3, 8 << 30, 90 * time.Second, []string{"10.0.0.0/8", "::1/128"}, "debug", "", false}},
		{name: "every type from the file", file: `
# a comment
data-dir: /f
debug: true
count: -3
quota-bytes: 8589934592
grace: 1m30s
allow: [10.0.0.0/8, "::1/128", 'with,comma', 'with "quotes"', ""]
log-level: debug
`, want: &values{"/f", true, -3, 8 << 30, 90 * time.Second,
			[]string{"10.0.0.0/8", "::1/128", "with,comma", `with "quotes"`, ""}, "debug", "", false}},
		{name: "strings that look like something else", file: "data-dir: \"0123\"\nlog-level: \"true\"\nallow: a,b",
			want: defaults(func(v *values) { v.Dir, v.Level, v.Allow = "0123", "true", []string{"a", "b"} })},
		{name: "a number for a string", file: "data-dir: 12", want: defaults(func(v *values) { v.Dir = "12" })},
		{name: "a list of one", file: "allow:\n- 10.0.0.0/8", want: defaults(func(v *values) { v.Allow = []string{"10.0.0.0/8"} })},
		{name: "an empty list", file: "allow: []", want: defaults(func(v *values) { v.Allow = []string{} })},
		{name: "an empty file", file: "# nothing\n", want: defaults(nil)},
		{name: "a document start", file: "# c\n%YAML 1.1\n---\ncount: 2\n", want: defaults(func(v *values) { v.Count = 2 })},
		{name: "flag over environment over file", args: []string{"--count", "5", "--allow", "flag"},
			env:  map[string]string{"FAIRWAY_COUNT": "6", "FAIRWAY_GRACE": "6s", "FAIRWAY_ALLOW": "env"},
			file: "count: 7\ngrace: 7s\nallow: [file]\ndata-dir: /file\n",
			want: defaults(func(v *values) { v.Count, v.Grace, v.Dir, v.Allow = 5, 6*time.Second, "/file", []string{"flag"} })},
		{name: "a flag set to its default", args: []string{"--count=1"}, env: map[string]string{"FAIRWAY_COUNT": "6"}, want: defaults(nil)},
		{name: "a flag set to false", args: []string{"--debug=false"}, file: "debug: true", want: defaults(nil)},
		{name: "an empty variable is none", env: map[string]string{"FAIRWAY_COUNT": "", "FAIRWAY_DATA_DIR": ""}, file: "count: 7",
			want: defaults(func(v *values) { v.Count = 7 })},
		{name: "a flag of another command", file: "quota: x\ncount: 7", want: defaults(func(v *values) { v.Count = 7 })},
		{name: "version is no setting", env: map[string]string{"FAIRWAY_VERSION": "true", "FAIRWAY_HELP": "true"}, want: defaults(nil)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root, got := tree(tt.env)
			args := append([]string{"up"}, tt.args...)
			if tt.file != "" {
				args = append(args, "--config", file(t, tt.file))
			}
			root.SetArgs(args)
			if err := root.Execute(); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestConfigFileFromEnvironment(t *testing.T) {
	root, got := tree(map[string]string{"FAIRWAY_CONFIG": file(t, "count: 7")})
	root.SetArgs([]string{"up"})
	if err := root.Execute(); err != nil || got.Count != 7 {
		t.Errorf("count %d, %v", got.Count, err)
	}
	root, got = tree(map[string]string{"FAIRWAY_CONFIG": file(t, "count: 7")})
	root.SetArgs([]string{"up", "--config", file(t, "count: 8")})
	if err := root.Execute(); err != nil || got.Count != 8 {
		t.Errorf("with the flag: count %d, %v", got.Count, err)
	}
}

func TestRequiredFlagFromElsewhere(t *testing.T) {
	root, got := tree(map[string]string{"FAIRWAY_QUOTA": "9"})
	root.SetArgs([]string{"other"})
	if err := root.Execute(); err != nil || got.Quota != "9" {
		t.Errorf("from the environment: %q, %v", got.Quota, err)
	}
	root, got = tree(nil)
	root.SetArgs([]string{"other", "--config", file(t, "quota: 9")})
	if err := root.Execute(); err != nil || got.Quota != "9" {
		t.Errorf("from the file: %q, %v", got.Quota, err)
	}
	root, _ = tree(nil)
	root.SetArgs([]string{"other"})
	if err := root.Execute(); err == nil {
		t.Error("from nowhere, and nobody says so")
	}
}

// problems splits what Resolve and Check return into lines, without the file's path.
func problems(path string, errs ...error) []string {
	var lines []string
	for _, err := range errs {
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			lines = append(lines, problems(path, joined.Unwrap()...)...)
			continue
		}
		lines = append(lines, strings.ReplaceAll(err.Error(), path, "FILE"))
	}
	return lines
}

func TestResolveReportsEverything(t *testing.T) {
	root, got := tree(map[string]string{"FAIRWAY_COUNT": "many", "FAIRWAY_GRACE": "5"})
	path := file(t, `
data_dir: /x
dta-dir: /x
debug: maybe
allow: {a: b}
log-level: [a]
quota-bytes:
config: other.yaml
nothing-like-it-at-all: 1
`)
	root.SetArgs([]string{"up", "--config", path})
	err := root.Execute()
	if err == nil {
		t.Fatal("no error")
	}
	want := []string{
		`FAIRWAY_COUNT: "many" is not a valid int: invalid syntax`,
		`FAIRWAY_GRACE: "5" is not a valid duration: time: missing unit in duration "5"`,
		`FILE: allow: a mapping, want a value`,
		`FILE: config: a file cannot name another`,
		`FILE: data_dir: no such setting, did you mean "data-dir"?`,
		`FILE: debug: "maybe" is not a valid bool: invalid syntax`,
		`FILE: dta-dir: no such setting, did you mean "data-dir"?`,
		`FILE: log-level: a list, want one string`,
		`FILE: nothing-like-it-at-all: no such setting`,
		`FILE: quota-bytes: no value`,
	}
	lines := problems(path, err)
	slices.Sort(lines)
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if problem, ok := errors.AsType[*Error](err); !ok || problem.Source == "" {
		t.Error("no *flags.Error in the error")
	}
	if got.Dir != "/default" {
		t.Errorf("a misspelt key was taken: %q", got.Dir)
	}
}

func TestBadFiles(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"a key twice":    {"count: 1\ncount: 2\n", "already set"},
		"not a mapping":  {"- a\n- b\n", "want a mapping"},
		"a scalar":       {"hello\n", "want a mapping"},
		"no YAML":        {"a: [\n", "parse YAML"},
		"tabs":           {"a:\n\t- b\n", "parse YAML"},
		"two documents":  {"count: 1\n---\ncount: 2\n", "more than one"},
		"larger than ok": {"a: " + strings.Repeat("x", maxFile), "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			root, _ := tree(nil)
			path := file(t, tt.text)
			root.SetArgs([]string{"up", "--config", path})
			err := root.Execute()
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), path) {
				t.Errorf("error %v, want the path and %q", err, tt.want)
			}
		})
	}
	root, _ := tree(nil)
	root.SetArgs([]string{"up", "--config", "/no/such/file"})
	if err := root.Execute(); err == nil || err.Error() != "/no/such/file: no such file or directory" {
		t.Errorf("no file: %v", err)
	}
}

func TestEnvName(t *testing.T) {
	if got := EnvName("upstream-allow-cidr"); got != "FAIRWAY_UPSTREAM_ALLOW_CIDR" {
		t.Error(got)
	}
}
