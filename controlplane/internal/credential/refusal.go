package credential

import (
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/gjson"
)

// refusal is a token endpoint's answer that is not a token.
type refusal struct {
	status     int
	code       string // one of knownCodes, or empty
	retryAfter time.Duration
}

// Error says what an operator can act on.
func (r *refusal) Error() string {
	if r.code == "" {
		return fmt.Sprintf("the token endpoint answered %d", r.status)
	}
	return fmt.Sprintf("the token endpoint answered %d %s", r.status, r.code)
}

// credential says whether the credential itself, or what it was asked for, is at fault: waiting mends nothing.
func (r *refusal) credential() bool {
	switch r.status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		return !strings.HasPrefix(r.code, "Throttling") && r.code != "temporarily_unavailable" && r.code != "slow_down"
	default:
		return false
	}
}

// knownCodes are the words that are repeated from an endpoint's answer; whatever else it says might be a secret that it
// was sent. They are those of RFC 6749 section 5.2 and its companions, and of AWS STS.
func knownCodes() []string {
	return []string{
		"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope",
		"access_denied", "server_error", "temporarily_unavailable", "slow_down", "interaction_required", "consent_required",
		"invalid_resource", "invalid_target", "admin_policy_enforced", "deleted_client", "disabled_client", "org_internal",
		"AccessDenied", "InvalidClientTokenId", "SignatureDoesNotMatch", "MissingAuthenticationToken", "IncompleteSignature",
		"ExpiredTokenException", "ExpiredToken", "RegionDisabledException", "ValidationError", "Throttling", "ThrottlingException",
		"RequestExpired", "InternalFailure", "ServiceUnavailable", "OptInRequired",
	}
}

// errorCode finds the code of an error in an answer: OAuth's JSON or STS's XML. Only a known one is returned.
func errorCode(body []byte) string {
	code := gjson.GetBytes(body, "error").String()
	if code == "" {
		var answer struct {
			Code string `xml:"Error>Code"`
		}
		if xml.Unmarshal(body, &answer) == nil {
			code = answer.Code
		}
	}
	if slices.Contains(knownCodes(), code) {
		return code
	}
	return ""
}

// outcome is a failure as the metric counts it.
func outcome(err error) string {
	if _, ok := errors.AsType[*refusal](err); ok {
		return "refused"
	}
	return "failed"
}
