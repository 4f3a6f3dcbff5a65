package fakellm

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Google's Gemini API: contents generated, tokens counted, texts embedded, models; and what it serves in OpenAI's shapes.

// geminiModels is before every model's name in a path.
const geminiModels = "/v1beta/models"

func (x *exchange) serveGemini() {
	rest, ours := strings.CutPrefix(x.r.URL.Path, geminiModels)
	name, verb, _ := strings.Cut(strings.TrimPrefix(rest, "/"), ":")
	switch route := x.r.Method + " " + verb; {
	case !ours || rest != "" && (!strings.HasPrefix(rest, "/") || name == ""):
		x.p.refuse(x.w, x.r, geminiNotFound("Requested entity was not found."))
	case route == "GET " && rest == "":
		x.serveGeminiModels()
	case route == "GET ":
		x.serveGeminiModel(name)
	case route == "POST generateContent":
		x.serve(func(body []byte) (answer, *apiError) { return x.decodeGenerate(body, name, wholeGemini) })
	case route == "POST streamGenerateContent":
		form := arrayGemini
		switch x.r.URL.Query().Get("alt") {
		case "sse":
			form = eventsGemini
		case "", "json":
		default:
			x.p.refuse(x.w, x.r, geminiBad("Invalid value for query parameter alt."))
			return
		}
		x.serve(func(body []byte) (answer, *apiError) { return x.decodeGenerate(body, name, form) })
	case route == "POST countTokens":
		x.serve(func(body []byte) (answer, *apiError) { return x.decodeCountTokens(body, name) })
	case route == "POST embedContent":
		x.serve(func(body []byte) (answer, *apiError) { return x.decodeEmbedContent(body, name) })
	case route == "POST batchEmbedContents":
		x.serve(func(body []byte) (answer, *apiError) { return x.decodeBatchEmbed(body, name) })
	default:
		x.p.refuse(x.w, x.r, geminiNotFound("Requested entity was not found."))
	}
}

// serveGeminiAsOpenAI serves OpenAI's requests. Google takes a model's name with "models/" before it or without.
func (x *exchange) serveGeminiAsOpenAI(route string) {
	plainly := func(decode func([]byte) (answer, *apiError)) func([]byte) (answer, *apiError) {
		return func(body []byte) (answer, *apiError) {
			a, fault := decode(body)
			a.model = strings.TrimPrefix(a.model, "models/")
			a.cut = x.framing(nil, "")
			if fault == nil {
				fault = x.knowsGeminiModel(a.model, "generateContent")
			}
			return a, fault
		}
	}
	switch {
	case route == "POST "+compatPath+"chat/completions":
		x.serve(plainly(decodeChat))
	case route == "POST "+compatPath+"embeddings":
		x.serve(plainly(decodeEmbedding))
	case route == "GET "+compatPath+"models":
		if !x.mayList() {
			return
		}
		out := []byte(`{"object":"list","data":[`)
		for i, name := range x.p.listed() {
			if i > 0 {
				out = append(out, ',')
			}
			out = appendCompatModel(out, name)
		}
		x.writeJSON(append(out, "]}"...))
	case strings.HasPrefix(route, "GET "+compatPath+"models/"):
		if !x.mayList() {
			return
		}
		name := strings.TrimPrefix(strings.TrimPrefix(x.r.URL.Path, compatPath+"models/"), "models/")
		if !slices.Contains(x.p.listed(), name) {
			noGeminiModel(name, "getModel").write(x.w, 0)
			return
		}
		x.writeJSON(appendCompatModel(nil, name))
	default:
		x.p.refuse(x.w, x.r, geminiNotFound("Requested entity was not found."))
	}
}

func appendCompatModel(dst []byte, name string) []byte {
	dst = appendString(append(dst, `{"id":`...), "models/"+name)
	return append(dst, `,"object":"model","owned_by":"google"}`...)
}

func (x *exchange) knowsGeminiModel(name, method string) *apiError {
	if x.p.serves(name) {
		return nil
	}
	fault := noGeminiModel(name, method)
	x.p.violate("%s %s: %s", x.r.Method, safePath(x.r), fault.message)
	return fault
}

func noGeminiModel(name, method string) *apiError {
	return geminiNotFound(fmt.Sprintf("models/%s is not found for API version v1beta, or is not supported for %s. "+
		"Call ListModels to see the list of available models and their supported methods.", name, method))
}

func (x *exchange) serveGeminiModels() {
	if !x.mayList() {
		return
	}
	names := x.p.listed()
	query := x.r.URL.Query()
	from, size := 0, 50
	var err error
	if token := query.Get("pageToken"); token != "" {
		if from, err = strconv.Atoi(token); err != nil || from < 0 || from > len(names) {
			geminiBad("Invalid page token.").write(x.w, 0)
			return
		}
	}
	if text := query.Get("pageSize"); text != "" {
		if size, err = strconv.Atoi(text); err != nil || size < 0 {
			geminiBad("Invalid value at 'page_size' (TYPE_INT32), %q", text).write(x.w, 0)
			return
		}
		if size == 0 || size > 1000 {
			size = 1000
		}
	}
	to := min(from+size, len(names))
	out := []byte(`{"models":[`)
	for i, name := range names[from:to] {
		if i > 0 {
			out = append(out, ',')
		}
		out = appendGeminiModel(out, name)
	}
	out = append(out, ']')
	if to < len(names) {
		out = fmt.Appendf(out, `,"nextPageToken":"%d"`, to)
	}
	x.writeJSON(append(out, '}'))
}

