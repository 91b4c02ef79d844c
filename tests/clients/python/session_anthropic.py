"""The anthropic package, on /v1/messages."""
import json

import anthropic
from common import KEY, MODEL, QUESTION, URL, WEATHER, check, done, is_weather, raises

client = anthropic.Anthropic(base_url=URL, api_key=KEY, max_retries=0)
# The package has no word for it any more; servers of other models take it.
greedy = {"temperature": 0}
base = {"model": MODEL, "max_tokens": 24, "messages": QUESTION, "extra_body": greedy}
tool = {"name": "get_weather", "description": "The weather of a city.", "input_schema": WEATHER}


def read(usage):
    """Tokens of the prompt: those read anew, and those that were there already."""
    return usage.input_tokens + usage.cache_read_input_tokens


answer = client.messages.create(**base)
check("a message answers", answer.type == "message" and answer.role == "assistant")
check("it holds text", answer.content[-1].type == "text" and answer.content[-1].text)
check("it ends for a reason", answer.stop_reason in ("end_turn", "max_tokens"))
check("tokens are counted", read(answer.usage) > 0 and answer.usage.output_tokens > 0)

again = client.messages.create(**base)
check("what was read is not read again", again.usage.cache_read_input_tokens > 0)
check("and says the same", again.content[-1].text == answer.content[-1].text)

with client.messages.stream(**base) as stream:
    text = "".join(stream.text_stream)
    whole = stream.get_final_message()
check("the stream says what the message said", text == answer.content[-1].text)
check("its last message is whole", whole.stop_reason == answer.stop_reason)
check("and has its figures", read(whole.usage) == read(answer.usage) and whole.usage.output_tokens > 0)
thought = client.messages.create(**base, thinking={"type": "enabled", "budget_tokens": 1024})
check("thoughts come first", thought.content[0].type == "thinking" and thought.content[0].thinking)

spoken = client.messages.create(**base, system="You are brief.")
check("a system prompt is taken", read(spoken.usage) > read(answer.usage))

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

format = {"type": "json_schema", "schema": WEATHER}
made = client.messages.create(**{**base, "max_tokens": 200}, output_config={"format": format})
check("a message satisfies its schema", is_weather(json.loads(made.content[-1].text)))
text = answer.content[-1].text
stopped = client.messages.create(**base, stop_sequences=[text[5:9]])
check("a stop sequence is named", stopped.stop_reason == "stop_sequence" and stopped.stop_sequence == text[5:9])

counted = client.messages.count_tokens(model=MODEL, messages=QUESTION)
check("tokens are counted before", counted.input_tokens == read(answer.usage))
error = raises(anthropic.BadRequestError, lambda: client.messages.create(**{**base, "extra_body": {"temperature": 7}}))
check("an error has the form of this client", error.body["error"]["type"] == "invalid_request_error")
stranger = anthropic.Anthropic(base_url=URL, api_key="wrong", max_retries=0)
raises(anthropic.AuthenticationError, lambda: stranger.messages.create(**base))
raises(anthropic.NotFoundError, lambda: client.messages.create(**{**base, "model": "none/such"}))
with client.messages.stream(**{**base, "max_tokens": 400}) as stream:
    next(iter(stream))
check("the server goes on after a client that left", client.messages.create(**base).content)
done()
