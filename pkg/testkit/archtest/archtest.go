// Package archtest holds the import rules of the house as tables, and checks a list of packages against them. Its own
// test runs the check over this module, so that a broken rule fails the build with the rule's reason.
//
// It looks at what packages import when they are built, not at what their tests import. It refuses to know which rooms
// exist: a rule about a room that is not there yet is a rule in waiting.
package archtest

import (
	"fmt"
	"slices"
	"strings"
)

// Package is what a rule looks at; its fields are those of `go list -json`.
type Package struct {
	ImportPath string
	// Imports are the packages that it names, Deps those that are linked in with it.
	Imports []string
	Deps    []string
}

// Violation is one import that a rule forbids.
type Violation struct {
	Rule     string
	Package  string
	Import   string
	Reason   string
	Indirect bool // Import is a dependency of a dependency, perhaps
}

// String is one line that says what is wrong and why.
func (v Violation) String() string {
	verb := "imports"
	if v.Indirect {
		verb = "depends on"
	}
	return fmt.Sprintf("%s: %s %s %s: %s", v.Rule, v.Package, verb, v.Import, v.Reason)
}

// Check returns every violation of every rule, in the order of packages.
func Check(packages []Package) []Violation {
	var found []Violation
	for _, p := range packages {
		for _, r := range rules() {
			found = append(found, r.check(p)...)
		}
		found = append(found, checkSiblings(p)...)
	}
	return found
}

// rule forbids packages to import packages. Patterns are import paths; one that ends in "/..." also stands for all below.
type rule struct {
	name   string
	reason string
	// who is bound by the rule, and who of those is not.
	who, but []string
	// not is what they must not import, except what they may all the same.
	not, except []string
	// linked looks at all dependencies instead of at imports.
	linked bool
}

func (r rule) check(p Package) []Violation {
	if !matchAny(r.who, p.ImportPath) || matchAny(r.but, p.ImportPath) {
		return nil
	}
	imports := p.Imports
	if r.linked {
		imports = p.Deps
	}
	var found []Violation
	for _, i := range imports {
		if matchAny(r.not, i) && !matchAny(r.except, i) {
			found = append(found, Violation{r.name, p.ImportPath, i, r.reason, r.linked})
		}
	}
	return found
}

func matchAny(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return match(pattern, path) })
}

func match(pattern, path string) bool {
	parent, below := strings.CutSuffix(pattern, "/...")
	return path == parent || below && strings.HasPrefix(path, parent+"/")
}

// checkSiblings applies the table of siblings: a room may import those rooms of its plane that it is listed with.
func checkSiblings(p Package) []Violation {
	plane, room, ok := roomOf(p.ImportPath)
	if !ok {
		return nil
	}
	allowed := siblings()[plane+"/"+room]
	var found []Violation
	for _, i := range p.Imports {
		otherPlane, other, ok := roomOf(i)
		if !ok || otherPlane != plane || other == room || slices.Contains(allowed, other) || slices.Contains(allowed, "*") {
			continue
		}
		if strings.HasPrefix(room, other+"/") {
			continue // dialect/openai may know the neutral form in dialect
		}
		found = append(found, Violation{
			Rule: "siblings", Package: p.ImportPath, Import: i,
			Reason: "rooms do not know their siblings, unless the table in archtest says so; declare a small interface " +
				"where you need the service and let the door wire it",
		})
	}
	return found
}

// roomOf splits the path of a package in a plane. The room is the folder under internal; each dialect is one of its own.
func roomOf(path string) (plane, room string, ok bool) {
	for _, plane := range []string{"controlplane", "dataplane"} {
		rest, ok := strings.CutPrefix(path, module+"/"+plane+"/internal/")
		if !ok {
			continue
		}
		parts := strings.Split(rest, "/")
		if parts[0] == "dialect" && len(parts) > 1 {
			return plane, parts[0] + "/" + parts[1], true
		}
		return plane, parts[0], true
	}
	return "", "", false
}
