package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestCommandsOfThePages: what the pages show of the command line without running it is at least understood by it: the
// commands and flags exist, and the flags' values are of their kind. Blocks marked sh are run by deploy/e2e.
func TestCommandsOfThePages(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join("docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, page := range append(pages, "README.md") {
		raw, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range commands(string(raw)) {
			n++
			if err := understood(line); err != nil {
				t.Errorf("%s: %v:\n%s", page, err, line)
			}
		}
	}
	if n < 25 {
		t.Errorf("%d commands were found; there is one for each provider at least", n)
	}
	for _, wrong := range []string{"fairway channel creat x", "fairway channel create x --nonsense y", "fairway key create k --strict=maybe"} {
		if understood(wrong) == nil {
			t.Errorf("%s: is understood", wrong)
		}
	}
}

var (
	textBlock = regexp.MustCompile("(?ms)^```text\n(.*?)^```$")
	word      = regexp.MustCompile(`'[^']*'|"[^"]*"|[^\s'"]+`)
)

// commands are the calls of fairway in a page's blocks of text.
func commands(page string) []string {
	var all []string
	for _, m := range textBlock.FindAllStringSubmatch(page, -1) {
		for line := range strings.Lines(strings.ReplaceAll(m[1], "\\\n", " ")) {
			if _, piped, ok := strings.Cut(line, " | "); ok {
				line = piped
			}
			if line = strings.TrimSpace(line); strings.HasPrefix(line, "fairway ") {
				all = append(all, line)
			}
		}
	}
	return all
}

// understood parses a command line as the binary would, and stops before it does anything.
func understood(line string) error {
	var args []string
	for _, w := range word.FindAllString(line, -1)[1:] {
		args = append(args, strings.Trim(w, `'"`))
	}
	c, rest, err := root().Find(args)
	if err != nil {
		return err
	}
	if err := c.ParseFlags(rest); err != nil {
		return err
	}
	return c.ValidateArgs(c.Flags().Args())
}
