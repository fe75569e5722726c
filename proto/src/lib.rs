//! Every word and every rule of the AOP protocol: no I/O, no time, no chance of its own.
//!
//! ```text
//!  4  node                                composition; view: what readers see
//!  3  gossip  transfer  resolver  search  call      conversations (borrow holders, never each other)
//!  2  registry zone cache membership selection trust index      holders
//!  1  wire  invite                        words on the wire, and of the ledger
//!  0  codec  json  name  record  params  now  error  access     words
//! ```
//!
//! Imports point down. Whoever drives a [`node::Node`] hands it inputs with the time and drains its outputs; the shell does it
//! with QUIC and a store, the simulator with a queue.

#![warn(missing_docs)]

pub mod access;
pub mod cache;
pub mod call;
pub mod codec;
pub mod error;
pub mod gossip;
pub mod index;
pub mod invite;
pub mod json;
pub mod membership;
pub mod name;
pub mod node;
pub mod now;
pub mod params;
pub mod record;
pub mod registry;
pub mod resolver;
pub mod search;
pub mod selection;
pub mod transfer;
pub mod trust;
pub mod view;
pub mod wire;
pub mod zone;
