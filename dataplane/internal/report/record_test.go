package report

import (
	"encoding/binary"
	"hash/crc32"
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
		"zero":          {},
		"long strings":  {KeyID: long, ChannelID: long, AccountID: long, Model: long},
		"not UTF-8":     {KeyID: "\xff", Model: "a\xc3\x28b\xff"},
		"cut character": {Model: strings.Repeat("é", 200)[1:]},
		"all bad bytes": {Model: strings.Repeat("\xff\x00", 128)},
		"negative":      {Input: -1, Cached: -2, Output: -3, CostNanoUSD: -4, PriceVersion: -5, PriceVariant: -6, PriceAbove: -7},
		"unknown":       {PriceVariant: 4},
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
