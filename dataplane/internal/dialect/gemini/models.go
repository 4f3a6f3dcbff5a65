package gemini

import "fairway/dataplane/internal/dialect"

// AppendModels appends the answer to a list of models.
func AppendModels(dst []byte, names []string) []byte {
	dst = append(dst, `{"models":[`...)
	for i, name := range names {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendModel(dst, name)
	}
	return append(dst, "]}"...)
}

// AppendModel appends the description of one model. What upstreams say of it, such as how much it takes in, is not ours to
// repeat.
func AppendModel(dst []byte, name string) []byte {
	dst = dialect.AppendQuoted(append(dst, `{"name":`...), "models/"+name)
	dst = dialect.AppendQuoted(append(dst, `,"version":"","displayName":`...), name)
	return append(dst, `,"description":"","supportedGenerationMethods":["generateContent","streamGenerateContent",`+
		`"countTokens","embedContent","batchEmbedContents"]}`...)
}
