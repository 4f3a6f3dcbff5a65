// The OpenAI SDK: both of its conversations at every provider, and every other operation at OpenAI.

import assert from "node:assert/strict";
import OpenAI, { toFile } from "openai";
import { base, check, citySchema, image, key, talk } from "./check.mjs";

const client = (apiKey) => new OpenAI({ baseURL: `${base}/v1`, apiKey, maxRetries: 0 });
const openai = client(key);
const stranger = client("sk-fw-nobody");
const model = "o-think";

function refused(e, what) {
  const kinds = { model: OpenAI.NotFoundError, key: OpenAI.AuthenticationError, limit: OpenAI.RateLimitError };
  assert.ok(e instanceof kinds[what], `${e?.constructor?.name}: ${e?.message}`);
  assert.ok(e.error?.message, e.message);
}

// The stream was left in the middle: its end is quiet, whatever is left of it.
async function leave(stream, isText) {
  for await (const event of stream) {
    if (isText(event)) {
      stream.controller.abort();
    }
  }
  assert.ok(stream.controller.signal.aborted, "the stream ended before it was cancelled");
}

function chatRequest(model, q) {
  const content = q.image
    ? [{ type: "text", text: q.text }, { type: "image_url", image_url: { url: `data:image/png;base64,${image}` } }]
    : q.text;
  const r = { model, messages: [{ role: "system", content: "Be brief." }, { role: "user", content }] };
  if (q.tools) {
    r.tools = [{ type: "function", function: { name: "weather", description: "The weather.", parameters: citySchema } }];
  }
  if (q.think) {
    r.reasoning_effort = "low";
  }
  if (q.schema) {
    r.response_format = { type: "json_schema", json_schema: { name: "city", schema: citySchema, strict: true } };
  }
  return r;
}

// The SDK's helper puts a stream's deltas together, but for the members that only others have.
async function streamedChat(r) {
  const stream = openai.chat.completions.stream({ ...r, stream_options: { include_usage: true } });
  let thought = "";
  const details = [];
  for await (const chunk of stream) {
    const delta = chunk.choices[0]?.delta ?? {};
    thought += delta.reasoning_content ?? "";
    for (const d of delta.reasoning_details ?? []) {
      const last = details.at(-1);
      if (last && last.type === d.type && last.format === d.format && d.text !== undefined && last.signature === undefined) {
        last.text = (last.text ?? "") + d.text;
        Object.assign(last, { ...d, text: last.text });
      } else if (last && last.type === d.type && d.signature !== undefined && d.text === undefined && last.signature === undefined) {
        last.signature = d.signature;
      } else {
        details.push({ ...d });
      }
    }
  }
  const got = await stream.finalChatCompletion();
  if (thought) {
    Object.assign(got.choices[0].message, { reasoning_content: thought, reasoning_details: details });
  }
  return got;
}

const chat = {
  name: "chat",
  refused,
  async ask(model, q, stream) {
    const r = chatRequest(model, q);
    const ask = () => (stream ? streamedChat(r) : openai.chat.completions.create(r));
    let got = await ask();
    if (q.result) {
      const { message } = got.choices[0];
      assert.ok(message.tool_calls?.length, `no call: ${JSON.stringify(got)}`);
      r.messages.push(message);
      for (const call of message.tool_calls) {
        r.messages.push({ role: "tool", tool_call_id: call.id, content: q.result });
      }
      got = await ask();
    }
    assert.equal(got.choices.length, 1);
    const { message, finish_reason } = got.choices[0];
    return {
      text: message.content ?? "",
      thought: message.reasoning_content ?? "",
      calls: (message.tool_calls ?? []).map((c) => ({ name: c.function.name, args: JSON.parse(c.function.arguments) })),
      stop: finish_reason,
      input: got.usage?.prompt_tokens,
      output: got.usage?.completion_tokens,
    };
  },
  async first(model) {
    const stream = await openai.chat.completions.create({ ...chatRequest(model, { text: "Hello?" }), stream: true });
    await leave(stream, (chunk) => chunk.choices[0]?.delta?.content);
  },
  stranger: (model) => stranger.chat.completions.create(chatRequest(model, { text: "Hello?" })),
};

function responsesRequest(model, q) {
  const content = [{ type: "input_text", text: q.text }];
  if (q.image) {
    content.push({ type: "input_image", detail: "auto", image_url: `data:image/png;base64,${image}` });
  }
  const r = { model, instructions: "Be brief.", store: false, input: [{ role: "user", content }] };
  if (q.tools) {
    r.tools = [{ type: "function", name: "weather", parameters: citySchema, strict: false }];
  }
  if (q.think) {
    r.reasoning = { effort: "low", summary: "auto" };
    r.include = ["reasoning.encrypted_content"];
  }
  if (q.schema) {
    r.text = { format: { type: "json_schema", name: "city", schema: citySchema, strict: true } };
  }
  return r;
}

async function streamedResponse(r) {
  const stream = openai.responses.stream(r);
  let next = 0;
  for await (const event of stream) {
    assert.equal(event.sequence_number, next++, event.type);
  }
  return stream.finalResponse();
}

