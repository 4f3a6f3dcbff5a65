package fakellm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/google/go-cmp/cmp"
)

const (
	bedrockModel = "anthropic.claude-fake-v1:0"
	claudePath   = "/model/anthropic.claude-fake-v1%3A0/"
	converse     = `{"messages":[{"role":"user","content":[{"text":"one two three"}]}]}`
	converseTwo  = `{"messages":[{"role":"user","content":[{"text":"one two three"}]}],"inferenceConfig":{"maxTokens":2}}`
)

func accessKey() AccessKey {
	return AccessKey{ID: "AKIAFAKE", Secret: "secret", Account: "aws", Role: "arn:aws:iam::1:role/fake"}
}

// aws is a client that signs as Amazon's own SDK does.
type awsClient struct {
	t      *testing.T
	s      *Server
	clock  *clock
	client *http.Client
}

func startAWS(t *testing.T) (*Provider, *awsClient) {
	t.Helper()
	c := &clock{}
	p, s := startAt(t, c, "aws", bedrockModel)
	p.AddAccessKey(accessKey())
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return p, &awsClient{t, s, c, &http.Client{Transport: transport}}
}

func (c *awsClient) request(key AccessKey, service, path, body string) *http.Request {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.s.URL()+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if service == "sts" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	sum := sha256.Sum256([]byte(body))
	err = v4.NewSigner().SignHTTP(context.Background(), aws.Credentials{
		AccessKeyID: key.ID, SecretAccessKey: key.Secret, SessionToken: key.Session,
	}, r, hex.EncodeToString(sum[:]), service, "us-east-1", c.clock.now())
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

func (c *awsClient) do(r *http.Request) (*http.Response, []byte) {
	c.t.Helper()
	resp, err := c.client.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		c.t.Fatal(err)
	}
	return resp, body
}

func (c *awsClient) ask(path, body string) (*http.Response, []byte) {
	c.t.Helper()
	return c.do(c.request(accessKey(), "bedrock", path, body))
}

type amazonEvent struct{ kind, payload string }

// amazonEvents decodes a stream with Amazon's own decoder, which checks both checksums.
func amazonEvents(t *testing.T, stream []byte) []amazonEvent {
	t.Helper()
	var out []amazonEvent
	r := bytes.NewReader(stream)
	for {
		m, err := eventstream.NewDecoder().Decode(r, nil)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		kind := m.Headers.Get(":event-type")
		if m.Headers.Get(":message-type").String() == "exception" {
			kind = m.Headers.Get(":exception-type")
		}
		out = append(out, amazonEvent{kind.String(), string(m.Payload)})
	}
}

func TestConverse(t *testing.T) {
	p, c := startAWS(t)
	resp, body := c.ask(claudePath+"converse", converse)
	want := `{"metrics":{"latencyMs":1},"output":{"message":{"content":[{"text":"Hello! This is the fake provider."}],` +
		`"role":"assistant"}},"stopReason":"end_turn","usage":{"inputTokens":3,"outputTokens":6,"totalTokens":9,` +
		`"cacheReadInputTokens":0,"cacheWriteInputTokens":0}}`
	if resp.StatusCode != 200 || string(body) != want {
		t.Errorf("%s %s", resp.Status, body)
	}
	resp, body = c.ask(claudePath+"converse-stream", converseTwo)
	if got := resp.Header.Get("Content-Type"); got != amazonMedia {
		t.Errorf("content type %q", got)
	}
	if diff := cmp.Diff([]amazonEvent{
		{"messageStart", `{"role":"assistant","p":"abcdefg"}`},
		{"contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":"Hello! "},"p":"abcdefg"}`},
		{"contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":"This "},"p":"abcdefg"}`},
		{"contentBlockStop", `{"contentBlockIndex":0,"p":"abcdefg"}`},
		{"messageStop", `{"stopReason":"max_tokens","p":"abcdefg"}`},
		{"metadata", `{"metrics":{"latencyMs":1},"p":"abcdefg","usage":{"inputTokens":3,"outputTokens":2,"totalTokens":5,` +
			`"cacheReadInputTokens":0,"cacheWriteInputTokens":0}}`},
	}, amazonEvents(t, body), cmp.AllowUnexported(amazonEvent{})); diff != "" {
		t.Error(diff)
	}
	wantBooks := Counters{Started: 2, Finished: 2, Input: 6, Output: 8}
	if diff := cmp.Diff(wantBooks, p.Books().Credentials["aws"]); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(wantBooks, p.Books().Models[bedrockModel]); diff != "" {
		t.Error(diff)
	}
	wantNoViolations(t, p)
}

