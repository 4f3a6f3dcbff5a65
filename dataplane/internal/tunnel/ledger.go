package tunnel

import (
	"bytes"
	"sync/atomic"

	"fairway/pkg/money"
)

// Estimates. Text has the usual ratio for the Latin script; audio is what OpenAI publishes (a token for 100 ms of what a
// client says, and for 50 ms of what the model says) for the API's usual format, base64 of 16-bit samples at 24 kHz.
const (
	textPerToken     = 4
	audioInPerToken  = 6400
	audioOutPerToken = 3200
)

// maxCode bounds the code of an error that is kept.
const maxCode = 64

// ledger keeps what a tunnel used. The client's direction adds to what was sent, the upstream's does everything else.
//
// An estimate stands in for a response that delivered something and did not say what it used: because it does not say, or
// because the tunnel ended before it did. It covers what was sent and delivered since the last response that did say,
// not the conversation before, and so rather undercounts.
type ledger struct {
	on       func(Usage) *Farewell
	farewell *Farewell // what it said; nil = the tunnel goes on

	sentText, sentAudio atomic.Int64 // since the last response
	sentUnmetered       int64        // of the client's direction

	gotText, gotAudio int64 // since the last response
	usage             Usage
	responses         int64
	estimates         int64
	unmetered         int64
	errors            int64
	lastError         string
}

// kind is what an event means here.
type kind uint8

const (
	unknown kind = iota // its type was not found
	other
	audio
	prompt // text for the model
	delta  // text of the model
	failure
	done
)

// kindOf finds the type of an event in its beginning.
func kindOf(event []byte, client bool) kind {
	value, found := member(event, "type")
	if !found {
		return unknown
	}
	name, ok := inner(value)
	if !ok {
		return other
	}
	if bytes.IndexByte(name, '\\') >= 0 {
		name = []byte(text(name))
	}
	if client {
		switch string(name) {
		case "conversation.item.create", "response.create", "session.update":
			return prompt
		case "input_audio_buffer.append", "session.input_audio_buffer.append":
			return audio
		}
		return other
	}
	switch string(name) {
	case "response.done", "response.completed", "response.incomplete", "response.failed":
		return done
	case "error":
		return failure
	}
	switch {
	case !bytes.HasSuffix(name, []byte(".delta")) || !bytes.HasPrefix(name, []byte("response.")):
		return other
	case bytes.HasSuffix(name, []byte("audio.delta")):
		return audio
	}
	return delta
}

// wants says whether more of an event is to be held than its beginning.
func (l *ledger) wants(event []byte, client bool) bool {
	switch kindOf(event, client) {
	case other, audio:
		return false
	case unknown, prompt, delta, failure, done:
	}
	return true
}

// fromClient takes an event of total bytes; event is all of it, or as much as was wanted.
func (l *ledger) fromClient(event []byte, total int64) {
	switch kindOf(event, true) {
	case audio:
		l.sentAudio.Add(total)
	case prompt:
		l.sentText.Add(prose(event))
		fallthrough
	case unknown:
		if total > int64(len(event)) {
			l.sentUnmetered++
		}
	case other, delta, failure, done:
	}
}

// fromUpstream takes an event of total bytes; event is all of it, or as much as was wanted.
func (l *ledger) fromUpstream(event []byte, total int64) {
	k := kindOf(event, false)
	if total > int64(len(event)) && k != other && k != audio {
		l.unmetered++
	}
	switch k {
	case audio:
		l.gotAudio += total
	case delta:
		if value, found := member(event, "delta"); found {
			l.gotText += int64(max(len(value)-2, 0))
		} else {
			l.gotText += total
		}
	case failure:
		l.errors++
		l.fault(path(event, "error", "code"))
	case done:
		l.done(event)
	case unknown, other, prompt:
	}
}

// done settles a response.
func (l *ledger) done(event []byte) {
	response, _ := member(event, "response")
	if status, _ := member(response, "status"); string(status) == `"failed"` {
		l.errors++
		if code, found := path(response, "status_details", "error", "code"); found {
			l.fault(code, true)
		} else {
			l.fault(path(response, "error", "code"))
		}
	}
	object, _ := member(response, "usage")
	input, said := count(object, "input_tokens")
	output, saidOutput := count(object, "output_tokens")
	if !said && !saidOutput {
		l.estimate()
		return
	}
	cached, found := count(object, "input_token_details", "cached_tokens")
	if !found {
		// The Responses API has it under this name.
		cached, _ = count(object, "input_tokens_details", "cached_tokens")
	}
	l.sentText.Store(0)
	l.sentAudio.Store(0)
	l.gotText, l.gotAudio = 0, 0
	l.responses++
	l.add(Usage{Tokens: money.Tokens{Input: input, Cached: min(cached, input), Output: output}})
}

// estimate settles what was delivered without a word on usage. The tunnel calls it when it has ended, too.
func (l *ledger) estimate() {
	if l.gotText == 0 && l.gotAudio == 0 {
		return
	}
	u := Usage{Estimated: true, Tokens: money.Tokens{
		Input:  tokens(l.sentText.Swap(0), textPerToken) + tokens(l.sentAudio.Swap(0), audioInPerToken),
		Output: tokens(l.gotText, textPerToken) + tokens(l.gotAudio, audioOutPerToken),
	}}
	l.gotText, l.gotAudio = 0, 0
	l.estimates++
	l.add(u)
}

func (l *ledger) add(u Usage) {
	// No tunnel lives long enough to overflow these: a response is bounded by maxTokens, or by the bytes that came.
	l.usage.Input += u.Input
	l.usage.Cached += u.Cached
	l.usage.Output += u.Output
	l.usage.Estimated = l.usage.Estimated || u.Estimated
	if l.on != nil && l.farewell == nil {
		l.farewell = l.on(u)
	}
}

// fault keeps the code of an error.
func (l *ledger) fault(value []byte, found bool) {
	if code, ok := inner(value); found && ok && len(code) <= maxCode {
		l.lastError = text(code)
	}
}

func tokens(size, perToken int64) int64 { return (size + perToken - 1) / perToken }
