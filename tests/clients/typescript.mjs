// The official TypeScript client: `typescript.mjs PACKAGES sdk|client URL TOOL ARGUMENTS` lists, and calls one tool.
//
// `sdk` is 1.x (the initialize revisions), `client` 2.x (2026-07-28 first). What was seen goes to stdout as one JSON object.

import { createRequire } from "node:module";

const [packages, kind, url, name, args] = process.argv.slice(2);
const require = createRequire(`${packages}/package.json`);

const about = { name: "by-typescript", version: "0" };
let client, transport;
if (kind === "sdk") {
  const { Client } = require("@modelcontextprotocol/sdk/client/index.js");
  const { StreamableHTTPClientTransport } = require("@modelcontextprotocol/sdk/client/streamableHttp.js");
  client = new Client(about);
  transport = new StreamableHTTPClientTransport(new URL(url));
} else {
  const { Client, StreamableHTTPClientTransport } = require("@modelcontextprotocol/client");
  client = new Client(about, { versionNegotiation: { mode: "auto" } });
  transport = new StreamableHTTPClientTransport(new URL(url));
}
await client.connect(transport);
const tools = (await client.listTools()).tools.map((tool) => tool.name);
const steps = [];
const options = { onprogress: ({ progress }) => steps.push(progress) };
const params = { name, arguments: JSON.parse(args) };
const result = kind === "sdk" ? await client.callTool(params, undefined, options) : await client.callTool(params, options);
const version = client.getNegotiatedProtocolVersion?.() ?? transport.protocolVersion;
console.log(JSON.stringify({ tools, result, steps, version }));
await client.close();
