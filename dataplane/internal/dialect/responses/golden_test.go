package responses

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"fairway/dataplane/internal/dialect/neutral"
	"fairway/pkg/sse"
)

var update = flag.Bool("update", false, "write the goldens")

// golden compares got with the file of that name.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", path, d)
	}
}

// each runs a test for every file of testdata that ends in suffix.
func each(t *testing.T, suffix string, f func(t *testing.T, name string, content []byte)) {
	paths, err := filepath.Glob("testdata/*" + suffix)
	if err != nil || len(paths) == 0 {
		t.Fatal("no files", suffix, err)
	}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), suffix)
		t.Run(name, func(t *testing.T) {
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			f(t, name, content)
		})
	}
}

func indented(t *testing.T, v any) string {
	t.Helper()
	out, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(out) + "\n"
}

func pretty(t *testing.T, raw []byte) string {
	t.Helper()
	var out bytes.Buffer
	if err := json.Indent(&out, raw, "", " "); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	return out.String() + "\n"
}

var answering = neutral.Answering{Model: "asked", ID: "a1b2", Created: 1700000000, Request: &neutral.Request{
	System: []neutral.Part{{Kind: neutral.Text, Text: "Be terse."}}, MaxTokens: "100", Temperature: "0.50", User: "u",
	Tools:    []neutral.Tool{{Name: "get_weather", Schema: `{"type":"object"}`}, {Name: "shell", Schema: customSchema}},
	Thinking: neutral.Thinking{Effort: "low", Summary: "auto"}, Format: neutral.Format{Kind: neutral.FormatJSON},
}}

func TestRequestGoldens(t *testing.T) {
	each(t, ".request.json", func(t *testing.T, name string, body []byte) {
		r, fault := Codec{}.ReadRequest(body, "asked", true)
		if fault != nil {
			t.Fatal(fault)
		}
		read := r.Losses
		out, fault := Codec{}.AppendRequest(nil, r, "upstream")
		if fault != nil {
			t.Fatal(fault)
		}
		golden(t, name+".request.golden", "losses read: "+read.String()+"\nlosses: "+r.Losses.String()+"\n"+
			indented(t, r)+pretty(t, out))
	})
}

func TestResponseGoldens(t *testing.T) {
	each(t, ".body.json", func(t *testing.T, name string, body []byte) {
		r, err := Codec{}.ReadResponse(body)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name+".body.golden", "losses: "+r.Losses.String()+"\n"+indented(t, r)+
			pretty(t, Codec{}.AppendResponse(nil, r, &answering)))
	})
}

// A stream of an upstream's becomes events, and they become a stream for a client.
func TestStreamGoldens(t *testing.T) {
	each(t, ".sse", func(t *testing.T, name string, stream []byte) {
		var events strings.Builder
		var client []byte
		w := Codec{}.NewEventWriter(&answering)
		complete := relay(t, stream, func(e *neutral.Event) {
			fmt.Fprintln(&events, line(e))
			client = w.Append(client, e)
		})
		golden(t, name+".events.golden", fmt.Sprintf("%scomplete: %v\n", events.String(), complete))
		golden(t, name+".client.golden", string(client))
		checkStream(t, client)
	})
}

// relay gives the events of a stream to a reader.
func relay(t testing.TB, stream []byte, emit neutral.Emit) bool {
	t.Helper()
	r := Codec{}.NewEventReader()
	in := sse.NewReader(bytes.NewReader(stream), 64<<20)
	for {
		e, err := in.Next()
		if errors.Is(err, io.EOF) {
			return r.Close(emit)
		}
		if err != nil {
			t.Fatal(err)
		}
		r.Read(e.Name, e.Data, emit)
	}
}

