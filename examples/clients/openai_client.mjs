// OpenAI's Node.js client against Yiwen: node openai_client.mjs http://127.0.0.1:8080
import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: "any-key" });
const ask = async (content, model = "demo@en-zh", more = {}) => {
  const done = await client.chat.completions.create({ model, messages: [{ role: "user", content }], ...more });
  return done;
};
const one = await ask("Blue cotton shirt");
assert.equal(one.choices[0].message.content, "蓝色纯棉衬衫");
assert.equal(one.choices[0].finish_reason, "stop");
assert.ok(one.usage.prompt_tokens > 0);
assert.equal((await ask("Blue cotton shirt", "demo@zh")).choices[0].message.content, "蓝色纯棉衬衫");
const options = { translation_options: { source_lang: "auto", target_lang: "Chinese" } };
assert.equal((await ask("Blue cotton shirt", "demo", options)).choices[0].message.content, "蓝色纯棉衬衫");
const part = { type: "text", source_lang_code: "en", target_lang_code: "zh", text: "Blue cotton shirt" };
assert.equal((await ask([part], "demo")).choices[0].message.content, "蓝色纯棉衬衫");
let text = "";
for await (const chunk of await ask("Blue cotton shirt. Where is my order 12345678?", "demo@en-zh", { stream: true })) {
  text += chunk.choices[0]?.delta?.content ?? "";
}
assert.ok(text.startsWith("蓝色纯棉衬衫"));
const models = [];
for await (const model of client.models.list()) models.push(model.id);
assert.deepEqual(models, ["demo", "demo@en-zh", "demo@zh-en"]);
assert.equal((await client.models.retrieve("demo")).id, "demo");
await assert.rejects(ask("hello", "gpt-5"), (error) => error.status === 404);
await assert.rejects(ask("Translate to French: hello", "demo"), (error) => error.status === 400);
