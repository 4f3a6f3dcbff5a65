package provider

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"fairway/dataplane/internal/dialect"
)

// signer signs requests to one host with AWS's Signature Version 4. Only the host, the date and the session's token are
// signed besides method, target and body: other headers may still change.
type signer struct {
	host, region string
	v4           *v4.Signer
}

// service is the name that Bedrock's runtime has in signatures.
const service = "bedrock"

func newSigner(host, region string) *signer {
	return &signer{host: host, region: region, v4: v4.NewSigner()}
}

// append appends the headers of a signed request. What cannot be signed goes without, and the upstream refuses it.
func (s *signer) append(dst, target []byte, r *Request, c *Credential) ([]byte, dialect.Span) {
	none := dialect.Span{Start: len(dst), End: len(dst)}
	if !fits(c.KeyID) || !fits(c.Session) {
		return dst, none
	}
	u, err := url.ParseRequestURI(string(target))
	if err != nil {
		return dst, none
	}
	u.Scheme, u.Host = "https", s.host
	sum := sha256.Sum256(r.Body)
	request := &http.Request{Method: http.MethodPost, URL: u, Host: s.host, Header: http.Header{}}
	keys := aws.Credentials{AccessKeyID: c.KeyID, SecretAccessKey: c.Secret, SessionToken: c.Session}
	err = s.v4.SignHTTP(context.Background(), keys, request, hex.EncodeToString(sum[:]), service, s.region, r.Now)
	if err != nil {
		return dst, none
	}
	dst = appendHeader(dst, "Authorization", request.Header.Get("Authorization"))
	dst = appendHeader(dst, "X-Amz-Date", request.Header.Get("X-Amz-Date"))
	return appendSecret(dst, "X-Amz-Security-Token", "", c.Session)
}
