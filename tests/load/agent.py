"""A conversation of an agent, turn by turn: how much of each prompt a server reads again.

  BASE=http://127.0.0.1:8080 python3 agent.py [--model NAME] [--turns 20] [--tokens 8000] [--edits 7,14] [--own] [--max-tokens 24]

A system prompt with tools, then turns of a question, an answer and a tool's result, each longer than the one before, up to about `tokens` tokens; at each turn of
`edits` a message in the middle of the history becomes a shorter one, as agents do that compact what they carry. Answers in the history are the script's, the same for every
server; with `--own` they are the server's. Prints a line a turn and the sums: prompt tokens, those that were read, seconds. Standard library only."""
import argparse, json, os, random, time, urllib.request

WORDS = "the build fails in module parser because a token was not closed while reading file main and line of tests shows that value is none but expected list of names".split()


def words(rng, n):
    return " ".join(rng.choice(WORDS) for _ in range(n))


def post(base, body):
    key = os.environ.get("LATTICE_KEY", "none")
    request = urllib.request.Request(base + "/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json", "Authorization": "Bearer " + key})
    start = time.perf_counter()
    with urllib.request.urlopen(request, timeout=900) as answer:
        return json.load(answer), time.perf_counter() - start


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--model", default=None)
    args.add_argument("--turns", type=int, default=20)
    args.add_argument("--tokens", type=int, default=8000)
    args.add_argument("--edits", default="7,14")
    args.add_argument("--own", action="store_true")
    args.add_argument("--max-tokens", type=int, default=24)
    args.add_argument("--per-word", type=float, default=1.0, help="tokens a word")
    args = args.parse_args()
    base = os.environ.get("BASE", "http://127.0.0.1:8080")
    edits = {int(t) for t in args.edits.split(",") if t}
    rng = random.Random(5)
    each = int(args.tokens * 0.8 / args.per_word / args.turns)
    messages = [{"role": "system", "content": "You mend programs with the tools that you are given. " + words(rng, int(args.tokens * 0.2 / args.per_word))}]
    sums = [0, 0, 0.0]
    for turn in range(1, args.turns + 1):
        if turn in edits:
            at = len(messages) // 2 | 1
            messages[at] = dict(messages[at], content="(left out) " + words(rng, 8))
        messages.append({"role": "user", "content": words(rng, each * 3 // 4)})
        body = {"messages": messages, "temperature": 0, "max_tokens": args.max_tokens}
        if args.model:
            body["model"] = args.model
        answer, seconds = post(base, body)
        usage = answer["usage"]
        prompt, cached = usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]
        sums = [sums[0] + prompt, sums[1] + prompt - cached, sums[2] + seconds]
        print(f"turn {turn:2}: {prompt:6} prompt, {cached:6} taken over, {prompt - cached:6} read, {seconds:6.2f} s", flush=True)
        said = answer["choices"][0]["message"].get("content") or "" if args.own else words(rng, each // 4)
        messages.append({"role": "assistant", "content": said})
    print(json.dumps({"prompt_tokens": sums[0], "read": sums[1], "seconds": round(sums[2], 2)}))


main()
