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
