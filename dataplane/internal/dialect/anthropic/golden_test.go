package anthropic

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

	"fairway/dataplane/internal/dialect/neutral"
	"fairway/pkg/sse"
)

var update = flag.Bool("update", false, "write the goldens instead of checking them")

// golden compares with a file of testdata.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
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

// inputs are the files of testdata that match, by their names.
func inputs(t testing.TB, pattern string) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no %s: %v", pattern, err)
	}
	files := map[string][]byte{}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files[path] = b
	}
	return files
}

// dump is what is said in v as JSON that a person can read, with the names of what was lost.
func dump(t *testing.T, v any, losses neutral.Losses) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(raw, &tree); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(prune(tree)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&b, "losses: %s\n", losses)
	return b.Bytes()
}

// prune is v without what has its zero value, and without the set of losses, which dump names; nil = nothing is left.
func prune(v any) any {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "Losses")
		for k, member := range v {
			if member = prune(member); member == nil {
				delete(v, k)
			} else {
				v[k] = member
			}
		}
		if len(v) == 0 {
			return nil
		}
	case []any:
		for i := range v {
			v[i] = prune(v[i])
		}
	case string:
		if v == "" {
			return nil
		}
	case float64:
		if v == 0 {
			return nil
		}
	}
	return v
}

// script is what a reader makes of a stream, a line an event.
func script(stream []byte) (string, *eventReader, bool) {
	r := &eventReader{}
	var b strings.Builder
	emit := func(e *neutral.Event) { b.WriteString(line(e)) }
	feed(r, stream, emit)
	complete := r.Close(emit)
	return b.String(), r, complete
}

func line(e *neutral.Event) string {
	switch e.Kind {
	case neutral.Begin:
		return fmt.Sprintf("begin %q %q\n", e.ID, e.Name)
	case neutral.PartBegin:
		return fmt.Sprintf("part %d %q %q %v\n", e.Part, e.ID, e.Name, e.Signature)
	case neutral.Delta:
		return fmt.Sprintf("  delta %s\n", e.Raw)
	case neutral.PartEnd:
		return fmt.Sprintf("part ends %v\n", e.Signature)
	case neutral.Finish:
		return fmt.Sprintf("finish %d %q\n", e.Stop, e.Sequence)
	case neutral.Usage:
		return fmt.Sprintf("usage %+v\n", e.Tokens)
	case neutral.End:
		return "end\n"
	case neutral.Failed:
		return fmt.Sprintf("failed %+v\n", *e.Failure)
	}
	return "unknown\n"
}

// feed gives a reader each event of a stream.
func feed(r neutral.EventReader, stream []byte, emit neutral.Emit) {
	s := sse.NewReader(bytes.NewReader(stream), 1<<20)
	for {
		e, err := s.Next()
		if err != nil {
			return
		}
		if e.HasData {
			r.Read(e.Name, e.Data, emit)
		}
	}
}

// rewrite reads a stream and writes it again.
func rewrite(stream []byte) ([]byte, neutral.Losses) {
	w := Codec{}.NewEventWriter(answering())
	var out []byte
	emit := func(e *neutral.Event) { out = w.Append(out, e) }
	r := Codec{}.NewEventReader()
	feed(r, stream, emit)
	r.Close(emit)
	return out, w.Losses()
}

func answering() *neutral.Answering {
	return &neutral.Answering{Model: "claude-as-asked", ID: "0123456789", Created: 1700000000}
}

func TestRequestGoldens(t *testing.T) {
	for path, body := range inputs(t, "request/*.json") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			q, f := Codec{}.ReadRequest(body, "claude-sonnet-4-5", true)
			if f != nil {
				t.Fatal(f)
			}
			golden(t, strings.TrimSuffix(path, ".json")+".neutral", dump(t, q, q.Losses))
			q.Losses = 0
			out, f := Codec{}.AppendRequest(nil, q, "claude-sonnet-4-5")
			if f != nil {
				t.Fatal(f)
			}
			golden(t, strings.TrimSuffix(path, ".json")+".again", append(indent(t, out), "losses: "+q.Losses.String()+"\n"...))
		})
	}
}

func TestResponseGoldens(t *testing.T) {
	for path, body := range inputs(t, "response/*.json") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			r, err := Codec{}.ReadResponse(body)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(path, ".json")+".neutral", dump(t, r, r.Losses))
			golden(t, strings.TrimSuffix(path, ".json")+".again", indent(t, Codec{}.AppendResponse(nil, r, answering())))
		})
	}
}

func TestStreamGoldens(t *testing.T) {
	for path, stream := range inputs(t, "stream/*.sse") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			got, r, complete := script(stream)
			got += fmt.Sprintf("complete: %v\nlosses: %s\n", complete, r.Losses())
			golden(t, strings.TrimSuffix(path, ".sse")+".neutral", []byte(got))
			out, _ := rewrite(stream)
			golden(t, strings.TrimSuffix(path, ".sse")+".again", out)
		})
	}
}

func indent(t *testing.T, body []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, body, "", "  "); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	b.WriteByte('\n')
	return b.Bytes()
}
