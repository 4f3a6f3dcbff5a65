package gemini

import "fairway/dataplane/internal/dialect/neutral"

// stopOf says what one of Google's reasons means. called: there was a call, which Google does not say by a reason.
func stopOf(reason string, called bool) neutral.Stop {
	switch reason {
	case "STOP":
		if called {
			return neutral.StopCall
		}
		return neutral.StopEnd
	case "MAX_TOKENS":
		return neutral.StopLength
	case "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII",
		"IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION":
		return neutral.StopFilter
	case "CONTINUATION":
		return neutral.StopPause
	}
	// OTHER, MALFORMED_FUNCTION_CALL, UNEXPECTED_TOOL_CALL, TOO_MANY_TOOL_CALLS, NO_IMAGE, IMAGE_OTHER, and what comes
	// after them: the answer ended, and why is nothing that other dialects know.
	return 0
}

// reasonOf is Google's word for why an answer ended. spoilt: a call could not be written, for its arguments are no object.
func reasonOf(stop neutral.Stop, spoilt bool) string {
	switch stop {
	case neutral.StopLength, neutral.StopContext:
		return "MAX_TOKENS"
	case neutral.StopFilter:
		return "SAFETY"
	case neutral.StopPause:
		return "CONTINUATION"
	}
	if spoilt {
		return "MALFORMED_FUNCTION_CALL"
	}
	if stop == 0 {
		return "OTHER"
	}
	return "STOP"
}
