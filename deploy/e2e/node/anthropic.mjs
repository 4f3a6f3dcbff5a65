// The Anthropic SDK: messages at every provider, and every other operation at Anthropic.

import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import { base, check, citySchema, image, key, talk } from "./check.mjs";

const client = (apiKey) => new Anthropic({ baseURL: base, apiKey, maxRetries: 0 });
const anthropic = client(key);
const stranger = client("sk-fw-nobody");
const model = "claude-sonnet-4-5";

function request(model, q) {
  const content = [{ type: "text", text: q.text }];
  if (q.image) {
    content.push({ type: "image", source: { type: "base64", media_type: "image/png", data: image } });
  }
  const r = { model, max_tokens: 8192, system: "Be brief.", messages: [{ role: "user", content }] };
  if (q.tools) {
    r.tools = [{ name: "weather", description: "The weather.", input_schema: citySchema }];
  }
  if (q.think) {
    r.thinking = { type: "enabled", budget_tokens: 1024 };
  }
  if (q.schema) {
    r.output_config = { format: { type: "json_schema", schema: citySchema } };
  }
  return r;
}

await talk({
  name: "messages",
  refused(e, what) {
    const kinds = { model: Anthropic.NotFoundError, key: Anthropic.AuthenticationError, limit: Anthropic.RateLimitError };
    const types = { model: "not_found_error", key: "authentication_error", limit: "rate_limit_error" };
    assert.ok(e instanceof kinds[what], `${e?.constructor?.name}: ${e?.message}`);
    assert.equal(e.error?.type, "error", e.message);
    assert.equal(e.error?.error?.type, types[what]);
  },
  async ask(model, q, stream) {
    const r = request(model, q);
    const ask = () => (stream ? anthropic.messages.stream(r).finalMessage() : anthropic.messages.create(r));
    const callsOf = (got) => got.content.filter((b) => b.type === "tool_use");
    let got = await ask();
    if (q.result) {
      assert.ok(callsOf(got).length, `no call: ${JSON.stringify(got)}`);
      const results = callsOf(got).map((b) => ({ type: "tool_result", tool_use_id: b.id, content: q.result }));
      r.messages.push({ role: "assistant", content: got.content }, { role: "user", content: results });
      got = await ask();
    }
    const u = got.usage;
    return {
      text: got.content.map((b) => b.text ?? "").join(""),
      thought: got.content.map((b) => b.thinking ?? "").join(""),
      calls: callsOf(got).map((b) => ({ name: b.name, args: b.input })),
      stop: got.stop_reason,
      input: u.input_tokens + (u.cache_read_input_tokens ?? 0) + (u.cache_creation_input_tokens ?? 0),
      output: u.output_tokens,
    };
  },
  async first(model) {
    const stream = await anthropic.messages.create({ ...request(model, { text: "Hello?" }), stream: true });
    for await (const event of stream) {
      if (event.type === "content_block_delta") {
        stream.controller.abort();
      }
    }
    assert.ok(stream.controller.signal.aborted, "the stream ended before it was cancelled");
  },
  stranger: (model) => stranger.messages.create(request(model, { text: "Hello?" })),
});

await check("anthropic/tokens counted", async () => {
  const got = await anthropic.messages.countTokens({ model, messages: [{ role: "user", content: "How many words are these?" }] });
  assert.ok(got.input_tokens >= 5, JSON.stringify(got));
});
const requests = ["a", "b"].map((custom_id) => ({
  custom_id,
  params: { model, max_tokens: 64, messages: [{ role: "user", content: "Say hello." }] },
}));
await check("anthropic/batch", async () => {
  const { batches } = anthropic.messages;
  const made = await batches.create({ requests });
  assert.equal(made.processing_status, "in_progress");
  const ended = await batches.retrieve(made.id);
  assert.equal(ended.processing_status, "ended");
  const results = new Map();
  for await (const line of await batches.results(made.id)) {
    results.set(line.custom_id, line.result.type);
  }
  assert.deepEqual(results, new Map([["a", "succeeded"], ["b", "succeeded"]]));
  // An account's batches are those of several keys.
  await assert.rejects(async () => batches.list(), (e) => e.status === 501);
  await batches.delete(made.id);
  await assert.rejects(batches.retrieve(made.id), Anthropic.NotFoundError);
});
await check("anthropic/batch cancelled", async () => {
  const made = await anthropic.messages.batches.create({ requests });
  assert.equal((await anthropic.messages.batches.cancel(made.id)).processing_status, "canceling");
});
await check("anthropic/models", async () => {
  const names = [];
  for await (const m of anthropic.models.list()) {
    names.push(m.id);
  }
  assert.ok(names.includes(model), names.join(" "));
  assert.equal((await anthropic.models.retrieve(model)).type, "model");
  await assert.rejects(anthropic.models.retrieve("nobody-serves-this"), Anthropic.NotFoundError);
  await assert.rejects(async () => stranger.models.list(), Anthropic.AuthenticationError);
});
