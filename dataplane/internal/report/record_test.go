package report

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"math"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"buf.build/go/protovalidate"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

func TestRecordSurvivesEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.StringN(0, 16, maxID)
		count := rapid.Int64Min(0)
		want := Record{
			TimeMS: rapid.Int64().Draw(t, "time"), KeyID: id.Draw(t, "key"), ChannelID: id.Draw(t, "channel"),
			AccountID: id.Draw(t, "account"), Model: rapid.StringN(0, 64, maxModel).Draw(t, "model"),
			Error: rapid.Bool().Draw(t, "error"), Input: count.Draw(t, "input"), Cached: count.Draw(t, "cached"),
			Output: count.Draw(t, "output"), CostNanoUSD: count.Draw(t, "cost"),
			Estimated: rapid.Bool().Draw(t, "estimated"), Unpriced: rapid.Bool().Draw(t, "unpriced"),
			PriceVersion: rapid.Int64().Draw(t, "version"), DefaultPriced: rapid.Bool().Draw(t, "default"),
			PriceVariant: rapid.Int32Range(0, maxVariant).Draw(t, "variant"),
			PriceAbove:   rapid.OneOf(rapid.Just(int64(0)), count).Draw(t, "tier"),
			GroupID:      id.Draw(t, "group"), TenantID: id.Draw(t, "tenant"),
			BeginMS:  rapid.OneOf(rapid.Just(int64(0)), count).Draw(t, "begin"),
			Reserved: rapid.OneOf(rapid.Just(int64(0)), count).Draw(t, "reserved"),
		}
		p := make([]byte, payloadSize(&want))
		encode(p, &want)
		got, ok := decode(p)
		if !ok {
			t.Fatal("decode refused what encode wrote")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

// What the gateway hands over must never make a message that the control plane refuses: it would block all others.
func TestMessageIsAlwaysValid(t *testing.T) {
	long := strings.Repeat("x", 1000)
	tests := map[string]Record{
		"zero":                       {},
		"long strings":               {KeyID: long, ChannelID: long, AccountID: long, Model: long},
		"not UTF-8":                  {KeyID: "\xff", Model: "a\xc3\x28b\xff"},
		"cut character":              {Model: strings.Repeat("é", 200)[1:]},
		"all bad bytes":              {Model: strings.Repeat("\xff\x00", 128)},
		"negative":                   {Input: -1, Cached: -2, Output: -3, CostNanoUSD: -4, PriceVersion: -5, PriceVariant: -6, PriceAbove: -7},
		"unknown":                    {PriceVariant: 4},
		"scopes":                     {GroupID: long, TenantID: "\xff\xfe", BeginMS: -1},
		"begin alone":                {BeginMS: math.MaxInt64},
		"reserved":                   {KeyID: long, Reserved: math.MaxInt64},
		"less than none is reserved": {KeyID: long, Reserved: math.MinInt64},
	}
	for name, r := range tests {
		t.Run(name, func(t *testing.T) {
			p := make([]byte, payloadSize(&r))
			encode(p, &r)
			got, ok := decode(p)
			if !ok {
				t.Fatal("decode refused what encode wrote")
			}
			m := messages([]Record{got})[0]
			if err := protovalidate.Validate(m); err != nil {
				t.Error(err)
			}
			if !utf8.ValidString(m.GetModel()) {
				t.Errorf("model %q is not UTF-8", m.GetModel())
			}
			if _, err := proto.Marshal(m); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestDecodeRefuses: a payload has one form, so what is no form of any is refused.
func TestDecodeRefuses(t *testing.T) {
	r := Record{KeyID: "k", PriceAbove: 5, GroupID: "g", TenantID: "t", BeginMS: 7, Reserved: 9}
	whole := make([]byte, payloadSize(&r))
	encode(whole, &r)
	scopes := len(whole) - scopesFixed - len("gt")
	reserved := scopes - reservedSize
	tests := map[string]func(p []byte) []byte{
		"reserved without flag":          func(p []byte) []byte { p[1] &^= flagReserved; return p },
		"reserved is negative":           func(p []byte) []byte { p[reserved+7] = 0x80; return p },
		"nothing is reserved":            func(p []byte) []byte { clear(p[reserved:scopes]); return p },
		"cut in reserved":                func(p []byte) []byte { p[0] &^= flagScopes; return p[:reserved+1] },
		"a flag in the channel's length": func(p []byte) []byte { p[2] |= flagReserved; return p },
		"cut":                            func(p []byte) []byte { return p[:len(p)-1] },
		"longer":                         func(p []byte) []byte { return append(p, 0) },
		"cut before scopes":              func(p []byte) []byte { return p[:scopes] },
		"cut in scopes":                  func(p []byte) []byte { return p[:scopes+scopesFixed-1] },
		"scopes without flag":            func(p []byte) []byte { p[0] &^= flagScopes; return p },
		"tier without flag":              func(p []byte) []byte { p[0] &^= flagTier; return p },
		"group too long":                 func(p []byte) []byte { p[scopes+8] = maxID + 1; return append(p, make([]byte, maxID)...) },
		"tenant too long":                func(p []byte) []byte { p[scopes+9] = maxID + 1; return append(p, make([]byte, maxID)...) },
		"begin is negative":              func(p []byte) []byte { p[scopes+7] = 0x80; return p },
		"scopes of nothing":              func(p []byte) []byte { p = p[:scopes+scopesFixed]; clear(p[scopes:]); return p },
		"texts beyond the end":           func(p []byte) []byte { p[1] |= maxID; return p },
	}
	if _, ok := decode(whole); !ok {
		t.Fatal("the whole was refused")
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			if got, ok := decode(change(slices.Clone(whole))); ok {
				t.Errorf("decode = %+v, want a refusal", got)
			}
		})
	}
}

// TestOldPayloads: spools of builds that knew no scopes, and nothing of what was reserved, still read, and what has none of
// it is written as they wrote it.
func TestOldPayloads(t *testing.T) {
	head := "0001020304050607" + "0a00000000000000" + "0300000000000000" + "1400000000000000" + "e803000000000000" + "0900000000000000"
	tests := []struct {
		name, payload string
		want          Record
	}{
		{"plain", "01" + "010203" + "0400" + head + "6b" + "6363" + "616161" + "6d6d6d6d", Record{
			TimeMS: 0x0706050403020100, KeyID: "k", ChannelID: "cc", AccountID: "aaa", Model: "mmmm", Error: true,
			Input: 10, Cached: 3, Output: 20, CostNanoUSD: 1000, PriceVersion: 9,
		}},
		{"with a tier", "6a" + "010000" + "0000" + head + "6b" + "400d030000000000", Record{
			TimeMS: 0x0706050403020100, KeyID: "k", Estimated: true, DefaultPriced: true, PriceVariant: 2,
			Input: 10, Cached: 3, Output: 20, CostNanoUSD: 1000, PriceVersion: 9, PriceAbove: 200_000,
		}},
		{"with scopes", "80" + "010000" + "0000" + head + "6b" + "0700000000000000" + "0102" + "67" + "7474", Record{
			TimeMS: 0x0706050403020100, KeyID: "k", Input: 10, Cached: 3, Output: 20, CostNanoUSD: 1000, PriceVersion: 9,
			GroupID: "g", TenantID: "tt", BeginMS: 7,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := hex.DecodeString(tt.payload)
			if err != nil {
				t.Fatal(err)
			}
			got, ok := decode(p)
			if diff := cmp.Diff(tt.want, got); !ok || diff != "" {
				t.Errorf("decode %v (-want +got):\n%s", ok, diff)
			}
			again := make([]byte, payloadSize(&tt.want))
			if encode(again, &tt.want); !bytes.Equal(again, p) {
				t.Errorf("encode = %x, want %x", again, p)
			}
			m := messages([]Record{got})[0]
			if m.GetGroupId() != tt.want.GroupID || m.GetTenantId() != tt.want.TenantID || m.GetBeginMs() != tt.want.BeginMS {
				t.Errorf("message has other scopes: %v", m)
			}
			if m.GetReservedTokens() != 0 {
				t.Errorf("message has something reserved: %v", m)
			}
		})
	}
}

func TestMessagesHaveScopes(t *testing.T) {
	m := messages([]Record{{TimeMS: 9, GroupID: "g", TenantID: "t", BeginMS: 7, Reserved: 5}})[0]
	if m.GetGroupId() != "g" || m.GetTenantId() != "t" || m.GetBeginMs() != 7 || m.GetReservedTokens() != 5 {
		t.Errorf("message = %v, want group g, tenant t, begin 7, reserved 5", m)
	}
}

func FuzzDecodeRecord(f *testing.F) {
	r := numbered(42)
	p := make([]byte, payloadSize(&r))
	encode(p, &r)
	f.Add(p)
	f.Add(p[:len(p)-1])
	f.Add([]byte{})
	r.PriceAbove, r.PriceVariant, r.DefaultPriced = 200_000, 2, true
	p = make([]byte, payloadSize(&r))
	encode(p, &r)
	f.Add(p)
	untrue := slices.Clone(p) // a tier that is none
	clear(untrue[len(untrue)-tierSize:])
	f.Add(untrue)
	r.GroupID, r.TenantID, r.BeginMS = "group", "tenant", 1_699_999_999_000
	p = make([]byte, payloadSize(&r))
	encode(p, &r)
	f.Add(p)
	f.Add(p[:len(p)-1])
	untrue = slices.Clone(p[:len(p)-len("grouptenant")]) // scopes that are none
	clear(untrue[len(untrue)-scopesFixed:])
	f.Add(untrue)
	r.Reserved = 500
	p = make([]byte, payloadSize(&r))
	encode(p, &r)
	f.Add(p)
	r.GroupID, r.TenantID, r.BeginMS = "", "", 0
	p = make([]byte, payloadSize(&r))
	encode(p, &r)
	f.Add(p)
	f.Add(p[:len(p)-1])
	untrue = slices.Clone(p) // a reservation of nothing
	clear(untrue[len(untrue)-reservedSize:])
	f.Add(untrue)
	f.Fuzz(func(t *testing.T, p []byte) {
		r, ok := decode(p)
		if !ok {
			return
		}
		again := make([]byte, payloadSize(&r))
		encode(again, &r)
		if diff := cmp.Diff(p, again); diff != "" {
			t.Error(diff)
		}
	})
}

// Hostile segments never panic and never yield a record whose checksum is wrong.
func FuzzSegment(f *testing.F) {
	table := crc32.MakeTable(crc32.Castagnoli)
	image := make([]byte, minSegmentBytes)
	l := layoutOf(len(image))
	putHeader(image, l)
	f.Add(image[:headerSize], uint16(0), uint64(newWord(0, 60, 7)), []byte("x"))
	r := numbered(7)
	p := make([]byte, payloadSize(&r))
	encode(p, &r)
	f.Add(image[:headerSize], uint16(1), uint64(newWord(8, len(p), crc32.Checksum(p, table))), p)
	f.Add(image[:100], uint16(2), ^uint64(0), p)
	f.Fuzz(func(t *testing.T, head []byte, slot uint16, w uint64, payload []byte) {
		image := make([]byte, minSegmentBytes)
		copy(image, head)
		n := int(slot) % l.slots
		binary.NativeEndian.PutUint64(image[headerSize+8*n:], w)
		if from := l.data + word(w).offset(); from < len(image) {
			copy(image[from:], payload)
		}
		for _, image := range [][]byte{image, head} {
			p, _, _, err := parseSegment(image)
			if err != nil {
				continue
			}
			for n := range p.used() {
				r, state := p.slot(n, table)
				if state != slotGood {
					continue
				}
				again := make([]byte, payloadSize(&r))
				encode(again, &r)
				if crc32.Checksum(again, table) != word(p.index[n]).crc() {
					t.Errorf("slot %d: record %+v has another checksum than its word", n, r)
				}
			}
		}
	})
}
