// The Vercel AI SDK with its provider for servers like this one.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateObject, generateText, streamText, tool } from "ai";
import { z } from "zod";
import { check, done, embedder, fails, key, model, url } from "./common.mjs";

const lattice = createOpenAICompatible({ name: "lattice", baseURL: `${url}/v1`, apiKey: key, supportsStructuredOutputs: true, includeUsage: true });
const base = { model: lattice(model), prompt: "Tell me about a fox.", temperature: 0, maxOutputTokens: 24, maxRetries: 0 };

const answer = await generateText(base);
check("a chat answers", answer.text.length > 0 && answer.usage.outputTokens > 0);

const stream = streamText(base);
let streamed = "";
for await (const part of stream.textStream) streamed += part;
check("the stream says what the answer said", streamed === answer.text);
check("usage comes with the stream", (await stream.usage).outputTokens > 0);

const animal = z.object({ name: z.string().max(12), kind: z.enum(["bird", "fish"]) });
const made = await generateObject({ ...base, maxOutputTokens: 200, schema: animal });
check("an object is made", ["bird", "fish"].includes(made.object.kind));

const weather = tool({
  description: "The weather of a city.",
  inputSchema: z.object({ city: z.enum(["Bern", "Oslo"]) }),
  execute: async ({ city }) => `12 degrees in ${city}`,
});
const called = await generateText({ ...base, maxOutputTokens: 200, tools: { weather }, toolChoice: "required" });
check("a required tool is called and run", called.toolResults[0].output.startsWith("12 degrees in"));

const { embeddings } = await embedMany({ model: lattice.embeddingModel?.(embedder) ?? lattice.textEmbeddingModel(embedder), values: ["a cat", "a dog"] });
check("texts have vectors", embeddings.length === 2);

const error = await fails(() => generateText({ ...base, temperature: -1 }));
check("an error has its status", error.statusCode === 400);

const abort = new AbortController();
const long = streamText({ ...base, maxOutputTokens: 400, abortSignal: abort.signal, onError: () => {} });
for await (const _ of long.textStream) {
  abort.abort();
  break;
}
check("the server goes on after a client that left", (await generateText(base)).text === answer.text);
done();
