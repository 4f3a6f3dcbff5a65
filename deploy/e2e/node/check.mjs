// What the scripts share: what they are told, what they ask everybody, and how they say what came of it: one line of JSON
// for each check. Nothing here decides whether the run is good; node_test.go does.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

// On standard input: {base, key, providers: [{name, model, silent: [surface], shapeless}]}.
export const { base, key, providers } = JSON.parse(readFileSync(0, "utf8"));

// A check that hangs shall be named; this decides nothing else.
const patience = 60_000;

export async function check(name, run) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("no end in sight")), patience);
  });
  try {
    await Promise.race([run(), late]);
    say({ name, ok: true, detail: "" });
  } catch (e) {
    say({ name, ok: false, detail: `${e?.stack ?? e} ${JSON.stringify(e?.error ?? null)}` });
  } finally {
    clearTimeout(timer);
  }
}

function say(line) {
  process.stdout.write(JSON.stringify(line) + "\n");
}

export const citySchema = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};

// Eight bytes that begin as a PNG does.
export const image = Buffer.from("\x89PNG1234", "latin1").toString("base64");

// What a client of any dialect asks. The second turn of one with a result answers the first's calls.
const questions = [
  { name: "text", text: "Say hello." },
  { name: "image", text: "What is it?", image: true },
  { name: "schema", text: "Where?", schema: true },
  { name: "tools", text: "How is the weather?", tools: true },
  { name: "tools there and back", text: "How is the weather?", tools: true, result: "It rains." },
  { name: "thinking", text: "Think about it.", think: true },
  { name: "thinking there and back", text: "How is the weather?", tools: true, think: true, result: "It rains." },
];

// talk runs a surface through everything that has to do with a conversation, at every provider. A surface has
//   ask(model, question, stream) -> {text, thought, calls: [{name, args}], stop, input, output}: the answer, by its SDK
//   first(model) -> reads a stream as far as its first text, then cancels it; fulfilled when the stream is over
//   refused(error, what, told): an error is the SDK's own for "model", "key" or "limit"
//   stranger(model): asks with a key that nobody has
export async function talk(surface) {
  for (const p of providers) {
    for (const q of questions) {
      for (const stream of [false, true]) {
        const name = `${surface.name} to ${p.name}/${q.name}${stream ? ", streamed" : ""}`;
        await check(name, async () => judge(await surface.ask(p.model, q, stream), q, p, surface));
      }
    }
    await check(`${surface.name} to ${p.name}/cancel`, () => surface.first(`slow-${p.model}`));
    for (const stream of [false, true]) {
      const suffix = stream ? ", streamed" : "";
      const plain = { text: "Say hello." };
      await check(`${surface.name} to ${p.name}/upstream's limit${suffix}`, () =>
        fails(() => surface.ask(`limited-${p.model}`, plain, stream), (e) => surface.refused(e, "limit")));
      await check(`${surface.name} to ${p.name}/model unknown upstream${suffix}`, () =>
        fails(() => surface.ask(`lost-${surface.name}-${stream}-${p.model}`, plain, stream), (e) => surface.refused(e, "model")));
    }
  }
  await check(`${surface.name}/unknown model`, () =>
    fails(() => surface.ask("nobody-serves-this", { text: "Hello?" }, false), (e) => {
      surface.refused(e, "model");
      assert.match(e.message, /nobody-serves-this/);
    }));
  await check(`${surface.name}/wrong key`, () =>
    fails(() => surface.stranger(providers[0].model), (e) => surface.refused(e, "key")));
}

async function fails(run, refused) {
  let got;
  try {
    got = await run();
  } catch (e) {
    refused(e);
    return;
  }
  assert.fail(`no error, but ${JSON.stringify(got)}`);
}

function judge(got, q, p, surface) {
  assert.ok(got.input > 0 && got.output > 0, `no usage: ${JSON.stringify(got)}`);
  assert.ok(got.stop, `no reason for the end: ${JSON.stringify(got)}`);
  if (q.tools && !q.result) {
    assert.equal(got.calls.length, 1, JSON.stringify(got));
    assert.equal(got.calls[0].name, "weather");
    assert.equal(typeof got.calls[0].args.city, "string", JSON.stringify(got));
    return;
  }
  assert.deepEqual(got.calls, []);
  if (q.think && !p.silent.includes(surface.name)) {
    assert.ok(got.thought, `no thought: ${JSON.stringify(got)}`);
  }
  if (q.image) {
    assert.match(got.text, /8 bytes/);
  } else if (q.schema && !p.shapeless) {
    assert.equal(typeof JSON.parse(got.text).city, "string", got.text);
  } else if (!q.schema) {
    assert.match(got.text, /^Hello!/);
  }
}
