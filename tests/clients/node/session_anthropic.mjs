// The anthropic package.
import Anthropic from "@anthropic-ai/sdk";
import { check, done, fails, key, model, question, url } from "./common.mjs";

const client = new Anthropic({ baseURL: url, apiKey: key, maxRetries: 0 });
const base = { model, messages: question, temperature: 0, max_tokens: 24 };
const input_schema = { type: "object", properties: { city: { enum: ["Bern", "Oslo"] } }, required: ["city"], additionalProperties: false };
const tools = [{ name: "get_weather", input_schema }];

const answer = await client.messages.create(base);
const text = answer.content.at(-1).text;
check("a message answers", answer.type === "message" && text.length > 0 && answer.usage.output_tokens > 0);

let streamed = "";
const stream = client.messages.stream(base).on("text", (more) => (streamed += more));
const whole = await stream.finalMessage();
check("the stream says what the message said", streamed === text && whole.stop_reason === answer.stop_reason);

const forced = { ...base, max_tokens: 200, tools, tool_choice: { type: "any" } };
const call = (await client.messages.stream(forced).finalMessage()).content.at(-1);
check("a required call streams", call.type === "tool_use" && ["Bern", "Oslo"].includes(call.input.city));

const counted = await client.messages.countTokens({ model, messages: question });
check("tokens are counted before", counted.input_tokens === answer.usage.input_tokens + answer.usage.cache_read_input_tokens);
const wrong = await fails(() => client.messages.create({ ...base, max_tokens: 0 }));
check("an error has the form of this client", wrong.status === 400 && wrong.error.error.type === "invalid_request_error");

const abort = new AbortController();
for await (const _ of await client.messages.create({ ...base, max_tokens: 400, stream: true }, { signal: abort.signal })) {
  abort.abort();
  break;
}
check("the server goes on after a client that left", (await client.messages.create(base)).content.at(-1).text === text);
done();
