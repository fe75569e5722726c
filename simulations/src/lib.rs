//! Many nodes, one queue of events, virtual time, one seed.
//!
//! ```text
//!  scenario ─▶ world ── Input ──▶ aop_proto::node::Node      (the very code that runs behind QUIC and redb)
//!                │  ◀── Output ──┘
//!                ├─ network   ordered streams, delay, loss, partitions
//!                ├─ disk      what was synced, and what a crash takes
//!                └─ checks    what must hold at every moment, whatever happens
//! ```
//!
//! It is not a model of the protocol: nothing here decides what a node does. The same seed gives the same run, event by event,
//! which is what the trace's hash says.

mod checks;
mod disk;
mod host;
mod network;
pub mod question;
pub mod scenario;
pub mod storm;
mod trace;
pub mod world;

pub use network::Weather;
pub use world::{Answered, HostId, Spec, World};
