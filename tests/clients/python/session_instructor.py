"""instructor: objects of pydantic out of answers."""
from enum import Enum

import instructor
import openai
from common import KEY, MODEL, QUESTION, URL, check, done
from pydantic import BaseModel, Field


class Kind(str, Enum):
    """What it is."""

    BIRD = "bird"
    FISH = "fish"


class Animal(BaseModel):
    """An animal."""

    name: str = Field(max_length=12)
    legs: int = Field(ge=0, le=8)
    kind: Kind


plain = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)
base = {"model": MODEL, "messages": QUESTION, "temperature": 0, "max_tokens": 200, "max_retries": 0}
for mode in (instructor.Mode.JSON_SCHEMA, instructor.Mode.TOOLS, instructor.Mode.TOOLS_STRICT):
    client = instructor.from_openai(plain, mode=mode)
    made = client.chat.completions.create(response_model=Animal, strict=False, **base)
    check(f"an object is made by {mode}", isinstance(made, Animal) and made.kind in Kind)
client = instructor.from_openai(plain, mode=instructor.Mode.JSON_SCHEMA)
partial = list(client.chat.completions.create_partial(response_model=Animal, strict=False, **base))
check("an object grows while it streams", partial and partial[-1].kind in Kind)
done()
