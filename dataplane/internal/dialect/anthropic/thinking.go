package anthropic

import (
	"strconv"
	"strings"

	"fairway/dataplane/internal/dialect/neutral"
)

// generation is which Claude a model's name means, as major*100+minor, so that claude-opus-4-6 is 406; 0 = not said. Names
// of other platforms ("us.anthropic.claude-sonnet-4-20250514-v1:0", "claude-opus-4-5@20251101", "anthropic/claude-opus-4.6")
// are understood, and the old order of words ("claude-3-5-haiku") too.
func generation(model string) int {
	_, rest, found := strings.Cut(model, "claude-")
	if !found {
		return 0
	}
	if strings.HasPrefix(rest, "mythos-preview") {
		return adaptiveOnly
	}
	major := -1
	for len(rest) > 0 {
		word := rest
		if i := strings.IndexAny(rest, "-.@:"); i >= 0 {
			word, rest = rest[:i], rest[i+1:]
		} else {
			rest = ""
		}
		n, err := strconv.Atoi(word)
		switch {
		case err != nil || len(word) > 2: // a word, or a date
			if major >= 0 {
				return major * 100
			}
		case major >= 0:
			return major*100 + n
		default:
			major = n
		}
	}
	return max(major, 0) * 100
}

// Generations from which on the API behaves differently.
const (
	oneSampler   = 401 // temperature or top_p, not both
	adaptive     = 406 // thinking of its own measure, by effort
	adaptiveOnly = 407 // budgets are refused, and so is any temperature, top_p and top_k but the default
)

const (
	leastBudget = 1024
	// defaultMax is what an answer may take when the client did not say, without thinking.
	defaultMax = 8192
	// unbounded is a budget of as much as the model likes.
	unbounded neutral.Number = "-1"
)

// budgetOf is the table between efforts and budgets in tokens; 0 = no such effort. The least that the API takes is 1024.
func budgetOf(effort string) int64 {
	switch effort {
	case "minimal", "low":
		return 1024
	case "medium":
		return 8192
	case "high":
		return 24576
	case "xhigh":
		return 32768
	}
	return 0
}

// effortOf is the same table from the other side: the nearest below or equal.
func effortOf(budget int64) string {
	switch {
	case budget >= 32768:
		return "xhigh"
	case budget >= 24576:
		return "high"
	case budget >= 8192:
		return "medium"
	}
	return "low"
}

// mode is how a request says how much to think.
type mode uint8

const (
	silent mode = iota // says nothing
	disabled
	enabled // with a budget
	adapt   // with an effort, or none
)

// plan is what a request says of thinking and of the length of its answer.
type plan struct {
	mode      mode
	budget    int64
	effort    string
	maxTokens int64
}

// planThinking puts what is asked for into what the API takes from a model of this generation, and notes what it cost.
func planThinking(r *neutral.Request, generation int) plan {
	p := plan{maxTokens: defaultMax}
	said := false
	if n, err := strconv.ParseFloat(string(r.MaxTokens), 64); err == nil && n >= 1 && n < 1<<53 {
		p.maxTokens, said = int64(n), true
	}
	t := &r.Thinking
	asked, hasBudget := value(t.Budget)
	hasBudget = hasBudget && t.Budget != unbounded
	budget := int64(min(max(asked, 0), 1<<53))
	switch {
	case t.Off || hasBudget && budget <= 0:
		p.mode = disabled
		return p
	case t.Effort == "" && t.Budget == "":
		return p
	case r.Choice.How == neutral.ChooseAny || r.Choice.How == neutral.ChooseTool:
		if len(r.Tools) > 0 {
			r.Losses.Add(neutral.LossThinking)
			return p
		}
	}
	if t.Effort != "" && budgetOf(t.Effort) == 0 {
		r.Losses.Add(neutral.LossThinking)
		if t.Budget == "" {
			return p
		}
	}
	if generation >= adaptive {
		p.mode = adapt
		p.effort = adaptiveEffort(r, generation, budget, hasBudget)
		if !said {
			p.maxTokens += budgetOf(t.Effort)
		}
		return p
	}
	switch {
	case hasBudget:
		p.budget = max(budget, leastBudget)
		r.Losses.AddIf(budget < leastBudget, neutral.LossThinking)
	case budgetOf(t.Effort) > 0:
		p.budget = budgetOf(t.Effort)
	default: // as much as it likes
		p.budget = budgetOf("high")
		r.Losses.Add(neutral.LossThinking)
	}
	switch {
	case unthinkingLoop(r.Turns):
		r.Losses.Add(neutral.LossThinking)
		return p
	case !said:
		p.maxTokens += p.budget
	case p.maxTokens <= leastBudget:
		r.Losses.Add(neutral.LossThinking)
		return p
	case p.budget >= p.maxTokens:
		p.budget = p.maxTokens - 1
		r.Losses.Add(neutral.LossThinking)
	}
	p.mode = enabled
	return p
}

// adaptiveEffort is the effort to ask for; "" = the model's own measure.
func adaptiveEffort(r *neutral.Request, generation int, budget int64, hasBudget bool) string {
	effort := r.Thinking.Effort
	switch {
	case effort == "minimal":
		effort = "low" // the least there, as in the table
	case budgetOf(effort) > 0:
	case hasBudget:
		effort = effortOf(budget)
		r.Losses.Add(neutral.LossThinking)
	default:
		return ""
	}
	if effort == "xhigh" && generation < adaptiveOnly {
		return "max" // the most is called so there
	}
	return effort
}

// unthinkingLoop says whether the conversation waits for the answer to tool results of a turn that did not think, or whose
// thinking is of another provider: with a budget, the API refuses to go on from there.
func unthinkingLoop(turns []neutral.Turn) bool {
	for i := len(turns) - 1; i >= 0; i-- {
		if turns[i].Role != neutral.Assistant {
			continue
		}
		calls := false
		for j := range turns[i].Parts {
			p := &turns[i].Parts[j]
			switch p.Kind {
			case neutral.Think, neutral.Redacted:
				if p.Signature.For(native) != "" {
					return false
				}
			case neutral.Call:
				calls = true
			}
		}
		return calls
	}
	return false
}

// appendThinking appends the member for a plan.
func (p *plan) appendThinking(dst []byte, t *neutral.Thinking) []byte {
	switch p.mode {
	case silent:
		return dst
	case disabled:
		return append(dst, `,"thinking":{"type":"disabled"}`...)
	case enabled:
		dst = append(dst, `,"thinking":{"type":"enabled","budget_tokens":`...)
		dst = strconv.AppendInt(dst, p.budget, 10)
	case adapt:
		dst = append(dst, `,"thinking":{"type":"adaptive"`...)
	}
	switch {
	case t.Show != nil && !*t.Show:
		dst = append(dst, `,"display":"omitted"`...)
	case t.Show != nil || t.Summary != "":
		dst = append(dst, `,"display":"summarized"`...)
	}
	return append(dst, '}')
}
