"""The openai package."""
import json
import math

import openai
from common import (ANIMAL, EMBEDDER, KEY, MODEL, QUESTION, URL, WEATHER, check, close, done, is_animal, is_weather,
                    raises)

client = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)
greedy = {"model": MODEL, "messages": QUESTION, "temperature": 0, "max_tokens": 24}
tool = {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER, "strict": True}}


def models():
    listed = [model.id for model in client.models.list()]
    check("the models are listed", MODEL in listed and EMBEDDER in listed)
    check("a model can be asked for", client.models.retrieve(MODEL).id == MODEL)
    error = raises(openai.NotFoundError, lambda: client.models.retrieve("none/such"))
    check("an unknown model is a 404 that says so", error.code == "model_not_found")


def chat():
    answer = client.chat.completions.create(**greedy)
    choice = answer.choices[0]
    check("a chat answers", choice.message.content and choice.message.role == "assistant")
    check("it ends for a reason", choice.finish_reason in ("stop", "length"))
    usage = answer.usage
    check("usage adds up", usage.total_tokens == usage.prompt_tokens + usage.completion_tokens)
    again = client.chat.completions.create(**greedy)
    check("the same question has the same answer", again.choices[0].message.content == choice.message.content)
    check("its beginning was kept", again.usage.prompt_tokens_details.cached_tokens > 0)
    several = client.chat.completions.create(**{**greedy, "temperature": 1, "seed": 7, "n": 3})
    check("n gives as many choices", [choice.index for choice in several.choices] == [0, 1, 2])
    stopped = client.chat.completions.create(**greedy, stop=[choice.message.content[5:9]])
    check("stop cuts", choice.message.content[5:9] not in stopped.choices[0].message.content)
    return choice.message.content


def stream(whole):
    usage = {"include_usage": True}
    chunks = list(client.chat.completions.create(**greedy, stream=True, stream_options=usage))
    check("the role comes first", chunks[0].choices[0].delta.role == "assistant")
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    check("the stream says what the answer said", text == whole)
    check("the last choice has a reason", [c.choices[0].finish_reason for c in chunks if c.choices][-1])
    check("usage comes last, without choices", chunks[-1].usage.total_tokens > 0 and not chunks[-1].choices)
    check("all chunks are of one answer", len({c.id for c in chunks}) == 1)


def logprobs():
    answer = client.chat.completions.create(**greedy, logprobs=True, top_logprobs=3)
    content = answer.choices[0].logprobs.content
    check("each token of the text has a logprob",
          "".join(t.token for t in content) == answer.choices[0].message.content)
    check("alternatives fall", all(len(t.top_logprobs) == 3 for t in content)
          and all(t.top_logprobs[0].logprob >= t.top_logprobs[2].logprob for t in content))
    check("greedy takes the best", all(math.isclose(t.logprob, t.top_logprobs[0].logprob) for t in content))


def tools():
    forced = client.chat.completions.create(**{**greedy, "max_tokens": 200}, tools=[tool], tool_choice="required")
    choice = forced.choices[0]
    check("a required call ends the answer", choice.finish_reason == "tool_calls")
    call = choice.message.tool_calls[0]
    check("the call names the tool", call.function.name == "get_weather" and call.id)
    check("its arguments satisfy the schema", is_weather(json.loads(call.function.arguments)))
    named = {"type": "function", "function": {"name": "get_weather"}}
    parts, name = "", None
    chunks = client.chat.completions.create(
        **{**greedy, "max_tokens": 200}, tools=[tool], tool_choice=named, stream=True)
    for chunk in chunks:
        for delta in chunk.choices[0].delta.tool_calls or []:
            name = delta.function.name or name
            parts += delta.function.arguments or ""
    check("a named call streams", name == "get_weather" and is_weather(json.loads(parts)))
    history = [*QUESTION, choice.message, {"role": "tool", "tool_call_id": call.id, "content": "12 degrees"}]
    after = client.chat.completions.create(**{**greedy, "messages": history}, tools=[tool], tool_choice="none")
    check("an answer follows the tool's", after.choices[0].message.tool_calls is None)


def structure():
    schema = {"type": "json_schema", "json_schema": {"name": "animal", "schema": ANIMAL, "strict": True}}
    answer = client.chat.completions.create(**{**greedy, "max_tokens": 200}, response_format=schema)
    check("an answer satisfies its schema", is_animal(json.loads(answer.choices[0].message.content)))
    check("and stops there", answer.choices[0].finish_reason == "stop")
    wrong = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}, "strict": True}}
    error = raises(openai.BadRequestError, lambda: client.chat.completions.create(**greedy, response_format=wrong))
    check("a schema that is none is a 400", error.status_code == 400 and error.message)


