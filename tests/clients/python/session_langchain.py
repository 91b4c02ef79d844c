"""LangChain, by langchain-openai."""
from common import EMBEDDER, KEY, MODEL, URL, check, done, raises
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from openai import BadRequestError
from pydantic import BaseModel, Field

chat = ChatOpenAI(base_url=f"{URL}/v1", api_key=KEY, model=MODEL, temperature=0, max_tokens=24, max_retries=0)
question = [SystemMessage("You are brief."), HumanMessage("Tell me about a fox.")]
answer = chat.invoke(question)
check("a chat answers", answer.content and answer.usage_metadata["output_tokens"] > 0)
parts = list(chat.stream(question))
check("the stream says what the answer said", "".join(part.content for part in parts) == answer.content)
check("a batch answers", [one.content for one in chat.batch([question, question])] == [answer.content] * 2)


@tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"12 degrees in {city}"


bound = ChatOpenAI(base_url=f"{URL}/v1", api_key=KEY, model=MODEL, temperature=0, max_tokens=200,
                   max_retries=0).bind_tools([get_weather], tool_choice="required", strict=True)
called = bound.invoke(question)
check("a required call is made", called.tool_calls[0]["name"] == "get_weather")
check("the tool takes its arguments", get_weather.invoke(called.tool_calls[0]).content.startswith("12 degrees in"))


class Animal(BaseModel):
    """An animal."""

    name: str = Field(max_length=12)
    legs: int = Field(ge=0, le=8)


wide = ChatOpenAI(base_url=f"{URL}/v1", api_key=KEY, model=MODEL, temperature=0, max_tokens=200, max_retries=0)
for method in ("json_schema", "function_calling"):
    made = wide.with_structured_output(Animal, method=method).invoke(question)
    check(f"an object is made by {method}", isinstance(made, Animal) and 0 <= made.legs <= 8)
embedder = OpenAIEmbeddings(base_url=f"{URL}/v1", api_key=KEY, model=EMBEDDER, check_embedding_ctx_length=False)
vectors = embedder.embed_documents(["a cat", "the stock market"])
check("documents have vectors", len(vectors) == 2 and vectors[0] == embedder.embed_query("a cat"))
raises(BadRequestError, lambda: wide.bind(temperature=-1).invoke(question))
done()
