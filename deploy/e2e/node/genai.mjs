// The Google Gen AI SDK: contents at every provider, and every other operation at Gemini.

import assert from "node:assert/strict";
import { ApiError, GoogleGenAI } from "@google/genai";
import { base, check, citySchema, image, key, talk } from "./check.mjs";

const client = (apiKey) => new GoogleGenAI({ apiKey, httpOptions: { baseUrl: base } });
const google = client(key);
const stranger = client("sk-fw-nobody");
const model = "gemini-3-pro";

function request(model, q) {
  const parts = [{ text: q.text }];
  if (q.image) {
    parts.push({ inlineData: { mimeType: "image/png", data: image } });
  }
  const config = { systemInstruction: "Be brief." };
  if (q.tools) {
    config.tools = [{ functionDeclarations: [{ name: "weather", description: "The weather.", parametersJsonSchema: citySchema }] }];
  }
  if (q.think) {
    config.thinkingConfig = { includeThoughts: true, thinkingBudget: 1024 };
  }
  if (q.schema) {
    config.responseMimeType = "application/json";
    config.responseJsonSchema = citySchema;
  }
  return { model, contents: [{ role: "user", parts }], config };
}

// The SDK has one class of errors, which has the status, and the answer as the message.
function refused(e, what) {
  const wants = {
    model: [404, "NOT_FOUND"],
    key: [401, "UNAUTHENTICATED"],
    limit: [429, "RESOURCE_EXHAUSTED"],
  };
  assert.ok(e instanceof ApiError, `${e?.constructor?.name}: ${e?.message}`);
  const [status, name] = wants[what];
  assert.equal(e.status, status, e.message);
  assert.equal(JSON.parse(e.message).error.status, name);
}

async function ask(r, stream) {
  const got = { parts: [], stop: "", usage: {} };
  const take = (answer) => {
    const candidate = answer.candidates?.[0];
    got.parts.push(...(candidate?.content?.parts ?? []));
    got.stop = candidate?.finishReason ?? got.stop;
    got.usage = answer.usageMetadata ?? got.usage;
  };
  if (!stream) {
    take(await google.models.generateContent(r));
    return got;
  }
  for await (const answer of await google.models.generateContentStream(r)) {
    take(answer);
  }
  return got;
}

await talk({
  name: "generate",
  refused,
  async ask(model, q, stream) {
    const r = request(model, q);
    const callsOf = (got) => got.parts.flatMap((p) => p.functionCall ?? []);
    let got = await ask(r, stream);
    if (q.result) {
      assert.ok(callsOf(got).length, `no call: ${JSON.stringify(got)}`);
      const results = callsOf(got).map(({ id, name }) => ({ functionResponse: { id, name, response: { output: q.result } } }));
      r.contents.push({ role: "model", parts: got.parts }, { role: "user", parts: results });
      got = await ask(r, stream);
    }
    const textOf = (thought) => got.parts.filter((p) => Boolean(p.thought) === thought).map((p) => p.text ?? "").join("");
    return {
      text: textOf(false),
      thought: textOf(true),
      calls: callsOf(got).map(({ name, args }) => ({ name, args })),
      stop: got.stop,
      input: got.usage.promptTokenCount,
      output: (got.usage.candidatesTokenCount ?? 0) + (got.usage.thoughtsTokenCount ?? 0),
    };
  },
  async first(model) {
    const leave = new AbortController();
    const r = request(model, { text: "Hello?" });
    r.config.abortSignal = leave.signal;
    try {
      for await (const answer of await google.models.generateContentStream(r)) {
        if (answer.text) {
          leave.abort();
        }
      }
    } catch (e) {
      assert.equal(e.name, "AbortError", String(e));
    }
    assert.ok(leave.signal.aborted, "the stream ended before it was cancelled");
  },
  stranger: (model) => stranger.models.generateContent(request(model, { text: "Hello?" })),
});

await check("genai/tokens counted", async () => {
  const got = await google.models.countTokens({ model, contents: "How many words are these?" });
  assert.ok(got.totalTokens >= 5, JSON.stringify(got));
});
for (const contents of [["one"], ["one", "two"]]) {
  await check(`genai/${contents.length} embedded`, async () => {
    const got = await google.models.embedContent({ model, contents });
    assert.equal(got.embeddings.length, contents.length);
    assert.ok(got.embeddings.every((e) => e.values.length > 0 && e.values.every(Number.isFinite)));
  });
}
await check("genai/models", async () => {
  const names = [];
  for await (const m of await google.models.list()) {
    names.push(m.name);
  }
  assert.ok(names.includes(`models/${model}`), names.join(" "));
  assert.equal((await google.models.get({ model })).name, `models/${model}`);
  const absent = async () => google.models.get({ model: "nobody-serves-this" });
  await assert.rejects(absent, (e) => { refused(e, "model"); return true; });
  await assert.rejects(async () => stranger.models.list(), (e) => { refused(e, "key"); return true; });
});