const responses = {
  name: "responses",
  refused,
  async ask(model, q, stream) {
    const r = responsesRequest(model, q);
    const ask = () => (stream ? streamedResponse(r) : openai.responses.create(r));
    const callsOf = (got) => got.output.filter((item) => item.type === "function_call");
    let got = await ask();
    if (q.result) {
      assert.ok(callsOf(got).length, `no call: ${JSON.stringify(got)}`);
      // What the SDK's helper adds for its callers is nothing that goes back.
      r.input.push(...got.output.map(({ parsed_arguments, ...item }) => item));
      for (const call of callsOf(got)) {
        r.input.push({ type: "function_call_output", call_id: call.call_id, output: q.result });
      }
      got = await ask();
    }
    return {
      text: got.output_text,
      thought: got.output.flatMap((item) => (item.type === "reasoning" ? item.summary : [])).map((s) => s.text).join(""),
      calls: callsOf(got).map((c) => ({ name: c.name, args: JSON.parse(c.arguments) })),
      stop: got.status,
      input: got.usage?.input_tokens,
      output: got.usage?.output_tokens,
    };
  },
  async first(model) {
    const stream = await openai.responses.create({ ...responsesRequest(model, { text: "Hello?" }), stream: true });
    await leave(stream, (event) => event.type === "response.output_text.delta");
  },
  stranger: (model) => stranger.responses.create(responsesRequest(model, { text: "Hello?" })),
};

await talk(chat);
await talk(responses);

await check("openai/responses kept", async () => {
  const made = await openai.responses.create({ model, input: "Remember it.", store: true });
  assert.equal((await openai.responses.retrieve(made.id)).output_text, made.output_text);
  const items = [];
  for await (const item of openai.responses.inputItems.list(made.id)) {
    items.push(item);
  }
  assert.equal(items.length, 1);
  const next = await openai.responses.create({ model, input: "And now?", previous_response_id: made.id, store: true });
  assert.equal(next.previous_response_id, made.id);
  await openai.responses.delete(next.id);
  await openai.responses.delete(made.id);
  await assert.rejects(openai.responses.retrieve(made.id), OpenAI.NotFoundError);
});
await check("openai/response cancelled", async () => {
  const made = await openai.responses.create({ model, input: "Take your time.", background: true, store: true });
  const got = await openai.responses.cancel(made.id);
  assert.equal(got.id, made.id);
});
await check("openai/response's tokens counted", async () => {
  const got = await openai.responses.inputTokens.count({ model, input: "How many words are these?" });
  assert.ok(got.input_tokens >= 5, JSON.stringify(got));
});
await check("openai/completions", async () => {
  const got = await openai.completions.create({ model, prompt: "Once upon a time" });
  assert.ok(got.choices[0].text && got.usage.completion_tokens > 0, JSON.stringify(got));
});
await check("openai/completions, streamed", async () => {
  let text = "";
  for await (const chunk of await openai.completions.create({ model, prompt: "Once upon a time", stream: true })) {
    text += chunk.choices[0]?.text ?? "";
  }
  assert.ok(text);
});
for (const encoding_format of [undefined, "float"]) {
  await check(`openai/embeddings, ${encoding_format ?? "as the SDK likes them"}`, async () => {
    const got = await openai.embeddings.create({ model, input: ["one", "two"], encoding_format });
    assert.equal(got.data.length, 2);
    assert.ok(got.data.every((d) => d.embedding.length > 0 && d.embedding.every(Number.isFinite)));
  });
}
await check("openai/image", async () => {
  const got = await openai.images.generate({ model, prompt: "a fairway", size: "1024x1024" });
  assert.equal(Buffer.from(got.data[0].b64_json, "base64").subarray(1, 4).toString(), "PNG");
});
await check("openai/image, streamed", async () => {
  const types = [];
  for await (const event of await openai.images.generate({ model, prompt: "a fairway", stream: true, partial_images: 1 })) {
    types.push(event.type);
  }
  assert.deepEqual(types, ["image_generation.partial_image", "image_generation.completed"]);
});
await check("openai/image edited", async () => {
  const picture = await toFile(Buffer.from(image, "base64"), "picture.png", { type: "image/png" });
  const got = await openai.images.edit({ model, image: picture, prompt: "greener" });
  assert.equal(got.data.length, 1);
});
const sound = () => toFile(Buffer.alloc(2560, 7), "sound.wav", { type: "audio/wav" });
await check("openai/transcription", async () => {
  const got = await openai.audio.transcriptions.create({ model, file: await sound() });
  assert.match(got.text, /2560 bytes/);
});
await check("openai/transcription, streamed", async () => {
  let text = "";
  for await (const event of await openai.audio.transcriptions.create({ model, file: await sound(), stream: true })) {
    text += event.type === "transcript.text.delta" ? event.delta : "";
  }
  assert.match(text, /2560 bytes/);
});
await check("openai/translation", async () => {
  const got = await openai.audio.translations.create({ model, file: await sound() });
  assert.match(got.text, /2560 bytes/);
});
await check("openai/speech", async () => {
  const got = await openai.audio.speech.create({ model, voice: "alloy", input: "Hello there" });
  assert.ok((await got.arrayBuffer()).byteLength > 0);
});
await check("openai/moderation", async () => {
  const got = await openai.moderations.create({ model, input: "Hello there" });
  assert.equal(got.results.length, 1);
});
await check("openai/models", async () => {
  const names = [];
  for await (const m of openai.models.list()) {
    names.push(m.id);
  }
  assert.ok(names.includes(model), names.join(" "));
  assert.equal((await openai.models.retrieve(model)).id, model);
  await assert.rejects(openai.models.retrieve("nobody-serves-this"), OpenAI.NotFoundError);
  await assert.rejects(async () => stranger.models.list(), OpenAI.AuthenticationError);
});
