package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// script tells the upstream how to answer one request. It travels in a header that proxies pass on, so that one upstream
// serves every measure.
type script struct {
	Events int           // 0 = a plain completion; else a stream of so many events
	Every  time.Duration // between events
	Hold   time.Duration // before a plain completion

	Fault fault  // what goes wrong; "" = nothing
	Odds  int    // how many of a hundred attempts meet the fault; 0 = all
	Tag   string // is in the id of the answer and of each event; "" = "bench"
}

const scriptHeader = "X-Bench"

// toldHeader is the one for requests that are converted: hardly any header crosses from one dialect to another, but this
// one does.
const toldHeader = "Baggage"

func (s script) String() string {
	text := fmt.Sprintf("%d,%d,%d", s.Events, s.Every.Microseconds(), s.Hold.Microseconds())
	if s.Fault == "" && s.Odds == 0 && s.Tag == "" {
		return text // the measures' requests stay as small as they were
	}
	return text + fmt.Sprintf(",%s,%d,%s", s.Fault, s.Odds, s.Tag)
}

// parseScript reads what String wrote; no text is the zero script.
func parseScript(text string) (script, error) {
	var s script
	if text == "" {
		return s, nil
	}
	fields := strings.Split(text, ",")
	var wrong error
	number := func(i int) int {
		n, err := strconv.Atoi(fields[i])
		if err != nil || n < 0 {
			wrong = fmt.Errorf("%s %q is no script", scriptHeader, text)
		}
		return n
	}
	switch len(fields) {
	case 6:
		s.Fault, s.Odds, s.Tag = fault(fields[3]), number(4), fields[5]
	case 3:
	default:
		return s, fmt.Errorf("%s %q has %d fields", scriptHeader, text, len(fields))
	}
	s.Events = number(0)
	s.Every, s.Hold = time.Duration(number(1))*time.Microsecond, time.Duration(number(2))*time.Microsecond
	return s, wrong
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
	header := scriptHeader
	if model == modelTold || model == modelToldIdle {
		header = toldHeader
	}
	words := strings.Repeat("all work and no play ", max(0, size-len(before)-len(after))/21+1)
	body := before + words[:max(0, size-len(before)-len(after))] + after
	return fmt.Appendf(nil, "POST /v1/chat/completions HTTP/1.1\r\nHost: bench.local\r\nAuthorization: Bearer %s\r\n"+
		"User-Agent: fairway-bench\r\nAccept: application/json\r\nContent-Type: application/json\r\n%s: %s\r\nContent-Length: %d\r\n\r\n%s",
		key, header, s, len(body), body)
}
