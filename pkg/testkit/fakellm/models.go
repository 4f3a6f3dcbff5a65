package fakellm

import (
	"net/http"
	"slices"
	"strconv"
)

// serveModels and serveModel answer as an account does; they are on no books.

func (x *exchange) serveModels() {
	if !x.mayList() {
		return
	}
	out := []byte(`{"object":"list","data":[`)
	for i, name := range x.p.listed() {
		if i > 0 {
			out = append(out, ',')
		}
		out = appendModel(out, name)
	}
	x.writeJSON(append(out, "]}"...))
}

func (x *exchange) serveModel(name string) {
	if !x.mayList() {
		return
	}
	if !slices.Contains(x.p.listed(), name) {
		x.write(unknownModel(name), 0)
		return
	}
	x.writeJSON(appendModel(nil, name))
}

// mayList answers with the behaviour's status, if it has one.
func (x *exchange) mayList() bool {
	if x.behaviour.StatusCode == 0 {
		return true
	}
	x.write(faultOf(x.behaviour.StatusCode, x.behaviour.ErrorCode), x.behaviour.RetryAfter)
	return false
}

func (x *exchange) writeJSON(body []byte) {
	h := x.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	x.w.WriteHeader(http.StatusOK)
	_, _ = x.w.Write(body)
}

func appendModel(dst []byte, name string) []byte {
	dst = appendString(append(dst, `{"id":`...), name)
	return append(dst, `,"object":"model","created":1700000000,"owned_by":"fairway-fake"}`...)
}
