package fakellm

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"image"
	"image/color"
	"image/png"
	"strconv"
)

// An image costs imageTokens; each partial one that a stream shows costs partialTokens more.
const (
	imageTokens   = 16
	partialTokens = 4
	maxImages     = 10
	maxPartials   = 3
)

type imageRequest struct {
	Model             string `json:"model"`
	Prompt            string `json:"prompt"`
	N                 *int   `json:"n"`
	Size              string `json:"size"`
	Quality           string `json:"quality"`
	Background        string `json:"background"`
	OutputFormat      string `json:"output_format"`
	ResponseFormat    string `json:"response_format"`
	Stream            bool   `json:"stream"`
	PartialImages     int    `json:"partial_images"`
	OutputCompression *int   `json:"output_compression"`
}

func decodeImages(body []byte) (answer, *apiError) {
	var r imageRequest
	if fault := decodeInto(body, &r); fault != nil {
		return answer{}, fault
	}
	if r.Prompt == "" {
		return answer{}, badRequest("missing_required_parameter", "prompt", "Missing required parameter: 'prompt'.")
	}
	return r.answer("image_generation", 0)
}

// imageRules are the parts of an edit; those of a variation are fewer.
func imageRules(edit bool) []rule {
	rules := []rule{
		{name: "model", must: true}, {name: "image", file: true, must: true, list: edit}, {name: "n"}, {name: "size"},
		{name: "user"}, {name: "response_format", values: []string{"url", "b64_json"}},
	}
	if !edit {
		return rules
	}
	return append(rules, rule{name: "prompt", must: true}, rule{name: "mask", file: true}, rule{name: "background"},
		rule{name: "quality"}, rule{name: "input_fidelity", values: []string{"high", "low"}}, rule{name: "output_format"},
		rule{name: "output_compression"}, rule{name: "moderation"}, rule{name: "safety_identifier"}, rule{name: "partial_images"},
		rule{name: "stream", values: []string{"true", "false"}})
}

// decodeImageForm reads an edit or a variation.
func decodeImageForm(f *form, edit bool) (answer, *apiError) {
	if fault := f.check(imageRules(edit)); fault != nil {
		return answer{}, fault
	}
	n, fault := f.number("n", 1, maxImages)
	if fault != nil {
		return answer{}, fault
	}
	partials, fault := f.number("partial_images", 0, maxPartials)
	if fault != nil {
		return answer{}, fault
	}
	given := 0
	for _, name := range []string{"image", "mask"} {
		for _, file := range f.files[name] {
			if file.media != "image/png" && file.media != "image/jpeg" && file.media != "image/webp" {
				return answer{}, badRequest("unsupported_file_mimetype", name, "Invalid file '%s': unsupported mimetype "+
					"('%s'). Supported file formats are 'image/jpeg', 'image/png', and 'image/webp'.", name, file.media)
			}
			if len(file.content) == 0 {
				return answer{}, badRequest("invalid_image_file", name, "The file '%s' is empty.", name)
			}
			given++
		}
	}
	r := imageRequest{
		Model: f.text("model"), Prompt: f.text("prompt"), N: &n, Size: f.text("size"), Quality: f.text("quality"),
		Background: f.text("background"), OutputFormat: f.text("output_format"), ResponseFormat: f.text("response_format"),
		Stream: f.text("stream") == "true", PartialImages: partials,
	}
	return r.answer("image_edit", int64(given)*imageTokens)
}

// answer draws the images. seen is how many tokens the images were that came in.
func (r imageRequest) answer(family string, seen int64) (answer, *apiError) {
	n := 1
	if r.N != nil {
		n = *r.N
	}
	switch {
	case r.Model == "":
		return answer{}, badRequest("missing_required_parameter", "model", "you must provide a model parameter")
	case n < 1 || n > maxImages:
		return answer{}, badRequest("invalid_value", "n", "'n' must be between 1 and %d", maxImages)
	case r.PartialImages < 0 || r.PartialImages > maxPartials:
		return answer{}, badRequest("invalid_value", "partial_images", "'partial_images' must be between 0 and 3")
	case r.PartialImages > 0 && !r.Stream:
		return answer{}, badRequest("invalid_value", "partial_images", "'partial_images' is only allowed with 'stream'.")
	case r.Stream && n > 1:
		return answer{}, badRequest("invalid_value", "n", "Streaming is only supported for n=1.")
	case r.OutputFormat != "" && r.OutputFormat != "png":
		return answer{}, badRequest("invalid_value", "output_format", "the fake provider draws PNG only")
	}
	d := drawing{request: r, family: family, n: n, text: words(r.Prompt), seen: seen}
	u := usage{input: d.text + seen, output: int64(n)*imageTokens + int64(r.PartialImages)*partialTokens}
	return answer{
		model: r.Model, stream: r.Stream, usage: u, whole: d.whole, events: d.events,
		cut: &framing{last: d.last, fault: d.fault},
	}, nil
}

