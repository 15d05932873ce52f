"""A TCP proxy that holds back what it passes on: a slow network, or a slow server, in front of a real one.

Run in a pod by `slow-dependency` and `cascading-retries`: proxy.py LISTEN_PORT HOST PORT DELAY_MS JITTER_MS SEED.
Prints one JSON line a second with what it did. Order is kept within a connection; answers are not held back.
"""

import asyncio
import json
import random
import sys

CHUNK = 65536
COUNTS = {"connections": 0, "refused": 0, "delayed": 0, "octets_up": 0, "octets_down": 0}


async def pump(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    counter: str,
    delay_s: tuple[float, float],
    draw: random.Random,
) -> None:
    """Pass on what comes; `delay_s` is the least and the spread."""
    try:
        while data := await reader.read(CHUNK):
            if sum(delay_s):
                await asyncio.sleep(delay_s[0] + delay_s[1] * draw.random())
                COUNTS["delayed"] += 1
            writer.write(data)
            COUNTS[counter] += len(data)
            await writer.drain()
        writer.write_eof()
    except (ConnectionError, OSError):
        writer.transport.abort()  # one side went away: the other is told by a reset, as by a real network element


async def main() -> None:
    """Serve for ever."""
    port, host, target = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    delay_s = (float(sys.argv[4]) / 1000, float(sys.argv[5]) / 1000)
    draw = random.Random(int(sys.argv[6]))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        COUNTS["connections"] += 1
        try:
            up_reader, up_writer = await asyncio.open_connection(host, target)
        except OSError:
            COUNTS["refused"] += 1
            writer.transport.abort()
            return
        await asyncio.gather(
            pump(reader, up_writer, "octets_up", delay_s, draw),
            pump(up_reader, writer, "octets_down", (0.0, 0.0), draw),
        )
        for each in (writer, up_writer):
            each.close()

    server = await asyncio.start_server(serve, "0.0.0.0", port)  # noqa: S104 - in a pod
    print(json.dumps({"listening": port, "target": f"{host}:{target}"}), flush=True)
    async with server:
        while True:
            await asyncio.sleep(1)
            print(json.dumps(COUNTS), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
