package admin

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"fairway/controlplane/internal/model"
	"fairway/pkg/fault"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// with returns a state that holds these resources; ids are made of their places, so that they differ from names.
func with(rs ...model.Resource) *model.State {
	st := model.Empty("lineage")
	for i, r := range rs {
		if r.GetMetadata().GetId() == "" {
			r.GetMetadata().Id = fmt.Sprintf("id-%04d", i)
		}
		st = st.Apply(int64(i+1), []model.Change{{Kind: model.KindOf(r), ID: r.GetMetadata().GetId(), New: r}})
	}
	return st
}

func named(name string) *resourcev1.Metadata { return &resourcev1.Metadata{Name: name} }

func mustFilter(t *testing.T, kind model.Kind, text string) *filter {
	t.Helper()
	all, err := newFilters()
	if err != nil {
		t.Fatal(err)
	}
	f, err := all.compile(kind, text)
	if err != nil {
		t.Fatalf("filter %q: %v", text, err)
	}
	return f
}

func TestOrderKeys(t *testing.T) {
	at := func(s int64, n int32) *timestamppb.Timestamp { return &timestamppb.Timestamp{Seconds: s, Nanos: n} }
	tests := []struct {
		field string
		rs    []model.Resource // in order
	}{
		{"priority", []model.Resource{
			&resourcev1.Channel{Priority: math.MinInt32}, &resourcev1.Channel{Priority: -1}, &resourcev1.Channel{},
			&resourcev1.Channel{Priority: 1}, &resourcev1.Channel{Priority: 256}, &resourcev1.Channel{Priority: math.MaxInt32},
		}},
		{"weight", []model.Resource{
			&resourcev1.Channel{}, &resourcev1.Channel{Weight: 9}, &resourcev1.Channel{Weight: 10}, &resourcev1.Channel{Weight: math.MaxUint32},
		}},
		{"disabled", []model.Resource{&resourcev1.Channel{}, &resourcev1.Channel{Disabled: true}}},
		{"base_url", []model.Resource{&resourcev1.Channel{}, &resourcev1.Channel{BaseUrl: "a"}, &resourcev1.Channel{BaseUrl: "b"}}},
		{"timeouts.dial", []model.Resource{
			&resourcev1.Channel{}, &resourcev1.Channel{Timeouts: &resourcev1.Timeouts{Dial: &durationpb.Duration{Nanos: 1}}},
			&resourcev1.Channel{Timeouts: &resourcev1.Timeouts{Dial: &durationpb.Duration{Seconds: 1}}},
		}},
		{"expire_time", []model.Resource{
			&resourcev1.Key{}, &resourcev1.Key{ExpireTime: at(-5, 0)}, &resourcev1.Key{ExpireTime: at(0, 0)},
			&resourcev1.Key{ExpireTime: at(0, 1)}, &resourcev1.Key{ExpireTime: at(7, 0)},
		}},
		{"role", []model.Resource{
			&resourcev1.Operator{Role: resourcev1.Role_ROLE_VIEWER}, &resourcev1.Operator{Role: resourcev1.Role_ROLE_OWNER},
		}},
		{"prices.cached_input", []model.Resource{
			&resourcev1.Model{}, &resourcev1.Model{Prices: &resourcev1.Prices{}},
			&resourcev1.Model{Prices: &resourcev1.Prices{CachedInput: new(int64(3))}},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.field, func(t *testing.T) {
			o, err := parseOrder(model.KindOf(tt.rs[0]), tt.field)
			if err != nil {
				t.Fatal(err)
			}
			var keys []string
			for _, r := range tt.rs {
				keys = append(keys, o.key(r))
			}
			if !slices.IsSorted(keys) {
				t.Errorf("keys are not in the order of the values: %q", keys)
			}
		})
	}
}

func TestFloatKeys(t *testing.T) {
	values := []float64{math.Inf(-1), -1e300, -1, -1e-300, 0, 1e-300, 1, 2, 1e300, math.Inf(1)}
	if !slices.IsSortedFunc(values, func(a, b float64) int { return cmp.Compare(float(a), float(b)) }) {
		t.Error("float keys are not in the order of the values")
	}
}

func TestParseOrderRefuses(t *testing.T) {
	for _, tt := range []struct {
		kind model.Kind
		text string
	}{
		{model.KindKey, "mac"},
		{model.KindKey, "nothing"},
		{model.KindKey, "models"},
		{model.KindKey, "metadata"},
		{model.KindKey, "metadata.labels"},
		{model.KindKey, "metadata.name.x"},
		{model.KindKey, "metadata.name up"},
		{model.KindKey, "expire_time.seconds"},
		{model.KindOperator, "token_hash"},
		{model.KindAccount, "secret"},
		{model.KindAccount, "secret.sealed"},
		{model.KindAccount, "secret.sealed.ciphertext"},
		{model.KindAccount, "secret.value"},
		{model.KindChannel, "timeouts"},
	} {
		t.Run(tt.text, func(t *testing.T) {
			_, err := parseOrder(tt.kind, tt.text)
			if fault.KindOf(err) != fault.Invalid || !strings.Contains(fault.Public(err), tt.text) {
				t.Errorf("error = %v, want Invalid that names it", err)
			}
		})
	}
}

// pages walks all pages of a list and returns the names, the total of each page and how many pages there were.
func pages(t *testing.T, st *model.State, kind model.Kind, f *filter, o order, size int) (names []string, total int) {
	t.Helper()
	var after *position
	for n := 0; ; n++ {
		if n > 100 {
			t.Fatal("the list does not end")
		}
		found, all, err := search(context.Background(), st, query{kind: kind, filter: f, order: o, after: after, size: size + 1})
		if err != nil {
			t.Fatal(err)
		}
		total = all
		more := len(found) > size
		for _, m := range found[:min(size, len(found))] {
			names = append(names, m.r.GetMetadata().GetName())
		}
		if !more {
			return names, total
		}
		p := found[size-1].position
		after = &p
	}
}

// Whatever the order, filter and page size: the pages together are the sorted matches, each once.
func TestSearchPages(t *testing.T) {
	all, err := newFilters()
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(0, 60).Draw(rt, "n")
		var rs []model.Resource
		for i := range n {
			rs = append(rs, &resourcev1.Channel{
				Metadata: &resourcev1.Metadata{Id: fmt.Sprintf("%02d", (i*37)%100), Name: fmt.Sprintf("c%02d", i)},
				Priority: int32(rapid.IntRange(-2, 2).Draw(rt, "priority")),
				Disabled: rapid.Bool().Draw(rt, "disabled"),
			})
		}
		st := with(rs...)
		orderText := rapid.SampledFrom([]string{"", "metadata.name desc", "priority", "priority desc", "disabled"}).Draw(rt, "order")
		filterText := rapid.SampledFrom([]string{"", "channel.disabled", "channel.priority > 0"}).Draw(rt, "filter")
		size := rapid.IntRange(1, 20).Draw(rt, "size")
		o, err := parseOrder(model.KindChannel, orderText)
		if err != nil {
			rt.Fatal(err)
		}
		f, err := all.compile(model.KindChannel, filterText)
		if err != nil {
			rt.Fatal(err)
		}
		var want []string
		slices.SortFunc(rs, func(a, b model.Resource) int {
			return o.compare(position{o.key(a), a.GetMetadata().GetId()}, position{o.key(b), b.GetMetadata().GetId()})
		})
		for _, r := range rs {
			c := r.(*resourcev1.Channel)
			if filterText == "" || (filterText == "channel.disabled" && c.GetDisabled()) || (filterText == "channel.priority > 0" && c.GetPriority() > 0) {
				want = append(want, c.GetMetadata().GetName())
			}
		}
		got, total := pages(t, st, model.KindChannel, f, o, size)
		if diff := gocmp.Diff(want, got); diff != "" {
			rt.Fatalf("pages (-want +got):\n%s", diff)
		}
		if total != len(want) {
			rt.Fatalf("total = %d, want %d", total, len(want))
		}
	})
}

