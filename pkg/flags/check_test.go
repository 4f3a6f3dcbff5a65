package flags

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCheck(t *testing.T) {
	tests := []struct {
		name    string
		file    string
		environ []string
		want    []string
	}{
		{"all is well", "count: 3\nquota: x\nallow: [a]\ngrace: 1s\n",
			[]string{"FAIRWAY_COUNT=3", "FAIRWAY_QUOTA=x", "FAIRWAY_TOKEN=t", "FAIRWAY_CONFIG=f", "FAIRWAY_GRACE=", "PATH=/bin"}, nil},
		{"nothing at all", "", nil, nil},
		{"all that is wrong", "count: x\ngrace: 5\nquotas: 1\nallow: [[1]]\ndebug: 7\n",
			[]string{"FAIRWAY_COUNT=y", "FAIRWAY_GRAZE=1s", "FAIRWAY_TOKENS=t", "FAIRWAY_ENTIRELY_UNKNOWN=1", "FAIRWAY_DEBUG=2"}, []string{
				`FILE: quotas: no such setting, did you mean "quota"?`,
				`FILE: allow: a list inside a list`,
				`FILE: count: "x" is not a valid int: invalid syntax`,
				`FILE: debug: "7" is not a valid bool: invalid syntax`,
				`FILE: grace: "5" is not a valid duration: time: missing unit in duration "5"`,
				`FAIRWAY_COUNT: "y" is not a valid int: invalid syntax`,
				`FAIRWAY_DEBUG: "2" is not a valid bool: invalid syntax`,
				`FAIRWAY_ENTIRELY_UNKNOWN: no such setting`,
				`FAIRWAY_GRAZE: no such setting, did you mean FAIRWAY_GRACE?`,
				`FAIRWAY_TOKENS: no such setting, did you mean FAIRWAY_TOKEN?`,
			}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root, got := tree(nil)
			path := ""
			if tt.file != "" {
				path = file(t, tt.file)
			}
			lines := problems(path, Check(root, path, tt.environ, "FAIRWAY_TOKEN")...)
			if diff := cmp.Diff(tt.want, lines); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(defaults(nil), got); diff != "" {
				t.Errorf("Check set flags (-want +got):\n%s", diff)
			}
		})
	}
}

// Check tries values on flags of the same type: each type of the tree is one that it knows.
func TestCheckKnowsTypes(t *testing.T) {
	root, _ := tree(nil)
	types := []string{}
	for _, fs := range known(root) {
		for _, f := range fs {
			if typ := f.Value.Type(); typ != "string" && !slices.Contains(types, typ) {
				types = append(types, typ)
				if typ != "stringSlice" && try(f, []string{"no value of any type"}) == nil {
					t.Errorf("type %s is not tried", typ)
				}
			}
		}
	}
	if len(types) < 5 {
		t.Errorf("the tree has only %q", types)
	}
}

func TestClosest(t *testing.T) {
	candidates := []string{"data-dir", "listen", "admin-listen", "sync-listen"}
	for name, want := range map[string]string{
		"data-dir": "data-dir", "datadir": "data-dir", "Data_Dir": "data-dir", "lisen": "listen", "admin-listne": "admin-listen",
		"xyz": "", "": "", "completely-different": "",
	} {
		if got := closest(name, candidates); got != want {
			t.Errorf("closest(%q) = %q, want %q", name, got, want)
		}
	}
}

// Levenshtein's distance is a metric: the properties pin it down without a second implementation.
func FuzzDistance(f *testing.F) {
	f.Add("kitten", "sitting", "mitten")
	f.Add("", "a", "ab")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		if len(a)+len(b)+len(c) > 300 {
			t.Skip()
		}
		ab := distance(a, b)
		if ab != distance(b, a) || (ab == 0) != (a == b) || ab > distance(a, c)+distance(c, b) {
			t.Fatalf("%q, %q, %q: no metric", a, b, c)
		}
		if ab > max(len(a), len(b)) || ab < max(len(a), len(b))-min(len(a), len(b)) {
			t.Fatalf("distance(%q, %q) = %d", a, b, ab)
		}
	})
}

// Whatever the file holds: parse does not panic, and what it returns are values that scalar and texts understand.
func FuzzParse(f *testing.F) {
	f.Add([]byte("a: 1\nb: [x, 'y']\n"))
	f.Add([]byte("---\na: &x [*x]\n"))
	f.Add([]byte("a: {b: c}\n...\n# end\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 1<<12 {
			t.Skip()
		}
		values, err := parse(text)
		if err != nil {
			return
		}
		root, _ := tree(nil)
		list := known(root)["allow"][0]
		for key, value := range values {
			texts, err := setting{source: key, value: value}.texts(list)
			if err != nil {
				continue
			}
			if items, ok := value.([]any); ok && len(items) != len(texts) {
				t.Fatalf("%d items became %d", len(items), len(texts))
			}
		}
	})
}
