package fakellm

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/azure"
	"github.com/openai/openai-go/v3/option"
)

func azureSDK(t *testing.T, s *Server) *openai.Client {
	t.Helper()
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	client := openai.NewClient(azure.WithEndpoint(s.URL(), "2024-10-21"), azure.WithAPIKey(credential),
		azure.WithUnsafeAllowHTTP(), option.WithMaxRetries(0), option.WithHTTPClient(&http.Client{Transport: transport}))
	return &client
}

func TestAzure(t *testing.T) {
	p, s := start(t, Healthy())
	client := azureSDK(t, s)
	got, err := client.Chat.Completions.New(t.Context(), question("how are you"))
	if err != nil {
		t.Fatal(err)
	}
	if got.Choices[0].Message.Content != fixedText || !strings.Contains(got.RawJSON(), `"prompt_filter_results":[{`) ||
		!strings.Contains(got.Choices[0].RawJSON(), `"content_filter_results":{"hate"`) {
		t.Errorf("answer %s", got.RawJSON())
	}
	stream := client.Chat.Completions.NewStreaming(t.Context(), question("how are you"))
	text, chunks := "", 0
	for stream.Next() {
		chunk := stream.Current()
		switch {
		case chunks == 0 && (len(chunk.Choices) != 0 || !strings.Contains(chunk.RawJSON(), "prompt_filter_results")):
			t.Errorf("first chunk %s", chunk.RawJSON())
		case chunks > 0 && !strings.Contains(chunk.RawJSON(), `"content_filter_results":{`):
			t.Errorf("chunk %s", chunk.RawJSON())
		case chunks > 0:
			text += chunk.Choices[0].Delta.Content
		}
		chunks++
	}
	if stream.Err() != nil || text != fixedText {
		t.Errorf("stream %q %v", text, stream.Err())
	}
	vectors, err := client.Embeddings.New(t.Context(), openai.EmbeddingNewParams{
		Model: model, Input: openai.EmbeddingNewParamsInputUnion{OfString: openai.String("x")},
	})
	if err != nil || len(vectors.Data) != 1 {
		t.Errorf("vectors %v %v", vectors, err)
	}
	heard, err := client.Audio.Transcriptions.New(t.Context(), openai.AudioTranscriptionNewParams{
		Model: model, File: upload("a.wav", "audio/wav", "xyz"),
	})
	if err != nil || heard.Text == "" {
		t.Errorf("heard %v %v", heard, err)
	}
	drawn, err := client.Images.Generate(t.Context(), openai.ImageGenerateParams{Model: model, Prompt: "x"})
	if err != nil || len(drawn.Data) != 1 {
		t.Errorf("drawn %v %v", drawn, err)
	}
	unknown := question("x")
	unknown.Model = "none"
	wantError(t, lastError(client.Chat.Completions.New(t.Context(), unknown)), http.StatusNotFound, "DeploymentNotFound")
	p.SetBehaviour(credential, Status(http.StatusTooManyRequests, "", time.Second))
	wantError(t, lastError(client.Chat.Completions.New(t.Context(), question("x"))), http.StatusTooManyRequests, "429")
}

