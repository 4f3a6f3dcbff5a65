// Package edit changes members of JSON bodies by rule, and puts a system prompt into conversations: what an operator, or a
// provider's ways, want changed in requests that otherwise pass as they are.
//
// It refuses to decode bodies: every byte that no rule is about stays, and members keep their order. It refuses rules that
// make no sense when they are compiled, so that applying them cannot fail on a body that is a JSON object.
package edit

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// Rule is one change. The zero value of its fields is not a rule.
type Rule struct {
	Action resourcev1.RuleAction
	Path   string // names from the top, with dots between them
	Value  string // JSON (set, default), or a path (rename)
}

// Rules are applied in order. They are immutable; the zero value changes nothing.
type Rules struct{ list []rule }

type rule struct {
	action resourcev1.RuleAction
	path   []string
	value  []byte
	to     []string
}

// Compile checks rules.
func Compile(list []Rule) (Rules, error) {
	var rs Rules
	for i, r := range list {
		c := rule{action: r.Action, value: []byte(strings.TrimSpace(r.Value))}
		var err error
		if c.path, err = split(r.Path); err != nil {
			return Rules{}, fmt.Errorf("rule %d: %w", i+1, err)
		}
		switch r.Action {
		case resourcev1.RuleAction_RULE_ACTION_SET, resourcev1.RuleAction_RULE_ACTION_DEFAULT:
			if !gjson.Valid(r.Value) {
				return Rules{}, fmt.Errorf("rule %d: the value is not JSON", i+1)
			}
		case resourcev1.RuleAction_RULE_ACTION_REMOVE:
		case resourcev1.RuleAction_RULE_ACTION_RENAME:
			if c.to, err = split(r.Value); err != nil {
				return Rules{}, fmt.Errorf("rule %d: %w", i+1, err)
			}
		default:
			return Rules{}, fmt.Errorf("rule %d: an unknown action", i+1)
		}
		rs.list = append(rs.list, c)
	}
	return rs, nil
}

func split(path string) ([]string, error) {
	names := strings.Split(path, ".")
	for _, n := range names {
		odd := func(c rune) bool {
			return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-'
		}
		if n == "" || strings.IndexFunc(n, odd) >= 0 {
			return nil, errors.New("the path must be names of letters, digits, _ and -, with dots between them")
		}
	}
	return names, nil
}

// Empty says that there is nothing to do.
func (rs Rules) Empty() bool { return len(rs.list) == 0 }

// Append appends body, a JSON object, with the rules applied. It may use dst's memory beyond its length, and body must not
// be part of it.
func (rs Rules) Append(dst, body []byte) []byte {
	work := body
	for i := range rs.list {
		work = rs.list[i].apply(work)
	}
	return append(dst, work...)
}

// Put returns body, a JSON object, with value (JSON) where path leads.
func Put(body []byte, path string, value []byte) []byte {
	return put(body, strings.Split(path, "."), value, true)
}

// apply returns body with the rule applied: body itself if nothing changes, and new memory if something does.
func (r *rule) apply(body []byte) []byte {
	switch r.action {
	case resourcev1.RuleAction_RULE_ACTION_SET:
		return put(body, r.path, r.value, true)
	case resourcev1.RuleAction_RULE_ACTION_DEFAULT:
		return put(body, r.path, r.value, false)
	case resourcev1.RuleAction_RULE_ACTION_REMOVE:
		return remove(body, r.path)
	default:
		m, ok := find(body, r.path)
		if !ok {
			return body
		}
		value := append([]byte(nil), body[m.value.Start:m.value.End]...)
		return put(remove(body, r.path), r.to, value, false)
	}
}

// member is where an object's member is: with its name, and its value alone.
type member struct{ whole, value dialect.Span }

// find walks down to the member that path names. Names are compared as they are written.
func find(body []byte, path []string) (member, bool) {
	s := dialect.Scanner{B: body}
	s.Space()
	var found member
	for depth, name := range path {
		if !s.Take('{') {
			return member{}, false
		}
		ok := false
		s.Members(func(key []byte) bool {
			start := s.At
			if string(key) != name {
				return s.Value()
			}
			ok = true
			found.whole.Start = nameStart(body, start, key)
			if depth < len(path)-1 {
				return false // s.At is at the value
			}
			if !s.Value() {
				ok = false
			}
			found.value = dialect.Span{Start: start, End: s.At}
			found.whole.End = s.At
			return false
		})
		if !ok {
			return member{}, false
		}
	}
	return found, true
}

// nameStart is where the name of the member begins whose value is at value.
func nameStart(body []byte, value int, key []byte) int {
	i := value - 1
	for body[i] != ':' {
		i--
	}
	for i--; body[i] != '"'; i-- { // white space may stand before the colon
	}
	return i - len(key) - 1
}

// put writes value where path leads, and the objects on the way; over what is there only if it may.
func put(body []byte, path []string, value []byte, over bool) []byte {
	if m, ok := find(body, path); ok {
		if !over {
			return body
		}
		return splice(body, m.value, value)
	}
	// The longest part of the path that is there and is an object gets a new first member.
	for n := len(path) - 1; n >= 0; n-- {
		at := openingOf(body)
		if n > 0 {
			m, ok := find(body, path[:n])
			if !ok {
				continue
			}
			at = m.value.Start
		}
		if at < 0 || at >= len(body) || body[at] != '{' {
			if n > 0 && over {
				// Something else is there: the rule wins.
				m, _ := find(body, path[:n])
				return splice(body, m.value, nest(path[n:], value))
			}
			return body
		}
		return insert(body, at+1, append(quoted(path[n]), nest(path[n+1:], value)...))
	}
	return body
}

// nest is value inside objects for each name.
func nest(names []string, value []byte) []byte {
	if len(names) == 0 {
		return value
	}
	out := append([]byte{'{'}, quoted(names[0])...)
	out = append(out, nest(names[1:], value)...)
	return append(out, '}')
}

func quoted(name string) []byte { return append(dialect.AppendQuoted(nil, name), ':') }

// openingOf is where the body's own brace is, or -1.
func openingOf(body []byte) int {
	s := dialect.Scanner{B: body}
	s.Space()
	if s.At < len(body) && body[s.At] == '{' {
		return s.At
	}
	return -1
}

// insert puts a member at the front of an object whose brace is before at.
func insert(body []byte, at int, m []byte) []byte {
	s := dialect.Scanner{B: body, At: at}
	s.Space()
	if s.At < len(body) && body[s.At] != '}' {
		m = append(m, ',')
	}
	return splice(body, dialect.Span{Start: at, End: at}, m)
}

// remove takes a member out, with one of the commas around it.
func remove(body []byte, path []string) []byte {
	m, ok := find(body, path)
	if !ok {
		return body
	}
	s := dialect.Scanner{B: body, At: m.whole.End}
	s.Space()
	if s.At < len(body) && body[s.At] == ',' {
		m.whole.End = s.At + 1
		return splice(body, m.whole, nil)
	}
	for i := m.whole.Start - 1; i >= 0; i-- {
		if body[i] == ',' {
			m.whole.Start = i
			break
		}
		if body[i] == '{' {
			break
		}
	}
	return splice(body, m.whole, nil)
}

// splice returns body with b in the place of s.
func splice(body []byte, s dialect.Span, b []byte) []byte {
	out := make([]byte, 0, len(body)-(s.End-s.Start)+len(b))
	out = append(out, body[:s.Start]...)
	out = append(out, b...)
	return append(out, body[s.End:]...)
}