// line shows an event.
func line(e *neutral.Event) string {
	names := [...]string{"", "Begin", "PartBegin", "Delta", "PartEnd", "Finish", "Usage", "End", "Failed"}
	s := names[e.Kind]
	switch e.Kind {
	case neutral.Begin:
		s += fmt.Sprintf(" id=%s name=%s created=%d", e.ID, e.Name, e.Created)
	case neutral.PartBegin:
		s += fmt.Sprintf(" part=%d id=%q name=%q media=%q data=%q signature=%v", e.Part, e.ID, e.Name, e.Media, e.Data, e.Signature)
	case neutral.Delta:
		s += " " + string(e.Raw)
	case neutral.PartEnd:
		s += fmt.Sprintf(" signature=%v", e.Signature)
	case neutral.Finish:
		s += fmt.Sprintf(" stop=%d", e.Stop)
	case neutral.Usage:
		s += fmt.Sprintf(" %+v", e.Tokens)
	case neutral.Failed:
		s += fmt.Sprintf(" %+v", *e.Failure)
	}
	return s
}

// checkStream holds a client's stream against what the API promises: names, sequence numbers without gaps, indexes, pairs,
// and an end that repeats what the deltas said.
func checkStream(t testing.TB, stream []byte) {
	t.Helper()
	in := sse.NewReader(bytes.NewReader(stream), 64<<20)
	type part struct {
		Type, Text, Refusal string
	}
	type item struct {
		ID, Type, Arguments, Input string
		Content, Summary           []part
	}
	var open *item // added and not done
	said := ""
	var done []item
	ended := ""
	for seq := 0; ; seq++ {
		raw, err := in.Next()
		if err != nil {
			break
		}
		var e struct {
			Type           string
			SequenceNumber *int `json:"sequence_number"`
			OutputIndex    *int `json:"output_index"`
			ItemID         string
			ItemId         string `json:"item_id"`
			ContentIndex   *int   `json:"content_index"`
			Delta          string
			Item           item
			Response       struct {
				Status string
				Output []item
			}
		}
		if err := json.Unmarshal(raw.Data, &e); err != nil {
			t.Fatalf("event %d: %v: %s", seq, err, raw.Data)
		}
		if string(raw.Name) != e.Type || e.SequenceNumber == nil || *e.SequenceNumber != seq {
			t.Fatalf("event %d: name %q, type %q, sequence number %v", seq, raw.Name, e.Type, e.SequenceNumber)
		}
		if ended != "" && (ended != "error" || e.Type != "response.failed") {
			t.Fatalf("event %d, %s, comes after the end", seq, e.Type)
		}
		if e.OutputIndex != nil && *e.OutputIndex != len(done) {
			t.Fatalf("event %d: output_index %d, want %d", seq, *e.OutputIndex, len(done))
		}
		switch strings.TrimPrefix(e.Type, "response.") {
		case "created":
			if seq != 0 {
				t.Fatal("created is not the first")
			}
		case "output_item.added":
			if open != nil {
				t.Fatalf("event %d: the last item is not done", seq)
			}
			open, said = &e.Item, ""
		case "output_item.done":
			if open == nil || open.ID != e.Item.ID || open.Type != e.Item.Type {
				t.Fatalf("event %d: another item is done: %+v, %+v", seq, open, e.Item)
			}
			repeated := e.Item.Arguments + e.Item.Input
			for _, p := range append(e.Item.Content, e.Item.Summary...) {
				repeated += p.Text + p.Refusal
			}
			if repeated != said {
				t.Fatalf("event %d: the item repeats %q, said was %q", seq, repeated, said)
			}
			open = nil
			done = append(done, e.Item)
		case "completed", "incomplete":
			if d := cmp.Diff(done, e.Response.Output, cmpopts.EquateEmpty()); d != "" {
				t.Fatalf("the end has other items (-done +end):\n%s", d)
			}
			ended = e.Type
		case "failed", "error":
			ended = e.Type
			open = nil
		}
		if e.ItemId != "" && (open == nil || open.ID != e.ItemId) {
			t.Fatalf("event %d is about item %q, at hand is %+v", seq, e.ItemId, open)
		}
		said += e.Delta
	}
	if ended == "" || open != nil {
		t.Fatalf("no end: %q, open %+v", ended, open)
	}
}