// A page that ends at a resource which is deleted before the next page goes on behind it.
func TestSearchGoesOnBehindWhatIsGone(t *testing.T) {
	st := with(&resourcev1.Group{Metadata: named("a")}, &resourcev1.Group{Metadata: named("b")}, &resourcev1.Group{Metadata: named("c")})
	for _, text := range []string{"", "metadata.name desc", "metadata.id"} {
		o, err := parseOrder(model.KindGroup, text)
		if err != nil {
			t.Fatal(err)
		}
		first, _, err := search(context.Background(), st, query{kind: model.KindGroup, order: o, size: 1})
		if err != nil || len(first) != 1 {
			t.Fatalf("first page: %v, %v", first, err)
		}
		less := st.Apply(9, []model.Change{{Kind: model.KindGroup, ID: first[0].id}})
		rest, _, err := search(context.Background(), less, query{kind: model.KindGroup, order: o, after: &first[0].position, size: 9})
		if err != nil {
			t.Fatal(err)
		}
		if len(rest) != 2 || rest[0].id == first[0].id {
			t.Errorf("%q: the rest has %d resources, want the other 2", text, len(rest))
		}
	}
}

func TestFilters(t *testing.T) {
	a := &resourcev1.Account{
		Metadata: &resourcev1.Metadata{Name: "a", Labels: map[string]string{"team": "x", "mac": "m", "value": "v"},
			CreateTime: &timestamppb.Timestamp{Seconds: 1000}},
		Weight: 5, Secret: &resourcev1.Secret{Fingerprint: "0a1b2c3d", Sealed: &resourcev1.SealedValue{KeyId: "k"}},
	}
	b := &resourcev1.Account{Metadata: named("b"), Weight: 0}
	tests := []struct {
		text string
		want []string
	}{
		{"", []string{"a", "b"}},
		{"  ", []string{"a", "b"}},
		{"true", []string{"a", "b"}},
		{`account.metadata.name.startsWith("a")`, []string{"a"}},
		{`account.weight == 5u`, []string{"a"}},
		{`account.metadata.labels.team == "x"`, []string{"a"}}, // b has none: it is not taken, and it is no error
		{`account.metadata.labels["team"] == "x"`, []string{"a"}},
		{`"team" in account.metadata.labels`, []string{"a"}},
		{`has(account.metadata.labels.team)`, []string{"a"}},
		{`account.metadata.labels.mac == "m"`, []string{"a"}}, // a label may be called as a hidden field is
		{`account.metadata.labels.value == "v"`, []string{"a"}},
		{`account.metadata.labels.exists(k, k == "team")`, []string{"a"}},
		{`account.secret.fingerprint == "0a1b2c3d"`, []string{"a"}},
		{`account.metadata.create_time < timestamp("2000-01-01T00:00:00Z")`, []string{"a", "b"}},
		{`10u / account.weight == 2u`, []string{"a"}}, // division by zero for b
		{`account.metadata.name.matches("^[b-z]$")`, []string{"b"}},
		{`account.metadata.name in ["b", "c"]`, []string{"b"}},
	}
	st := with(a, b)
	o, _ := parseOrder(model.KindAccount, "")
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			got, _ := pages(t, st, model.KindAccount, mustFilter(t, model.KindAccount, tt.text), o, 10)
			if diff := gocmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A filter must not be a way to spell out what no reply shows.
func TestFiltersRefuse(t *testing.T) {
	all, err := newFilters()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		kind model.Kind
		text string
	}{
		{model.KindKey, `key.mac == b"x"`},
		{model.KindKey, `has(key.mac)`},
		{model.KindKey, `size(key.mac) > 0`},
		{model.KindKey, `dyn(key).mac == b"x"`},
		{model.KindKey, `dyn(key)["mac"] == b"x"`},
		{model.KindKey, `dyn(key)["m" + "ac"] == b"x"`},
		{model.KindKey, `[dyn(key)][0].mac == b"x"`},
		{model.KindKey, `[dyn(key), 1].exists(k, k["mac"] == b"x")`},
		{model.KindKey, `[key, 1].exists(k, k.mac == b"x")`},
		{model.KindKey, `{"k": key}.k.mac == b"x"`},
		{model.KindKey, `{"k": dyn(key)}["k"].mac == b"x"`},
		{model.KindKey, `[key].map(k, k.mac)[0] == b"x"`},
		{model.KindKey, `[key].exists(k, k.mac == b"x")`},
		{model.KindKey, `(true ? key : key).mac == b"x"`},
		{model.KindKey, `key == fairway.resource.v1.Key{mac: b"x"}`},
		{model.KindKey, `key in [fairway.resource.v1.Key{}]`},
		{model.KindOperator, `operator.token_hash == b"x"`},
		{model.KindAccount, `account.secret.sealed.ciphertext == b"x"`},
		{model.KindAccount, `account.secret.sealed == account.proxy_secret.sealed`},
		{model.KindAccount, `account.secret == fairway.resource.v1.Secret{}`},
		{model.KindAccount, `account.secret.value == ""`},
		{model.KindAccount, `account.metadata.name`},
		{model.KindAccount, `account.nothing == 1`},
		{model.KindAccount, `key.group == "x"`},
		{model.KindAccount, `account.weight ==`},
		{model.KindAccount, strings.Repeat("(", 1000) + "true" + strings.Repeat(")", 1000)},
	} {
		t.Run(tt.text[:min(len(tt.text), 60)], func(t *testing.T) {
			f, err := all.compile(tt.kind, tt.text)
			if f != nil || fault.KindOf(err) != fault.Invalid {
				t.Errorf("compile = %v, %v; want Invalid", f, err)
			}
		})
	}
}

