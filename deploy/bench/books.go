package main

import (
	"context"
	"encoding/json"
	"fmt"
)

// entry is what the books say of one key.
type entry struct {
	Key      string `json:"key"`
	Requests int64  `json:"requests"`
	Errors   int64  `json:"errors"`
	Input    int64  `json:"input_tokens"`
	Output   int64  `json:"output_tokens"`
}

// books reads the usage of every key by its name.
func (r *rig) books(ctx context.Context) (map[string]entry, error) {
	out, err := run(ctx, r.adminEnv, "", r.fairwayBinary, "usage", "query", "--group-by", "key", "-o", "json")
	if err != nil {
		return nil, err
	}
	var got struct{ Rows []entry }
	if err := json.Unmarshal(out, &got); err != nil {
		return nil, fmt.Errorf("read the books: %w", err)
	}
	all := map[string]entry{}
	for _, e := range got.Rows {
		all[e.Key] = e
	}
	return all, nil
}

// What the upstream says that each answer used.
const (
	answerInput  = 230
	answerOutput = 17
)

// judgeBooks compares the books with what the clients know.
func judgeBooks(books map[string]entry, t *tally) []finding {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []finding
	for l := range ledgers {
		e, must, might := books[l.String()], t.must[l], t.might[l]
		want := fmt.Sprint(must)
		if might > must {
			want = fmt.Sprintf("%d to %d", must, might)
		}
		f := finding{"books of " + l.String(), e.Requests >= must && e.Requests <= might, fmt.Sprintf("%d requests of %s", e.Requests, want)}
		if l == ledgerSteady {
			// Exact to the token: nobody else's usage, and none twice.
			f.OK = f.OK && e.Errors == 0 && e.Input == e.Requests*answerInput && e.Output == e.Requests*answerOutput
			f.Detail += fmt.Sprintf(", %d input and %d output tokens of %d and %d, %d errors", e.Input, e.Output, e.Requests*answerInput, e.Requests*answerOutput, e.Errors)
		}
		all = append(all, f)
	}
	return all
}
