package gemini

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

// golden compares got with the golden that stands beside file.
func golden(t *testing.T, file, ending string, got []byte) {
	t.Helper()
	name := strings.TrimSuffix(file, filepath.Ext(file)) + ending
	if *update {
		if err := os.WriteFile(name, got, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// files are the inputs of a folder of testdata.
func files(t testing.TB, pattern string) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %v, %v", pattern, names, err)
	}
	out := make(map[string][]byte)
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = b
	}
	return out
}

// shown is a request or a response as a golden shows it.
func shown(t *testing.T, v any, losses *neutral.Losses) []byte {
	t.Helper()
	lost := losses.String()
	*losses = 0
	var b bytes.Buffer
	all, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(all, &tree); err != nil {
		t.Fatal(err)
	}
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(said(tree)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&b, "losses: %s\n", lost)
	return b.Bytes()
}

// said is v without what is empty.
func said(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, m := range v {
			if m = said(m); m == nil {
				delete(v, name)
			} else {
				v[name] = m
			}
		}
		if len(v) == 0 {
			return nil
		}
	case []any:
		for i := range v {
			v[i] = said(v[i])
		}
	case string:
		if v == "" {
			return nil
		}
	case float64:
		if v == 0 {
			return nil
		}
	case bool:
		if !v {
			return nil
		}
	}
	return v
}

func pretty(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := json.Indent(&out, b, "", " "); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	out.WriteByte('\n')
	return out.Bytes()
}

func TestRequests(t *testing.T) {
	for file, body := range files(t, "testdata/requests/*[a-z].json") {
		if strings.Contains(filepath.Base(file), ".ask") {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			r, f := Codec{}.ReadRequest(body, "m", true)
			if f != nil {
				t.Fatal(f)
			}
			golden(t, file, ".neutral", shown(t, r, &r.Losses))
			for _, model := range []string{"gemini-3-pro-preview", "gemini-2.5-flash"} {
				r.Losses = 0
				out, f := Codec{}.AppendRequest(nil, r, model)
				if f != nil {
					t.Fatal(f)
				}
				golden(t, file, "."+model+".ask", append(pretty(t, out), "losses: "+r.Losses.String()+"\n"...))
			}
		})
	}
}

func answering() *neutral.Answering {
	return &neutral.Answering{Model: "alias", ID: "random", Created: 1, WantUsage: true}
}

func TestResponses(t *testing.T) {
	for file, body := range files(t, "testdata/responses/*.json") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			r, err := Codec{}.ReadResponse(body)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, file, ".neutral", shown(t, r, &r.Losses))
			golden(t, file, ".answer", pretty(t, Codec{}.AppendResponse(nil, r, answering())))
		})
	}
}

// kinds are the names of events.
var kinds = [...]string{
	neutral.Begin: "begin", neutral.PartBegin: "part", neutral.Delta: "delta", neutral.PartEnd: "end",
	neutral.Finish: "finish", neutral.Usage: "usage", neutral.End: "END", neutral.Failed: "failed",
}

// line is an event as a golden shows it.
func line(e *neutral.Event) string {
	s := fmt.Sprintf("%s %d", kinds[e.Kind], e.Part)
	if v := e.ID + e.Name + e.Media + e.Data + string(e.Raw); v != "" {
		s += " " + v
	}
	if e.Signature.Value != "" {
		s += fmt.Sprintf(" sig=%d:%s", e.Signature.Origin, e.Signature.Value)
	}
	switch e.Kind {
	case neutral.Finish:
		s += fmt.Sprintf(" %d", e.Stop)
	case neutral.Usage:
		s += fmt.Sprintf(" %+v", e.Tokens)
	case neutral.Failed:
		s += fmt.Sprintf(" %+v", *e.Failure)
	}
	return s + "\n"
}

// hear reads a stream of events and returns what a writer makes of them, too.
func hear(t testing.TB, stream []byte, each func(*neutral.Event)) (complete bool) {
	t.Helper()
	reader := Codec{}.NewEventReader()
	events := sse.NewReader(bytes.NewReader(stream), 0)
	for {
		e, err := events.Next()
		if err != nil {
			break
		}
		reader.Read(e.Name, e.Data, each)
	}
	return reader.Close(each)
}

func TestStreams(t *testing.T) {
	for file, stream := range files(t, "testdata/streams/*.sse") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			var seen, out []byte
			writer := Codec{}.NewEventWriter(answering())
			complete := hear(t, stream, func(e *neutral.Event) {
				seen = append(seen, line(e)...)
				out = writer.Append(out, e)
			})
			seen = append(seen, fmt.Sprintf("complete: %v\n", complete)...)
			golden(t, file, ".events", seen)
			golden(t, file, ".told", out)
			if cut := strings.HasPrefix(filepath.Base(file), "cut") || strings.Contains(file, "error") ||
				strings.Contains(file, "nonsense"); complete == cut {
				t.Errorf("complete = %v", complete)
			}
			if got := (Answers{}).Finished(stream); got != complete && !strings.Contains(file, "nonsense") {
				t.Errorf("Finished = %v, complete %v", got, complete)
			}
			// What was told is understood again, and says the same once pieces are joined.
			if complete {
				if diff := cmp.Diff(joined(t, stream, true), joined(t, out, true)); diff != "" {
					t.Errorf("told again (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// joined is a stream as lines of whole parts. ids says whether those of calls count.
func joined(t testing.TB, stream []byte, ids bool) []string {
	var lines []string
	var raw []byte
	hear(t, stream, func(e *neutral.Event) {
		switch e.Kind {
		case neutral.Begin, neutral.Usage:
		case neutral.Delta:
			raw = append(raw, e.Raw...)
		case neutral.PartEnd:
			lines = append(lines, string(raw), line(e))
			raw = raw[:0]
		default:
			if !ids {
				e.ID = ""
			}
			lines = append(lines, line(e))
		}
	})
	return lines
}
