package fakellm

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"google.golang.org/genai"
)

// geminiSDK is Google's official client, as a gateway would have to behave: it does not offer gzip.
func geminiSDK(t *testing.T, s *Server, key string) *genai.Client {
	t.Helper()
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	client, err := genai.NewClient(t.Context(), &genai.ClientConfig{
		APIKey: key, Backend: genai.BackendGeminiAPI, HTTPClient: &http.Client{Transport: transport},
		HTTPOptions: genai.HTTPOptions{BaseURL: s.URL()},
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// generate asks plainly and for a stream, and returns the plain answer; both must say the same.
func generate(t *testing.T, client *genai.Client, contents []*genai.Content, config *genai.GenerateContentConfig) *genai.GenerateContentResponse {
	t.Helper()
	whole, err := client.Models.GenerateContent(t.Context(), model, contents, config)
	if err != nil {
		t.Fatal(err)
	}
	var sum genai.GenerateContentResponse
	var last *genai.GenerateContentResponse
	for chunk, err := range client.Models.GenerateContentStream(t.Context(), model, contents, config) {
		if err != nil {
			t.Fatal(err)
		}
		last = chunk
		if chunk.UsageMetadata == nil || chunk.ModelVersion != model || chunk.ResponseID == "" {
			t.Errorf("chunk %+v", chunk)
		}
		if len(chunk.Candidates) == 0 {
			continue
		}
		if len(sum.Candidates) == 0 {
			sum.Candidates = []*genai.Candidate{{Content: &genai.Content{}}}
		}
		sum.Candidates[0].Content.Parts = append(sum.Candidates[0].Content.Parts, chunk.Candidates[0].Content.Parts...)
		sum.Candidates[0].FinishReason = chunk.Candidates[0].FinishReason
	}
	sum.UsageMetadata, sum.PromptFeedback = last.UsageMetadata, last.PromptFeedback
	if diff := cmp.Diff(toldBy(t, whole), toldBy(t, &sum)); diff != "" {
		t.Errorf("the stream says something else: %s", diff)
	}
	return whole
}

// toldBy is what two answers to one question have in common.
func toldBy(t *testing.T, r *genai.GenerateContentResponse) []string {
	t.Helper()
	var out []string
	if r.PromptFeedback != nil {
		out = append(out, "blocked", string(r.PromptFeedback.BlockReason))
	}
	if len(r.Candidates) > 0 {
		var thought, text, calls, signs string
		for _, part := range r.Candidates[0].Content.Parts {
			switch {
			case part.FunctionCall != nil:
				args, err := json.Marshal(part.FunctionCall.Args)
				if err != nil {
					t.Fatal(err)
				}
				calls += part.FunctionCall.Name + string(args)
				if part.FunctionCall.ID == "" {
					t.Error("a call without an id")
				}
			case part.Thought:
				thought += part.Text
			default:
				text += part.Text
			}
			if len(part.ThoughtSignature) > 0 {
				signs += "+"
			}
		}
		out = append(out, string(r.Candidates[0].FinishReason), thought, text, calls, signs)
	}
	u := r.UsageMetadata
	counts, err := json.Marshal([]int32{
		u.PromptTokenCount, u.CachedContentTokenCount, u.CandidatesTokenCount, u.ThoughtsTokenCount, u.TotalTokenCount,
	})
	if err != nil {
		t.Fatal(err)
	}
	return append(out, string(counts))
}

func TestGeminiContent(t *testing.T) {
	tests := map[string]struct {
		text   string
		parts  []*genai.Part
		config genai.GenerateContentConfig
		want   []string // finish, thoughts, text, calls, signatures, counts
	}{
		"plain": {want: []string{"STOP", "", fixedText, "", "", "[4,0,6,0,10]"}},
		"short": {
			config: genai.GenerateContentConfig{MaxOutputTokens: 3},
			want:   []string{"MAX_TOKENS", "", "Hello! This is ", "", "", "[4,0,3,0,7]"},
		},
		"stopped": {
			config: genai.GenerateContentConfig{StopSequences: []string{"This"}},
			want:   []string{"STOP", "", "Hello! ", "", "", "[4,0,1,0,5]"},
		},
		"system": {
			config: genai.GenerateContentConfig{SystemInstruction: genai.NewContentFromText("be brief", "")},
			want:   []string{"STOP", "", fixedText, "", "", "[6,0,6,0,12]"},
		},
		"image": {
			parts: []*genai.Part{{InlineData: &genai.Blob{MIMEType: "image/png", Data: []byte{0, 1, 2, 3}}}},
			want:  []string{"STOP", "", "I see an image of 4 bytes.", "", "", "[4,0,7,0,11]"},
		},
		"schema": {
			config: genai.GenerateContentConfig{
				ResponseMIMEType: "application/json",
				ResponseSchema: &genai.Schema{
					Type: "OBJECT", Required: []string{"name", "level"},
					Properties: map[string]*genai.Schema{"name": {Type: "STRING"}, "level": {Type: "STRING", Enum: []string{"low", "high"}}},
				},
			},
			want: []string{"STOP", "", `{"name":"fake","level":"low"}`, "", "", "[4,0,3,0,7]"},
		},
		"JSON schema": {
			config: genai.GenerateContentConfig{
				ResponseMIMEType: "application/json",
				ResponseJsonSchema: map[string]any{
					"type": "object", "required": []string{"n"}, "additionalProperties": false,
					"properties": map[string]any{"n": map[string]any{"type": "integer"}},
				},
			},
			want: []string{"STOP", "", `{"n":1}`, "", "", "[4,0,1,0,5]"},
		},
		"thoughts": {
			config: genai.GenerateContentConfig{ThinkingConfig: &genai.ThinkingConfig{IncludeThoughts: true}},
			want:   []string{"STOP", thoughtText, fixedText, "", "+", "[4,0,6,6,16]"},
		},
		"thoughts not told": {
			config: genai.GenerateContentConfig{ThinkingConfig: &genai.ThinkingConfig{ThinkingBudget: genai.Ptr[int32](512)}},
			want:   []string{"STOP", "", fixedText, "", "+", "[4,0,6,6,16]"},
		},
		"finish as told": {
			text: "fakellm_finish=SAFETY", want: []string{"SAFETY", "", fixedText, "", "", "[1,0,6,0,7]"},
		},
		"counts as told": {
			text: "fakellm_input=100 fakellm_cached=40 fakellm_output=9 fakellm_reasoning=5",
			want: []string{"STOP", "", fixedText, "", "", "[100,40,4,5,109]"},
		},
		"blocked": {text: "fakellm_block=SAFETY", want: []string{"blocked", "SAFETY", "[1,0,0,0,1]"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p, s := start(t, Healthy())
			text := test.text
			if text == "" {
				text = "how are you today"
			}
			parts := append([]*genai.Part{{Text: text}}, test.parts...)
			got := generate(t, geminiSDK(t, s, credential), []*genai.Content{{Role: "user", Parts: parts}}, &test.config)
			if diff := cmp.Diff(test.want, toldBy(t, got)); diff != "" {
				t.Error(diff)
			}
			u := got.UsageMetadata
			want := Counters{
				Started: 2, Finished: 2, Input: 2 * int64(u.PromptTokenCount), Cached: 2 * int64(u.CachedContentTokenCount),
				Output: 2 * int64(u.CandidatesTokenCount+u.ThoughtsTokenCount),
			}
			if diff := cmp.Diff(want, p.Books().Credentials[credential]); diff != "" {
				t.Error(diff)
			}
			wantNoViolations(t, p)
		})
	}
}

func TestGeminiToolsAndSignaturesRoundTrip(t *testing.T) {
	p, s := start(t, Healthy())
	client := geminiSDK(t, s, credential)
	var functions []*genai.FunctionDeclaration
	for _, name := range []string{"weather", "time"} {
		functions = append(functions, &genai.FunctionDeclaration{Name: name, Parameters: &genai.Schema{
			Type: "OBJECT", Required: []string{"city", "days"},
			Properties: map[string]*genai.Schema{"city": {Type: "STRING"}, "days": {Type: "INTEGER"}},
		}})
	}
	config := &genai.GenerateContentConfig{
		Tools:          []*genai.Tool{{FunctionDeclarations: functions}},
		ThinkingConfig: &genai.ThinkingConfig{IncludeThoughts: true},
	}
	contents := genai.Text("weather please")
	first := generate(t, client, contents, config)
	if diff := cmp.Diff([]string{
		"STOP", thoughtText, "", `weather{"city":"fake","days":1}time{"city":"fake","days":1}`, "+", "[2,0,8,6,16]",
	}, toldBy(t, first)); diff != "" {
		t.Error(diff)
	}
	turn := first.Candidates[0].Content
	var results []*genai.Part
	for _, part := range turn.Parts {
		if call := part.FunctionCall; call != nil {
			results = append(results, &genai.Part{FunctionResponse: &genai.FunctionResponse{
				ID: call.ID, Name: call.Name, Response: map[string]any{"output": "sunny"},
			}})
		}
	}
	contents = append(contents, turn, &genai.Content{Role: "user", Parts: results})
	end := generate(t, client, contents, config)
	if end.Text() != fixedText || end.UsageMetadata.PromptTokenCount != 4 {
		t.Errorf("after the results: %q %+v", end.Text(), end.UsageMetadata)
	}
	var call *genai.Part
	for _, part := range turn.Parts {
		if part.FunctionCall != nil && call == nil {
			call = part
		}
	}
	genuine := call.ThoughtSignature
	for sign, want := range map[string]string{
		"": "Function call is missing a thought_signature", "wrong": "Corrupted thought signature.",
		string(signatureBytes(t, signatureOf("text"))): "Corrupted thought signature.",
		"\xb2\xc8\xa9\xff\xb6\xa8\xba\x1b\xad\xff":     "Corrupted thought signature.",
	} {
		call.ThoughtSignature = []byte(sign)
		_, err := client.Models.GenerateContent(t.Context(), model, contents, config)
		wantGeminiError(t, err, 400, "INVALID_ARGUMENT", want)
	}
	// A turn that is over may come without.
	call.ThoughtSignature = nil
	over := slices.Concat(contents[:3], []*genai.Content{end.Candidates[0].Content, genai.NewContentFromText("thanks", "user")})
	generate(t, client, over, &genai.GenerateContentConfig{ThinkingConfig: config.ThinkingConfig})
	call.ThoughtSignature = genuine
	config.ToolConfig = &genai.ToolConfig{FunctionCallingConfig: &genai.FunctionCallingConfig{
		Mode: "ANY", AllowedFunctionNames: []string{"time"},
	}}
	if one := generate(t, client, genai.Text("hello"), config); len(one.FunctionCalls()) != 1 || one.FunctionCalls()[0].Name != "time" {
		t.Errorf("the allowed one: %+v", one.FunctionCalls())
	}
	wantNoViolations(t, p)
}

func signatureBytes(t *testing.T, encoded string) []byte {
	t.Helper()
	var out []byte
	if err := json.Unmarshal([]byte(`"`+encoded+`"`), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func wantGeminiError(t *testing.T, err error, status int, code, text string) {
	t.Helper()
	var apiErr genai.APIError
	if !errors.As(err, &apiErr) {
		t.Errorf("error %v, want Google's", err)
		return
	}
	if apiErr.Code != status || apiErr.Status != code || !strings.Contains(apiErr.Message, text) {
		t.Errorf("error %d %s %q, want %d %s %q", apiErr.Code, apiErr.Status, apiErr.Message, status, code, text)
	}
}

func TestGeminiCountEmbedAndModels(t *testing.T) {
	p, s := start(t, Healthy())
	client := geminiSDK(t, s, credential)
	count, err := client.Models.CountTokens(t.Context(), model, genai.Text("one two three"), nil)
	if err != nil || count.TotalTokens != 3 {
		t.Errorf("count %+v %v", count, err)
	}
	embedded, err := client.Models.EmbedContent(t.Context(), model, []*genai.Content{
		genai.NewContentFromText("one two", "user"), genai.NewContentFromText("three", "user"),
	}, &genai.EmbedContentConfig{OutputDimensionality: genai.Ptr[int32](3)})
	if err != nil {
		t.Fatal(err)
	}
	if len(embedded.Embeddings) != 2 || len(embedded.Embeddings[0].Values) != 3 {
		t.Fatalf("embeddings %+v", embedded)
	}
	// The other operation has the same vector for the same text.
	body := ask(t, s, geminiModels+"/"+model+":embedContent", `{"content":{"parts":[{"text":"three"}]},"output_dimensionality":3}`, http.StatusOK)
	var single struct {
		Embedding genai.ContentEmbedding `json:"embedding"`
	}
	if err := json.Unmarshal([]byte(body), &single); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(embedded.Embeddings[1].Values, single.Embedding.Values); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(Counters{Started: 3, Finished: 3, Input: 4}, p.Books().Total); diff != "" {
		t.Error(diff)
	}
	var names []string
	for m, err := range client.Models.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, m.Name)
	}
	if diff := cmp.Diff([]string{"models/" + model, "models/fake-small"}, names); diff != "" {
		t.Error(diff)
	}
	page, err := client.Models.List(t.Context(), &genai.ListModelsConfig{PageSize: 1})
	if err != nil || len(page.Items) != 1 || page.NextPageToken == "" {
		t.Errorf("page %+v %v", page, err)
	}
	if one, err := client.Models.Get(t.Context(), model, nil); err != nil || one.Name != "models/"+model {
		t.Errorf("model %+v %v", one, err)
	}
	_, err = client.Models.Get(t.Context(), "none", nil)
	wantGeminiError(t, err, 404, "NOT_FOUND", "models/none is not found")
	wantNoViolations(t, p)
}

// ask posts a body with the key in the query and returns what is answered.
func ask(t *testing.T, s *Server, path, body string, status int) string {
	t.Helper()
	mark := "?"
	if strings.Contains(path, "?") {
		mark = "&"
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL()+path+mark+"key="+credential, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	transport := &http.Transport{DisableCompression: true}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status {
		t.Errorf("status %d, want %d: %v %s", resp.StatusCode, status, err, out)
	}
	return string(out)
}

const geminiBody = `{"contents":[{"role":"user","parts":[{"text":"how are you today"}]}]}`

func TestGeminiStreamAsArray(t *testing.T) {
	p, s := start(t, Healthy())
	body := ask(t, s, geminiModels+"/"+model+":streamGenerateContent", geminiBody, http.StatusOK)
	var chunks []genai.GenerateContentResponse
	if err := json.Unmarshal([]byte(body), &chunks); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	var text string
	for _, chunk := range chunks {
		text += chunk.Text()
	}
	if text != fixedText || chunks[len(chunks)-1].Candidates[0].FinishReason != "STOP" {
		t.Errorf("text %q in %s", text, body)
	}
	wantNoViolations(t, p)
	for events := range 3 {
		p.SetBehaviour(credential, ErrorMidStream(events, "UNAVAILABLE"))
		body := ask(t, s, geminiModels+"/"+model+":streamGenerateContent", geminiBody, http.StatusOK)
		var chunks []struct {
			Error genai.APIError `json:"error"`
		}
		if err := json.Unmarshal([]byte(body), &chunks); err != nil || len(chunks) != events+1 || chunks[events].Error.Status != "UNAVAILABLE" {
			t.Errorf("%v in %s", err, body)
		}
	}
}

func TestGeminiFailures(t *testing.T) {
	tests := map[string]struct {
		behaviour Behaviour
		status    int
		code      string
		reasons   []string // of the details
	}{
		"quota": {
			behaviour: Status(429, "", 1500*time.Millisecond), status: 429, code: "RESOURCE_EXHAUSTED",
			reasons: []string{"QuotaFailure", "Help", "RetryInfo 1.5s"},
		},
		"daily quota": {
			behaviour: Status(429, "insufficient_quota", 0), status: 429, code: "RESOURCE_EXHAUSTED", reasons: []string{"QuotaFailure", "Help"},
		},
		"overloaded":  {behaviour: Status(503, "", 0), status: 503, code: "UNAVAILABLE"},
		"internal":    {behaviour: Status(500, "", 0), status: 500, code: "INTERNAL"},
		"own code":    {behaviour: Status(400, "FAILED_PRECONDITION", 0), status: 400, code: "FAILED_PRECONDITION"},
		"invalid key": {behaviour: Status(400, "API_KEY_INVALID", 0), status: 400, code: "INVALID_ARGUMENT", reasons: []string{"ErrorInfo", "LocalizedMessage"}},
		"event":       {behaviour: ErrorFirstEvent("UNAVAILABLE"), status: 500, code: "UNAVAILABLE"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, s := start(t, test.behaviour)
			_, err := geminiSDK(t, s, credential).Models.GenerateContent(t.Context(), model, genai.Text("hello"), nil)
			wantGeminiError(t, err, test.status, test.code, "")
			var apiErr genai.APIError
			_ = errors.As(err, &apiErr)
			var got []string
			for _, detail := range apiErr.Details {
				kind, _ := detail["@type"].(string)
				kind = strings.TrimPrefix(kind, "type.googleapis.com/google.rpc.")
				if delay, ok := detail["retryDelay"].(string); ok {
					kind += " " + delay
				}
				got = append(got, kind)
			}
			if diff := cmp.Diff(test.reasons, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestGeminiStreamsThatFail(t *testing.T) {
	for name, b := range map[string]Behaviour{
		"error first": ErrorFirstEvent("UNAVAILABLE"), "error later": ErrorMidStream(2, ""), "cut": DieMidStream(2, RST),
	} {
		t.Run(name, func(t *testing.T) {
			p, s := start(t, b)
			n, failed := 0, false
			for _, err := range geminiSDK(t, s, credential).Models.GenerateContentStream(t.Context(), model, genai.Text("hello"), nil) {
				if failed = err != nil; failed {
					break
				}
				n++
			}
			if want := max(b.ErrorEvents, b.DeathEvents); n != want || !failed {
				t.Errorf("%d chunks, want %d; failed %t", n, want, failed)
			}
			if p.Books().Total.Finished != 0 {
				t.Error("counted as finished")
			}
		})
	}
}

func TestGeminiAsOpenAI(t *testing.T) {
	p, s := start(t, Healthy())
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	client := openai.NewClient(option.WithBaseURL(s.URL()+"/v1beta/openai/"), option.WithAPIKey(credential), option.WithMaxRetries(0),
		option.WithHTTPClient(&http.Client{Transport: transport}))
	q := question("how are you today")
	q.Model = "models/" + model
	got, err := client.Chat.Completions.New(t.Context(), q)
	if err != nil || got.Choices[0].Message.Content != fixedText {
		t.Errorf("answer %+v %v", got, err)
	}
	stream := client.Chat.Completions.NewStreaming(t.Context(), question("how are you today"))
	var text string
	for stream.Next() {
		text += stream.Current().Choices[0].Delta.Content
	}
	if text != fixedText || stream.Err() != nil {
		t.Errorf("stream %q %v", text, stream.Err())
	}
	page, err := client.Models.List(t.Context())
	if err != nil || len(page.Data) != 2 || page.Data[0].ID != "models/"+model {
		t.Errorf("models %+v %v", page, err)
	}
	vectors, err := client.Embeddings.New(t.Context(), openai.EmbeddingNewParams{
		Model: model, Input: openai.EmbeddingNewParamsInputUnion{OfString: openai.String("one two")},
	})
	if err != nil || len(vectors.Data) != 1 {
		t.Errorf("embeddings %+v %v", vectors, err)
	}
	if diff := cmp.Diff(Counters{Started: 3, Finished: 3, Input: 10, Output: 12}, p.Books().Models[model]); diff != "" {
		t.Error(diff)
	}
	wantNoViolations(t, p)
	p.SetBehaviour(credential, Status(429, "", time.Second))
	_, err = client.Chat.Completions.New(t.Context(), question("hello"))
	apiErr := (*openai.Error)(nil)
	if !errors.As(err, &apiErr) || apiErr.StatusCode != 429 || !strings.Contains(string(apiErr.DumpResponse(true)), "[{\"error\":{\"code\":429") {
		t.Errorf("error %v", err)
	}
}
