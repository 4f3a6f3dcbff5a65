package accesslog

import (
	"bytes"
	"regexp"

	"fairway/dataplane/internal/journal"
)

// redactor masks what looks like a credential in bodies. It knows the forms that the large providers publish, and members
// whose name says it; what has no form, or comes letter by letter in a stream of events, it cannot know.
type redactor struct {
	forms   []*regexp.Regexp // masked whole
	members *regexp.Regexp   // its first group is masked
}

func newRedactor() *redactor {
	r := &redactor{}
	for _, form := range [...]string{
		`\bsk-[A-Za-z0-9_-]{12,}`,                                 // ours, OpenAI, Anthropic, DeepSeek, and who does it like them
		`\b(?:gsk|xai|hf|pplx|nvapi|r8|fw)[_-][A-Za-z0-9_-]{16,}`, // Groq, xAI, Hugging Face, Perplexity, NVIDIA, Replicate, Fireworks
		`\bAIza[A-Za-z0-9_-]{20,}`,                                // Google
		`\bya29\.[A-Za-z0-9_.-]{12,}`,
		`\b(?:AKIA|ASIA|ABSK)[A-Za-z0-9+/=]{12,}`, // AWS
		`\b(?:gh[pousr]_|github_pat_|glpat-|xox[abeprs]-)[A-Za-z0-9_-]{12,}`,
		`\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?`, // JSON web tokens
		`(?i)\b(?:bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}`,
		`-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?)(?:-----END|\z)`,
		`(?i)\b[a-z][a-z0-9+.-]*://[^\s/@"'\\:]*:[^\s/@"'\\]+@`, // a password in a URL
	} {
		r.forms = append(r.forms, regexp.MustCompile(form))
	}
	const names = `(?:x-|x_)?(?:goog-)?api[_-]?key|apikey|authorization|proxy-authorization|cookie|passw(?:or)?d|passphrase|secret|client[_-]?secret|` +
		`secret[_-]?(?:access[_-]?)?key|private[_-]?key|(?:access|refresh|id|auth|bearer|session|security)[_-]?token|token|credentials?`
	// Also as JSON inside a JSON string, as the arguments of a call are.
	r.members = regexp.MustCompile(`(?i)\\*"(?:` + names + `)\\*"\s*:\s*\\*"((?:[^"\\]|\\[^"])+)`)
	return r
}

// redact masks b in place. Lengths stay.
func (r *redactor) redact(b *journal.Bodies) {
	if b == nil {
		return
	}
	b.Request = r.mask(unfinished(b.Request, b.RequestCut))
	b.Response = r.mask(unfinished(b.Response, b.ResponseCut))
}

func (r *redactor) mask(body []byte) []byte {
	for _, form := range r.forms {
		for _, at := range form.FindAllIndex(body, -1) {
			stars(body[at[0]:at[1]])
		}
	}
	for _, at := range r.members.FindAllSubmatchIndex(body, -1) {
		stars(body[at[2]:at[3]])
	}
	return body
}

func stars(p []byte) {
	for i := range p {
		p[i] = '*'
	}
}

// unfinished takes the last word from a body that was cut: half of a credential has no form any more.
func unfinished(body []byte, cut bool) []byte {
	if !cut {
		return body
	}
	return body[:bytes.LastIndexAny(body, " \t\r\n\",")+1]
}
