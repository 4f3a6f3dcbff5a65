// Command anthropic asks a model by the SDK of Anthropic's API. The SDK finds Fairway by itself: ANTHROPIC_BASE_URL says
// where, and ANTHROPIC_API_KEY (or ANTHROPIC_AUTH_TOKEN) is a key of Fairway's.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/anthropics/anthropic-sdk-go"
)

func main() {
	ctx := context.Background()
	client := anthropic.NewClient()

	ask := anthropic.MessageNewParams{
		Model:     "gpt-4o-mini",
		MaxTokens: 256,
		Messages:  []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock("Say hello."))},
	}
	message, err := client.Messages.New(ctx, ask)
	if err != nil {
		log.Fatal(err)
	}
	for _, block := range message.Content {
		fmt.Println(block.Text)
	}

	stream := client.Messages.NewStreaming(ctx, ask)
	for stream.Next() {
		if event, ok := stream.Current().AsAny().(anthropic.ContentBlockDeltaEvent); ok {
			fmt.Print(event.Delta.Text)
		}
	}
	if err := stream.Err(); err != nil {
		log.Fatal(err)
	}
	fmt.Println()
}
