package meter

import "fairway/pkg/money"

// Usage is what a request used.
type Usage struct {
	money.Tokens
	// Estimated: nobody said, so the counts are derived from sizes.
	Estimated bool
}

// bytesPerToken is the usual ratio for text in the Latin script.
const bytesPerToken = 4

// Estimate derives usage from the bytes of text that went in and came out.
func Estimate(inputText, outputText int64) Usage {
	return Usage{Tokens: money.Tokens{Input: tokens(inputText), Output: tokens(outputText)}, Estimated: true}
}

func tokens(text int64) int64 {
	if text <= 0 {
		return 0
	}
	return (text + bytesPerToken - 1) / bytesPerToken
}
