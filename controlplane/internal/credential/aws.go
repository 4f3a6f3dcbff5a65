package credential

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// roleLife is how long an assumed role is asked for: what every role allows, and what chained roles get at most.
const roleLife = time.Hour

// defaultRegion signs for the endpoint that has none in its name.
const defaultRegion = "us-east-1"

// role is what is assumed, and where.
type role struct {
	arn      string
	endpoint string // "" = the region's
	region   string // "" = us-east-1
	keyID    string
}

// assumeRole asks STS for a role's keys (AWS STS API 2011-06-15, AssumeRole), signed with Signature Version 4.
func (c *endpointClient) assumeRole(ctx context.Context, as role, secret string, now time.Time) (grant, error) {
	region := or(as.region, defaultRegion)
	endpoint := as.endpoint
	switch {
	case endpoint == "" && strings.HasPrefix(region, "cn-"):
		endpoint = "https://sts." + region + ".amazonaws.com.cn/"
	case endpoint == "":
		endpoint = "https://sts." + region + ".amazonaws.com/"
	}
	body := url.Values{
		"Action": {"AssumeRole"}, "Version": {"2011-06-15"}, "RoleArn": {as.arn}, "RoleSessionName": {"fairway"}, "DurationSeconds": {"3600"},
	}.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(body))
	if err != nil {
		return grant{}, errors.New("the token endpoint is not a URL")
	}
	if r.URL.Path == "" {
		r.URL.Path = "/"
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	digest := sha256.Sum256([]byte(body))
	key := aws.Credentials{AccessKeyID: as.keyID, SecretAccessKey: secret}
	if err := v4.NewSigner().SignHTTP(ctx, key, r, hex.EncodeToString(digest[:]), "sts", region, now); err != nil {
		return grant{}, errors.New("the request to STS cannot be signed")
	}
	answer, err := c.do(r)
	if err != nil {
		return grant{}, err
	}
	return readRole(answer, now)
}

func readRole(body []byte, now time.Time) (grant, error) {
	var answer struct {
		Key struct {
			ID      string    `xml:"AccessKeyId"`
			Secret  string    `xml:"SecretAccessKey"`
			Session string    `xml:"SessionToken"`
			Expires time.Time `xml:"Expiration"`
		} `xml:"AssumeRoleResult>Credentials"`
	}
	// The error of the parser may repeat what it could not read.
	if xml.Unmarshal(body, &answer) != nil {
		return grant{}, errors.New("the token endpoint's answer is not that of STS")
	}
	k := answer.Key
	if k.ID == "" || k.Session == "" {
		return grant{}, errors.New("the token endpoint gave no key of a role")
	}
	g := grant{secret: k.Secret, keyID: k.ID, session: k.Session, life: roleLife}
	if !k.Expires.IsZero() {
		// Its clock and ours may differ: the earlier end of the two is safe.
		g.life = min(g.life, k.Expires.Sub(now))
	}
	return g, nil
}

// regionOf is the region that a channel is in: as it says, or as its address does.
func regionOf(c *resourcev1.Channel) string {
	if c.GetRegion() != "" {
		return c.GetRegion()
	}
	u, err := url.Parse(c.GetBaseUrl())
	if err != nil {
		return ""
	}
	parts := strings.Split(u.Hostname(), ".")
	if len(parts) >= 4 && strings.HasPrefix(parts[0], "bedrock") && parts[2] == "amazonaws" {
		return parts[1]
	}
	return ""
}