// A conversation with thoughts, a call and its result.
func TestConverseTurns(t *testing.T) {
	p, c := startAWS(t)
	const tools = `"toolConfig":{"tools":[{"toolSpec":{"name":"weather","inputSchema":{"json":{"type":"object","required":["city"],` +
		`"properties":{"city":{"type":"string"}}}}}}]},"additionalModelRequestFields":{"thinking":{"type":"enabled","budget_tokens":1024}}`
	const user = `{"role":"user","content":[{"text":"weather"},{"image":{"format":"png","source":{"bytes":"AAAA"}}}]}`
	_, body := c.ask(claudePath+"converse", `{"messages":[`+user+`],`+tools+`}`)
	var got struct {
		Output struct {
			Message json.RawMessage `json:"message"`
		} `json:"output"`
		StopReason string `json:"stopReason"`
	}
	if err := json.Unmarshal(body, &got); err != nil || got.StopReason != "tool_use" {
		t.Fatalf("%s %v", body, err)
	}
	const result = `{"role":"user","content":[{"toolResult":{"toolUseId":"tooluse_fake1_0","content":[{"text":"sunny"}],"status":"success"}}]}`
	turns := func(messages ...string) string {
		return `{"messages":[` + strings.Join(messages, ",") + `],` + tools + `}`
	}
	assistant := string(got.Output.Message)
	resp, body := c.ask(claudePath+"converse", turns(user, assistant, result))
	if resp.StatusCode != 200 || !strings.Contains(string(body), "I see an image of 3 bytes.") {
		t.Errorf("%s %s", resp.Status, body)
	}
	unsigned := `{"role":"assistant","content":[{"toolUse":{"toolUseId":"tooluse_fake1_0","name":"weather","input":{}}}]}`
	refusals := map[string]struct{ body, want string }{
		"no thought":      {turns(user, unsigned, result), "but found `tool_use`"},
		"wrong signature": {turns(user, strings.Replace(assistant, `"signature":"`, `"signature":"x`, 1), result), "Invalid `signature`"},
		"no result":       {turns(user, assistant, user), "Expected toolResult blocks at messages.2.content"},
		"another result":  {turns(user, assistant, strings.Replace(result, "_0", "_9", 1)), "exceeds the number of toolUse blocks"},
		"no tools":        {`{"messages":[` + user + "," + unsigned + "," + result + `]}`, "toolConfig field must be defined"},
		"two of a role":   {turns(user, user), "must alternate"},
		"model first":     {turns(assistant), "must start with a user message"},
		"two in a block":  {`{"messages":[{"role":"user","content":[{"text":"x","cachePoint":{}}]}]}`, "must set one of the following keys"},
		"blank text":      {`{"messages":[{"role":"user","content":[{"text":""}]}]}`, "is blank"},
		"unknown field":   {`{"messages":[],"model":"x"}`, "Unknown parameter: 'model'"},
		"image format":    {`{"messages":[{"role":"user","content":[{"image":{"format":"image/png","source":{"bytes":"AAAA"}}}]}]}`, "enum value set"},
		"small budget":    {strings.Replace(turns(user), "1024", "1000", 1), "greater than or equal to 1024"},
		"warm":            {strings.Replace(turns(user), `"toolConfig"`, `"inferenceConfig":{"temperature":0.5},"toolConfig"`, 1), "may only be set to 1"},
	}
	for name, test := range refusals {
		t.Run(name, func(t *testing.T) {
			resp, body := c.ask(claudePath+"converse", test.body)
			if resp.StatusCode != 400 || resp.Header.Get("X-Amzn-Errortype") != "ValidationException" ||
				!strings.Contains(string(body), test.want) {
				t.Errorf("%s %q: %s", resp.Status, resp.Header.Get("X-Amzn-Errortype"), body)
			}
		})
	}
	_, body = c.ask(claudePath+"converse-stream", turns(user))
	var kinds []string
	for _, e := range amazonEvents(t, body) {
		if len(kinds) == 0 || kinds[len(kinds)-1] != e.kind {
			kinds = append(kinds, e.kind)
		}
	}
	if diff := cmp.Diff([]string{
		"messageStart", "contentBlockDelta", "contentBlockStop", "contentBlockStart", "contentBlockDelta", "contentBlockStop",
		"messageStop", "metadata",
	}, kinds); diff != "" {
		t.Error(diff)
	}
	wantNoViolations(t, p)
}

