"""Mixed requests with clients that leave, for as long as is said; what the process holds, over time.

  BASE=http://127.0.0.1:8080 python3 soak.py --pid PID [--minutes 30] [--streams 16] [--every 5] [--leave 0.3] [--seed 1] [--kinds completion chat schema tools choices]

Each of `streams` clients asks one thing after the other: chats and completions, whole and streamed, held to a schema, with tools, with several
choices; of prompts that repeat and of prompts that never do. A share of them leaves at a moment of its own: before the head, in the middle of
the stream. Repeated greedy requests must be answered with the same bytes each time. Exits 1 if an answer is wrong, a place is not
given back, or memory or descriptors grow (by more than twice the standard error of the line through the second half of the samples, and
more than 1 MiB or one descriptor an hour). Standard library only."""
import argparse, asyncio, json, random, sys, time
from common import ask, gauges, line, process, send

SCHEMA = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer"}}, "required": ["name", "age"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {"at": {"type": "string", "maxLength": 12}}, "required": ["at"]}}}
WORDS = "the fox cat dog river stone house red blue runs sleeps over under a small old tree sings".split()


KINDS = {"completion": 0, "chat": 1, "schema": 2, "tools": 3, "choices": 4}


def request(rng, kinds):
    """(path, body, key): the same key must have the same answer."""
    fixed = rng.random() < 0.5
    words = random.Random(rng.randrange(12)) if fixed else rng
    text = " ".join(words.choice(WORDS) for _ in range(words.choice([3, 20, 200])))
    body = {"temperature": 0, "max_tokens": words.choice([1, 8, 48])}
    kind = KINDS[rng.choice(kinds)]
    if kind == 0:
        path = "/v1/completions"
        body["prompt"] = text
    else:
        path = "/v1/chat/completions"
        body["messages"] = [{"role": "system", "content": "You are brief."}, {"role": "user", "content": text}]
    if kind == 2:
        body.update(response_format={"type": "json_schema", "json_schema": {"name": "p", "strict": True, "schema": SCHEMA}}, max_tokens=64)
    if kind == 3:
        body.update(tools=[TOOL], tool_choice="required", max_tokens=64)
    if kind == 4:
        body.update(n=3, temperature=0.8, seed=7)
    key = json.dumps(body, sort_keys=True) if fixed else None
    return path, dict(body, stream=rng.random() < 0.6), key


def said(body, streamed):
    """What was answered, without ids and times; None if it ends without its end."""
    if not streamed:
        return [(c["index"], c.get("text") or c["message"].get("content"), calls(c.get("message", {}))) for c in json.loads(body)["choices"]]
    texts, tools, done = {}, {}, False
    for event in body.split(b"\n\n"):
        if not event.startswith(b"data: "):
            continue
        if event == b"data: [DONE]":
            done = True
            continue
        for choice in json.loads(event[6:]).get("choices", []):
            delta, i = choice.get("delta", choice), choice["index"]
            texts[i] = (texts.get(i) or "") + (delta.get("content") or delta.get("text") or "")
            for call in delta.get("tool_calls") or []:
                f = call["function"]
                tools[i] = tools.get(i, "") + (f.get("name") or "") + (f.get("arguments") or "")
    return [(i, texts[i] or None, tools.get(i, "")) for i in sorted(texts)] if done else None


def calls(message):
    return "".join(c["function"]["name"] + c["function"]["arguments"] for c in message.get("tool_calls") or [])


async def client(number, args, until, tally, known):
    rng = random.Random(args.seed * 1000 + number)
    while time.monotonic() < until:
        path, body, key = request(rng, args.kinds)
        try:
            if rng.random() < args.leave:
                await leave(path, body, rng)
                tally["left"] += 1
                continue
            status, answer = await ask("POST", path, body)
            if status != 200:
                tally[f"status {status}"] = tally.get(f"status {status}", 0) + 1
                continue
            got = said(answer, body["stream"])
            tally["answered"] += 1
            if got is None:
                tally["without end"] = tally.get("without end", 0) + 1
            elif key is not None and known.setdefault(key, got) != got:
                tally["other bytes"] = tally.get("other bytes", 0) + 1
                print("other bytes:", key, known[key], got, file=sys.stderr)
        except (OSError, asyncio.IncompleteReadError, ValueError, KeyError) as error:
            tally[repr(error)] = tally.get(repr(error), 0) + 1


async def leave(path, body, rng):
    sent = asyncio.create_task(send("POST", path, dict(body, stream=True)))
    if rng.random() < 0.3:
        await asyncio.sleep(rng.random() * 0.02)
        sent.cancel()
    try:
        reader, writer, *_ = await sent
    except asyncio.CancelledError:
        return
    for _ in range(rng.randrange(4)):
        await reader.readline()
    writer.transport.abort()


async def main():
    args = argparse.ArgumentParser()
    args.add_argument("--pid", type=int, required=True)
    args.add_argument("--minutes", type=float, default=30)
    args.add_argument("--streams", type=int, default=16)
    args.add_argument("--every", type=float, default=5)
    args.add_argument("--leave", type=float, default=0.3)
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    args = args.parse_args()
    tally, known, samples, start = {"answered": 0, "left": 0}, {}, [], time.monotonic()
    until = start + args.minutes * 60
    clients = [asyncio.create_task(client(i, args, until, tally, known)) for i in range(args.streams)]
    while time.monotonic() < until:
        await asyncio.sleep(args.every)
        samples.append(((time.monotonic() - start) / 3600, *process(args.pid)))
    await asyncio.gather(*clients)
    for _ in range(100):
        held = await gauges()
        if held["lattice_running"] == held["lattice_waiting"] == 0:
            break
        await asyncio.sleep(0.1)
    wrong = {k: v for k, v in tally.items() if k not in ("answered", "left")}
    report = {"minutes": args.minutes, "streams": args.streams, **tally, "running": held["lattice_running"], "waiting": held["lattice_waiting"],
              "prompt_tokens": held["lattice_prompt_tokens_total"], "cached_tokens": held["lattice_cached_tokens_total"],
              "generated_tokens": held["lattice_generated_tokens_total"], "known": len(known)}
    grows = False
    for name, at in (("rss_mib", 1), ("descriptors", 2)):
        late = [(s[0], s[at]) for s in samples[len(samples) // 2 :]]
        slope, error = line(late)
        report[name] = {"first": round(samples[0][at], 1), "half": round(late[0][1], 1), "last": round(late[-1][1], 1),
                        "an_hour": round(slope, 3), "standard_error": round(error, 3)}
        grows |= slope > 1 and slope > 2 * error
    print(json.dumps(report))
    sys.exit(bool(wrong or grows or held["lattice_running"] or held["lattice_waiting"]))


asyncio.run(main())
