package main

import (
	"fmt"
	"strings"
	"time"
)

// script tells the upstream how to answer one request. It travels in a header that proxies pass on, so that one upstream
// serves every measure.
type script struct {
	Events int           // 0 = a plain completion; else a stream of so many events
	Every  time.Duration // between events
	Hold   time.Duration // before a plain completion
}

const scriptHeader = "X-Bench"

func (s script) String() string {
	return fmt.Sprintf("%d,%d,%d", s.Events, s.Every.Microseconds(), s.Hold.Microseconds())
}

// parseScript reads what String wrote; no text is the zero script.
func parseScript(text string) (script, error) {
	if text == "" {
		return script{}, nil
	}
	var s script
	var every, hold int64
	if _, err := fmt.Sscanf(text, "%d,%d,%d", &s.Events, &every, &hold); err != nil {
		return s, fmt.Errorf("%s %q: %w", scriptHeader, text, err)
	}
	s.Every, s.Hold = time.Duration(every)*time.Microsecond, time.Duration(hold)*time.Microsecond
	return s, nil
}

// requestBytes is a whole request as it goes on the wire, with a body of exactly size bytes. It asks as clients do: not
// for the usage of a stream.
func requestBytes(key, model string, s script, size int) []byte {
	stream := ""
	if s.Events > 0 {
		stream = `"stream":true,`
	}
	before := `{"model":"` + model + `",` + stream + `"temperature":0.7,"messages":[{"role":"user","content":"`
	const after = `"}]}`
	words := strings.Repeat("all work and no play ", max(0, size-len(before)-len(after))/21+1)
	body := before + words[:max(0, size-len(before)-len(after))] + after
	return fmt.Appendf(nil, "POST /v1/chat/completions HTTP/1.1\r\nHost: bench.local\r\nAuthorization: Bearer %s\r\n"+
		"User-Agent: fairway-bench\r\nAccept: application/json\r\nContent-Type: application/json\r\n%s: %s\r\nContent-Length: %d\r\n\r\n%s",
		key, scriptHeader, s, len(body), body)
}
