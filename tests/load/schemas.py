"""Thousands of schemas, no two alike: whether what is compiled of them stays bounded.

  BASE=http://127.0.0.1:8080 python3 schemas.py --pid PID [--schemas 10000] [--streams 4]

Each request is held to a schema that nobody asked for before. Prints resident memory and the server's own count of kept grammars ten times on the way; exits 1 if one is refused, or
if memory grows by more than 1 MiB over the last half. Standard library only."""
import argparse, asyncio, json, sys
from common import ask, gauges, process


async def one(number):
    names = [f"{name}_{number}" for name in ("title", "count", "tags")]
    schema = {"type": "object", "properties": {names[0]: {"type": "string", "maxLength": 8}, names[1]: {"type": "integer"}, names[2]: {"type": "array", "items": {"enum": ["a", "b", str(number)]}, "maxItems": 3}},
              "required": names, "additionalProperties": False}
    body = {"messages": [{"role": "user", "content": "Fill it in."}], "max_tokens": 2, "temperature": 0,
            "response_format": {"type": "json_schema", "json_schema": {"name": "s", "strict": True, "schema": schema}}}
    status, answer = await ask("POST", "/v1/chat/completions", body)
    return status, answer


async def main():
    args = argparse.ArgumentParser()
    args.add_argument("--pid", type=int, required=True)
    args.add_argument("--schemas", type=int, default=10000)
    args.add_argument("--streams", type=int, default=4)
    args = args.parse_args()
    numbers, refused, rows = iter(range(args.schemas)), 0, []

    async def client():
        nonlocal refused
        for number in numbers:
            status, answer = await one(number)
            if status != 200:
                refused += 1
                print(status, answer[:300], file=sys.stderr)
            if (number + 1) % (args.schemas // 10) == 0:
                held = await gauges()
                rows.append((number + 1, round(process(args.pid)[0], 1), held["lattice_grammars"], held["lattice_grammar_bytes"]))

    await asyncio.gather(*(client() for _ in range(args.streams)))
    for schemas, resident, grammars, size in sorted(rows):
        print(f"{schemas:6} schemas: {resident:6} MiB resident, {grammars:.0f} grammars kept, {size / 2**20:.1f} MiB")
    rows.sort()
    grown = rows[-1][1] - rows[len(rows) // 2][1]
    print(json.dumps({"refused": refused, "grown_mib": round(grown, 1)}))
    sys.exit(bool(refused or grown > 1))


asyncio.run(main())
