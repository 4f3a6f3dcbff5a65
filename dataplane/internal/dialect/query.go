package dialect

import (
	"net/url"
	"strings"
)

// queryModel is the model that a query names; empty when it names none, or more than one.
func queryModel(query string) string {
	found, model := 0, ""
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if isModel(name) {
			found++
			var err error
			if model, err = url.QueryUnescape(value); err != nil {
				return ""
			}
		}
	}
	if found != 1 || len(model) > maxModel {
		return ""
	}
	return model
}

// isModel says whether a parameter's name is "model", however it is escaped.
func isModel(name string) bool {
	plain, err := url.QueryUnescape(name)
	return err == nil && plain == "model"
}

// AppendQuery appends a query, with its question mark, in which model has another name. Everything else stays as it is.
func AppendQuery(dst, query []byte, model string) []byte {
	sep := byte('?')
	for pair := range strings.SplitSeq(string(query), "&") {
		if pair == "" {
			continue
		}
		dst = append(dst, sep)
		sep = '&'
		if name, _, _ := strings.Cut(pair, "="); isModel(name) {
			dst = append(dst, "model="...)
			dst = append(dst, url.QueryEscape(model)...)
			continue
		}
		dst = append(dst, pair...)
	}
	return dst
}
