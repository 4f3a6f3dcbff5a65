// Command gemini asks a model by Google's Gen AI SDK. The SDK finds Fairway by itself: GOOGLE_GEMINI_BASE_URL says where,
// and GEMINI_API_KEY is a key of Fairway's.
package main

import (
	"context"
	"fmt"
	"log"

	"google.golang.org/genai"
)

const model = "gpt-4o-mini"

func main() {
	ctx := context.Background()
	client, err := genai.NewClient(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}

	answer, err := client.Models.GenerateContent(ctx, model, genai.Text("Say hello."), nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer.Text())

	for piece, err := range client.Models.GenerateContentStream(ctx, model, genai.Text("Say hello again."), nil) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Print(piece.Text())
	}
	fmt.Println()
}
