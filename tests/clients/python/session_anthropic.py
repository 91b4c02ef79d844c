"""The anthropic package, on /v1/messages."""
import anthropic
from common import KEY, MODEL, QUESTION, URL, WEATHER, check, done, is_weather, raises

client = anthropic.Anthropic(base_url=URL, api_key=KEY, max_retries=0)
base = {"model": MODEL, "max_tokens": 24, "messages": QUESTION, "temperature": 0}
tool = {"name": "get_weather", "description": "The weather of a city.", "input_schema": WEATHER}

answer = client.messages.create(**base)
check("a message answers", answer.type == "message" and answer.role == "assistant")
check("it holds text", answer.content[-1].type == "text" and answer.content[-1].text)
check("it ends for a reason", answer.stop_reason in ("end_turn", "max_tokens"))
check("tokens are counted", answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0)

with client.messages.stream(**base) as stream:
    text = "".join(stream.text_stream)
    whole = stream.get_final_message()
check("the stream says what the message said", text == answer.content[-1].text)
check("its last message is whole", whole.stop_reason == answer.stop_reason)

spoken = client.messages.create(**base, system="You are brief.")
check("a system prompt is taken", spoken.usage.input_tokens > answer.usage.input_tokens)

called = client.messages.create(**{**base, "max_tokens": 200}, tools=[tool], tool_choice={"type": "any"})
call = called.content[-1]
check("a required call ends the message", called.stop_reason == "tool_use" and call.type == "tool_use")
check("its input satisfies the schema", call.name == "get_weather" and is_weather(call.input))
result = {"type": "tool_result", "tool_use_id": call.id, "content": "12 degrees"}
history = [*QUESTION, {"role": "assistant", "content": called.content}, {"role": "user", "content": [result]}]
after = client.messages.create(**{**base, "messages": history}, tools=[tool])
check("a message follows the tool's", after.content)
with client.messages.stream(**{**base, "max_tokens": 200}, tools=[tool],
                            tool_choice={"type": "tool", "name": "get_weather"}) as stream:
    call = stream.get_final_message().content[-1]
check("a named call streams", is_weather(call.input))

counted = client.messages.count_tokens(model=MODEL, messages=QUESTION)
check("tokens are counted before", counted.input_tokens == answer.usage.input_tokens)
error = raises(anthropic.BadRequestError, lambda: client.messages.create(**{**base, "temperature": 7}))
check("an error has the form of this client", error.body["error"]["type"] == "invalid_request_error")
stranger = anthropic.Anthropic(base_url=URL, api_key="wrong", max_retries=0)
raises(anthropic.AuthenticationError, lambda: stranger.messages.create(**base))
raises(anthropic.NotFoundError, lambda: client.messages.create(**{**base, "model": "none/such"}))
with client.messages.stream(**{**base, "max_tokens": 400}) as stream:
    next(iter(stream))
check("the server goes on after a client that left", client.messages.create(**base).content)
done()
