package tunnel

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fields are a header's, "Name: value" each.
func fields(lines ...string) Fields {
	return func(name string) (out [][]byte) {
		for _, line := range lines {
			if n, value, _ := strings.Cut(line, ":"); strings.EqualFold(n, name) {
				out = append(out, []byte(value))
			}
		}
		return out
	}
}

const sampleKey = "dGhlIHNhbXBsZSBub25jZQ==" // RFC 6455, 1.3

func TestCheck(t *testing.T) {
	good := []string{"upgrade: WebSocket", "Connection: keep-alive, Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + sampleKey}
	with := func(lines ...string) []string { return append(append([]string{}, good...), lines...) }
	without := func(name string, lines ...string) (out []string) {
		for _, line := range good {
			if !strings.HasPrefix(line, name+":") {
				out = append(out, line)
			}
		}
		return append(out, lines...)
	}
	tests := map[string]struct {
		method, proto string
		header        []string
		status        int // 0 = fine
	}{
		"good":                 {header: good},
		"extensions offered":   {header: with("Sec-WebSocket-Extensions: permessage-deflate")},
		"a body of nothing":    {header: with("Content-Length: 0")},
		"no upgrade":           {header: without("upgrade"), status: 426},
		"upgrade to h2c":       {header: without("upgrade", "Upgrade: h2c"), status: 426},
		"upgrade to more":      {header: without("upgrade", "Upgrade: h2c, websocket")},
		"no connection":        {header: without("Connection"), status: 426},
		"connection in two":    {header: without("Connection", "Connection: keep-alive", "Connection: upgrade")},
		"connection of others": {header: without("Connection", "Connection: upgrades"), status: 426},
		"POST":                 {method: "POST", header: good, status: 405},
		"HTTP/1.0":             {proto: "HTTP/1.0", header: good, status: 400},
		"body":                 {header: with("Content-Length: 5"), status: 400},
		"chunked":              {header: with("Transfer-Encoding: chunked"), status: 400},
		"no version":           {header: without("Sec-WebSocket-Version"), status: 426},
		"version 8":            {header: without("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8"), status: 426},
		"two versions":         {header: with("Sec-WebSocket-Version: 13"), status: 426},
		"no key":               {header: without("Sec-WebSocket-Key"), status: 400},
		"two keys":             {header: with("Sec-WebSocket-Key: " + sampleKey), status: 400},
		"short key":            {header: without("Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j"), status: 400},
		"long key":             {header: without("Sec-WebSocket-Key", "Sec-WebSocket-Key: "+strings.Repeat("A", 400)), status: 400},
		"17 bytes":             {header: without("Sec-WebSocket-Key", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAAA="), status: 400},
		"key with a line end":  {header: without("Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ\n="), status: 400},
		"key with loose bits":  {header: without("Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR=="), status: 400},
		"key without padding":  {header: without("Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ"), status: 400},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			method, proto := "GET", "HTTP/1.1"
			if test.method != "" {
				method = test.method
			}
			if test.proto != "" {
				proto = test.proto
			}
			key, err := Check(method, proto, fields(test.header...))
			var refused *HandshakeError
			switch {
			case test.status == 0 && (err != nil || string(key) != sampleKey):
				t.Errorf("key %q, err %v", key, err)
			case test.status != 0 && (!errors.As(err, &refused) || refused.Status != test.status || refused.Reason == ""):
				t.Errorf("err %v, want status %d", err, test.status)
			}
		})
	}
	if !Wants(fields("Upgrade: h2c, WEBSOCKET")) || Wants(fields("Connection: upgrade", "Upgrade: websockets")) {
		t.Error("Wants is wrong")
	}
}

func TestKeys(t *testing.T) {
	if got := Accept(sampleKey); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" { // RFC 6455, 1.3
		t.Errorf("accept %q", got)
	}
	a, b := NewKey(), NewKey()
	if a == b {
		t.Error("two keys are the same")
	}
	if _, err := Check("GET", "HTTP/1.1", fields("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: "+a)); err != nil {
		t.Error(err)
	}
}

