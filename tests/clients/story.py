"""What every client of the tests does with a node's short list: look, search, describe, call, be refused, hear of progress.

The story is told once; `mcp1.py` and `mcp2.py` bring their library's way of connecting. What was seen goes to stdout as one JSON
object, and the Rust test judges it.
"""

import json


def plain(result):
    """A result as JSON with the wire's own names."""
    return json.loads(result.model_dump_json(by_alias=True, exclude_none=True))


async def tell(tools, call, server):
    """`tools()` lists tools; `call(name, arguments, on_progress)` calls one; `server` is where `echo` lives, `papers.research`."""
    seen = {}
    listed = {tool["name"]: tool for tool in (plain(tool) for tool in await tools())}
    seen["tools"] = sorted(listed)
    properties = listed["search_tools"]["inputSchema"]["properties"]
    words = "say back a text"
    seen["search"] = plain(await call("search_tools", {"queries": [words]} if "queries" in properties else {"query": words}))
    seen["describe"] = plain(await call("describe_tool", {"name": f"echo.{server}"}))
    seen["zones"] = plain(await call("list_zones", {}))

    async def through(tool, arguments, on_progress=None):
        return plain(await call("call_tool", {"name": f"{tool}.{server}", "arguments": arguments}, on_progress))

    seen["echo"] = await through("echo", {"text": "grüße 👋"})
    seen["add"] = await through("add", {"a": 2, "b": 40})
    seen["fail"] = await through("fail", {})
    steps = []

    async def on_progress(progress, total, message):
        steps.append([progress, total, message])

    seen["progress"] = await through("progress", {}, on_progress)
    seen["steps"] = steps
    for name, tool, arguments in [("misfit", "add", {"a": "two", "b": 40}), ("refuse", "refuse", {})]:
        try:
            seen[name] = await through(tool, arguments)
        except Exception as error:  # whichever class this library has for it
            seen[name] = {"raised": str(error), "code": getattr(getattr(error, "error", error), "code", None)}
    print(json.dumps(seen))