func TestInvoke(t *testing.T) {
	p, c := startAWS(t)
	const ask = `{"anthropic_version":"bedrock-2023-05-31","max_tokens":2,"messages":[{"role":"user","content":"one two three"}]}`
	resp, body := c.ask(claudePath+"invoke", ask)
	if resp.StatusCode != 200 || !strings.Contains(string(body), `"content":[{"type":"text","text":"Hello! This "}],"stop_reason":"max_tokens"`) ||
		resp.Header.Get("X-Amzn-Bedrock-Input-Token-Count") != "3" {
		t.Errorf("%s %v %s", resp.Status, resp.Header, body)
	}
	_, body = c.ask(claudePath+"invoke-with-response-stream", ask)
	var names []string
	for _, e := range amazonEvents(t, body) {
		var chunk struct{ Bytes []byte }
		var inner struct {
			Type    string                     `json:"type"`
			Metrics map[string]json.RawMessage `json:"amazon-bedrock-invocationMetrics"`
		}
		if json.Unmarshal([]byte(e.payload), &chunk) != nil || json.Unmarshal(chunk.Bytes, &inner) != nil || e.kind != "chunk" {
			t.Errorf("chunk %+v", e)
		}
		names = append(names, inner.Type)
		if inner.Type == "message_stop" && string(inner.Metrics["outputTokenCount"]) != "2" {
			t.Errorf("last %s", chunk.Bytes)
		}
	}
	if diff := cmp.Diff([]string{
		"message_start", "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop",
		"message_delta", "message_stop",
	}, names); diff != "" {
		t.Error(diff)
	}
	for change, want := range map[[2]string]string{
		{`"max_tokens"`, `"stream":true,"max_tokens"`}:       "stream: Extra inputs are not permitted",
		{`"max_tokens"`, `"model":"x","max_tokens"`}:         "model: Extra inputs are not permitted",
		{"bedrock-2023-05-31", "2023-06-01"}:                 "anthropic_version",
		{`"max_tokens":2,`, ""}:                              "max_tokens: Field required",
		{`"role":"user"`, `"role":"assistant"`}:              "messages.0",
		{`"content":"one`, `"content":[{"type":"x"}],"x":"`}: "Input tag 'x'",
	} {
		resp, body := c.ask(claudePath+"invoke", strings.Replace(ask, change[0], change[1], 1))
		if resp.StatusCode != 400 || !strings.Contains(string(body), want) {
			t.Errorf("%q: %s %s", change, resp.Status, body)
		}
	}
	wantNoViolations(t, p)
}

func TestBedrockBehaviours(t *testing.T) {
	p, c := startAWS(t)
	p.SetBehaviour("aws", Status(http.StatusTooManyRequests, "", 2*time.Second))
	resp, body := c.ask(claudePath+"converse", converse)
	if resp.StatusCode != 429 || resp.Header.Get("X-Amzn-Errortype") != "ThrottlingException" || resp.Header.Get("Retry-After") != "2" {
		t.Errorf("%s %v %s", resp.Status, resp.Header, body)
	}
	p.SetBehaviour("aws", ErrorMidStream(2, "modelStreamErrorException"))
	_, body = c.ask(claudePath+"converse-stream", converse)
	events := amazonEvents(t, body)
	if n := len(events); n != 3 || events[2].kind != "modelStreamErrorException" {
		t.Errorf("events %v", events)
	}
	p.SetBehaviour("aws", DieMidStream(3, FIN))
	_, body = c.ask(claudePath+"converse-stream", converse)
	if events := amazonEvents(t, body); len(events) != 3 {
		t.Errorf("events %v", events)
	}
	if got := p.Books().Total; got.Started != 3 || got.Finished != 0 {
		t.Errorf("books %+v", got)
	}
}

