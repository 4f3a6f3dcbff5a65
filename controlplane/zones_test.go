package controlplane

import (
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"
	"testing"
)

// A machine that runs tests has a database of time zones of its own, so that loading one proves nothing.
func TestTimeZonesAreBuiltIn(t *testing.T) {
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var imported []string
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range parsed.Imports {
			imported = append(imported, i.Path.Value)
		}
	}
	if !slices.Contains(imported, `"time/tzdata"`) {
		t.Error("no file imports time/tzdata")
	}
}
