package fakellm

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

// Azure OpenAI: OpenAI's operations under other paths, with another way to show who one is.

// What the content filters say of harmless text.
const (
	nothingFiltered = `{"hate":{"filtered":false,"severity":"safe"},"self_harm":{"filtered":false,"severity":"safe"},` +
		`"sexual":{"filtered":false,"severity":"safe"},"violence":{"filtered":false,"severity":"safe"}}`
	promptFiltered = `[{"prompt_index":0,"content_filter_results":` + nothingFiltered + `}]`
)

// azurePrefix begins every path of Azure OpenAI.
const azurePrefix = "/openai/"

// serveCloud serves what is not OpenAI's own surface; false = it is.
func (p *Provider) serveCloud(w http.ResponseWriter, r *http.Request, sequence uint64) bool {
	x := &exchange{p: p, w: w, r: r, request: Request{Sequence: sequence, Path: r.URL.Path}}
	switch path := r.URL.Path; {
	case isGrant(path):
		x.serveGrant()
	case strings.HasPrefix(path, azurePrefix):
		x.serveAzure()
	case strings.HasPrefix(path, "/model/"):
		x.serveBedrock()
	case strings.HasPrefix(path, "/v1/projects/"):
		x.serveVertex()
	default:
		return false
	}
	return true
}

// ownHeader says which headers are credentials of the path's API, though they are forbidden elsewhere.
func ownHeader(r *http.Request, name string) bool {
	return name == "Api-Key" && strings.HasPrefix(r.URL.Path, azurePrefix)
}

// azureForm writes errors as Azure does: an error of its own has no type and no param.
func azureForm(e *apiError, h http.Header) []byte {
	if e.status == http.StatusBadRequest {
		return e.envelope()
	}
	h.Set("X-Ms-Error-Code", orElse(e.code, strconv.Itoa(e.status)))
	out := appendString([]byte(`{"error":{"code":`), orElse(e.code, strconv.Itoa(e.status)))
	return append(appendString(append(out, `,"message":`...), e.message), "}}"...)
}

// serveAzure serves both forms: the dated one, where the path names the deployment, and v1, where the body's model
// does.
func (x *exchange) serveAzure() {
	x.form = azureForm
	x.w.Header().Set("Apim-Request-Id", x.w.Header().Get("X-Request-Id"))
	x.w.Header().Set("X-Ms-Region", "Fake Central")
	account, fault := x.azureAccount()
	if fault != nil {
		x.refuse(fault)
		return
	}
	behaviour, known := x.p.take(account)
	if !known {
		x.refuse(azureUnauthorized())
		return
	}
	x.behaviour, x.request.Credential = behaviour, account
	name, dated := strings.CutPrefix(x.r.URL.Path, azurePrefix+"deployments/")
	version := x.r.URL.Query()["api-version"]
	if dated {
		x.deployment, name, _ = strings.Cut(name, "/")
		if len(version) != 1 || !regexp.MustCompile(`^\d{4}-\d{2}-\d{2}(-preview)?$`).MatchString(version[0]) {
			x.refuse(&apiError{status: http.StatusNotFound, message: "Resource not found"})
			return
		}
		if !x.p.serves(x.deployment) {
			x.refuse(&apiError{
				status: http.StatusNotFound, code: "DeploymentNotFound",
				message: "The API deployment for this resource does not exist. If you created the deployment within the " +
					"last 5 minutes, please wait a moment and try again.",
			})
			return
		}
	} else {
		var v1 bool
		name, v1 = strings.CutPrefix(x.r.URL.Path, azurePrefix+"v1/")
		wrong := len(version) > 1 || (len(version) == 1 && version[0] != "preview" && version[0] != "latest" && version[0] != "v1")
		if !v1 || wrong {
			x.refuse(&apiError{status: http.StatusNotFound, message: "Resource not found"})
			return
		}
	}
	x.serveAzureOperation(name, dated)
}

func (x *exchange) serveAzureOperation(name string, dated bool) {
	if rest, ok := strings.CutPrefix(name, "responses/"); ok && !dated && rest != "input_tokens" {
		x.serveShelf(rest)
		return
	}
	switch route := x.r.Method + " " + name; {
	case route == "GET models" && !dated:
		x.serveModels()
		return
	case route == "POST chat/completions":
		x.serve(x.deployed(decodeAzureChat))
		return
	case route == "POST completions":
		x.serve(x.deployed(decodeCompletion))
		return
	case route == "POST embeddings":
		x.serve(x.deployed(decodeEmbedding))
		return
	case x.r.Method == http.MethodPost && (!dated || !strings.HasPrefix(name, "responses")):
		if serve := x.posted(name); serve != nil {
			serve()
			return
		}
	}
	x.refuse(&apiError{status: http.StatusNotFound, message: "Resource not found"})
}

func azureUnauthorized() *apiError {
	return &apiError{
		status: http.StatusUnauthorized,
		message: "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key " +
			"for an active subscription and use a correct regional API endpoint for your resource.",
	}
}

// azureAccount is whose the request is: by api-key, by a token of Entra's, or by a key as a bearer; by one of them only.
func (x *exchange) azureAccount() (string, *apiError) {
	keys := x.r.Header.Values("Api-Key")
	if len(x.r.Header.Values("Authorization")) > 0 {
		if len(keys) > 0 {
			return "", &apiError{status: http.StatusUnauthorized, message: "the request has both an api-key and a bearer"}
		}
		credential, fault := bearer(x.r)
		if fault != nil {
			return "", fault
		}
		return x.p.grants.account(grantEntra, credential, x.p.now()), nil
	}
	if len(keys) != 1 || keys[0] == "" {
		return "", azureUnauthorized()
	}
	return keys[0], nil
}

// decodeAzureChat is chat as the content filters have seen it.
func decodeAzureChat(body []byte) (answer, *apiError) {
	c, fault := decodeChatAnswer(body)
	if fault != nil {
		return answer{}, fault
	}
	c.filtered = true
	return answer{model: c.model, stream: c.stream, usage: c.usage, whole: c.whole, events: c.events}, nil
}

// deployed puts the deployment in the model's place.
func (x *exchange) deployed(decode func([]byte) (answer, *apiError)) func([]byte) (answer, *apiError) {
	if x.deployment == "" {
		return decode
	}
	return func(body []byte) (answer, *apiError) {
		var members map[string]json.RawMessage
		if fault := decodeInto(body, &members); fault != nil {
			return answer{}, fault
		}
		members["model"] = appendString(nil, x.deployment)
		named, err := json.Marshal(members)
		if err != nil {
			return answer{}, badRequest("invalid_value", "", "the body cannot be decoded")
		}
		return decode(named)
	}
}
