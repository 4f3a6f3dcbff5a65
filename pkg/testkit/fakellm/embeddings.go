package fakellm

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"hash/fnv"
	"math"
	"strconv"
)

type embeddingRequest struct {
	Model          string            `json:"model"`
	Input          json.RawMessage   `json:"input"`
	EncodingFormat string            `json:"encoding_format"`
	Dimensions     *int              `json:"dimensions"`
	Metadata       map[string]string `json:"metadata"`
}

// The lengths of vectors.
const (
	defaultDimensions = 8
	maxDimensions     = 4096
)

func decodeEmbedding(body []byte) (answer, *apiError) {
	var r embeddingRequest
	if fault := decodeInto(body, &r); fault != nil {
		return answer{}, fault
	}
	dimensions := defaultDimensions
	if r.Dimensions != nil {
		dimensions = *r.Dimensions
	}
	switch {
	case r.Model == "":
		return answer{}, badRequest("missing_required_parameter", "model", "you must provide a model parameter")
	case r.EncodingFormat != "" && r.EncodingFormat != "float" && r.EncodingFormat != "base64":
		return answer{}, badRequest("invalid_value", "encoding_format", "'encoding_format' must be float or base64")
	case dimensions < 1 || dimensions > maxDimensions:
		return answer{}, badRequest("invalid_value", "dimensions", "'dimensions' must be between 1 and %d", maxDimensions)
	}
	inputs, fault := decodeInputs("input", r.Input)
	if fault != nil {
		return answer{}, fault
	}
	var u usage
	for _, in := range inputs {
		u.input += in.tokens
	}
	if u, fault = u.override(r.Metadata); fault != nil {
		return answer{}, fault
	}
	// Embeddings have no output.
	u.output = 0
	whole := func(_ stamp, withUsage bool) []byte {
		out := []byte(`{"object":"list","data":[`)
		for i, in := range inputs {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(out, `{"object":"embedding","index":`...)
			out = strconv.AppendInt(out, int64(i), 10)
			out = append(out, `,"embedding":`...)
			out = appendVector(out, vector(in.raw, dimensions), r.EncodingFormat == "base64")
			out = append(out, '}')
		}
		out = appendString(append(out, `],"model":`...), r.Model)
		if withUsage {
			out = strconv.AppendInt(append(out, `,"usage":{"prompt_tokens":`...), u.input, 10)
			out = strconv.AppendInt(append(out, `,"total_tokens":`...), u.input, 10)
			out = append(out, '}')
		}
		return append(out, '}')
	}
	return answer{model: r.Model, usage: u, whole: whole}, nil
}

// vector is a function of the text alone. Its numbers are multiples of 1/128, so that no format rounds them.
func vector(text []byte, dimensions int) []float32 {
	h := fnv.New64a()
	// A hash takes everything.
	_, _ = h.Write(text)
	state := h.Sum64()
	out := make([]float32, dimensions)
	for i := range out {
		// Knuth's MMIX generator.
		state = state*6364136223846793005 + 1442695040888963407
		out[i] = float32(int8(state>>56)) / 128
	}
	return out
}

func appendVector(dst []byte, v []float32, inBase64 bool) []byte {
	if inBase64 {
		raw := make([]byte, 0, 4*len(v))
		for _, f := range v {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(f))
		}
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, raw)
		return append(dst, '"')
	}
	dst = append(dst, '[')
	for i, f := range v {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendFloat(dst, float64(f), 'g', -1, 32)
	}
	return append(dst, ']')
}
