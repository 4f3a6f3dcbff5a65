package gemini

import "strings"

// family is what a model's name tells of what its API takes. Names that are not Google's own tell nothing, and count as the
// newest.
type family struct {
	major    int
	known    bool // the name says which it is
	pro      bool
	lite     bool
	thinks   bool
	onlyEnds bool // gemini-3-pro, which knows the levels low and high
}

// newest is the generation that an unknown name counts as.
const newest = 3

// familyOf reads a name such as "gemini-2.5-flash", "models/gemini-3-pro-preview" or "google/gemini-2.0-flash-001".
func familyOf(model string) family {
	name := strings.ToLower(model[strings.LastIndexByte(model, '/')+1:])
	f := family{major: newest, thinks: true, pro: strings.Contains(name, "-pro"), lite: strings.Contains(name, "-lite")}
	if strings.HasPrefix(name, "gemma") {
		return family{major: 1, known: true}
	}
	version, ok := strings.CutPrefix(name, "gemini-")
	if !ok || version == "" || version[0] < '0' || version[0] > '9' {
		return f // gemini-flash-latest and its like are of the newest
	}
	f.known = true
	f.major = 0
	for len(version) > 0 && version[0] >= '0' && version[0] <= '9' && f.major < 100 {
		f.major = f.major*10 + int(version[0]-'0')
		version = version[1:]
	}
	minor := strings.TrimPrefix(version, ".")
	f.thinks = f.major > 2 || f.major == 2 && strings.HasPrefix(minor, "5")
	f.onlyEnds = f.major == 3 && f.pro && minor == version
	return f
}

// levels says whether thinking is asked for by level; older models know budgets only.
func (f family) levels() bool { return f.major >= 3 }

// signed says whether calls of the current turn must carry a signature.
func (f family) signed() bool { return f.major >= 3 }

// mixes says whether function calling and structured output go together.
func (f family) mixes() bool { return f.major >= 3 }

// sees says whether a function's response may hold images.
func (f family) sees() bool { return f.major >= 3 }

// budgets are the least and the largest thinking budget in tokens of the models that go by budgets
// (https://ai.google.dev/gemini-api/docs/thinking). A least one of 0 can be switched off.
func (f family) budgets() (least, most int64) {
	switch {
	case f.levels():
		return 0, 32768
	case f.pro:
		return 128, 32768
	}
	return 0, 24576
}
