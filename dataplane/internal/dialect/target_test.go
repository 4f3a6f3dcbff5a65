package dialect

import (
	"strings"
	"testing"

	"fairway/pkg/operation"
)

func TestParseTarget(t *testing.T) {
	for line, want := range map[string]struct {
		op        operation.Operation
		dialect   operation.Dialect
		model, id string
	}{
		"POST /v1/chat/completions":                     {operation.Chat, operation.OpenAI, "", ""},
		"POST /v1/chat/completions?a=b":                 {operation.Chat, operation.OpenAI, "", ""},
		"POST /v1/completions":                          {operation.Completions, operation.OpenAI, "", ""},
		"POST /v1/responses":                            {operation.Responses, operation.OpenAI, "", ""},
		"POST /v1/responses/input_tokens":               {operation.ResponseTokens, operation.OpenAI, "", ""},
		"GET /v1/responses/resp_1":                      {operation.Response, operation.OpenAI, "", "resp_1"},
		"DELETE /v1/responses/resp_1":                   {operation.ResponseDelete, operation.OpenAI, "", "resp_1"},
		"POST /v1/responses/resp_1/cancel":              {operation.ResponseCancel, operation.OpenAI, "", "resp_1"},
		"GET /v1/responses/resp_1/input_items":          {operation.ResponseItems, operation.OpenAI, "", "resp_1"},
		"GET /v1/responses/resp_1/else":                 {operation.Unknown, operation.OpenAI, "", ""},
		"GET /v1/responses/a.b":                         {operation.Unknown, operation.OpenAI, "", ""},
		"GET /v1/responses/..":                          {operation.Unknown, operation.OpenAI, "", ""},
		"GET /v1/responses/a%2Fb":                       {operation.Unknown, operation.OpenAI, "", ""},
		"GET /v1/responses/":                            {operation.Unknown, operation.OpenAI, "", ""},
		"POST /v1/embeddings":                           {operation.Embeddings, operation.OpenAI, "", ""},
		"POST /v1/images/edits":                         {operation.ImageEdits, operation.OpenAI, "", ""},
		"POST /v1/audio/speech":                         {operation.Speech, operation.OpenAI, "", ""},
		"POST /v1/rerank":                               {operation.Rerank, operation.OpenAI, "", ""},
		"GET /v1/realtime?model=gpt-r&x=y":              {operation.Realtime, operation.OpenAI, "gpt-r", ""},
		"GET /v1/models":                                {operation.Models, operation.OpenAI, "", ""},
		"GET /v1/models/gpt-x":                          {operation.Model, operation.OpenAI, "gpt-x", ""},
		"GET /v1/models/org%2Fm":                        {operation.Model, operation.OpenAI, "org/m", ""},
		"GET /v1/models/org/m":                          {operation.Model, operation.OpenAI, "org/m", ""},
		"GET /v1/models/a%252Fb":                        {operation.Model, operation.OpenAI, "a%2Fb", ""},
		"GET /v1/models/a:b":                            {operation.Model, operation.OpenAI, "a:b", ""},
		"GET /v1/models/":                               {operation.Unknown, operation.OpenAI, "", ""},
		"GET /v1/models/%zz":                            {operation.Unknown, operation.OpenAI, "", ""},
		"POST /v1/messages":                             {operation.Messages, operation.Anthropic, "", ""},
		"POST /v1/messages/count_tokens":                {operation.CountTokens, operation.Anthropic, "", ""},
		"POST /v1/messages/batches":                     {operation.Batches, operation.Anthropic, "", ""},
		"GET /v1/messages/batches?limit=5":              {operation.BatchList, operation.Anthropic, "", ""},
		"GET /v1/messages/batches/msgbatch_1":           {operation.Batch, operation.Anthropic, "", "msgbatch_1"},
		"DELETE /v1/messages/batches/msgbatch_1":        {operation.BatchDelete, operation.Anthropic, "", "msgbatch_1"},
		"POST /v1/messages/batches/msgbatch_1/cancel":   {operation.BatchCancel, operation.Anthropic, "", "msgbatch_1"},
		"GET /v1/messages/batches/msgbatch_1/results":   {operation.BatchResults, operation.Anthropic, "", "msgbatch_1"},
		"POST /v1/messages/else":                        {operation.Unknown, operation.Anthropic, "", ""},
		"POST /v1beta/models/gem:generateContent":       {operation.Generate, operation.Gemini, "gem", ""},
		"POST /v1/models/gem:generateContent":           {operation.Generate, operation.Gemini, "gem", ""},
		"POST /v1alpha/models/gem:countTokens":          {operation.GeminiCountTokens, operation.Gemini, "gem", ""},
		"POST /v1beta/models/a:b:streamGenerateContent": {operation.StreamGenerate, operation.Gemini, "a:b", ""},
		"POST /v1beta/models/gem:embedContent":          {operation.EmbedContent, operation.Gemini, "gem", ""},
		"POST /v1beta/models/gem:batchEmbedContents":    {operation.BatchEmbedContents, operation.Gemini, "gem", ""},
		"POST /v1beta/models/gem:predict":               {operation.Unknown, operation.Gemini, "", ""},
		"GET /v1beta/models":                            {operation.GeminiModels, operation.Gemini, "", ""},
		"GET /v1beta/models/gem":                        {operation.GeminiModel, operation.Gemini, "gem", ""},
		"GET /v1beta/files":                             {operation.Unknown, operation.Gemini, "", ""},
		"POST /v1beta/openai/chat/completions":          {operation.Chat, operation.OpenAI, "", ""},
		"GET /v1beta/openai/models":                     {operation.Models, operation.OpenAI, "", ""},
		"GET /v1beta/openai/models/gem":                 {operation.Model, operation.OpenAI, "gem", ""},
		"GET /v1beta/openai/realtime":                   {operation.Unknown, operation.OpenAI, "", ""},
		"POST /v1beta/openai/messages":                  {operation.Unknown, operation.OpenAI, "", ""},
		"POST ":                                         {operation.Unknown, operation.OpenAI, "", ""},
		"POST *":                                        {operation.Unknown, operation.OpenAI, "", ""},
		"POST /v1/chat/completions/":                    {operation.Unknown, operation.OpenAI, "", ""},
		"POST /v1//chat/completions":                    {operation.Unknown, operation.OpenAI, "", ""},
		"POST //v1/chat/completions":                    {operation.Unknown, operation.OpenAI, "", ""},
		"POST /v1/chat%2fcompletions":                   {operation.Unknown, operation.OpenAI, "", ""},
		"POST /v1/./chat/completions":                   {operation.Unknown, operation.OpenAI, "", ""},
		"POST /v1/x/../chat/completions":                {operation.Unknown, operation.OpenAI, "", ""},
		"POST /V1/chat/completions":                     {operation.Unknown, operation.OpenAI, "", ""},
		"POST /v1/chat/completions#x":                   {operation.Unknown, operation.OpenAI, "", ""},
		"POST /v1/chat/completions;x":                   {operation.Unknown, operation.OpenAI, "", ""},
		"POST http://h/v1/chat/completions":             {operation.Unknown, operation.OpenAI, "", ""},
	} {
		method, target, _ := strings.Cut(line, " ")
		got := ParseTarget([]byte(method), []byte(target))
		if got.Op != want.op || got.Dialect != want.dialect || got.Model != want.model || got.ID != want.id {
			t.Errorf("%q: %v %v %q %q, want %v %v %q %q", line, got.Op, got.Dialect, got.Model, got.ID, want.op, want.dialect, want.model, want.id)
		}
	}
}

