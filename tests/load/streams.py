"""Many streams at once: tokens a second over all of them, and how long each waits for its first text.

  BASE=http://127.0.0.1:8080 python3 streams.py [--model NAME] [--streams 8,32] [--prompt 256] [--tokens 64] [--rounds 2] [--vocabulary 200000] [--seed 1]

Every stream sends `rounds` completions, one after the other, of prompts of token ids that nobody sent before, so that nothing is taken over. Works with any server of
`/v1/completions` that takes token ids and `stream_options.include_usage`. Prints a line of JSON for each number of streams; the most of the waits is there beside the 99th of a hundred,
since there are few. Standard library only."""
import argparse, asyncio, json, random, time
from common import send


async def stream(args, rng, waits, gaps, counts):
    for _ in range(args.rounds):
        prompt = [rng.randrange(1000, args.vocabulary) for _ in range(args.prompt)]
        body = {"prompt": prompt, "max_tokens": args.tokens, "temperature": 0, "stream": True, "stream_options": {"include_usage": True}}
        body |= {"ignore_eos": True, "cache_prompt": False} if args.ignore_eos else {}
        body |= {"model": args.model} if args.model else {}
        start = last = time.perf_counter()
        first, usage = None, None
        reader, writer, status, _ = await send("POST", "/v1/completions", body)
        if status != 200:
            counts["refused"] += 1
            continue
        while line := await reader.readline():
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            usage = event.get("usage") or usage
            if any(choice.get("text") for choice in event.get("choices", [])):
                now = time.perf_counter()
                if first is None:
                    first = now - start
                else:
                    gaps.append(now - last)
                last = now
        writer.close()
        if usage is None:
            counts["without end"] += 1
            continue
        waits.append(first if first is not None else last - start)
        counts["prompt"] += usage["prompt_tokens"]
        counts["generated"] += usage["completion_tokens"]


def at(values, share):
    values = sorted(values)
    return round(values[min(len(values) - 1, int(share * len(values)))], 4) if values else None


async def main():
    args = argparse.ArgumentParser()
    args.add_argument("--model")
    args.add_argument("--streams", default="8,32")
    args.add_argument("--prompt", type=int, default=256)
    args.add_argument("--tokens", type=int, default=64)
    args.add_argument("--rounds", type=int, default=2)
    args.add_argument("--vocabulary", type=int, default=200000)
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--ignore-eos", action="store_true")
    args = args.parse_args()
    for streams in map(int, args.streams.split(",")):
        waits, gaps, counts = [], [], {"refused": 0, "without end": 0, "prompt": 0, "generated": 0}
        start = time.perf_counter()
        rngs = [random.Random(f"{args.seed} {streams} {i}") for i in range(streams)]
        await asyncio.gather(*(stream(args, rng, waits, gaps, counts) for rng in rngs))
        wall = time.perf_counter() - start
        print(json.dumps({"streams": streams, "answers": len(waits), **counts, "seconds": round(wall, 2), "generated_a_second": round(counts["generated"] / wall, 1),
                          "all_a_second": round((counts["generated"] + counts["prompt"]) / wall, 1), "first_median": at(waits, 0.5), "first_p99": at(waits, 0.99),
                          "gap_median": at(gaps, 0.5), "gap_p99": at(gaps, 0.99)}), flush=True)


asyncio.run(main())
