"""Idle connections, and connections that come and go: whether /livez answers within a second all the while.

  BASE=http://127.0.0.1:8080 python3 idle.py --pid PID [--idle 10000] [--rate 1000] [--seconds 20]

Opens `idle` connections and leaves them, asking /livez on a new one ten times a second meanwhile and for `seconds` after; closes them; then opens and
closes `rate` connections a second for `seconds`, a third of them without a word, a third after half a request, a third after an answer. Exits 1 if
/livez once takes a second or fails, or descriptors are not given back. `ulimit -n` must allow `idle` on both sides; idle connections are closed by the
server after its time for headers (60 s): the run is shorter. Standard library only."""
import argparse, asyncio, sys, time
from common import BASE, ask, head, process


async def watch(times, stop):
    """Asks /livez ten times a second."""
    while not stop.is_set():
        began = time.monotonic()
        try:
            status, _ = await asyncio.wait_for(ask("GET", "/livez"), 5)
        except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError):
            status = 0
        times.append(time.monotonic() - began if status == 200 else float("inf"))
        await asyncio.sleep(0.1)


async def watched(work):
    """The times of /livez while `work` is done."""
    times, stop = [], asyncio.Event()
    watching = asyncio.create_task(watch(times, stop))
    await work
    stop.set()
    await watching
    return times


async def idle(args, open_ones):
    for begin in range(0, args.idle, 200):
        many = (asyncio.open_connection(BASE.hostname, BASE.port) for _ in range(min(200, args.idle - begin)))
        open_ones += await asyncio.gather(*many)
    print(f"{len(open_ones)} open: {process(args.pid)[1]} descriptors, {process(args.pid)[0]:.0f} MiB", flush=True)
    await asyncio.sleep(args.seconds)


async def churn(args):
    async def one(kind):
        reader, writer = await asyncio.open_connection(BASE.hostname, BASE.port)
        request = head("GET", "/livez", None)
        if kind == 1:
            writer.write(request[: len(request) // 2])
        if kind == 2:
            writer.write(request)
            await reader.read()
        writer.close()

    began, count, lost, tasks = time.monotonic(), 0, 0, set()
    while (now := time.monotonic() - began) < args.seconds:
        while count < now * args.rate and len(tasks) < 2000:
            tasks.add(asyncio.create_task(one(count % 3)))
            count += 1
        done, tasks = await asyncio.wait(tasks, timeout=0.005) if tasks else (set(), tasks)
        lost += sum(task.exception() is not None for task in done)
    for task in tasks:
        await asyncio.wait_for(task, 10)
    print(f"{count / args.seconds:.0f} connections a second, {lost} lost", flush=True)
    return lost


def shown(what, times):
    times = sorted(times)
    print(f"{what}: /livez {len(times)} times, median {times[len(times) // 2] * 1e3:.1f} ms, slowest {times[-1] * 1e3:.1f} ms", flush=True)
    return times[-1] < 1


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--idle", type=int, default=10_000)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20)
    args = parser.parse_args()
    before, open_ones = process(args.pid)[1], []
    good = shown("idle", await watched(idle(args, open_ones)))
    for _, writer in open_ones:
        writer.close()
    await asyncio.sleep(2)
    good &= shown("come and go", await watched(churn(args)))
    await asyncio.sleep(2)
    memory, after = process(args.pid)
    print(f"{before} descriptors before, {after} after, {memory:.0f} MiB")
    sys.exit(0 if good and after <= before + 2 else 1)


asyncio.run(main())
