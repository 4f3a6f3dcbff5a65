package gateway

import (
	"strconv"

	"fairway/dataplane/internal/dialect/anthropic"
	"fairway/dataplane/internal/dialect/edit"
	"fairway/dataplane/internal/dialect/gemini"
	"fairway/dataplane/internal/dialect/neutral"
	"fairway/dataplane/internal/dialect/responses"
	"fairway/pkg/fault"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/operation"
)

// counts says whether an operation counts a conversation's tokens.
func counts(op operation.Operation) bool {
	return op == operation.CountTokens || op == operation.GeminiCountTokens || op == operation.ResponseTokens
}

// newCountRules are what a request for a message lacks when it is only counted.
func newCountRules() edit.Rules {
	var rules []edit.Rule
	for _, path := range []string{"max_tokens", "stream", "temperature", "top_p", "top_k", "stop_sequences", "metadata", "service_tier"} {
		rules = append(rules, edit.Rule{Action: resourcev1.RuleAction_RULE_ACTION_REMOVE, Path: path})
	}
	compiled, err := edit.Compile(rules)
	if err != nil {
		panic(err) // they are constant
	}
	return compiled
}

// countable reads the conversation that shall be counted.
func (x *exchange) countable() (*neutral.Request, *fault.Error) {
	switch x.op {
	case operation.GeminiCountTokens:
		return gemini.ReadCountRequest(x.body.b, x.model)
	case operation.ResponseTokens:
		return responses.Codec{}.ReadRequest(x.body.b, x.model, false)
	}
	return anthropic.Codec{}.ReadRequest(x.body.b, x.model, false)
}

// retellCount asks another dialect's upstream for a count.
func (x *exchange) retellCount(model string) ([]byte, *fault.Error) {
	r, f := x.countable()
	if f != nil {
		return nil, f
	}
	switch x.plan {
	case operation.GeminiCountTokens:
		return gemini.AppendCountRequest(nil, r, model)
	case operation.CountTokens:
		b, f := askerOf(operation.Messages).AppendRequest(nil, r, model)
		return x.g.countRules.Append(nil, b), f
	}
	return nil, x.notServed()
}

// readCount reads another dialect's answer to a count.
func (x *exchange) readCount() (int64, bool) {
	if x.plan == operation.GeminiCountTokens {
		return gemini.ReadCount(x.first.b)
	}
	return anthropic.ReadTokenCount(x.first.b)
}

// appendCount answers a count in the client's dialect.
func (x *exchange) appendCount(n int64) []byte {
	switch x.op {
	case operation.GeminiCountTokens:
		return gemini.AppendCount(nil, n)
	case operation.ResponseTokens:
		return append(strconv.AppendInt([]byte(`{"object":"response.input_tokens","input_tokens":`), n, 10), '}')
	}
	return anthropic.AppendTokenCount(nil, n)
}

// estimateCount answers a count where no upstream does. It never guesses low, and says that it is a guess.
func (x *exchange) estimateCount() *fault.Error {
	r, f := x.countable()
	if f != nil {
		return f
	}
	var lost neutral.Losses
	lost.Add(neutral.LossTokenEstimate)
	x.countLosses(lost)
	x.out.Set("X-Fairway-Lossy", lost.String())
	x.answerJSON(x.appendCount(anthropic.EstimateTokens(r)))
	return nil
}
