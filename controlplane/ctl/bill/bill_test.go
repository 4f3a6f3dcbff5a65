package bill

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	openai = "\ufeffstart_time,start_time_iso,project_id,num_model_requests,model,input_tokens,output_tokens,input_cached_tokens\n" +
		"1795219200,2026-11-21T00:00:00+00:00,p1,3,gpt-5,100,20,10\n" +
		"1795219200,2026-11-21T00:00:00+00:00,p2,1,gpt-5,50,5,0\n"
	anthropic = "usage_date_utc,model_version,api_key,usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m," +
		"usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens\n" +
		"2026-11-21,claude-sonnet,a,10,20,30,40,5\n"
	costs = "usage_date_utc,model,cost_usd\n2026-11-21,claude,1.25\n2026-11-21,claude,6e-05\n2026-11-22,claude,-0.5\n"
)

func TestRead(t *testing.T) {
	at := func(day, model string) Place { return Place{day, model} }
	for _, tt := range []struct {
		name, file string
		o          Options
		want       Side
		fields     []Field
	}{
		{"openai", openai, Options{}, Side{at("2026-11-21", "gpt-5"): {Requests: 4, Input: 150, Cached: 10, Output: 25}}, []Field{Requests, Input, Cached, Output}},
		{"a project of it", openai, Options{Where: map[string]string{"project_id": "p2"}}, Side{at("2026-11-21", "gpt-5"): {Requests: 1, Input: 50, Cached: 0, Output: 5}}, []Field{Requests, Input, Cached, Output}},
		{"anthropic", anthropic, Options{}, Side{at("2026-11-21", "claude-sonnet"): {Input: 100, Cached: 40, Output: 5}}, []Field{Input, Cached, Output}},
		{"costs", costs, Options{To: "2026-11-22"}, Side{at("2026-11-21", "claude"): {Cost: 1_250_060_000}}, []Field{Cost}},
		{"a credit", costs, Options{From: "2026-11-22"}, Side{at("2026-11-22", "claude"): {Cost: -500_000_000}}, []Field{Cost}},
		{
			"columns as told, and another name", "When,SKU,in1,in2\n2026/11/21,'=sku,1.0,2\n",
			Options{Columns: Columns{"day": {"when"}, "model": {"sku"}, "input": {"in1", "in2"}}, Rename: map[string]string{"=sku": "gpt-5"}},
			Side{at("2026-11-21", "gpt-5"): {Input: 3}}, []Field{Input},
		},
		{"nothing", "day,model,requests\n", Options{}, Side{}, []Field{Requests}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, fields, err := Read(strings.NewReader(tt.file), tt.o)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.fields, fields); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	for _, tt := range []struct{ name, file, says string }{
		{"nothing at all", "", "empty"},
		{"no day", "model,requests\n", "the day"},
		{"no model", "day,requests\n", "the model"},
		{"no number", "day,model\n", "a number"},
		{"a column twice", "day,day,model,requests\n", "twice"},
		{"a formula for a number", "day,model,requests\n2026-11-21,m,=1+1\n", `line 2: "=1+1" is no count`},
		{"below zero", "day,model,requests\n2026-11-21,m,-1\n", "no count"},
		{"a half", "day,model,requests\n2026-11-21,m,1.5\n", "no count"},
		{"no day in a line", "day,model,requests\n2026-11-21,m,1\nTotal,m,1\n", `line 3: "Total" is no day`},
		{"a huge exponent", "day,model,cost\n2026-11-21,m,1e999999999\n", "no amount"},
		{"a fraction", "day,model,cost\n2026-11-21,m,1/3\n", "no amount"},
		{"hexadecimal", "day,model,cost\n2026-11-21,m,0x10\n", "no amount"},
		{"too much", "day,model,cost\n2026-11-21,m,9300000000\n", "no amount"},
		{"a sum that wraps", "day,model,cost\n2026-11-21,m,9000000000\n2026-11-21,m,9000000000\n", "does not fit"},
		{"a short line", "day,model,requests\n2026-11-21,m\n", "wrong number of fields"},
		{"a long model", "day,model,requests\n2026-11-21," + strings.Repeat("m", 257) + ",1\n", "256"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, _, err := Read(strings.NewReader(tt.file), Options{}); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error = %v, want %q", err, tt.says)
			}
		})
	}
}

func TestCompare(t *testing.T) {
	p := Place{"2026-11-21", "m"}
	for _, tt := range []struct {
		name            string
		books, provider int64
		tolerance       string
		agrees          bool
	}{
		{"equal", 100, 100, "0", true},
		{"at the tolerance", 101, 100, "1%", true},
		{"beyond it", 102, 100, "0.01", false},
		{"below it", 98, 100, "1%", false},
		{"nothing at the provider", 1, 0, "100%", false},
		{"nothing on the books", 0, 1, "99%", false},
		{"neither", 0, 0, "0%", true},
		{"large", 9e18, 9e18 - 1, "0.0001%", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tolerance, err := ParseTolerance(tt.tolerance)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Compare(Side{p: {Input: tt.books}}, Side{p: {Input: tt.provider}}, []Field{Input}, tolerance)
			if err != nil || got.Agrees != tt.agrees || got.Rows[0].Agrees() != tt.agrees || got.Totals[0].Agrees != tt.agrees {
				t.Errorf("got %+v, %v; want agrees = %t", got, err, tt.agrees)
			}
		})
	}
	// Totals that agree do not hide days that do not.
	q := Place{"2026-11-22", "m"}
	got, err := Compare(Side{p: {Input: 2}}, Side{q: {Input: 2}}, []Field{Input}, 0)
	if err != nil || got.Agrees || !got.Totals[0].Agrees || !got.Rows[0].OnlyBooks || !got.Rows[1].OnlyProvider {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, bad := range []string{"", "%", "-1%", "101%", "1e3", "x", "0.00000001"} {
		if _, err := ParseTolerance(bad); err == nil {
			t.Errorf("tolerance %q was accepted", bad)
		}
	}
	for _, bad := range []string{"day", "day=", "sum=x", "day=a+b"} {
		if _, err := ParseColumns([]string{bad}); err == nil {
			t.Errorf("columns %q were accepted", bad)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, file := range []string{openai, anthropic, costs, "day,model,cost\n2026-11-21,=m,1e-9\n"} {
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, file string) {
		side, fields, err := Read(strings.NewReader(file), Options{})
		if err != nil {
			return
		}
		for p, n := range side {
			if len(p.Day) != len("2026-11-21") || len(p.Model) > 3*maxModel {
				t.Errorf("place %+v", p)
			}
			for f, v := range n {
				if v < 0 && f != Cost {
					t.Errorf("%s of %+v is %d", f, p, v)
				}
			}
		}
		if r, err := Compare(side, side, fields, 0); err == nil && !r.Agrees {
			t.Errorf("it differs from itself: %+v", r)
		}
	})
}