// drawing is what an image request gets.
type drawing struct {
	request    imageRequest
	family     string
	n          int
	text, seen int64
}

func (d drawing) usage() []byte {
	out := int64(d.n)*imageTokens + int64(d.request.PartialImages)*partialTokens
	return fmt.Appendf(nil, `{"total_tokens":%d,"input_tokens":%d,"output_tokens":%d,`+
		`"input_tokens_details":{"text_tokens":%d,"image_tokens":%d}}`,
		d.text+d.seen+out, d.text+d.seen, out, d.text, d.seen)
}

// look is how the images look, as answers repeat it.
func (d drawing) look() []byte {
	or := func(given, otherwise string) string {
		if given == "" || given == "auto" {
			return otherwise
		}
		return given
	}
	out := appendString([]byte(`"background":`), or(d.request.Background, "opaque"))
	out = appendString(append(out, `,"output_format":`...), "png")
	out = appendString(append(out, `,"quality":`...), or(d.request.Quality, "low"))
	return appendString(append(out, `,"size":`...), or(d.request.Size, "1024x1024"))
}

func (d drawing) whole(s stamp, withUsage bool) []byte {
	out := strconv.AppendInt([]byte(`{"created":`), s.created, 10)
	out = append(out, `,"data":[`...)
	for i := range d.n {
		if i > 0 {
			out = append(out, ',')
		}
		if d.request.ResponseFormat == "url" {
			out = fmt.Appendf(out, `{"url":"https://images.invalid/fake%d-%d.png"}`, s.sequence, i)
			continue
		}
		out = append(out, `{"b64_json":"`...)
		out = append(append(out, picture(d.request.Prompt, i)...), `"}`...)
	}
	out = append(append(out, `],`...), d.look()...)
	if withUsage {
		out = append(append(out, `,"usage":`...), d.usage()...)
	}
	return append(out, '}')
}

func (d drawing) events(s stamp, _ bool, yield func([]byte) bool) {
	for i := range d.request.PartialImages {
		out := fmt.Appendf(nil, `{"type":"%s.partial_image","partial_image_index":%d,`, d.family, i)
		if !yield(event(d.family+".partial_image", d.picture(out, s, i+1))) {
			return
		}
	}
}

func (d drawing) last(s stamp, withUsage bool) []byte {
	out := fmt.Appendf(nil, `{"type":"%s.completed",`, d.family)
	if withUsage {
		out = append(append(append(out, `"usage":`...), d.usage()...), ',')
	}
	return event(d.family+".completed", d.picture(out, s, 0))
}

func (d drawing) fault(e *apiError, _ int) []byte {
	return event("error", append([]byte(`{"type":"error",`), e.envelope()[1:]...))
}

func (d drawing) picture(dst []byte, s stamp, variant int) []byte {
	dst = fmt.Appendf(dst, `"created_at":%d,"b64_json":"%s",`, s.created, picture(d.request.Prompt, variant))
	return append(append(dst, d.look()...), '}')
}

// picture is a small PNG in base64 whose colour depends on the prompt.
func picture(prompt string, variant int) string {
	h := fnv.New32a()
	// A hash takes everything.
	_, _ = fmt.Fprintf(h, "%s %d", prompt, variant)
	sum := h.Sum32()
	img := image.NewRGBA(image.Rect(0, 0, 4, 4))
	for i := range 16 {
		img.Set(i%4, i/4, color.RGBA{R: byte(sum), G: byte(sum >> 8), B: byte(sum >> 16), A: 255})
	}
	var out bytes.Buffer
	if err := png.Encode(&out, img); err != nil {
		// A buffer takes everything.
		panic(err)
	}
	return base64.StdEncoding.EncodeToString(out.Bytes())
}

// known refuses members of a body's top level that an operation does not have.
func known(body []byte, names ...string) *apiError {
	var members map[string]json.RawMessage
	if fault := decodeInto(body, &members); fault != nil {
		return fault
	}
	allowed := make(map[string]bool, len(names))
	for _, name := range names {
		allowed[name] = true
	}
	unknown := ""
	for name := range members {
		if !allowed[name] && (unknown == "" || name < unknown) {
			unknown = name
		}
	}
	if unknown != "" {
		return badRequest("unknown_parameter", unknown, "Unknown parameter: '%s'.", unknown)
	}
	return nil
}
