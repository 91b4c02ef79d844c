// The openai package.
import OpenAI from "openai";
import { check, done, embedder, fails, key, model, question, url } from "./common.mjs";

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
const greedy = { model, messages: question, temperature: 0, max_tokens: 24 };
const schema = {
  type: "object",
  properties: { city: { type: "string", maxLength: 12 }, unit: { enum: ["celsius", "fahrenheit"] } },
  required: ["city", "unit"],
  additionalProperties: false,
};
const isWeather = (value) => typeof value.city === "string" && ["celsius", "fahrenheit"].includes(value.unit);

const answer = await client.chat.completions.create(greedy);
const text = answer.choices[0].message.content;
check("a chat answers", text.length > 0 && answer.usage.total_tokens > 0);

let streamed = "";
for await (const chunk of await client.chat.completions.create({ ...greedy, stream: true })) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
}
check("the stream says what the answer said", streamed === text);

const tools = [{ type: "function", function: { name: "get_weather", parameters: schema, strict: true } }];
const called = await client.chat.completions.create({ ...greedy, max_tokens: 200, tools, tool_choice: "required" });
const call = called.choices[0].message.tool_calls[0].function;
check("a required call is made", call.name === "get_weather" && isWeather(JSON.parse(call.arguments)));

const response_format = { type: "json_schema", json_schema: { name: "weather", schema, strict: true } };
const made = await client.chat.completions.create({ ...greedy, max_tokens: 200, response_format });
check("an answer satisfies its schema", isWeather(JSON.parse(made.choices[0].message.content)));

const vectors = await client.embeddings.create({ model: embedder, input: ["a cat", "a dog"] });
check("texts have vectors", vectors.data.length === 2 && vectors.data[0].embedding.every(Number.isFinite));

const wrong = await fails(() => client.chat.completions.create({ ...greedy, temperature: -1 }));
check("a value out of range is named", wrong.status === 400 && wrong.param === "temperature");
const stranger = new OpenAI({ baseURL: `${url}/v1`, apiKey: "wrong", maxRetries: 0 });
check("a wrong key is a 401", (await fails(() => stranger.models.list())).status === 401);

const abort = new AbortController();
const long = await client.chat.completions.create({ ...greedy, max_tokens: 400, stream: true }, { signal: abort.signal });
for await (const _ of long) {
  abort.abort();
  break;
}
check("the server goes on after a client that left", (await client.chat.completions.create(greedy)).choices.length === 1);

const response = await client.responses.create({ model, input: "Tell me about a fox.", temperature: 0, max_output_tokens: 24 });
check("a response answers", response.output_text.length > 0);
done();