func TestCheckAnswer(t *testing.T) {
	upgrade := []string{"Upgrade: websocket", "Connection: Upgrade"}
	accept := "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
	tests := map[string]struct {
		status   int
		header   []string
		protocol string
		want     string // in the error
	}{
		"good":             {header: append(upgrade, accept)},
		"with a protocol":  {header: append(upgrade, accept, "sec-websocket-protocol: realtime"), protocol: "realtime"},
		"other status":     {status: 200, header: append(upgrade, accept), want: "not 101"},
		"no upgrade":       {header: []string{"Connection: Upgrade", accept}, want: "does not upgrade"},
		"no connection":    {header: []string{"Upgrade: websocket", accept}, want: "does not upgrade"},
		"no accept":        {header: upgrade, want: "Sec-WebSocket-Accept"},
		"wrong accept":     {header: append(upgrade, "Sec-WebSocket-Accept: "+Accept(NewKey())), want: "Sec-WebSocket-Accept"},
		"two accepts":      {header: append(upgrade, accept, accept), want: "Sec-WebSocket-Accept"},
		"extension":        {header: append(upgrade, accept, "Sec-WebSocket-Extensions: permessage-deflate"), want: "extension"},
		"foreign protocol": {header: append(upgrade, accept, "Sec-WebSocket-Protocol: chat"), want: "not offered"},
		"other case":       {header: append(upgrade, accept, "Sec-WebSocket-Protocol: Realtime"), want: "not offered"},
		"two protocols":    {header: append(upgrade, accept, "Sec-WebSocket-Protocol: realtime", "Sec-WebSocket-Protocol: realtime"), want: "more than one"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if test.status == 0 {
				test.status = http.StatusSwitchingProtocols
			}
			protocol, err := CheckAnswer(test.status, fields(test.header...), sampleKey, []string{"x", "realtime"})
			if protocol != test.protocol || (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%q, %v; want %q, %q", protocol, err, test.protocol, test.want)
			}
		})
	}
}

func TestReadProtocols(t *testing.T) {
	tests := map[string]struct {
		lines []string
		key   string
		offer []string
		value string
		bad   bool
	}{
		"none":             {},
		"no key":           {lines: []string{"realtime"}, offer: []string{"realtime"}, value: "realtime"},
		"a browser's":      {lines: []string{"realtime, openai-insecure-api-key.sk-fw-abc, openai-beta.realtime-v1"}, key: "sk-fw-abc", offer: []string{"realtime", "openai-beta.realtime-v1"}, value: "realtime, openai-beta.realtime-v1"},
		"in several lines": {lines: []string{"openai-insecure-api-key.k", "realtime,,x"}, key: "k", offer: []string{"realtime", "x"}, value: "realtime, x"},
		"another's":        {lines: []string{"realtime, openai-organization.o, openai-project.p"}, offer: []string{"realtime"}, value: "realtime"},
		"key alone":        {lines: []string{"openai-insecure-api-key.k"}, key: "k"},
		"key in other case": {lines: []string{"OpenAI-Insecure-API-Key.k, realtime"}, key: "k",
			offer: []string{"realtime"}, value: "realtime"},
		"two keys":       {lines: []string{"openai-insecure-api-key.k, openai-insecure-api-key.k"}, bad: true},
		"two, far apart": {lines: []string{"openai-insecure-api-key.k", "openai-insecure-api-key.l"}, bad: true},
		"an empty key":   {lines: []string{"openai-insecure-api-key."}, bad: true},
		"twice":          {lines: []string{"realtime, realtime"}, bad: true},
		"no token":       {lines: []string{"real time"}, bad: true},
		"quoted":         {lines: []string{`"realtime"`}, bad: true},
		"not ASCII":      {lines: []string{"réaltime"}, bad: true},
		"broken UTF-8":   {lines: []string{"a\xff"}, bad: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var lines []string
			for _, line := range test.lines {
				lines = append(lines, "sec-websocket-protocol: "+line)
			}
			got, err := ReadProtocols(fields(lines...))
			if test.bad {
				var refused *HandshakeError
				if !errors.As(err, &refused) || refused.Status != http.StatusBadRequest || len(got.Key) > 0 {
					t.Errorf("%+v, %v", got, err)
				}
				return
			}
			if err != nil || string(got.Key) != test.key || got.Value() != test.value {
				t.Errorf("%+v, %v", got, err)
			}
			if diff := cmp.Diff(test.offer, got.Offer); diff != "" {
				t.Error(diff)
			}
		})
	}
}
