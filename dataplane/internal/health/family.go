package health

// maxFamilyTail is how many parts of a model's name may be dates and versions.
const maxFamilyTail = 3

// family is a model's name without the date and version at its end: "claude-3-5-sonnet-20241022" and
// "claude-3-5-sonnet-latest" are of one family, whose capacity the provider shares out together. It is a view of model.
//
// Parts are separated by "-", "@" (Vertex) or ":" (Bedrock), and are dropped from the end while they are of one of the
// kinds of tails; at least one part stays. Digits that name a generation, as in "gpt-4" and "claude-sonnet-4-5", are none.
func family(model string) string {
	for range maxFamilyTail {
		at := lastSeparator(model)
		if at <= 0 {
			return model
		}
		cut := 0
		for _, t := range tails {
			if n := t(model, at); n > 0 {
				cut = n
				break
			}
		}
		if cut == 0 {
			return model
		}
		model = model[:cut]
	}
	return model
}

// tails recognise what ends a name whose last separator is at at; each returns where the name ends without it, 0 = it is
// not of its kind.
//
//nolint:gochecknoglobals // a constant table; Go has no constant of this type
var tails = [...]func(name string, at int) int{
	word,        // gpt-4o-latest, gemini-2.0-flash-exp
	compactDate, // claude-3-5-sonnet-20241022, claude-3-5-sonnet@20240620
	dashedDate,  // gpt-4o-2024-08-06
	monthDay,    // gpt-4-0613; also gemini-2.5-flash-preview-05-20
	build,       // gemini-2.0-flash-001
	bedrock,     // anthropic.claude-3-haiku-20240307-v1:0
}

func word(name string, at int) int {
	switch name[at+1:] {
	case "latest", "exp", "preview":
		return at
	}
	return 0
}

func compactDate(name string, at int) int {
	if d := name[at+1:]; len(d) == 8 && digits(d) && d[:2] == "20" && d[4:6] <= "12" {
		return at
	}
	return 0
}

func dashedDate(name string, _ int) int {
	const form = "-2006-01-02"
	cut := len(name) - len(form)
	if cut <= 0 {
		return 0
	}
	d := name[cut:]
	if d[0] == '-' && digits(d[1:5]) && d[1:3] == "20" && d[5] == '-' && digits(d[6:8]) && d[8] == '-' && digits(d[9:]) {
		return cut
	}
	return 0
}

func monthDay(name string, at int) int {
	d := name[at+1:]
	if len(d) == 4 && digits(d) && isDay(d[:2], d[2:]) {
		return at
	}
	if len(d) == 2 && at >= 3 && name[at-3] == '-' && digits(d) && digits(name[at-2:at]) && isDay(name[at-2:at], d) {
		return at - 3
	}
	return 0
}

func isDay(month, day string) bool {
	return month >= "01" && month <= "12" && day >= "01" && day <= "31"
}

func build(name string, at int) int {
	if d := name[at+1:]; len(d) == 3 && digits(d) && d[0] == '0' {
		return at
	}
	return 0
}

func bedrock(name string, at int) int {
	d := name[at+1:]
	if name[at] == ':' && len(d) > 0 && len(d) <= 2 && digits(d) {
		return at
	}
	if len(d) == 2 && d[0] == 'v' && digits(d[1:]) && name[at] == '-' {
		return at
	}
	return 0
}

func lastSeparator(s string) int {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == '-' || s[i] == '@' || s[i] == ':' {
			return i
		}
	}
	return -1
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
