"""fastmcp's client: `fast.py URL TOOL ARGUMENTS` lists, and calls one tool. What was seen goes to stdout as one JSON object."""

import asyncio
import json
import sys

from fastmcp import Client


async def main():
    url, name, arguments = sys.argv[1:4]
    steps = []

    async def on_progress(progress, total, message):
        steps.append(progress)

    async with Client(url) as client:
        tools = [tool.name for tool in await client.list_tools()]
        result = await client.call_tool_mcp(name, json.loads(arguments), progress_handler=on_progress)
        result = json.loads(result.model_dump_json(by_alias=True, exclude_none=True))
    print(json.dumps({"tools": tools, "result": result, "steps": steps}))


asyncio.run(main())
