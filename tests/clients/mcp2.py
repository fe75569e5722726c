"""The official Python client, 2.x (2026-07-28 first): `mcp2.py http URL SERVER` or `mcp2.py stdio SERVER COMMAND…`."""

import asyncio
import os
import sys

from mcp import Client, StdioServerParameters
from story import tell


async def main():
    if sys.argv[1] == "http":
        target, server = sys.argv[2], sys.argv[3]
    else:
        target, server = StdioServerParameters(command=sys.argv[3], args=sys.argv[4:], env=dict(os.environ)), sys.argv[2]
    async with Client(target) as client:
        print(f"negotiated {client.protocol_version}", file=sys.stderr)

        async def tools():
            return (await client.list_tools()).tools

        async def call(name, arguments, on_progress=None):
            return await client.call_tool(name, arguments, progress_callback=on_progress)

        await tell(tools, call, server)


asyncio.run(main())
