package anthropic

import "fairway/dataplane/internal/dialect"

// AppendModels appends the answer to a list of models: all of them, as one page.
func AppendModels(dst []byte, names []string) []byte {
	dst = append(dst, `{"data":[`...)
	for i, name := range names {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendModel(dst, name)
	}
	dst = append(dst, `],"has_more":false,"first_id":`...)
	first, last := "", ""
	if len(names) > 0 {
		first, last = names[0], names[len(names)-1]
	}
	dst = appendNullable(dst, first)
	dst = append(dst, `,"last_id":`...)
	dst = appendNullable(dst, last)
	return append(dst, '}')
}

// AppendModel appends the description of one model. What upstreams say of it is not ours to repeat, so it has the API's
// date for models whose date is not known.
func AppendModel(dst []byte, name string) []byte {
	dst = append(dst, `{"type":"model","id":`...)
	dst = dialect.AppendQuoted(dst, name)
	dst = append(dst, `,"display_name":`...)
	dst = dialect.AppendQuoted(dst, name)
	return append(dst, `,"created_at":"1970-01-01T00:00:00Z"}`...)
}
