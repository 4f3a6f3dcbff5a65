package openai

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect/neutral"
	"fairway/pkg/sse"
)

var update = flag.Bool("update", false, "write the goldens instead of checking them")

// golden compares got with the file, or writes it.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", path, d)
	}
}

// each runs f for the files of testdata that match.
func each(t *testing.T, pattern string, f func(t *testing.T, stem string, body []byte)) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s: %v, %d files", pattern, err, len(paths))
	}
	for _, path := range paths {
		stem := strings.TrimSuffix(path, filepath.Ext(path))
		t.Run(filepath.Base(stem), func(t *testing.T) {
			body, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			f(t, stem, body)
		})
	}
}

// dump shows what v says: its fields that are not zero.
func dump(t *testing.T, v any, losses neutral.Losses) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var tree map[string]any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&tree); err != nil {
		t.Fatal(err)
	}
	prune(tree)
	tree["Losses"] = losses.String()
	out, err := json.MarshalIndent(tree, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(out, '\n')
}

// prune drops zeros from the objects in v and says whether nothing is left.
func prune(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		for key, inner := range v {
			if prune(inner) {
				delete(v, key)
			}
		}
		return len(v) == 0
	case []any:
		for _, inner := range v {
			prune(inner)
		}
		return len(v) == 0
	case json.Number:
		return v == "0"
	case string:
		return v == ""
	case nil:
		return true
	}
	return false // a boolean that is false says something behind a pointer
}

// indented is body as people read it.
func indented(t *testing.T, body []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, body, "", "  "); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	b.WriteByte('\n')
	return b.Bytes()
}

var answering = &neutral.Answering{Model: "asked", ID: "0123", Created: 1700000000, WantUsage: true}

func TestRequests(t *testing.T) {
	each(t, "requests/*.json", func(t *testing.T, stem string, body []byte) {
		peek := gjson.ParseBytes(body)
		r, err := Codec{}.ReadRequest(body, peek.Get("model").Str, peek.Get("stream").Bool())
		if err != nil {
			t.Fatal(err)
		}
		golden(t, stem+".neutral", dump(t, r, r.Losses))
		r.Losses = 0
		again, err := ReasoningCodec{}.AppendRequest(nil, r, "theirs")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, stem+".again", indented(t, again))
	})
}

func TestResponses(t *testing.T) {
	each(t, "responses/*.json", func(t *testing.T, stem string, body []byte) {
		r, err := Codec{}.ReadResponse(body)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, stem+".neutral", dump(t, r, r.Losses))
		golden(t, stem+".again", indented(t, Codec{}.AppendResponse(nil, r, answering)))
	})
}

func TestStreams(t *testing.T) {
	each(t, "streams/*.sse", func(t *testing.T, stem string, body []byte) {
		var b bytes.Buffer
		var again []byte
		w := Codec{}.NewEventWriter(answering)
		complete := replay(body, func(e *neutral.Event) {
			b.WriteString(line(e))
			again = w.Append(again, e)
		})
		fmt.Fprintln(&b, "complete:", complete)
		golden(t, stem+".events", b.Bytes())
		golden(t, stem+".again", again)
	})
}

// replay reads a recorded stream event by event. What an event consists of is wiped behind each call: nobody may keep it.
func replay(body []byte, emit neutral.Emit) bool {
	r := Codec{}.NewEventReader()
	for _, event := range bytes.SplitAfter(body, []byte("\n\n")) {
		if data := bytes.Clone(sse.Data(event)); len(data) > 0 {
			r.Read(nil, data, emit)
			for i := range data {
				data[i] = '#'
			}
		}
	}
	return r.Close(emit)
}

// line shows an event.
func line(e *neutral.Event) string {
	switch e.Kind {
	case neutral.Begin:
		return fmt.Sprintf("begin %s %s %d\n", e.ID, e.Name, e.Created)
	case neutral.PartBegin:
		return fmt.Sprintf("part %d id=%q name=%q media=%q data=%q signature=%v\n", e.Part, e.ID, e.Name, e.Media, e.Data, e.Signature)
	case neutral.Delta:
		return fmt.Sprintf("  delta %s\n", e.Raw)
	case neutral.PartEnd:
		return fmt.Sprintf("end of part signature=%v\n", e.Signature)
	case neutral.Finish:
		return fmt.Sprintf("finish %d\n", e.Stop)
	case neutral.Usage:
		return fmt.Sprintf("usage %+v\n", e.Tokens)
	case neutral.End:
		return "end\n"
	case neutral.Failed:
		return fmt.Sprintf("failed %+v\n", *e.Failure)
	}
	return fmt.Sprintf("event %d\n", e.Kind)
}

func file(tb testing.TB, name string) []byte {
	tb.Helper()
	body, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	return body
}