func TestFilterCost(t *testing.T) {
	models := make([]string, 2000)
	for i := range models {
		models[i] = fmt.Sprint("model-", i)
	}
	st := with(&resourcev1.Channel{Metadata: named("c"), Models: models})
	o, _ := parseOrder(model.KindChannel, "")
	ask := func(text string) error {
		_, _, err := search(context.Background(), st, query{
			kind: model.KindChannel, filter: mustFilter(t, model.KindChannel, text), order: o, size: 1,
		})
		return err
	}
	if err := ask(`channel.models.exists(m, m == "model-1999")`); err != nil {
		t.Errorf("one pass over the largest list: %v", err)
	}
	// Asked without the time limit of a list: a slow machine would meet that first.
	f := mustFilter(t, model.KindChannel, `channel.models.all(a, channel.models.all(b, channel.models.all(c, a + b + c != "x")))`)
	if _, err := f.takes(context.Background(), &resourcev1.Channel{Metadata: named("c"), Models: models}); fault.KindOf(err) != fault.Invalid {
		t.Errorf("eight billion steps: error = %v, want Invalid", err)
	}
}

func TestFilterStopsWithItsCaller(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	st := with(&resourcev1.Channel{Metadata: named("c"), Models: make([]string, 2000)})
	o, _ := parseOrder(model.KindChannel, "")
	_, _, err := search(ctx, st, query{
		kind: model.KindChannel, filter: mustFilter(t, model.KindChannel, `channel.models.all(a, a == "")`), order: o, size: 1,
	})
	if fault.KindOf(err) != fault.Canceled {
		t.Errorf("error = %v, want Canceled", err)
	}
}