func TestSignatures(t *testing.T) {
	tests := map[string]struct {
		change func(r *http.Request)
		key    func(k *AccessKey)
		late   time.Duration
		want   string
	}{
		"good":                {},
		"a little late":       {late: 5 * time.Minute},
		"too late":            {late: 5*time.Minute + time.Second, want: "InvalidSignatureException"},
		"too early":           {late: -6 * time.Minute, want: "InvalidSignatureException"},
		"another secret":      {key: func(k *AccessKey) { k.Secret = "x" }, want: "InvalidSignatureException"},
		"an unknown key":      {key: func(k *AccessKey) { k.ID = "x" }, want: "UnrecognizedClientException"},
		"a session of no one": {key: func(k *AccessKey) { k.Session = "x" }, want: "UnrecognizedClientException"},
		"another body": {change: func(r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader(strings.Replace(converse, "one", "two", 1)))
		}, want: "InvalidSignatureException"},
		"another path":  {change: func(r *http.Request) { r.URL.Path += "-stream" }, want: "InvalidSignatureException"},
		"another query": {change: func(r *http.Request) { r.URL.RawQuery = "a=b" }, want: "InvalidSignatureException"},
		"a signed header changed": {change: func(r *http.Request) {
			r.Header.Set("Content-Type", "application/json; charset=utf-8")
		}, want: "InvalidSignatureException"},
		"an amazon header not signed": {change: func(r *http.Request) { r.Header.Set("X-Amz-Other", "x") }, want: "InvalidSignatureException"},
		"no date":                     {change: func(r *http.Request) { r.Header.Del("X-Amz-Date") }, want: "IncompleteSignatureException"},
		"no host": {change: func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "host;", "", 1))
		}, want: "InvalidSignatureException"},
		"another service": {change: func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "/bedrock/", "/s3/", 1))
		}, want: "InvalidSignatureException"},
		"an api key":         {change: func(r *http.Request) { r.Header.Set("Authorization", "Bearer aws") }},
		"an unknown api key": {change: func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }, want: "UnrecognizedClientException"},
		"nothing":            {change: func(r *http.Request) { r.Header.Del("Authorization") }, want: "MissingAuthenticationTokenException"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p, c := startAWS(t)
			key := accessKey()
			if test.key != nil {
				test.key(&key)
			}
			r := c.request(key, "bedrock", claudePath+"converse", converse)
			if test.change != nil {
				test.change(r)
			}
			c.clock.pass(test.late)
			resp, body := c.do(r)
			status := http.StatusForbidden
			if test.want == "" {
				status = http.StatusOK
			}
			if resp.StatusCode != status || resp.Header.Get("X-Amzn-Errortype") != test.want {
				t.Errorf("%s %q: %s", resp.Status, resp.Header.Get("X-Amzn-Errortype"), body)
			}
			if violations := p.Violations(); (len(violations) > 0) != (test.want != "") {
				t.Errorf("violations %q", violations)
			}
		})
	}
}

// A role gives a key with a session, which works until it expires.
func TestAssumeRole(t *testing.T) {
	p, c := startAWS(t)
	const form = "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Ffake&RoleSessionName=fairway&DurationSeconds=900"
	resp, body := c.do(c.request(accessKey(), "sts", "/", form))
	var got struct {
		Key     string    `xml:"AssumeRoleResult>Credentials>AccessKeyId"`
		Secret  string    `xml:"AssumeRoleResult>Credentials>SecretAccessKey"`
		Session string    `xml:"AssumeRoleResult>Credentials>SessionToken"`
		Expires time.Time `xml:"AssumeRoleResult>Credentials>Expiration"`
	}
	if err := xml.Unmarshal(body, &got); err != nil || resp.StatusCode != 200 || !got.Expires.Equal(c.clock.now().Add(15*time.Minute)) {
		t.Fatalf("%s %s %v", resp.Status, body, err)
	}
	temporary := AccessKey{ID: got.Key, Secret: got.Secret, Session: got.Session}
	use := func(k AccessKey) string {
		resp, _ := c.do(c.request(k, "bedrock", claudePath+"converse", converse))
		return fmt.Sprint(resp.StatusCode, resp.Header.Get("X-Amzn-Errortype"))
	}
	if got := use(temporary); got != "200" {
		t.Errorf("used: %s", got)
	}
	if got := use(AccessKey{ID: temporary.ID, Secret: temporary.Secret}); got != "403UnrecognizedClientException" {
		t.Errorf("without its session: %s", got)
	}
	c.clock.pass(15 * time.Minute)
	if got := use(temporary); got != "403ExpiredTokenException" {
		t.Errorf("expired: %s", got)
	}
	for change, want := range map[[2]string]string{
		{"role%2Ffake", "role%2Fother"}:              "<Code>AccessDenied</Code>",
		{"Action=AssumeRole", "Action=Other"}:        "<Code>InvalidAction</Code>",
		{"DurationSeconds=900", "DurationSeconds=1"}: "<Code>ValidationError</Code>",
		{"RoleSessionName=fairway&", ""}:             "<Code>ValidationError</Code>",
	} {
		resp, body := c.do(c.request(accessKey(), "sts", "/", strings.Replace(form, change[0], change[1], 1)))
		if resp.StatusCode < 400 || !strings.Contains(string(body), want) {
			t.Errorf("%q: %s %s", change, resp.Status, body)
		}
	}
	if n := len(p.TokenRequests()); n != 5 || !p.TokenRequests()[0].Granted || p.TokenRequests()[1].Granted {
		t.Errorf("asked %v", p.TokenRequests())
	}
}

