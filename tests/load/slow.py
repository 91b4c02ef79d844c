"""Clients that send a head or a body a byte at a time: whether they are cut off in time, and others are served meanwhile.

  BASE=http://127.0.0.1:8080 python3 slow.py [--clients 1000] [--every 10] [--limit 60]

Half of the clients send a head, half a body, a byte every `every` seconds. Exits 1 if one is still there ten seconds after `limit`, the server's time for heads and bodies, or /livez once takes
a second. `ulimit -n` must allow `clients` on both sides. Standard library only."""
import argparse, asyncio, sys, time
from common import BASE, ask, head


async def slow(number, every, ended):
    reader, writer = await asyncio.open_connection(BASE.hostname, BASE.port)
    began = time.monotonic()
    data = head("POST", "/v1/completions", 1000)
    sent = len(data) if number % 2 else 0
    writer.write(data[:sent])
    data += b" " * 1000

    async def drip():
        nonlocal sent
        while True:
            writer.write(data[sent : sent + 1])
            sent += 1
            await asyncio.sleep(every)

    dripping = asyncio.create_task(drip())
    try:
        await reader.read()
    except OSError:
        pass
    dripping.cancel()
    writer.transport.abort()
    ended.append(time.monotonic() - began)


async def main():
    args = argparse.ArgumentParser()
    args.add_argument("--clients", type=int, default=1000)
    args.add_argument("--every", type=float, default=10)
    args.add_argument("--limit", type=float, default=60)
    args = args.parse_args()
    ended, times = [], []
    clients = [asyncio.create_task(slow(i, args.every, ended)) for i in range(args.clients)]
    until = time.monotonic() + args.limit + 10
    while time.monotonic() < until and len(ended) < args.clients:
        began = time.monotonic()
        status, _ = await ask("GET", "/livez")
        times.append(time.monotonic() - began if status == 200 else 9.0)
        await asyncio.sleep(0.1)
    for client in clients:
        client.cancel()
    first = f"{min(ended):.1f} to {max(ended):.1f} s" if ended else "never"
    print(f"{len(ended)} of {args.clients} cut off after {first}; /livez asked {len(times)} times, at most {max(times) * 1e3:.1f} ms")
    sys.exit(len(ended) < args.clients or max(times) >= 1)


asyncio.run(main())
