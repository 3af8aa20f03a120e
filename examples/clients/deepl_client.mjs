// DeepL's Node.js client against Yiwen: node deepl_client.mjs http://127.0.0.1:8080
import assert from "node:assert/strict";
import * as deepl from "deepl-node";

const client = new deepl.DeepLClient("any-key", { serverUrl: process.argv[2] });
const one = await client.translateText("Blue cotton shirt", null, "zh");
assert.equal(one.text, "蓝色纯棉衬衫");
assert.equal(one.detectedSourceLang, "en");
assert.equal(one.billedCharacters, 17);
const two = await client.translateText(["Blue cotton shirt", "Desk lamp"], "en", "zh-HANS");
assert.deepEqual(two.map((each) => each.text), ["蓝色纯棉衬衫", "台灯"]);
const html = await client.translateText("<p>Blue cotton shirt</p>", "en", "zh", { tagHandling: "html" });
assert.equal(html.text, "<p>蓝色纯棉衬衫</p>");
assert.deepEqual((await client.getSourceLanguages()).map((each) => each.code), ["en", "zh"]);
assert.ok((await client.getTargetLanguages()).some((each) => each.code === "en-GB"));
assert.ok((await client.getUsage()).character.limit > 0);
assert.equal((await client.getGlossaryLanguagePairs()).length, 2);
const entries = new deepl.GlossaryEntries({ entries: { shirt: "T恤" } });
const glossary = await client.createGlossary("example", "en", "zh", entries);
assert.equal(glossary.entryCount, 1);
const withGlossary = await client.translateText("Blue cotton shirt", "en", "zh", { glossary });
assert.match(withGlossary.text, /T恤/);
assert.deepEqual((await client.getGlossaryEntries(glossary)).entries(), { shirt: "T恤" });
await client.deleteGlossary(glossary);
await assert.rejects(client.getGlossary(glossary.glossaryId), deepl.GlossaryNotFoundError);
const dictionaries = [
  { sourceLangCode: "en", targetLangCode: "zh", entries },
  { sourceLangCode: "zh", targetLangCode: "en", entries: new deepl.GlossaryEntries({ entries: { 灯: "light" } }) },
];
const multilingual = await client.createMultilingualGlossary("both ways", dictionaries);
assert.deepEqual(multilingual.dictionaries.map((each) => each.entryCount), [1, 1]);
const named = await client.translateText("Blue cotton shirt", "en", "zh", { glossary: multilingual });
assert.match(named.text, /T恤/);
await client.deleteMultilingualGlossary(multilingual);
await assert.rejects(client.translateText("Blue cotton shirt", null, "de"), /target_lang/);
