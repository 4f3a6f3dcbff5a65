package fakellm

import (
	"fmt"
	"net/http"
	"strings"
)

// vertexForm writes errors as Google's APIs do.
func vertexForm(e *apiError, _ http.Header) []byte {
	out := appendString(fmt.Appendf(nil, `{"error":{"code":%d,"message":`, e.status), e.message)
	out = append(appendString(append(out, `,"status":`...), googleStatus(e.status)), `,"details":[`...)
	if e.status == http.StatusUnauthorized {
		out = append(out, `{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"ACCESS_TOKEN_EXPIRED",`+
			`"domain":"googleapis.com","metadata":{"service":"aiplatform.googleapis.com"}}`...)
	}
	return append(out, "]}}"...)
}

// googleStatus is the name of an HTTP status among Google's codes.
func googleStatus(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "INVALID_ARGUMENT"
	case http.StatusUnauthorized:
		return "UNAUTHENTICATED"
	case http.StatusForbidden:
		return "PERMISSION_DENIED"
	case http.StatusNotFound:
		return "NOT_FOUND"
	case http.StatusTooManyRequests:
		return "RESOURCE_EXHAUSTED"
	case http.StatusServiceUnavailable:
		return "UNAVAILABLE"
	case http.StatusGatewayTimeout:
		return "DEADLINE_EXCEEDED"
	}
	return "INTERNAL"
}

// serveVertex serves /v1/projects/P/locations/L/publishers/{google|anthropic}/models/M:verb.
func (x *exchange) serveVertex() {
	x.form = vertexForm
	path := strings.Split(strings.TrimPrefix(x.r.URL.Path, "/v1/"), "/")
	const steps = 8
	if len(path) != steps || path[2] != "locations" || path[4] != "publishers" || path[6] != "models" || x.r.Method != http.MethodPost {
		x.refuse(x.unknownURL())
		return
	}
	model, verb, _ := strings.Cut(path[7], ":")
	decode := vertexVerb(path[5], model, verb, x.r.URL.Query().Get("alt"))
	if decode == nil {
		x.refuse(x.unknownURL())
		return
	}
	unauthorized := &apiError{
		status: http.StatusUnauthorized,
		message: "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid " +
			"authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
	}
	credential, fault := bearer(x.r)
	if fault != nil {
		x.refuse(unauthorized)
		return
	}
	t, ok := x.p.grants.find(grantGoogle, credential, x.p.now())
	if !ok {
		x.refuse(unauthorized)
		return
	}
	if t.project != "" && t.project != path[1] {
		x.refuse(&apiError{
			status: http.StatusForbidden,
			message: fmt.Sprintf("Permission 'aiplatform.endpoints.predict' denied on resource '//aiplatform.googleapis.com/%s' "+
				"(or it may not exist).", strings.Join(path[:4], "/")),
		})
		return
	}
	behaviour, known := x.p.take(t.account)
	if !known {
		x.refuse(unauthorized)
		return
	}
	x.behaviour, x.request.Credential = behaviour, t.account
	x.serve(func(body []byte) (answer, *apiError) {
		a, fault := decode(body)
		a.model = model
		return a, fault
	})
}

// vertexVerb is how a verb's body is read; nil = there is no such verb.
func vertexVerb(publisher, model, verb, alt string) func([]byte) (answer, *apiError) {
	switch publisher + " " + verb {
	case "google generateContent":
		return func(body []byte) (answer, *apiError) { return decodeVertexGemini(body, model, "") }
	case "google streamGenerateContent":
		if alt != "sse" {
			// A JSON array, which is what comes when nobody asks for events.
			alt = "json"
		}
		return func(body []byte) (answer, *apiError) { return decodeVertexGemini(body, model, alt) }
	case "google countTokens":
		return decodeVertexCount
	case "anthropic rawPredict":
		return func(body []byte) (answer, *apiError) { return decodeRawPredict(body, model, false) }
	case "anthropic streamRawPredict":
		return func(body []byte) (answer, *apiError) { return decodeRawPredict(body, model, true) }
	}
	return nil
}
