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
	// DefaultPriced says that no price was known and the settings' default was taken; PriceVersion is theirs.
	DefaultPriced bool
	// PriceVariant is the way of service whose prices were taken, from 0 to 3; more counts as 0.
	PriceVariant int32
	// PriceAbove is the price tier in tokens; 0 (or less) = none.
	PriceAbove int64
	// GroupID and TenantID are the key's at the time, ids as the others; empty = none, or not known.
	GroupID, TenantID string
	// BeginMS is when the request began, in Unix milliseconds; 0 (or less) = as TimeMS.
	BeginMS int64
	// Reserved is how many tokens were reserved for it; 0 (or less) = nothing was.
	Reserved int64
}

// The payload of a slot, little-endian:
//
//	0   flags: 1 error, 2 estimated, 4 unpriced, 8 default price, 16 and 32 the price's variant, 64 price tier,
//	    128 scopes
//	1   lengths of key id, channel id, account id (1 byte each); in that of the key id, 128 is one more flag: reserved
//	4   length of model (2 bytes)
//	6   time, input, cached, output, cost, price version (8 bytes each)
//	54  key id, channel id, account id, model
//	    with flag 64: price tier (8 bytes)
//	    with the flag reserved: reserved (8 bytes)
//	    with flag 128: begin (8 bytes), lengths of group id and tenant id (1 byte each), group id, tenant id
//
// A flag is set only where what it announces is not all zero: each record has one payload.
const (
	payloadFixed = 54
	maxID        = 64
	maxModel     = 256
	tierSize     = 8
	reservedSize = 8
	scopesFixed  = 10
	maxPayload   = payloadFixed + 3*maxID + maxModel + tierSize + reservedSize + scopesFixed + 2*maxID
)

const (
	flagError = 1 << iota
	flagEstimated
	flagUnpriced
	flagDefaultPriced

	variantShift = 4 // two bits
	flagTier     = 64
	flagScopes   = 128

	flagReserved = 128 // in the length of the key id
)

const maxVariant = 3

func clip(s string, most int) string { return s[:min(len(s), most)] }

// payloadSize is how many bytes encode will write.
func payloadSize(r *Record) int {
	size := payloadFixed + min(len(r.KeyID), maxID) + min(len(r.ChannelID), maxID) +
		min(len(r.AccountID), maxID) + min(len(r.Model), maxModel)
	if r.PriceAbove > 0 {
		size += tierSize
	}
	if r.Reserved > 0 {
		size += reservedSize
	}
	if r.scoped() {
		size += scopesFixed + min(len(r.GroupID), maxID) + min(len(r.TenantID), maxID)
	}
	return size
}

// scoped says whether the payload has flag 128.
func (r *Record) scoped() bool { return r.GroupID != "" || r.TenantID != "" || r.BeginMS > 0 }

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
	if r.DefaultPriced {
		flags |= flagDefaultPriced
	}
	if r.PriceVariant > 0 && r.PriceVariant <= maxVariant {
		flags |= byte(r.PriceVariant) << variantShift
	}
	if r.PriceAbove > 0 {
		flags |= flagTier
	}
	if r.scoped() {
		flags |= flagScopes
	}
	key, channel, account := clip(r.KeyID, maxID), clip(r.ChannelID, maxID), clip(r.AccountID, maxID)
	model := clip(r.Model, maxModel)
	_ = dst[payloadFixed-1]
	dst[0] = flags
	dst[1], dst[2], dst[3] = byte(len(key)), byte(len(channel)), byte(len(account))
	if r.Reserved > 0 {
		dst[1] |= flagReserved
	}
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
	n += copy(dst[n:], model)
	if r.PriceAbove > 0 {
		le.PutUint64(dst[n:], uint64(r.PriceAbove))
		n += tierSize
	}
	if r.Reserved > 0 {
		le.PutUint64(dst[n:], uint64(r.Reserved))
		n += reservedSize
	}
	if r.scoped() {
		group, tenant := clip(r.GroupID, maxID), clip(r.TenantID, maxID)
		le.PutUint64(dst[n:], uint64(max(r.BeginMS, 0)))
		dst[n+8], dst[n+9] = byte(len(group)), byte(len(tenant))
		n += scopesFixed
		n += copy(dst[n:], group)
		copy(dst[n:], tenant)
	}
}

// decode reads what encode wrote; false means that these bytes are none of encode's.
func decode(p []byte) (Record, bool) {
	if len(p) < payloadFixed {
		return Record{}, false
	}
	le := binary.LittleEndian
	key, channel, account, model := int(p[1]&^flagReserved), int(p[2]), int(p[3]), int(le.Uint16(p[4:]))
	texts := payloadFixed + key + channel + account + model
	if key > maxID || channel > maxID || account > maxID || model > maxModel || len(p) < texts {
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

		DefaultPriced: p[0]&flagDefaultPriced != 0,
		PriceVariant:  int32(p[0] >> variantShift & maxVariant),
	}
	if r.Input < 0 || r.Cached < 0 || r.Output < 0 || r.CostNanoUSD < 0 {
		return Record{}, false
	}
	text := string(p[payloadFixed:]) // one string for all
	rest := p[texts:]
	if p[0]&flagTier != 0 {
		if len(rest) < tierSize {
			return Record{}, false
		}
		if r.PriceAbove = int64(le.Uint64(rest)); r.PriceAbove <= 0 {
			return Record{}, false
		}
		rest = rest[tierSize:]
	}
	if p[1]&flagReserved != 0 {
		if len(rest) < reservedSize {
			return Record{}, false
		}
		if r.Reserved = int64(le.Uint64(rest)); r.Reserved <= 0 {
			return Record{}, false
		}
		rest = rest[reservedSize:]
	}
	if p[0]&flagScopes != 0 {
		if !decodeScopes(rest, text[len(text)-len(rest):], &r) {
			return Record{}, false
		}
	} else if len(rest) > 0 {
		return Record{}, false
	}
	take := func(n int) string {
		s := text[:n]
		text = text[n:]
		return s
	}
	r.KeyID, r.ChannelID, r.AccountID, r.Model = take(key), take(channel), take(account), take(model)
	return r, true
}

// decodeScopes reads what flag 128 announces, to the end of the payload. text is the same bytes.
func decodeScopes(p []byte, text string, r *Record) bool {
	if len(p) < scopesFixed {
		return false
	}
	r.BeginMS = int64(binary.LittleEndian.Uint64(p))
	group, tenant := int(p[8]), int(p[9])
	if r.BeginMS < 0 || group > maxID || tenant > maxID || len(p) != scopesFixed+group+tenant {
		return false
	}
	text = text[scopesFixed:]
	r.GroupID, r.TenantID = text[:group], text[group:]
	return r.scoped()
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
		m.CostNanoUsd, m.PriceVersion = r.CostNanoUSD, max(r.PriceVersion, 0)
		m.DefaultPriced, m.PriceVariant, m.PriceAboveTokens = r.DefaultPriced, r.PriceVariant, r.PriceAbove
		m.GroupId, m.TenantId, m.BeginMs = text(r.GroupID), text(r.TenantID), r.BeginMS
		m.ReservedTokens = r.Reserved
		list[i] = m
		breathe(i)
	}
	return list
}