func TestFilterHasItsTime(t *testing.T) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), 0, errFilterTime)
	defer cancel()
	f := mustFilter(t, model.KindChannel, `channel.models.all(a, a == "")`)
	_, err := f.takes(ctx, &resourcev1.Channel{Metadata: named("c"), Models: make([]string, 2000)})
	if fault.KindOf(err) != fault.Exhausted || !strings.Contains(fault.Public(err), "filter") {
		t.Errorf("error = %v, want Exhausted that names the filter", err)
	}
}

func TestFilterCacheIsBounded(t *testing.T) {
	all, err := newFilters()
	if err != nil {
		t.Fatal(err)
	}
	for i := range filterCache + 10 {
		if _, err := all.compile(model.KindKey, fmt.Sprintf("key.tenant == '%d'", i)); err != nil {
			t.Fatal(err)
		}
		if _, err := all.compile(model.KindKey, "key.tenant == '0'"); err != nil { // the most used stays
			t.Fatal(err)
		}
	}
	if n := all.recent.Len(); n != filterCache || len(all.programs) != n {
		t.Errorf("%d programs kept, %d indexed; want %d", n, len(all.programs), filterCache)
	}
	if _, ok := all.cached(filterKey{model.KindKey, "key.tenant == '0'"}); !ok {
		t.Error("the most recently used program was dropped")
	}
	if _, ok := all.cached(filterKey{model.KindKey, "key.tenant == '1'"}); ok {
		t.Error("the least recently used program was kept")
	}
	if _, ok := all.cached(filterKey{model.KindChannel, "key.tenant == '0'"}); ok {
		t.Error("a program of another kind was found")
	}
}

// FuzzFilter: whatever a caller writes, compiling and running it ends, without a panic, in a decision or in Invalid, and
// never depends on a hidden field.
func FuzzFilter(f *testing.F) {
	for _, seed := range []string{
		`key.metadata.name == "a"`, `dyn(key)["mac"] == b"x"`, `key.models.exists(m, m == "x")`, `has(key.expire_time)`,
		`key.metadata.labels.team == "x"`, `[1,2].map(x, x*2).exists(y, y > 3)`, `key == key`, `type(key) == type(1)`,
	} {
		f.Add(seed)
	}
	all, err := newFilters()
	if err != nil {
		f.Fatal(err)
	}
	one := &resourcev1.Key{Metadata: named("a"), Mac: []byte(strings.Repeat("1", 32))}
	two := &resourcev1.Key{Metadata: named("a"), Mac: []byte(strings.Repeat("2", 32))}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 2048 {
			return // refused by the request's own rule
		}
		compiled, err := all.compile(model.KindKey, text)
		if err != nil {
			if fault.KindOf(err) != fault.Invalid {
				t.Fatalf("compile: %v", err)
			}
			return
		}
		a, errA := compiled.takes(context.Background(), one)
		b, errB := compiled.takes(context.Background(), two)
		if a != b || (errA == nil) != (errB == nil) {
			t.Errorf("%q tells two keys apart that differ in their MAC alone", text)
		}
		if errA != nil && fault.KindOf(errA) != fault.Invalid {
			t.Errorf("evaluate: %v", errA)
		}
	})
}
