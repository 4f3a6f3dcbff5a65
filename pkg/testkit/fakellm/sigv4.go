package fakellm

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// AWS Signature Version 4 over headers, from the side that verifies it. Source: "Create a signed AWS API request" in the
// IAM user guide.

const (
	signingAlgorithm = "AWS4-HMAC-SHA256"
	signingTime      = "20060102T150405Z"
	signingSkew      = 5 * time.Minute
)

// signature is an Authorization header, taken apart.
type signature struct {
	key, day, region, service string
	headers                   []string
	value                     string
}

// parseSignature reads AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=….
func parseSignature(header string) (signature, bool) {
	rest, ok := strings.CutPrefix(header, signingAlgorithm+" ")
	if !ok {
		return signature{}, false
	}
	var s signature
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "Credential":
			scope := strings.Split(value, "/")
			if len(scope) != 5 || scope[4] != "aws4_request" {
				return signature{}, false
			}
			s.key, s.day, s.region, s.service = scope[0], scope[1], scope[2], scope[3]
		case "SignedHeaders":
			s.headers = strings.Split(value, ";")
		case "Signature":
			s.value = value
		default:
			return signature{}, false
		}
	}
	return s, s.key != "" && s.value != "" && len(s.headers) > 0
}

// verify checks who signed the request for the service, and what.
func (g *grants) verify(r *http.Request, body []byte, service string, now time.Time) (AccessKey, *apiError) {
	refuse := func(code, format string, args ...any) (AccessKey, *apiError) {
		return AccessKey{}, &apiError{status: http.StatusForbidden, code: code, message: fmt.Sprintf(format, args...)}
	}
	s, ok := parseSignature(r.Header.Get("Authorization"))
	if !ok {
		return refuse("IncompleteSignatureException", "Authorization header requires 'Credential', 'Signature' and "+
			"'SignedHeaders' parameters.")
	}
	key, known, expired := g.key(s.key, now)
	switch {
	case !known:
		return refuse("UnrecognizedClientException", "The security token included in the request is invalid.")
	case expired:
		return refuse("ExpiredTokenException", "The security token included in the request is expired")
	case r.Header.Get("X-Amz-Security-Token") != key.Session:
		return refuse("UnrecognizedClientException", "The security token included in the request is invalid.")
	case s.service != service:
		return refuse("InvalidSignatureException", "Credential should be scoped to correct service: '%s'.", service)
	case !slices.IsSorted(s.headers):
		return refuse("InvalidSignatureException", "the signed headers are not sorted")
	}
	date := r.Header.Get("X-Amz-Date")
	at, err := time.Parse(signingTime, date)
	switch {
	case err != nil:
		return refuse("IncompleteSignatureException", "header X-Amz-Date is %q", date)
	case at.Before(now.Add(-signingSkew)):
		return refuse("InvalidSignatureException", "Signature expired: %s is now earlier than %s (%s - 5 min.)", date,
			now.Add(-signingSkew).UTC().Format(signingTime), now.UTC().Format(signingTime))
	case at.After(now.Add(signingSkew)):
		return refuse("InvalidSignatureException", "Signature not yet current: %s is still later than %s (%s + 5 min.)", date,
			now.Add(signingSkew).UTC().Format(signingTime), now.UTC().Format(signingTime))
	case s.day != date[:8]:
		return refuse("InvalidSignatureException", "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of "+
			"date from HTTP: '%s' != '%s'.", s.day, date[:8])
	}
	for _, name := range mustSign(r.Header) {
		if !slices.Contains(s.headers, name) {
			return refuse("InvalidSignatureException", "'%s' must be a signed header.", name)
		}
	}
	sum := sha256.Sum256(body)
	payload := hex.EncodeToString(sum[:])
	if given := r.Header.Get("X-Amz-Content-Sha256"); given != "" && given != payload {
		return refuse("InvalidSignatureException", "The provided 'x-amz-content-sha256' header does not match what was computed.")
	}
	if !hmac.Equal([]byte(s.value), []byte(s.compute(key.Secret, date, canonicalRequest(r, s.headers, payload)))) {
		return refuse("InvalidSignatureException", "The request signature we calculated does not match the signature you "+
			"provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	}
	return key, nil
}

// mustSign is the headers that nobody may leave out.
func mustSign(h http.Header) []string {
	names := []string{"host", "x-amz-date"}
	for name := range h {
		if name = strings.ToLower(name); strings.HasPrefix(name, "x-amz-") && name != "x-amz-date" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// compute is the signature that the secret makes.
func (s signature) compute(secret, date, canonical string) string {
	mac := func(key []byte, text string) []byte {
		h := hmac.New(sha256.New, key)
		// A hash takes everything.
		_, _ = h.Write([]byte(text))
		return h.Sum(nil)
	}
	sum := sha256.Sum256([]byte(canonical))
	scope := s.day + "/" + s.region + "/" + s.service + "/aws4_request"
	key := mac(mac(mac(mac([]byte("AWS4"+secret), s.day), s.region), s.service), "aws4_request")
	return hex.EncodeToString(mac(key, signingAlgorithm+"\n"+date+"\n"+scope+"\n"+hex.EncodeToString(sum[:])))
}

func canonicalRequest(r *http.Request, signed []string, payload string) string {
	var out strings.Builder
	target, _, _ := strings.Cut(r.RequestURI, "?")
	// Every service but S3 wants the path encoded once more.
	fmt.Fprintf(&out, "%s\n%s\n%s\n", r.Method, awsEncode(target, true), canonicalQuery(r.URL.RawQuery))
	for _, name := range signed {
		values := r.Header.Values(name)
		switch name {
		case "host":
			values = []string{r.Host}
		case "content-length":
			values = []string{strconv.FormatInt(r.ContentLength, 10)}
		}
		trimmed := make([]string, len(values))
		for i, v := range values {
			trimmed[i] = strings.Join(strings.Fields(v), " ")
		}
		fmt.Fprintf(&out, "%s:%s\n", name, strings.Join(trimmed, ","))
	}
	fmt.Fprintf(&out, "\n%s\n%s", strings.Join(signed, ";"), payload)
	return out.String()
}

func canonicalQuery(raw string) string {
	if raw == "" {
		return ""
	}
	type pair struct{ name, value string }
	var pairs []pair
	for part := range strings.SplitSeq(raw, "&") {
		name, value, _ := strings.Cut(part, "=")
		pairs = append(pairs, pair{awsEncode(unescape(name), false), awsEncode(unescape(value), false)})
	}
	slices.SortFunc(pairs, func(a, b pair) int { return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.value, b.value)) })
	out := make([]string, len(pairs))
	for i, p := range pairs {
		out[i] = p.name + "=" + p.value
	}
	return strings.Join(out, "&")
}

// unescape takes what is no good escape as it is.
func unescape(text string) string {
	if plain, err := url.QueryUnescape(text); err == nil {
		return plain
	}
	return text
}

// awsEncode escapes all but the unreserved characters, and slashes where they are kept.
func awsEncode(text string, slashes bool) string {
	var out strings.Builder
	for i := range len(text) {
		c := text[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-._~", c) >= 0, c == '/' && slashes:
			out.WriteByte(c)
		default:
			fmt.Fprintf(&out, "%%%02X", c)
		}
	}
	return out.String()
}
