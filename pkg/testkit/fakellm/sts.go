package fakellm

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// stsNamespace is that of the answers.
const stsNamespace = "https://sts.amazonaws.com/doc/2011-06-15/"

// stsForm writes errors as AWS's query services do.
func stsForm(e *apiError, h http.Header) []byte {
	h.Set("Content-Type", "text/xml")
	kind := "Sender"
	if e.status >= http.StatusInternalServerError {
		kind = "Receiver"
	}
	return fmt.Appendf(nil, `<ErrorResponse xmlns="%s"><Error><Type>%s</Type><Code>%s</Code><Message>%s</Message></Error>`+
		`<RequestId>fake</RequestId></ErrorResponse>`, stsNamespace, kind,
		escapeXML(strings.TrimSuffix(orElse(e.code, exception(e)), "Exception")), escapeXML(e.message))
}

func escapeXML(text string) string {
	var out bytes.Buffer
	if err := xml.EscapeText(&out, []byte(text)); err != nil {
		// A buffer takes everything.
		panic(err)
	}
	return out.String()
}

// serveSTS answers AssumeRole with a key that works for a while.
func (x *exchange) serveSTS(body []byte) {
	x.form = stsForm
	agent := x.r.UserAgent()
	now := x.p.now()
	key, fault := x.p.grants.verify(x.r, body, "sts", now)
	if fault == nil && !x.grantBehaves(grantSTS, key.Account) {
		return
	}
	var lifetime time.Duration
	var values url.Values
	if fault == nil {
		values, lifetime, fault = assumed(key, body)
	}
	if fault != nil {
		x.p.grants.note(TokenRequest{Kind: grantSTS, Account: key.Account, Agent: agent})
		x.refuse(fault)
		return
	}
	k := x.p.grants.assume(key, lifetime, now)
	x.p.grants.note(TokenRequest{Kind: grantSTS, Account: key.Account, Agent: agent, Granted: true})
	out := fmt.Appendf(nil, `<AssumeRoleResponse xmlns="%s"><AssumeRoleResult><AssumedRoleUser><AssumedRoleId>AROAFAKE:%s`+
		`</AssumedRoleId><Arn>%s/%s</Arn></AssumedRoleUser><Credentials><AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s`+
		`</SecretAccessKey><SessionToken>%s</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleResult>`+
		`<ResponseMetadata><RequestId>fake</RequestId></ResponseMetadata></AssumeRoleResponse>`,
		stsNamespace, escapeXML(values.Get("RoleSessionName")),
		escapeXML(strings.Replace(values.Get("RoleArn"), ":role/", ":assumed-role/", 1)), escapeXML(values.Get("RoleSessionName")),
		k.ID, k.Secret, k.Session, k.expires.UTC().Format(time.RFC3339))
	x.w.Header().Set("Content-Type", "text/xml")
	x.w.Header().Set("Content-Length", strconv.Itoa(len(out)))
	_, _ = x.w.Write(out)
}

// assumed checks what AssumeRole is asked, and says for how long.
func assumed(key AccessKey, body []byte) (url.Values, time.Duration, *apiError) {
	const shortest, longest, usual = 900, 43200, 3600
	values, err := url.ParseQuery(string(body))
	seconds := usual
	if text := values.Get("DurationSeconds"); err == nil && text != "" {
		seconds, err = strconv.Atoi(text)
	}
	switch {
	case err != nil || values.Get("Action") != "AssumeRole" || values.Get("Version") != "2011-06-15":
		return nil, 0, &apiError{status: http.StatusBadRequest, code: "InvalidAction", message: "Could not find operation AssumeRole"}
	case values.Get("RoleSessionName") == "":
		return nil, 0, badRequest("ValidationErrorException", "", "Value at 'roleSessionName' failed to satisfy constraint")
	case seconds < shortest || seconds > longest:
		return nil, 0, badRequest("ValidationErrorException", "", "Value at 'durationSeconds' failed to satisfy constraint")
	case key.Role == "" || values.Get("RoleArn") != key.Role:
		return nil, 0, &apiError{
			status: http.StatusForbidden, code: "AccessDeniedException",
			message: "User is not authorized to perform: sts:AssumeRole on resource: " + values.Get("RoleArn"),
		}
	}
	return values, time.Duration(seconds) * time.Second, nil
}
