// The official JavaScript clients, unchanged, inside a sandbox.
import assert from "node:assert";
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const hello = `hello from ${process.env.BACKEND}`;
const gpt = new OpenAI({ baseURL: "https://inference.local/v1", apiKey: "callers-own", maxRetries: 0 });
const claude = new Anthropic({ baseURL: "https://inference.local", apiKey: "callers-own", maxRetries: 0 });
const messages = [{ role: "user", content: "Say hello." }];

const chat = await gpt.chat.completions.create({ model: "small", messages });
assert.equal(chat.choices[0].message.content, hello);
let text = "";
for await (const chunk of await gpt.chat.completions.create({ model: "small", messages, stream: true })) {
  text += chunk.choices[0]?.delta?.content ?? "";
}
assert.equal(text, hello);
const message = await claude.messages.create({ model: "small", max_tokens: 64, messages });
assert.equal(message.content[0].text, hello);
const final = await claude.messages.stream({ model: "small", max_tokens: 64, messages }).finalMessage();
assert.equal(final.content[0].text, hello);
const response = await gpt.responses.create({ model: "small", input: "Say hello." });
assert.equal(response.output_text, hello);
let said = "";
for await (const event of await gpt.responses.create({ model: "small", input: "Say hello.", stream: true })) {
  said += event.type === "response.output_text.delta" ? event.delta : "";
}
assert.equal(said, hello);
assert.ok((await claude.messages.countTokens({ model: "small", messages })).input_tokens > 0);
if (process.env.KIND !== "anthropic") {
  const { data } = await gpt.embeddings.create({ model: "small", input: "hello" });
  assert.deepEqual([...data[0].embedding], [0.5, 0.25]);
}
console.log("all node checks passed");
