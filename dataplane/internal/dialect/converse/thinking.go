package converse

import (
	"strconv"

	"fairway/dataplane/internal/dialect/neutral"
)

// efforts is what each word for an effort comes to in tokens.
//
//nolint:gochecknoglobals // a constant table; Go has no constant of this type
var efforts = [...]struct {
	word   string
	budget int64
}{
	{"minimal", 512}, {"low", 1024}, {"medium", 8192}, {"high", 24576}, {"xhigh", 32768},
}

// leastBudget is Anthropic's.
const leastBudget = 1024

// answerRoom is how many tokens an answer gets besides its thinking where the client set no limit.
const answerRoom = 8192

// thinking is what a request says about thinking, in the model's own words.
type thinking struct {
	fields    string // members of additionalModelRequestFields, or ""
	maxTokens neutral.Number
	forced    bool // temperature and topP must not be said
}

// think puts what is wanted into the words of the model's maker, and notes what cannot be said.
func think(r *neutral.Request, f family) thinking {
	out := thinking{maxTokens: r.MaxTokens}
	want := r.Thinking
	r.Losses.AddIf(want.Show != nil && !*want.Show, neutral.LossThinking)
	if want.Off {
		// Models of Anthropic's and Amazon's do not think unasked.
		r.Losses.AddIf(f != claude && f != nova, neutral.LossThinking)
		return out
	}
	budget, asked := budgetOf(want)
	if !asked {
		return out
	}
	switch f {
	case claude:
		out.claude(r, budget)
	case nova:
		out.nova(r, effortOf(budget))
	case gptOSS:
		effort := effortOf(budget)
		r.Losses.AddIf(want.Effort != "" && want.Effort != effort, neutral.LossThinking)
		out.fields = `"reasoning_effort":"` + effort + `"`
	default:
		r.Losses.Add(neutral.LossThinking)
	}
	return out
}

// claude writes Anthropic's: a budget below the limit of the answer, and no temperature.
func (t *thinking) claude(r *neutral.Request, budget int64) {
	if r.Choice.How == neutral.ChooseAny || r.Choice.How == neutral.ChooseTool {
		r.Losses.Add(neutral.LossThinking) // the API refuses both at once
		return
	}
	r.Losses.AddIf(budget < leastBudget, neutral.LossThinking)
	budget = max(budget, leastBudget)
	limit, err := strconv.ParseInt(string(r.MaxTokens), 10, 64)
	switch {
	case r.MaxTokens == "":
		t.maxTokens = neutral.Number(strconv.FormatInt(budget+answerRoom, 10))
	case err == nil && limit <= leastBudget:
		r.Losses.Add(neutral.LossThinking)
		return
	case err == nil && limit <= budget:
		r.Losses.Add(neutral.LossThinking)
		budget = limit - 1
		budget = max(budget, leastBudget)
	}
	t.forced = true
	t.fields = `"thinking":{"type":"enabled","budget_tokens":` + strconv.FormatInt(budget, 10) + `}`
}

// nova writes Amazon's. The highest effort takes no limits beside it.
func (t *thinking) nova(r *neutral.Request, effort string) {
	if effort == "high" && (r.MaxTokens != "" || r.Temperature != "" || r.TopP != "") {
		r.Losses.Add(neutral.LossThinking)
		effort = "medium"
	}
	t.fields = `"reasoningConfig":{"type":"enabled","maxReasoningEffort":"` + effort + `"}`
}

// budgetOf is how many tokens of thinking are asked for; false = nothing is asked for, or only that it is up to the model.
func budgetOf(want neutral.Thinking) (int64, bool) {
	if n, err := strconv.ParseInt(string(want.Budget), 10, 64); err == nil && n > 0 {
		return n, true
	}
	for _, e := range efforts {
		if e.word == want.Effort {
			return e.budget, true
		}
	}
	return 0, false
}

// effortOf is the word, of the three that all know, for the nearest budget below or equal.
func effortOf(budget int64) string {
	switch {
	case budget >= efforts[3].budget:
		return efforts[3].word
	case budget >= efforts[2].budget:
		return efforts[2].word
	}
	return efforts[1].word
}
