package report

import (
	"encoding/binary"
	"strings"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// Record is one finished request.
type Record struct {
	// TimeMS is when the request ended, in Unix milliseconds.
	TimeMS int64
	// KeyID, ChannelID and AccountID are ids of at most 64 bytes; longer ones are cut.
	KeyID, ChannelID, AccountID string
	// Model is as the client asked; at most 256 bytes, cut beyond. Bytes that are not UTF-8 are replaced when sent.
	Model string
	// Error says that the request failed.
	Error bool
	// Input (which includes Cached), Cached and Output are tokens. Negative numbers count as 0.
	Input, Cached, Output int64
	// CostNanoUSD is what it costs; negative counts as 0.
	CostNanoUSD int64
	// Estimated says that tokens are estimates; Unpriced that no price was known.
	Estimated, Unpriced bool
	// PriceVersion is the version of the model's price; 0 = unpriced.
	PriceVersion int64
}

// The payload of a slot, little-endian:
//
//	0   flags: 1 error, 2 estimated, 4 unpriced
//	1   lengths of key id, channel id, account id (1 byte each)
//	4   length of model (2 bytes)
//	6   time, input, cached, output, cost, price version (8 bytes each)
//	54  key id, channel id, account id, model
const (
	payloadFixed = 54
	maxID        = 64
	maxModel     = 256
	maxPayload   = payloadFixed + 3*maxID + maxModel
)

const (
	flagError = 1 << iota
	flagEstimated
	flagUnpriced
	flagsKnown = flagError | flagEstimated | flagUnpriced
)

func clip(s string, most int) string { return s[:min(len(s), most)] }

// payloadSize is how many bytes encode will write.
func payloadSize(r *Record) int {
	return payloadFixed + min(len(r.KeyID), maxID) + min(len(r.ChannelID), maxID) +
		min(len(r.AccountID), maxID) + min(len(r.Model), maxModel)
}

// encode writes the record to dst, which has payloadSize bytes.
func encode(dst []byte, r *Record) {
	var flags byte
	if r.Error {
		flags |= flagError
	}
	if r.Estimated {
		flags |= flagEstimated
	}
	if r.Unpriced {
		flags |= flagUnpriced
	}
	key, channel, account := clip(r.KeyID, maxID), clip(r.ChannelID, maxID), clip(r.AccountID, maxID)
	model := clip(r.Model, maxModel)
	_ = dst[payloadFixed-1]
	dst[0] = flags
	dst[1], dst[2], dst[3] = byte(len(key)), byte(len(channel)), byte(len(account))
	le := binary.LittleEndian
	le.PutUint16(dst[4:], uint16(len(model)))
	le.PutUint64(dst[6:], uint64(r.TimeMS))
	le.PutUint64(dst[14:], uint64(max(r.Input, 0)))
	le.PutUint64(dst[22:], uint64(max(r.Cached, 0)))
	le.PutUint64(dst[30:], uint64(max(r.Output, 0)))
	le.PutUint64(dst[38:], uint64(max(r.CostNanoUSD, 0)))
	le.PutUint64(dst[46:], uint64(r.PriceVersion))
	n := payloadFixed
	n += copy(dst[n:], key)
	n += copy(dst[n:], channel)
	n += copy(dst[n:], account)
	copy(dst[n:], model)
}

// decode reads what encode wrote; false means that these bytes are none of encode's.
func decode(p []byte) (Record, bool) {
	if len(p) < payloadFixed || p[0]&^flagsKnown != 0 {
		return Record{}, false
	}
	le := binary.LittleEndian
	key, channel, account, model := int(p[1]), int(p[2]), int(p[3]), int(le.Uint16(p[4:]))
	if key > maxID || channel > maxID || account > maxID || model > maxModel ||
		len(p) != payloadFixed+key+channel+account+model {
		return Record{}, false
	}
	r := Record{
		Error:        p[0]&flagError != 0,
		Estimated:    p[0]&flagEstimated != 0,
		Unpriced:     p[0]&flagUnpriced != 0,
		TimeMS:       int64(le.Uint64(p[6:])),
		Input:        int64(le.Uint64(p[14:])),
		Cached:       int64(le.Uint64(p[22:])),
		Output:       int64(le.Uint64(p[30:])),
		CostNanoUSD:  int64(le.Uint64(p[38:])),
		PriceVersion: int64(le.Uint64(p[46:])),
	}
	if r.Input < 0 || r.Cached < 0 || r.Output < 0 || r.CostNanoUSD < 0 {
		return Record{}, false
	}
	rest := string(p[payloadFixed:]) // one string for all four
	take := func(n int) string {
		s := rest[:n]
		rest = rest[n:]
		return s
	}
	r.KeyID, r.ChannelID, r.AccountID, r.Model = take(key), take(channel), take(account), take(model)
	return r, true
}

// messages are the records as they are sent, all in one piece of memory. One that the server refuses would block all that
// follow, so what proto and protovalidate demand of strings is ensured here.
func messages(records []Record) []*syncv1.UsageRecord {
	text := func(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
	all := make([]syncv1.UsageRecord, len(records))
	list := make([]*syncv1.UsageRecord, len(records))
	for i := range records {
		r, m := &records[i], &all[i]
		m.TimeMs = r.TimeMS
		m.KeyId, m.ChannelId, m.AccountId, m.Model = text(r.KeyID), text(r.ChannelID), text(r.AccountID), text(r.Model)
		m.Error, m.Estimated, m.Unpriced = r.Error, r.Estimated, r.Unpriced
		m.InputTokens, m.CachedTokens, m.OutputTokens = r.Input, r.Cached, r.Output
		m.CostNanoUsd, m.PriceVersion = r.CostNanoUSD, r.PriceVersion
		list[i] = m
		breathe(i)
	}
	return list
}