func (x *exchange) serveGeminiModel(name string) {
	if !x.mayList() {
		return
	}
	if !slices.Contains(x.p.listed(), name) {
		noGeminiModel(name, "getModel").write(x.w, 0)
		return
	}
	x.writeJSON(appendGeminiModel(nil, name))
}

func appendGeminiModel(dst []byte, name string) []byte {
	dst = appendString(append(dst, `{"name":`...), "models/"+name)
	dst = appendString(append(dst, `,"version":"001","displayName":`...), name)
	return append(dst, `,"description":"A fake.","inputTokenLimit":1048576,"outputTokenLimit":65536,"supportedGenerationMethods":`+
		`["generateContent","countTokens","embedContent"],"temperature":1,"topP":0.95,"topK":64,"maxTemperature":2,"thinking":true}`...)
}

func geminiBad(format string, args ...any) *apiError {
	return &apiError{status: http.StatusBadRequest, code: "INVALID_ARGUMENT", message: fmt.Sprintf(format, args...)}
}

func geminiNotFound(message string) *apiError {
	return &apiError{status: http.StatusNotFound, code: "NOT_FOUND", message: message}
}

// invalidGeminiKey is a 400 where others say 401.
func invalidGeminiKey() *apiError {
	const message = "API key not valid. Please pass a valid API key."
	return &apiError{
		status: http.StatusBadRequest, code: "INVALID_ARGUMENT", message: message,
		details: `{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com",` +
			`"metadata":{"service":"generativelanguage.googleapis.com"}},{"@type":"type.googleapis.com/google.rpc.LocalizedMessage",` +
			`"locale":"en-US","message":"` + message + `"}`,
	}
}

// geminiStatus is the canonical code of an HTTP status.
func geminiStatus(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "UNAUTHENTICATED"
	case http.StatusForbidden:
		return "PERMISSION_DENIED"
	case http.StatusNotFound:
		return "NOT_FOUND"
	case http.StatusConflict:
		return "ABORTED"
	case http.StatusTooManyRequests:
		return "RESOURCE_EXHAUSTED"
	case http.StatusServiceUnavailable:
		return "UNAVAILABLE"
	case http.StatusGatewayTimeout:
		return "DEADLINE_EXCEEDED"
	case http.StatusNotImplemented:
		return "UNIMPLEMENTED"
	}
	if status >= http.StatusInternalServerError {
		return "INTERNAL"
	}
	return "INVALID_ARGUMENT"
}

// geminiCode says whether a word is one of Google's canonical codes.
func geminiCode(word string) bool {
	switch word {
	case "INVALID_ARGUMENT", "FAILED_PRECONDITION", "UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND", "ABORTED",
		"RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNKNOWN", "CANCELLED":
		return true
	}
	return false
}

// geminiFault gives an error Google's code; one that a behaviour asked for gets Google's words and details, too. A code
// that is one of Google's is kept, others go by the status.
func geminiFault(e *apiError, retryAfter time.Duration) *apiError {
	out := *e
	if e.told && e.code == "API_KEY_INVALID" {
		return invalidGeminiKey()
	}
	if !geminiCode(e.code) {
		out.code = geminiStatus(e.status)
	}
	if !e.told {
		return &out
	}
	switch out.code {
	case "RESOURCE_EXHAUSTED":
		out.message = "You exceeded your current quota, please check your plan and billing details. For more information on " +
			"this error, head over to: https://ai.google.dev/gemini-api/docs/rate-limits."
		out.details = quotaDetails(e.code == "insufficient_quota", retryAfter)
	case "UNAVAILABLE":
		out.message = "The model is overloaded. Please try again later."
	case "INTERNAL":
		out.message = "An internal error has occurred. Please retry or report in " +
			"https://developers.generativeai.google/guide/troubleshooting"
	case "DEADLINE_EXCEEDED":
		out.message = "The service was unable to finish processing within the deadline. Please retry."
	case "PERMISSION_DENIED":
		out.message = "The caller does not have permission"
	case "UNAUTHENTICATED":
		out.message = "Request had invalid authentication credentials."
	}
	return &out
}

// quotaDetails say which quota is used up, by the day or by the minute, and when to come again.
func quotaDetails(daily bool, retryAfter time.Duration) string {
	id := "GenerateRequestsPerMinutePerProjectPerModel"
	if daily {
		id = "GenerateRequestsPerDayPerProjectPerModel"
	}
	out := `{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaMetric":` +
		`"generativelanguage.googleapis.com/generate_content_requests","quotaId":"` + id + `","quotaDimensions":` +
		`{"location":"global"},"quotaValue":"50"}]},{"@type":"type.googleapis.com/google.rpc.Help","links":[{"description":` +
		`"Learn more about Gemini API quotas","url":"https://ai.google.dev/gemini-api/docs/rate-limits"}]}`
	if retryAfter > 0 {
		out += `,{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"` +
			strconv.FormatFloat(math.Round(retryAfter.Seconds()*1e9)/1e9, 'f', -1, 64) + `s"}`
	}
	return out
}

func geminiEnvelope(e *apiError) []byte {
	out := appendString(fmt.Appendf(nil, `{"error":{"code":%d,"message":`, e.status), e.message)
	out = appendString(append(out, `,"status":`...), e.code)
	if e.details != "" {
		out = append(append(append(out, `,"details":[`...), e.details...), ']')
	}
	return append(out, "}}"...)
}
