package fakellm

import (
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode"
)

// bedrockForm writes errors as AWS's JSON services do: the kind in a header, the words in the body.
func bedrockForm(e *apiError, h http.Header) []byte {
	h.Set("X-Amzn-Errortype", exception(e))
	return append(appendString([]byte(`{"message":`), e.message), '}')
}

// exception is the error's kind.
func exception(e *apiError) string {
	if strings.HasSuffix(e.code, "Exception") {
		return e.code
	}
	switch e.status {
	case http.StatusBadRequest:
		return "ValidationException"
	case http.StatusUnauthorized, http.StatusForbidden:
		return "AccessDeniedException"
	case http.StatusNotFound:
		return "ResourceNotFoundException"
	case http.StatusRequestTimeout:
		return "ModelTimeoutException"
	case http.StatusFailedDependency:
		return "ModelErrorException"
	case http.StatusTooManyRequests:
		return "ThrottlingException"
	case http.StatusServiceUnavailable:
		return "ServiceUnavailableException"
	}
	return "InternalServerException"
}

// streamException is the error as a frame; those of a stream begin with a small letter.
func streamException(e *apiError, _ int) []byte {
	kind := []rune(exception(e))
	kind[0] = unicode.ToLower(kind[0])
	return exceptionFrame(string(kind), append(appendString([]byte(`{"message":`), e.message), '}'))
}

// validation is a request that Bedrock refuses.
func validation(format string, args ...any) *apiError {
	return badRequest("ValidationException", "", format, args...)
}

// serveBedrock serves /model/{id}/{operation}. What signs covers the body, so that it is read first; a behaviour that
// answers early is known only by a bearer.
func (x *exchange) serveBedrock() {
	x.form = bedrockForm
	x.w.Header().Set("X-Amzn-Requestid", x.w.Header().Get("X-Request-Id"))
	target, _, _ := strings.Cut(x.r.RequestURI, "?")
	id, operation, _ := strings.Cut(strings.TrimPrefix(target, "/model/"), "/")
	model, err := url.PathUnescape(id)
	var decode func([]byte) (answer, *apiError)
	switch operation {
	case "converse", "converse-stream":
		decode = func(body []byte) (answer, *apiError) { return decodeConverse(body, operation == "converse-stream") }
	case "invoke", "invoke-with-response-stream":
		decode = func(body []byte) (answer, *apiError) {
			return decodeInvoke(body, model, operation == "invoke-with-response-stream")
		}
	}
	if err != nil || decode == nil || x.r.Method != http.MethodPost {
		x.refuse(&apiError{status: http.StatusNotFound, code: "UnknownOperationException", message: "Unknown operation"})
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(x.w, x.r.Body, x.p.maxBody))
	if err != nil {
		x.p.noteCanceled(x.request)
		abort(x.w, FIN)
		return
	}
	account, fault := x.bedrockAccount(body)
	if fault != nil {
		x.refuse(fault)
		return
	}
	behaviour, known := x.p.take(account)
	if !known {
		x.refuse(&apiError{
			status: http.StatusForbidden, code: "UnrecognizedClientException",
			message: "The security token included in the request is invalid.",
		})
		return
	}
	x.behaviour, x.request.Credential = behaviour, account
	x.r.Body = io.NopCloser(strings.NewReader(string(body)))
	x.serve(func(body []byte) (answer, *apiError) {
		a, fault := decode(body)
		a.model = model
		if whole := a.whole; whole != nil {
			a.whole = func(s stamp, withUsage bool) []byte {
				x.w.Header().Set("X-Amzn-Bedrock-Input-Token-Count", strconv.FormatInt(a.usage.input, 10))
				x.w.Header().Set("X-Amzn-Bedrock-Output-Token-Count", strconv.FormatInt(a.usage.output, 10))
				return whole(s, withUsage)
			}
		}
		return a, fault
	})
}

// bedrockAccount is whose the request is: by signature, or by an API key as a bearer.
func (x *exchange) bedrockAccount(body []byte) (string, *apiError) {
	if strings.HasPrefix(x.r.Header.Get("Authorization"), signingAlgorithm) {
		key, fault := x.p.grants.verify(x.r, body, "bedrock", x.p.now())
		return key.Account, fault
	}
	credential, fault := bearer(x.r)
	if fault != nil {
		fault.status, fault.code = http.StatusForbidden, "MissingAuthenticationTokenException"
		return "", fault
	}
	return credential, nil
}
