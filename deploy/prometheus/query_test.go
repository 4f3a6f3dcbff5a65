package prometheus

import (
	"fmt"
	"slices"
	"strings"
	"text/scanner"
)

// query is what a PromQL expression refers to. It is no parser: promtool checks the grammar.
type query struct {
	selectors []selector
	groups    []string // labels of by, without, on, ignoring, group_left and group_right
}

// selector is a metric with what its labels must be.
type selector struct {
	metric   string
	matchers []matcher
}

type matcher struct{ label, op, value string }

// alternatives are the values that a matcher names: those of a|b for =~ and !~. ok is false if it is another pattern.
func (m matcher) alternatives() (values []string, ok bool) {
	if m.op == "=" || m.op == "!=" {
		return []string{m.value}, true
	}
	if strings.ContainsAny(m.value, `.*+?()[]{}^$\`) {
		return nil, false
	}
	return strings.Split(m.value, "|"), true
}

// parse reads an expression. Grafana's variables may stand where durations and labels' values do.
func parse(expr string) (query, error) {
	var s scanner.Scanner
	s.Init(strings.NewReader(expr))
	s.Mode = scanner.ScanIdents | scanner.ScanFloats | scanner.ScanStrings | scanner.ScanRawStrings
	s.IsIdentRune = func(r rune, i int) bool {
		return r == '_' || r == ':' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || i > 0 && r >= '0' && r <= '9'
	}
	var problem error
	s.Error = func(_ *scanner.Scanner, msg string) { problem = fmt.Errorf("%s in %q", msg, expr) }
	var tokens []string
	for t := s.Scan(); t != scanner.EOF; t = s.Scan() {
		tokens = append(tokens, s.TokenText())
	}
	var q query
	for i := 0; i < len(tokens); i++ {
		next := ""
		if i+1 < len(tokens) {
			next = tokens[i+1]
		}
		switch t := tokens[i]; {
		case t == "[":
			for i < len(tokens) && tokens[i] != "]" {
				i++
			}
		case slices.Contains([]string{"by", "without", "on", "ignoring", "group_left", "group_right"}, t) && next == "(":
			for i += 2; i < len(tokens) && tokens[i] != ")"; i++ {
				if tokens[i] != "," {
					q.groups = append(q.groups, tokens[i])
				}
			}
		case t == "{":
			return q, fmt.Errorf("a selector without a metric in %q", expr)
		case t == "offset":
			i += 2 // a number, and its unit
		case !s.IsIdentRune([]rune(t)[0], 0) || slices.Contains([]string{"(", "by", "without"}, next) || slices.Contains([]string{"and", "or", "unless", "bool"}, t):
		default:
			one := selector{metric: t}
			if next == "{" {
				for i += 2; i < len(tokens) && tokens[i] != "}"; i++ {
					if tokens[i] == "," {
						continue
					}
					m := matcher{label: tokens[i]}
					for i++; i < len(tokens) && strings.ContainsAny(tokens[i], "=!~"); i++ {
						m.op += tokens[i]
					}
					if i < len(tokens) {
						m.value = strings.Trim(tokens[i], "\"'`")
					}
					one.matchers = append(one.matchers, m)
				}
			}
			q.selectors = append(q.selectors, one)
		}
	}
	if len(q.selectors) == 0 && problem == nil {
		problem = fmt.Errorf("no metric in %q", expr)
	}
	return q, problem
}
