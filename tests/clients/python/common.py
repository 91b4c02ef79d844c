"""What the sessions share: where the server is, and how a check is counted."""
import os
import sys

URL = os.environ["LATTICE_URL"]
KEY = os.environ["LATTICE_KEY"]
MODEL = os.environ["LATTICE_CHAT_MODEL"]
EMBEDDER = os.environ["LATTICE_EMBED_MODEL"]

ANIMAL = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "legs": {"type": "integer", "minimum": 0, "maximum": 8},
        "kind": {"enum": ["bird", "fish", "mammal"]},
    },
    "required": ["name", "legs", "kind"],
    "additionalProperties": False,
}
WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 12},
        "unit": {"enum": ["celsius", "fahrenheit"]},
    },
    "required": ["city", "unit"],
    "additionalProperties": False,
}
QUESTION = [{"role": "user", "content": "Tell me about a fox."}]
checks = 0


def check(what, holds):
    """One promise. The first one that does not hold ends the session."""
    global checks
    checks += 1
    if not holds:
        sys.exit(f"does not hold: {what}")


def raises(kind, call):
    """The error of this kind that `call` ends in."""
    try:
        call()
    except kind as error:
        return error
    sys.exit(f"no {kind.__name__}")


def is_animal(value):
    return (
        isinstance(value, dict)
        and sorted(value) == ["kind", "legs", "name"]
        and isinstance(value["name"], str)
        and value["legs"] in range(9)
        and value["kind"] in ("bird", "fish", "mammal")
    )


def is_weather(value):
    return (
        isinstance(value, dict)
        and sorted(value) == ["city", "unit"]
        and isinstance(value["city"], str)
        and value["unit"] in ("celsius", "fahrenheit")
    )


def close(a, b, most=1e-4):
    return len(a) == len(b) and all(abs(x - y) <= most for x, y in zip(a, b))


def done():
    print(f"{checks} checks hold")
