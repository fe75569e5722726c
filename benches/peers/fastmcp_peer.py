"""A FastMCP server that has tool cards in a dictionary: stateless, JSON answers, no log. Usage: fastmcp_peer.py PORT RESULTS

RESULTS has a line for each answer of the node it stands beside: the tool and the name that was asked, a tab, the MCP result. Only the
cards are taken from it; everything around them FastMCP makes itself, as it would for anybody's server.
"""

import json
import sys

from fastmcp import FastMCP

CARDS = {}
with open(sys.argv[2], encoding="utf-8") as lines:
    for line in lines:
        asked, result = line.rstrip("\n").split("\t", 1)
        tool, name = asked.split(" ", 1)
        if tool == "describe_tool":
            CARDS[name] = json.loads(result)["structuredContent"]

server = FastMCP("peer")


@server.tool
def describe_tool(name: str) -> dict:
    """Everything about one tool."""
    return CARDS[name]


server.run(
    transport="http",
    host="127.0.0.1",
    port=int(sys.argv[1]),
    stateless_http=True,
    json_response=True,
    show_banner=False,
    log_level="critical",
    uvicorn_config={"access_log": False},
)
