package responses

import (
	"strings"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect/neutral"
)

// content reads the parts of a message or of a tool's output.
func (a *asking) content(path string, list gjson.Result, say func(neutral.Part)) {
	i := -1
	list.ForEach(func(_, v gjson.Result) bool {
		i++
		at := at(path, i)
		switch kind := v.Get("type").Str; kind {
		case "input_text", "output_text", "text":
			a.unknown(v, "type", "text", "annotations", "logprobs")
			a.r.Losses.AddIf(v.Get("annotations.#").Int() > 0, neutral.LossCitations)
			if text := v.Get("text"); a.want(text.Type == gjson.String, at+".text", "must be a string") {
				say(neutral.Part{Kind: neutral.Text, Text: text.Str})
			}
		case "refusal":
			a.unknown(v, "type", "refusal")
			say(neutral.Part{Kind: neutral.Refusal, Text: v.Get("refusal").String()})
		case "input_image":
			a.image(at, v, say)
		case "input_file":
			a.file(at, v, say)
		case "input_audio":
			a.audio(at, v, say)
		case "":
			a.refuse(at+".type", "is missing")
		default:
			a.r.Losses.Add(neutral.LossUnknownPart)
		}
		return a.fault == nil
	})
}

func (a *asking) image(path string, v gjson.Result, say func(neutral.Part)) {
	a.unknown(v, "type", "image_url", "file_id", "detail")
	p := neutral.Part{Kind: neutral.Image, FileID: v.Get("file_id").String()}
	switch detail := v.Get("detail").String(); detail {
	case "", "low", "high", "auto":
		p.Detail = detail
	default: // "original": a word that others do not have
		p.Detail = "high"
		a.r.Losses.Add(neutral.LossImageDetail)
	}
	if url := v.Get("image_url").String(); url != "" {
		p.FileID = ""
		if !setURL(&p, url) {
			a.refuse(path+".image_url", "must be a URL or base64 data")
			return
		}
	}
	if a.want(p.URL != "" || p.Data != "" || p.FileID != "", path+".image_url", "is missing") {
		say(p)
	}
}

func (a *asking) file(path string, v gjson.Result, say func(neutral.Part)) {
	a.unknown(v, "type", "filename", "file_data", "file_url", "file_id", "detail")
	p := neutral.Part{Kind: neutral.File, Name: v.Get("filename").String()}
	data, url := v.Get("file_data").String(), v.Get("file_url").String()
	switch {
	case strings.HasPrefix(data, "data:"):
		if !a.want(setURL(&p, data), path+".file_data", "must be base64 data") {
			return
		}
	case data != "":
		p.Data, p.Media = data, mediaOf(p.Name)
	case url != "":
		p.URL, p.Media = url, mediaOf(url)
	default:
		p.FileID = v.Get("file_id").String()
	}
	if a.want(p.URL != "" || p.Data != "" || p.FileID != "", path+".file_data", "is missing") {
		say(p)
	}
}

func (a *asking) audio(path string, v gjson.Result, say func(neutral.Part)) {
	a.unknown(v, "type", "input_audio")
	data := v.Get("input_audio.data").String()
	var media string
	switch v.Get("input_audio.format").Str {
	case "wav":
		media = "audio/wav"
	case "mp3":
		media = "audio/mpeg"
	default:
		a.refuse(path+".input_audio.format", "must be wav or mp3")
		return
	}
	if a.want(data != "", path+".input_audio.data", "is missing") {
		say(neutral.Part{Kind: neutral.Audio, Media: media, Data: data})
	}
}

// setURL puts an address into a part: a data URL as its media type and data. false = a data URL that is not base64.
func setURL(p *neutral.Part, url string) bool {
	rest, ok := strings.CutPrefix(url, "data:")
	if !ok {
		p.URL = url
		return true
	}
	head, data, ok := strings.Cut(rest, ",")
	media, base64 := strings.CutSuffix(head, ";base64")
	if !ok || !base64 || data == "" {
		return false
	}
	media, _, _ = strings.Cut(media, ";") // parameters such as a charset
	p.Media, p.Data = media, data
	return true
}

// mediaOf guesses the type of a file that came without one; "" = who knows.
func mediaOf(name string) string {
	name, _, _ = strings.Cut(name, "?")
	dot := strings.LastIndexByte(name, '.')
	switch strings.ToLower(name[dot+1:]) {
	case "pdf":
		return "application/pdf"
	case "txt":
		return "text/plain"
	case "md":
		return "text/markdown"
	case "csv":
		return "text/csv"
	case "html":
		return "text/html"
	case "json":
		return "application/json"
	}
	return ""
}
