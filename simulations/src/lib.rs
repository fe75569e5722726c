//! Many nodes, one queue of events, virtual time, one seed.
//!
//! ```text
//!  scenario ─▶ world ── Input ──▶ aop_proto::node::Node      (the very code that runs behind QUIC and redb)
//!  storm       │  ◀── Output ──┘
//!              ├─ network   streams, datagrams, delay, loss, cuts
//!              ├─ disk      what was synced, and what a crash takes
//!              └─ checks    what must hold at every moment, whatever happens
//! ```
//!
//! It is not a model of the protocol: nothing here decides what a node does. The same seed gives the same run, event by event,
//! which is what the trace's hash says.
//!
//! A test of several nodes is ten lines:
//!
//! ```
//! use std::time::Duration;
//! use aop_simulations::scenario::{equal, replicas, server};
//! use aop_simulations::world::{World, name};
//!
//! let mut world = World::new(7);
//! let hosts = replicas(&mut world, "research", 1, 3);
//! world.run_for(Duration::from_secs(2));
//! world.partition(&hosts[..1], &hosts[1..]);
//! world.write_through(hosts[0], server("arxiv", &[("search_papers", "find papers")])).expect("it is written");
//! world.run_for(Duration::from_secs(30));
//! assert!(!equal(&world, &hosts));
//! world.heal();
//! world.run_until(Duration::from_secs(15), |world| equal(world, &hosts)).expect("they become equal");
//! assert_eq!(world.resolve(hosts[2], name("search_papers.arxiv.research")).names(), ["search_papers.arxiv.research"]);
//! ```

pub mod bench;
mod checks;
mod disk;
mod host;
pub mod hostile;
mod network;
pub mod question;
pub mod sabotage;
pub mod scenario;
pub mod storm;
mod trace;
pub mod world;

pub use checks::{Bounds, Coverage};
pub use network::Weather;
pub use world::{Answered, HostId, Spec, World};