// Frames are what Amazon's decoder reads, with the same headers and payload.
func FuzzFrame(f *testing.F) {
	f.Add([]byte(`{"a":1}`), "chunk", "application/json")
	f.Add([]byte{}, "x", "")
	f.Fuzz(func(t *testing.T, payload []byte, kind, media string) {
		if len(kind) > 1<<10 || len(media) > 1<<10 || len(payload) > 1<<20 {
			return
		}
		m, err := eventstream.NewDecoder().Decode(bytes.NewReader(frame(payload, ":event-type", kind, ":content-type", media)), nil)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(m.Payload, payload) || m.Headers.Get(":event-type").String() != kind || m.Headers.Get(":content-type").String() != media {
			t.Errorf("%q %q %q come back as %q %v", payload, kind, media, m.Payload, m.Headers)
		}
	})
}

// An Authorization header that is taken apart names a key, headers and a signature; none ever panics.
func FuzzSignature(f *testing.F) {
	f.Add("AWS4-HMAC-SHA256 Credential=AKIA/20260102/us-east-1/bedrock/aws4_request, SignedHeaders=host;x-amz-date, Signature=00", "/a%2Fb", "a=b&c")
	f.Add("AWS4-HMAC-SHA256 Credential=", "", "%zz")
	f.Fuzz(func(t *testing.T, header, path, query string) {
		if s, ok := parseSignature(header); ok && (s.key == "" || len(s.headers) == 0 || s.value == "") {
			t.Errorf("%q is %+v", header, s)
		}
		for _, out := range []string{awsEncode(path, true), canonicalQuery(query)} {
			if strings.Trim(out, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~%/&=") != "" {
				t.Errorf("%q %q become %q", path, query, out)
			}
		}
	})
}

// Whatever Converse and InvokeModel are asked, an answer is JSON.
func FuzzConverse(f *testing.F) {
	f.Add([]byte(converse))
	f.Add([]byte(converseTwo))
	f.Add([]byte(`{"anthropic_version":"bedrock-2023-05-31","max_tokens":9,"messages":[{"role":"user","content":[{"type":"text","text":"x"}]}],"thinking":{"type":"adaptive"}}`))
	f.Add([]byte(`{"contents":[{"role":"user","parts":[{"text":"x"}]}],"generationConfig":{"thinkingConfig":{"includeThoughts":true}}}`))
	f.Add([]byte(`{"messages":[{"role":"user","content":[{"toolResult":{"toolUseId":"x","content":[{"text":"x"}]}}]}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if inspectBody(body) != nil {
			return
		}
		for name, decode := range map[string]func([]byte) (answer, *apiError){
			"converse": func(b []byte) (answer, *apiError) { return decodeConverse(b, false) },
			"invoke":   func(b []byte) (answer, *apiError) { return decodeInvoke(b, bedrockModel, false) },
			"predict":  func(b []byte) (answer, *apiError) { return decodeRawPredict(b, model, false) },
			"gemini":   func(b []byte) (answer, *apiError) { return decodeVertexGemini(b, model, "") },
		} {
			a, fault := decode(body)
			if fault != nil {
				continue
			}
			if whole := a.whole(stamp{}, true); !json.Valid(whole) {
				t.Errorf("%s of %q is %s", name, body, whole)
			}
			a.events(stamp{}, true, func(event []byte) bool {
				if len(event) == 0 {
					t.Errorf("%s of %q has an empty event", name, body)
				}
				return true
			})
			if len(a.cut.last(stamp{}, true)) == 0 {
				t.Errorf("%s of %q has no end", name, body)
			}
		}
	})
}