def completions():
    base = {"model": MODEL, "temperature": 0, "max_tokens": 8}
    one = client.completions.create(prompt="Once upon a time", **base)
    check("a text goes on", one.choices[0].text)
    two = client.completions.create(prompt=["Once upon a time", "The sea"], **base)
    check("two texts go on", [c.index for c in two.choices] == [0, 1] and two.choices[0].text == one.choices[0].text)
    echoed = client.completions.create(prompt="Once upon a time", echo=True, logprobs=1, **{**base, "max_tokens": 1})
    offered = echoed.choices[0].logprobs
    check("echo brings the prompt's logprobs", offered.token_logprobs[0] is None
          and all(value <= 0 for value in offered.token_logprobs[1:]))
    check("echo brings the prompt", echoed.choices[0].text.startswith("Once upon a time"))


def embeddings():
    texts = ["a cat", "a kitten", "the stock market"]
    floats = client.embeddings.create(model=EMBEDDER, input=texts, encoding_format="float")
    coded = client.embeddings.create(model=EMBEDDER, input=texts)
    check("each text has a vector, in order", [item.index for item in floats.data] == [0, 1, 2])
    check("both encodings say the same",
          all(close(a.embedding, b.embedding, 1e-6) for a, b in zip(floats.data, coded.data)))
    check("a vector does not depend on its company",
          client.embeddings.create(model=EMBEDDER, input="a cat").data[0].embedding == coded.data[0].embedding)
    check("tokens are counted", coded.usage.prompt_tokens > 0)


def errors():
    stranger = openai.OpenAI(base_url=f"{URL}/v1", api_key="wrong", max_retries=0)
    raises(openai.AuthenticationError, lambda: stranger.models.list())
    error = raises(openai.BadRequestError, lambda: client.chat.completions.create(**{**greedy, "temperature": -1}))
    check("a value out of range is named", error.param == "temperature")
    error = raises(openai.BadRequestError, lambda: client.chat.completions.create(**{**greedy, "messages": []}))
    check("no message is a 400", error.param == "messages")
    long = [{"role": "user", "content": "fox " * 40000}]
    error = raises(openai.BadRequestError, lambda: client.chat.completions.create(**{**greedy, "messages": long}))
    check("a prompt too long says so", error.code == "context_length_exceeded")
    raw = client.chat.completions.with_raw_response.create(**greedy, extra_body={"mirostat": 2})
    check("an unknown field is named", raw.headers["x-lattice-ignored"] == "mirostat")


def abort():
    ones = client.chat.completions.create(**{**greedy, "max_tokens": 400}, stream=True)
    next(iter(ones))
    ones.close()
    check("the server goes on after a client that left", client.chat.completions.create(**greedy).choices)


def responses():
    answer = client.responses.create(model=MODEL, input="Tell me about a fox.", temperature=0, max_output_tokens=24)
    check("a response answers", answer.output_text and answer.status in ("completed", "incomplete"))
    more = client.responses.create(model=MODEL, input="And then?", previous_response_id=answer.id, temperature=0,
                                   max_output_tokens=24)
    check("a response goes on from another", more.usage.input_tokens > answer.usage.input_tokens)
    with client.responses.stream(model=MODEL, input="Tell me about a fox.", temperature=0,
                                 max_output_tokens=24) as events:
        kinds = [event.type for event in events]
    check("its events come in order", kinds[0] == "response.created" and kinds[-1] in
          ("response.completed", "response.incomplete") and "response.output_text.delta" in kinds)
    check("it can be read again", client.responses.retrieve(answer.id).output_text == answer.output_text)
    client.responses.delete(answer.id)
    raises(openai.NotFoundError, lambda: client.responses.retrieve(answer.id))
    flat = {"type": "function", "name": "get_weather", "parameters": WEATHER, "strict": True}
    question = {"model": MODEL, "input": "What is the weather in Bern?", "temperature": 0, "max_output_tokens": 200}
    called = client.responses.create(**question, tools=[flat], tool_choice="required", parallel_tool_calls=False)
    call = called.output[-1]
    check("a required call is made", call.type == "function_call" and is_weather(json.loads(call.arguments)))
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "12 degrees"}
    after = client.responses.create(**{**question, "input": [result]}, previous_response_id=called.id)
    check("a response follows the tool's", after.previous_response_id == called.id and after.output_text)
    with client.responses.stream(**question, tools=[flat], tool_choice="required") as events:
        call = events.get_final_response().output[-1]
    check("a call streams", call.name == "get_weather" and is_weather(json.loads(call.arguments)))
    schema = {"format": {"type": "json_schema", "name": "animal", "schema": ANIMAL, "strict": True}}
    made = client.responses.create(**question, text=schema)
    check("a response satisfies its schema", is_animal(json.loads(made.output_text)))


def retries():
    patient = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=2, timeout=30)
    check("a client that retries gets its answer", patient.chat.completions.create(**greedy).choices)


models()
stream(chat())
logprobs()
tools()
structure()
completions()
embeddings()
errors()
abort()
responses()
retries()
done()
