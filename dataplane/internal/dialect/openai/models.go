package openai

import "fairway/dataplane/internal/dialect"

// AppendModels appends the answer to a list of models.
func AppendModels(dst []byte, names []string) []byte {
	dst = append(dst, `{"object":"list","data":[`...)
	for i, name := range names {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendModel(dst, name)
	}
	return append(dst, "]}"...)
}

// AppendModel appends the description of one model. What upstreams say of it is not ours to repeat, so created is 0.
func AppendModel(dst []byte, name string) []byte {
	dst = append(dst, `{"id":`...)
	dst = dialect.AppendQuoted(dst, name)
	return append(dst, `,"object":"model","created":0,"owned_by":"fairway"}`...)
}
