package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"

	"fairway/pkg/flags"
)

var update = flag.Bool("update", false, "write docs/reference, docs/providers.md and docs/metrics.md instead of checking them")

// TestReference keeps the reference pages equal to what the commands say of themselves.
func TestReference(t *testing.T) {
	// The default data directory depends on who runs this; the pages show it with ~.
	t.Setenv("HOME", "/home/you")
	got := pages(t, root())
	dir := filepath.Join("docs", "reference")
	if *update {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range got {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	want := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		raw, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		want[e.Name()] = string(raw)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/reference is not what the commands say; run make docs (-there +said):\n%s", diff)
	}
}

// checkPage compares a page in docs with what is generated; with -update it is written.
func checkPage(t *testing.T, page, got string) {
	t.Helper()
	name := filepath.Join("docs", page)
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("docs/%s is not what the code says; run make docs (-there +said):\n%s", page, diff)
	}
}

// pages renders one page per top-level command and one for configuration.
func pages(t *testing.T, root *cobra.Command) map[string]string {
	t.Helper()
	root.DisableAutoGenTag = true
	root.InitDefaultCompletionCmd()
	link := func(page string) string {
		name := strings.TrimSuffix(page, ".md")
		if parts := strings.SplitN(name, "_", 3); len(parts) == 3 {
			return parts[0] + "_" + parts[1] + ".md#" + strings.ReplaceAll(name, "_", "-")
		}
		return page
	}
	out := map[string]string{"configuration.md": configuration(root)}
	render := func(c *cobra.Command) string {
		var b bytes.Buffer
		c.DisableAutoGenTag = true
		if err := doc.GenMarkdownCustom(c, &b, link); err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(b.String(), "/home/you/", "~/")
	}
	out["fairway.md"] = render(root)
	for _, c := range root.Commands() {
		if !c.IsAvailableCommand() || c.Name() == "help" || c.Name() == "completion" {
			continue
		}
		var b strings.Builder
		var walk func(c *cobra.Command)
		walk = func(c *cobra.Command) {
			b.WriteString(render(c))
			for _, sub := range c.Commands() {
				if sub.IsAvailableCommand() {
					walk(sub)
				}
			}
		}
		walk(c)
		out["fairway_"+c.Name()+".md"] = b.String()
	}
	var kept strings.Builder
	for line := range strings.Lines(out["fairway.md"]) {
		if !strings.Contains(line, "fairway_completion.md") {
			kept.WriteString(line)
		}
	}
	out["fairway.md"] = kept.String()
	return out
}

// configuration is one table of every setting of the commands that serve.
func configuration(root *cobra.Command) string {
	type setting struct {
		flag *pflag.Flag
		of   []string
	}
	all := map[string]*setting{}
	for _, name := range []string{"up", "controlplane", "dataplane"} {
		c, _, err := root.Find([]string{name})
		if err != nil {
			continue
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Name == "help" {
				return
			}
			s := all[f.Name]
			if s == nil {
				s = &setting{flag: f}
				all[f.Name] = s
			}
			s.of = append(s.of, name)
		})
	}
	var b strings.Builder
	b.WriteString("# Configuration\n\nEvery setting is a flag, an environment variable and a key of the YAML file that `--config` names.\n" +
		"The flag wins over the variable, the variable over the file. `fairway config check` checks them all.\n\n" +
		"| flag and key | variable | default | of | what |\n|---|---|---|---|---|\n")
	names := make([]string, 0, len(all))
	for n := range all {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		s := all[n]
		def := s.flag.DefValue
		if def == "" || def == "[]" {
			def = "–"
		}
		fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s | %s |\n", n, flags.EnvName(n), strings.ReplaceAll(def, "/home/you/", "~/"),
			strings.Join(s.of, ", "), strings.ReplaceAll(s.flag.Usage, "|", "\\|"))
	}
	b.WriteString("\nOnly as variables, because they are secrets: `FAIRWAY_KEK` (key-encryption key, base64 of 32 bytes), " +
		"`FAIRWAY_ETCD_PASSWORD`,\nand for the admin commands `FAIRWAY_TOKEN`.\n")
	return b.String()
}
