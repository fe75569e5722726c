"""The official Python client, 1.x (the initialize revisions): `mcp1.py http URL SERVER` or `mcp1.py stdio SERVER COMMAND…`."""

import asyncio
import os
import sys

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from story import tell


async def session(streams, server):
    async with ClientSession(streams[0], streams[1]) as client:
        await client.initialize()

        async def tools():
            return (await client.list_tools()).tools

        async def call(name, arguments, on_progress=None):
            return await client.call_tool(name, arguments, progress_callback=on_progress)

        await tell(tools, call, server)


async def main():
    if sys.argv[1] == "http":
        async with streamable_http_client(sys.argv[2]) as streams:
            await session(streams, sys.argv[3])
    else:
        command = StdioServerParameters(command=sys.argv[3], args=sys.argv[4:], env=dict(os.environ))
        async with stdio_client(command) as streams:
            await session(streams, sys.argv[2])


asyncio.run(main())
