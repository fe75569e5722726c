//! The MCP door: the federation's tools for models, in every protocol revision that is spoken today.
//!
//! ```text
//! POST /mcp            search_tools, describe_tool, call_tool, list_zones, what is pinned  menu, pins
//! POST /z/{zone}/mcp   every tool of one zone under its own definition                     zone
//! GET  of both         that the list is another, for the initialize revisions              news, door::standing
//!      /s/{server}/mcp  one server of this node, whatever it speaks, passed through        server
//!        │
//!      door ── tools/list, tools/call ──▶ answered here from raw bytes: results and definitions are never re-written
//!        └──── everything else ─────────▶ rmcp, with the one `ServerHandler` of the node     handler
//! ```
//!
//! Not here: what is found, whether a call may run and where; that is behind [`crate::handle::Handle`]. Always true: the list of a
//! path is the same for every caller who may see all of it; an upstream's result leaves as the bytes it arrived as, but for large parts,
//! which are put on a shelf; a caller that goes away takes its call with it; of a session nothing is kept but what runs in it, but for
//! those of servers that are passed through.

pub(crate) mod door;
mod envelope;
mod find;
mod handler;
mod headers;
mod many;
mod menu;
mod news;
mod node;
mod pins;
mod raw;
mod running;
mod server;
mod shelf;
pub mod stdio;
mod underway;
mod zone;
