//! The shell of an AOP node: acts on the world, decides nothing about the protocol.
//!
//! ```text
//!  7   server  config  cli                                  assembly
//!  6   http (with page)  mcp  federation                    doors
//!  5b  call                                                 the one visible loop Try / Wait / Done
//!  5   driver  handle | store answers audit auth invites peer upstream clock entropy telemetry     limbs
//!  ------------------ crate wall: aop-proto, no I/O, time or chance below ------------------
//! ```
//!
//! Three journeys read as straight lines: a registration (`http` → `handle` → `driver` → node → `store` → reply), a question
//! (`handle` → `driver` → node ⇄ `peer`), a call (`mcp` → `call` → `upstream`, or → `peer` → `federation` → `call` there).

pub mod answers;
pub mod audit;
pub mod auth;
pub mod call;
pub mod cli;
pub mod clock;
pub mod config;
pub mod driver;
pub mod entropy;
pub mod federation;
pub mod handle;
pub mod http;
pub mod invites;
pub mod mcp;
pub mod peer;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod upstream;
pub mod watch;