func TestAzureCredentials(t *testing.T) {
	const dated = "/openai/deployments/fake-large/chat/completions"
	const v1 = "/openai/v1/chat/completions"
	// The dated form's path names the model, so the body need not.
	body := strings.Replace(chatBody, `"model":"fake-large",`, "", 1)
	bearer := "Authorization: Bearer " + credential
	key := "api-key: " + credential
	tests := map[string]struct {
		path, auth, body string
		status           int
		want             string
	}{
		"key":             {dated + "?api-version=2024-10-21", key, body, 200, fixedText},
		"preview":         {dated + "?api-version=2025-04-01-preview", key, body, 200, fixedText},
		"v1":              {v1, key, chatBody, 200, fixedText},
		"v1, preview":     {v1 + "?api-version=preview", bearer, chatBody, 200, fixedText},
		"v1, a date":      {v1 + "?api-version=2024-10-21", key, chatBody, 404, "Resource not found"},
		"v1, no model":    {v1, key, body, 400, "model parameter"},
		"no version":      {dated, key, body, 404, "Resource not found"},
		"no date":         {dated + "?api-version=v1", key, body, 404, "Resource not found"},
		"both":            {dated + "?api-version=2024-10-21", key + "\r\n" + bearer, body, 401, "both"},
		"neither":         {dated + "?api-version=2024-10-21", "X-None: 1", body, 401, "Access denied"},
		"unknown":         {dated + "?api-version=2024-10-21", "api-key: x", body, 401, "Access denied"},
		"OpenAI's path":   {"/openai/chat/completions?api-version=2024-10-21", key, body, 404, "Resource not found"},
		"no such thing":   {"/openai/v1/other", key, body, 404, "Resource not found"},
		"key elsewhere":   {"/v1/chat/completions", key, body, 400, "Api-Key must not come through"},
		"dated responses": {"/openai/deployments/fake-large/responses?api-version=2024-10-21", key, body, 404, "Resource not found"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p, s := start(t, Healthy())
			w := dial(t, s)
			w.send(t, post(s, test.path, test.body, bearer, test.auth))
			resp, text, err := w.answer(t)
			if err != nil || resp.StatusCode != test.status || !strings.Contains(text, test.want) {
				t.Errorf("%v %s %v", resp.Status, text, err)
			}
			if violations := strings.Join(p.Violations(), "\n"); strings.Contains(violations, credential) ||
				(violations == "") != (test.status == 200 || name == "v1, no model") {
				t.Errorf("violations %q", violations)
			}
		})
	}
}

// A token of Entra's is good until it expires, and names the account.
func TestEntra(t *testing.T) {
	c := &clock{}
	p, s := startAt(t, c, "contoso")
	p.AddApplication(Application{Tenant: "tenant", ClientID: "client", Secret: "secret", Account: "contoso"})
	form := "grant_type=client_credentials&client_id=client&client_secret=secret&scope=https%3A%2F%2Fcognitiveservices.azure.com%2F.default"
	ask := func(path, form string) (int, string) {
		w := dial(t, s)
		w.send(t, post(s, path, form, "application/json", "application/x-www-form-urlencoded",
			"Authorization: Bearer "+credential+"\r\n", "User-Agent: tester\r\n"))
		resp, text, err := w.answer(t)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, text
	}
	status, text := ask("/tenant/oauth2/v2.0/token", form)
	want := `{"access_token":"fake-entra-token-1","expires_in":3600,"ext_expires_in":3600,"token_type":"Bearer"}`
	if status != 200 || text != want {
		t.Fatalf("%d %s", status, text)
	}
	for change, refused := range map[[2]string]struct {
		status int
		want   string
	}{
		{"=secret", "=other"}:                     {401, "AADSTS7000215"},
		{"client_id=client", "client_id=x"}:       {401, "AADSTS700016"},
		{"cognitiveservices", "graph"}:            {400, "AADSTS1002012"},
		{"client_credentials", "device"}:          {400, "AADSTS70003"},
		{"grant_type=client_credentials&", "%zz"}: {400, "not a form"},
	} {
		if status, text := ask("/tenant/oauth2/v2.0/token", strings.Replace(form, change[0], change[1], 1)); status != refused.status ||
			!strings.Contains(text, refused.want) {
			t.Errorf("%q: %d %s", change, status, text)
		}
	}
	if status, text := ask("/other/oauth2/v2.0/token", form); status != 400 || !strings.Contains(text, "AADSTS90002") {
		t.Errorf("another tenant: %d %s", status, text)
	}
	asked := p.TokenRequests()
	if got := fmt.Sprint(len(asked), asked[0]); got != "7 {entra contoso tester true}" || asked[1].Granted {
		t.Errorf("asked %s", got)
	}
	use := func() int {
		w := dial(t, s)
		w.send(t, post(s, "/openai/v1/chat/completions", chatBody, credential, "fake-entra-token-1"))
		resp, _, err := w.answer(t)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode
	}
	if got := use(); got != 200 || p.Books().Credentials["contoso"].Finished != 1 {
		t.Errorf("status %d, books %+v", got, p.Books())
	}
	c.pass(time.Hour)
	if got := use(); got != 401 {
		t.Errorf("an expired token: status %d", got)
	}
}
