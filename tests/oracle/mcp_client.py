"""Asks gospy as a client made with the official SDK: mcp_client.py MODE stdio|http WHERE PID TOOL,TOOL,...

Without tools all of them are called. MODE is legacy (initialize), auto or a version. Prints one JSON object: the version that was agreed on, the tools, and
what each of them said."""

import asyncio
import json
import sys

from mcp import Client, StdioServerParameters

CALLS = [
    ("list_processes", {}),
    ("overview", {}),
    ("groups", {}),
    ("groups", {"max_tokens": 6000}),
    ("goroutine", {"id": "1-50"}),
    ("why", {}),
    ("waits", {}),
    ("leaks", {}),
    ("heap", {}),
    ("compare", {}),
    ("watch_growth", {"seconds": 1}),
]


async def main():
    mode, transport, where, pid, tools_wanted = sys.argv[1:]
    server = where if transport == "http" else StdioServerParameters(command=where, args=["mcp", "--pid", pid])
    async with Client(server, mode=mode, read_timeout_seconds=300) as client:
        tools = (await client.list_tools()).tools
        said = []
        for name, arguments in CALLS:
            if tools_wanted and name not in tools_wanted.split(","):
                continue
            arguments = arguments if name == "list_processes" else {"program": pid, **arguments}
            result = await client.call_tool(name, arguments)
            text = "".join(part.text for part in result.content)
            said.append({"tool": name, "arguments": arguments, "error": bool(result.is_error), "text": text})
        refused = await client.call_tool("overview", {"program": "2147483647"})
        print(json.dumps({
            "version": str(client.protocol_version),
            "catalogue": json.dumps([tool.model_dump(exclude_none=True, by_alias=True) for tool in tools]),
            "tools": {tool.name: bool(tool.annotations.read_only_hint) for tool in tools},
            "said": said,
            "refused": bool(refused.is_error),
        }))


asyncio.run(main())
