// Command openai asks a model by the SDK of OpenAI's API. The SDK finds Fairway by itself: OPENAI_BASE_URL says where, and
// OPENAI_API_KEY is a key of Fairway's.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/responses"
)

const model = "gpt-4o-mini"

func main() {
	ctx := context.Background()
	client := openai.NewClient()

	chat := openai.ChatCompletionNewParams{
		Model:    model,
		Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("Say hello.")},
	}
	completion, err := client.Chat.Completions.New(ctx, chat)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(completion.Choices[0].Message.Content)

	stream := client.Responses.NewStreaming(ctx, responses.ResponseNewParams{
		Model: model,
		Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("Say hello again.")},
	})
	for stream.Next() {
		if event := stream.Current(); event.Type == "response.output_text.delta" {
			fmt.Print(event.Delta)
		}
	}
	if err := stream.Err(); err != nil {
		log.Fatal(err)
	}
	fmt.Println()
}
