package dialect

import (
	"strings"
	"testing"
)

func TestValid(t *testing.T) {
	nest := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for _, tc := range []struct {
		name, json string
		want       bool
	}{
		{"nothing", "", false},
		{"a value", ` {"a":[1,"b",null]} `, true},
		{"two values", "1 2", false},
		{"open", `{"a":`, false},
		{"an escape that is none", `"\x"`, false},
		{"a line end in a string", "\"a\nb\"", false},
		{"as deep as may be", nest(maxDepth), true},
		{"deeper", nest(maxDepth + 1), false},
		{"much deeper", nest(100_000), false},
		{"open much deeper", strings.Repeat(`{"a":`, 100_000), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := Valid(tc.json); got != tc.want || ValidBytes([]byte(tc.json)) != got {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}