func TestParseTargetTakesTheKeyOut(t *testing.T) {
	for query, want := range map[string]struct {
		key, rest string
		twice     bool
	}{
		"key=a%2Bb&alt=sse": {"a+b", "alt=sse", false},
		"alt=sse&%6bey=a":   {"a", "alt=sse", false},
		"alt=sse":           {"", "alt=sse", false},
		"key=a&key=b":       {"a", "", true},
		"key=%zz":           {"", "", true},
		"keys=a&a=key":      {"", "keys=a&a=key", false},
		"key=":              {"", "", false},
	} {
		got := ParseTarget([]byte("POST"), []byte("/v1beta/models/g:streamGenerateContent?"+query))
		if string(got.Key) != want.key || string(got.Query) != want.rest || got.KeyTwice != want.twice {
			t.Errorf("%q: %q %q %v", query, got.Key, got.Query, got.KeyTwice)
		}
	}
	if got := ParseTarget([]byte("POST"), []byte("/v1/chat/completions?key=a")); got.Key != nil {
		t.Error("a key in a query of OpenAI's")
	}
}

func TestAmbiguous(t *testing.T) {
	for target, want := range map[string]operation.Operation{
		"/v1/models": operation.AnthropicModels, "/v1/models/m": operation.AnthropicModel, "/v1/else": operation.Unknown,
	} {
		got := ParseTarget([]byte("GET"), []byte(target))
		if !got.Ambiguous() {
			t.Errorf("%q is not ambiguous", target)
		}
		if got.SetAnthropic(); got.Op != want || got.Dialect != operation.Anthropic {
			t.Errorf("%q: %v %v", target, got.Op, got.Dialect)
		}
	}
	for _, target := range []string{"/v1/chat/completions", "/v1/messages", "/v1beta/models"} {
		if got := ParseTarget([]byte("GET"), []byte(target)); got.Ambiguous() {
			t.Errorf("%q is ambiguous", target)
		}
	}
}

// What a path names is decoded once and never has what would be another path, header or line.
func FuzzParseTarget(f *testing.F) {
	f.Add("POST", "/v1beta/models/a%2f..%2fb:generateContent?key=1")
	f.Add("GET", "/v1/responses/resp_%0a")
	f.Fuzz(func(t *testing.T, method, target string) {
		got := ParseTarget([]byte(method), []byte(target))
		if strings.IndexFunc(got.ID, func(c rune) bool { return c < '-' || c > 'z' || c == '/' || c == '.' }) >= 0 {
			t.Errorf("%q names the id %q", target, got.ID)
		}
		if len(got.Model) > maxModel || len(got.ID) > maxModel {
			t.Errorf("%q names too much", target)
		}
		if got.Op != operation.Unknown && got.Dialect == 0 {
			t.Errorf("%q has no dialect", target)
		}
	})
}
