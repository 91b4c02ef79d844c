"""What the load scripts share: one request over asyncio, the server's own numbers, straight lines through samples."""
import asyncio, json, os, urllib.parse

BASE = urllib.parse.urlparse(os.environ.get("BASE", "http://127.0.0.1:8080"))
KEY = os.environ.get("LATTICE_KEY")


def head(method, path, length):
    lines = [f"{method} {path} HTTP/1.1", f"Host: {BASE.hostname}:{BASE.port}", "Connection: close"]
    lines += ["Content-Type: application/json", f"Content-Length: {length}"] if length is not None else []
    lines += [f"Authorization: Bearer {KEY}"] if KEY else []
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def send(method, path, body=None):
    """Opens a connection and sends a request; (reader, writer, status) when the head of the answer is there."""
    reader, writer = await asyncio.open_connection(BASE.hostname, BASE.port)
    data = json.dumps(body).encode() if body is not None else None
    writer.write(head(method, path, None if data is None else len(data)) + (data or b""))
    await writer.drain()
    answer = await reader.readuntil(b"\r\n\r\n")
    return reader, writer, int(answer.split(b" ", 2)[1]), answer.lower()


def chunks(raw):
    """The body of an answer in chunks, joined."""
    whole = b""
    while raw:
        size, _, raw = raw.partition(b"\r\n")
        size = int(size, 16)
        whole, raw = whole + raw[:size], raw[size + 2 :]
        if size == 0:
            break
    return whole


async def ask(method, path, body=None):
    """(status, body) of a whole answer."""
    reader, writer, status, answer = await send(method, path, body)
    raw = await reader.read()
    writer.close()
    return status, chunks(raw) if b"transfer-encoding: chunked" in answer else raw


async def gauges():
    """The sums of /metrics over models, by name."""
    sums = {}
    for line in (await ask("GET", "/metrics"))[1].decode().splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            name = name.partition("{")[0]
            sums[name] = sums.get(name, 0) + float(value)
    return sums


def process(pid):
    """Resident MiB and open descriptors of a process (Linux)."""
    pages = int(open(f"/proc/{pid}/statm").read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20, len(os.listdir(f"/proc/{pid}/fd"))


def line(points):
    """Slope of the least-squares line through (x, y), and its standard error."""
    n = len(points)
    mx, my = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
    xx = sum((x - mx) ** 2 for x, _ in points)
    slope = sum((x - mx) * (y - my) for x, y in points) / xx
    rest = sum((y - my - slope * (x - mx)) ** 2 for x, y in points)
    return slope, (rest / (n - 2) / xx) ** 0.5
