"""LiteLLM, as an OpenAI-compatible provider."""
import json

import litellm
from common import ANIMAL, EMBEDDER, KEY, MODEL, QUESTION, URL, WEATHER, check, done, is_animal, is_weather, raises

litellm.suppress_debug_info = True
there = {"api_base": f"{URL}/v1", "api_key": KEY, "num_retries": 0}
base = {"model": f"openai/{MODEL}", "messages": QUESTION, "temperature": 0, "max_tokens": 24, **there}
answer = litellm.completion(**base)
text = answer.choices[0].message.content
check("a chat answers", text and answer.usage.completion_tokens > 0)
chunks = list(litellm.completion(**base, stream=True))
check("the stream says what the answer said", "".join(c.choices[0].delta.content or "" for c in chunks) == text)
tool = {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER, "strict": True}}
called = litellm.completion(**{**base, "max_tokens": 200}, tools=[tool], tool_choice="required")
call = called.choices[0].message.tool_calls[0].function
check("a required call is made", call.name == "get_weather" and is_weather(json.loads(call.arguments)))
schema = {"type": "json_schema", "json_schema": {"name": "animal", "schema": ANIMAL, "strict": True}}
made = litellm.completion(**{**base, "max_tokens": 200}, response_format=schema)
check("an answer satisfies its schema", is_animal(json.loads(made.choices[0].message.content)))
vectors = litellm.embedding(model=f"openai/{EMBEDDER}", input=["a cat", "a dog"], encoding_format="float", **there)
check("texts have vectors", len(vectors.data) == 2)
raises(litellm.BadRequestError, lambda: litellm.completion(**{**base, "temperature": -1}))
raises(litellm.AuthenticationError, lambda: litellm.completion(**{**base, "api_key": "wrong"}))
done()
