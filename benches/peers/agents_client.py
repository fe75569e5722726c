"""The client of all servers of agents: one MCP session for each caller. Usage: agents_client.py URL CALLERS TOOL...

Says `ready` when every caller has had an answer. Then, for each line on its input, which is a number of seconds, all callers call one
tool after the other for so long, and a line says what came of it: calls, and the seconds they took. An answer that does not hold what
the agent says ends the program.
"""

import asyncio
import json
import sys
import time

from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client

url, callers, tools = sys.argv[1], int(sys.argv[2]), sys.argv[3:]


async def call(session, tool):
    answer = await session.call_tool(tool, {"task": "nothing"})
    if answer.isError or "ok:nothing" not in answer.content[0].text:
        raise RuntimeError(f"{tool} is answered {answer}")


async def caller(number, begin, ended):
    tool = tools[number % len(tools)]
    async with streamablehttp_client(url) as ends, ClientSession(ends[0], ends[1]) as session:
        await session.initialize()
        await call(session, tool)
        await ended.put([])
        while until := await begin[number].get():
            times = []
            while time.monotonic() < until:
                at = time.monotonic()
                await call(session, tool)
                times.append(time.monotonic() - at)
            await ended.put(times)


async def main():
    begin, ended = [asyncio.Queue() for _ in range(callers)], asyncio.Queue()
    tasks = [asyncio.create_task(caller(number, begin, ended)) for number in range(callers)]

    async def all_ended():
        times = []
        for _ in tasks:
            getting = asyncio.create_task(ended.get())
            done, _ = await asyncio.wait([getting, *tasks], return_when=asyncio.FIRST_COMPLETED)
            if getting not in done:
                sys.exit(f"a caller ended: {[task.exception() for task in done]}")
            times += getting.result()
        return sorted(times)

    await all_ended()
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        at = time.monotonic()
        for one in begin:
            one.put_nowait(at + float(line))
        times = await all_ended()
        took = time.monotonic() - at
        said = {"calls": len(times), "took": took, "p50": times[len(times) // 2], "p99": times[len(times) * 99 // 100]}
        print(json.dumps(said), flush=True)
    # What is open is closed by the end of the process.
    sys.stdout.flush()
    import os

    os._exit(0)


asyncio.run(main())
