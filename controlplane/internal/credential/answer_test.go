package credential

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

func TestReadToken(t *testing.T) {
	tests := []struct {
		name, in string
		want     grant
		err      string // part of the error; "" = none
	}{
		{"plain", `{"access_token":"t","token_type":"Bearer","expires_in":3599}`, grant{secret: "t", life: 3599 * time.Second}, ""},
		{"seconds as a text", `{"access_token":"t","token_type":"bearer","expires_in":"60"}`, grant{secret: "t", life: time.Minute}, ""},
		{"no life", `{"access_token":"t"}`, grant{secret: "t", life: defaultLife}, ""},
		{"a life beyond sense", `{"access_token":"t","expires_in":1e300}`, grant{secret: "t", life: maxLife}, ""},
		{"a negative one", `{"access_token":"t","expires_in":-5}`, grant{secret: "t"}, "has ended"},
		{"another refresh token", `{"access_token":"t","refresh_token":"r","expires_in":1}`, grant{secret: "t", refresh: "r", life: time.Second}, ""},
		{"another kind of token", `{"access_token":"t","token_type":"mac"}`, grant{}, "not a bearer token"},
		{"no token", `{"expires_in":60}`, grant{life: time.Minute}, "gave no credential"},
		{"a token with a line break", `{"access_token":"a\r\nX: b"}`, grant{secret: "a\r\nX: b", life: defaultLife}, "cannot stand in a header"},
		{"an endless token", `{"access_token":"` + strings.Repeat("a", 13<<10) + `"}`, grant{secret: strings.Repeat("a", 13<<10), life: defaultLife}, "more than 12 KiB"},
		{"not JSON", `<html>`, grant{}, "not JSON"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := readToken([]byte(tt.in))
			if d := cmp.Diff(tt.want, got, cmp.AllowUnexported(grant{})); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if err == nil {
				err = got.check()
			}
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error = %v, want one with %q", err, tt.err)
			}
		})
	}
}

func TestRegionOf(t *testing.T) {
	for base, want := range map[string]string{
		"": "", "https://bedrock-runtime.us-east-1.amazonaws.com": "us-east-1", "https://bedrock-runtime.cn-north-1.amazonaws.com.cn": "cn-north-1",
		"https://llm.example.com": "", "http://127.0.0.1:8": "",
	} {
		if got := regionOf(&resourcev1.Channel{BaseUrl: base}); got != want {
			t.Errorf("region of %q is %q, want %q", base, got, want)
		}
	}
	if got := regionOf(&resourcev1.Channel{Region: "eu-west-1", BaseUrl: "https://bedrock-runtime.us-east-1.amazonaws.com"}); got != "eu-west-1" {
		t.Errorf("the channel's own region gives way: %q", got)
	}
}

// Whatever an endpoint says: what passes the check can stand in a header and has a life, and no error repeats it.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"access_token":"t","token_type":"Bearer","expires_in":3599,"refresh_token":"r"}`))
	f.Add([]byte(`{"error":"invalid_grant"}`))
	f.Add([]byte(`<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>A</AccessKeyId><SecretAccessKey>s</SecretAccessKey>` +
		`<SessionToken>t</SessionToken><Expiration>2026-01-02T03:04:05Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`))
	f.Add([]byte(`<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>`))
	now := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, body []byte) {
		token, err1 := readToken(body)
		key, err2 := readRole(body, now)
		for i, g := range []grant{token, key} {
			if err := []error{err1, err2}[i]; err != nil || g.check() != nil {
				continue
			}
			if g.secret == "" || g.life <= 0 || strings.ContainsAny(g.secret+g.session+g.keyID, " \r\n\x00\x7f") {
				t.Errorf("%q passes: %+v", body, g)
			}
		}
		if code := errorCode(body); code != "" && !strings.Contains(strings.Join(knownCodes(), " "), code) {
			t.Errorf("%q is repeated", code)
		}
	})
}
