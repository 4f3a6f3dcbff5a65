// Package bill reads what a provider says was used, from the CSV files that providers let people download, and compares
// it with Fairway's own books, by UTC day and model.
//
// It refuses to guess: a file without a day or a model, a number that is none, and a file beyond its bounds are errors
// that name the line. It never evaluates a cell, and what it passes on is text and whole numbers only.
package bill

import (
	"fmt"
	"slices"
	"strings"
)

// Field is a number that both sides can have.
type Field string

// The fields.
const (
	Requests Field = "requests"
	Input    Field = "input"  // tokens, cached ones included
	Cached   Field = "cached" // tokens read from the provider's cache
	Output   Field = "output" // tokens
	Cost     Field = "cost"   // nano-USD
)

// Fields returns all of them, in the order in which they are shown.
func Fields() []Field { return []Field{Requests, Input, Cached, Output, Cost} }

// What a line must tell beside numbers.
const (
	dayName   = "day"
	modelName = "model"
)

// Columns say which columns of a file are what: by "day", "model" or a field. Several columns are added up.
type Columns map[string][]string

// ParseColumns reads "day=date,model=model,input=uncached+cache_read,output=out".
func ParseColumns(parts []string) (Columns, error) {
	c := Columns{}
	for _, part := range parts {
		name, columns, ok := strings.Cut(part, "=")
		name = strings.TrimSpace(name)
		if !ok || columns == "" {
			return nil, fmt.Errorf("%q: want NAME=COLUMN, or NAME=COLUMN+COLUMN", part)
		}
		if name != dayName && name != modelName && !slices.Contains(Fields(), Field(name)) {
			return nil, fmt.Errorf("%q: want day, model, requests, input, cached, output or cost", name)
		}
		all := strings.Split(columns, "+")
		if len(all) > 1 && (name == dayName || name == modelName) {
			return nil, fmt.Errorf("%q: %s is one column", part, name)
		}
		c[name] = all
	}
	return c, nil
}

// known are the columns of the files that are known, the more telling first: the usage and cost exports of OpenAI and
// Anthropic, and Fairway's own. A choice fits where its first column is there; of the others, those that are there count.
func known() map[string][][]string {
	return map[string][][]string{
		dayName: {
			{"day"}, {"date"}, {"usage_date_utc"}, {"usage_date"}, {"start_time_iso"}, {"start_time"}, {"timestamp"}, {"hour"},
		},
		modelName: {{"model"}, {"model_version"}, {"model_name"}, {"snapshot_id"}},
		string(Requests): {
			{"num_model_requests"}, {"n_requests"}, {"num_requests"}, {"requests"},
		},
		string(Input): {
			{
				"usage_input_tokens_no_cache", "usage_input_tokens_cache_write_5m", "usage_input_tokens_cache_write_1h",
				"usage_input_tokens_cache_read",
			},
			{"uncached_input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"},
			{"input_tokens"}, {"n_context_tokens_total"}, {"prompt_tokens"},
		},
		string(Cached): {
			{"usage_input_tokens_cache_read"}, {"cache_read_input_tokens"}, {"input_cached_tokens"},
			{"n_cached_context_tokens_total"}, {"cached_tokens"},
		},
		string(Output): {{"usage_output_tokens"}, {"output_tokens"}, {"n_generated_tokens_total"}, {"completion_tokens"}},
		string(Cost):   {{"cost_usd"}, {"amount_value"}, {"cost_in_usd"}, {"cost"}},
	}
}

// layout is where in a line what is.
type layout struct {
	day, model int
	fields     map[Field][]int
	where      map[int]string // what a column must hold, for the line to count
}

// layoutOf finds the columns in a header: those asked for, which must be there, and of the rest those that are known.
func layoutOf(header []string, asked Columns, where map[string]string) (layout, error) {
	index := make(map[string]int, len(header))
	for i, name := range header {
		name = normal(name)
		if _, twice := index[name]; twice && name != "" {
			return layout{}, fmt.Errorf("the column %q is there twice", name)
		}
		index[name] = i
	}
	l := layout{day: -1, model: -1, fields: map[Field][]int{}, where: map[int]string{}}
	for _, name := range append([]string{dayName, modelName}, texts(Fields())...) {
		at, err := find(index, name, asked[name])
		if err != nil {
			return layout{}, err
		}
		switch {
		case name == dayName && len(at) > 0:
			l.day = at[0]
		case name == modelName && len(at) > 0:
			l.model = at[0]
		case len(at) > 0:
			l.fields[Field(name)] = at
		}
	}
	for name, value := range where {
		at, ok := index[normal(name)]
		if !ok {
			return layout{}, fmt.Errorf("there is no column %q", name)
		}
		l.where[at] = value
	}
	switch {
	case l.day < 0:
		return layout{}, fmt.Errorf("no column is known to be the day; say which, as in day=COLUMN")
	case l.model < 0:
		return layout{}, fmt.Errorf("no column is known to be the model; say which, as in model=COLUMN")
	case len(l.fields) == 0:
		return layout{}, fmt.Errorf("no column is known to be a number; say which, as in input=COLUMN")
	}
	return l, nil
}

func find(index map[string]int, name string, asked []string) ([]int, error) {
	var at []int
	for _, column := range asked {
		i, ok := index[normal(column)]
		if !ok {
			return nil, fmt.Errorf("there is no column %q for %s", column, name)
		}
		at = append(at, i)
	}
	if len(asked) > 0 {
		return at, nil
	}
	for _, choice := range known()[name] {
		if _, ok := index[choice[0]]; !ok {
			continue
		}
		for _, column := range choice {
			if i, ok := index[column]; ok {
				at = append(at, i)
			}
		}
		return at, nil
	}
	return nil, nil
}

// normal is how names of columns are compared.
func normal(name string) string {
	return strings.ToLower(strings.TrimSpace(strings.TrimPrefix(name, "\ufeff")))
}

func texts(fields []Field) []string {
	out := make([]string, len(fields))
	for i, f := range fields {
		out[i] = string(f)
	}
	return out
}
