//! Who may use a node, from outside: tokens, authorization servers, names, rates, slow clients, TLS and what a refused start says.
//!
//! Nodes listen at an address of this machine that is not loopback where there is one; where there is none, at another loopback
//! address, told to ask who calls.

mod support;

#[path = "admission/entry.rs"]
mod entry;
#[path = "admission/guarded.rs"]
mod guarded;
#[path = "admission/hostile.rs"]
mod hostile;
#[path = "admission/joining.rs"]
mod joining;
#[path = "admission/limits.rs"]
mod limits;
#[path = "admission/names.rs"]
mod names;
#[path = "admission/oauth.rs"]
mod oauth;
#[path = "admission/organisations.rs"]
mod organisations;
#[path = "admission/start.rs"]
mod start;
#[path = "admission/streams.rs"]
mod streams;
#[path = "admission/tls.rs"]
mod tls;
#[path = "admission/tokens.rs"]
mod tokens;
