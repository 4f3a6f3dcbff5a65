package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestCommandsOfTheAlerts: what an alert tells somebody to type in the middle of the night is understood.
func TestCommandsOfTheAlerts(t *testing.T) {
	inline := regexp.MustCompile("`(fairway [^`]+)`")
	n := 0
	for _, file := range []string{filepath.Join("deploy", "prometheus", "fairway.rules.yml"), filepath.Join("docs", "alerts.md")} {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range inline.FindAllStringSubmatch(string(raw), -1) {
			line := strings.Join(strings.Fields(m[1]), " ")
			n++
			if err := understood(line); err != nil {
				t.Errorf("%s: %v:\n%s", file, err, line)
			}
		}
	}
	if n < 40 {
		t.Errorf("%d commands were found; each alert has one at least", n)
	}
}
