//! A scripted rogue against real nodes: it speaks aop/1 over QUIC with bytes it makes itself, and tells lies.
//!
//! It comes as a stranger without a certificate, as a member that was properly admitted, and to a node that admits by invite. After
//! everything it does the honest nodes still resolve and call, show nothing forged by any door and pass nothing forged on, have
//! counted what they refused, have not panicked, and have stayed below [`zone::CEILING_MIB`] of resident memory. What a rogue inside
//! the *simulated* zone does is in `simulations/`.

#[path = "rogue/enemy.rs"]
mod enemy;
#[path = "rogue/flood.rs"]
mod flood;
#[path = "rogue/forgery.rs"]
mod forgery;
#[path = "rogue/guarded.rs"]
mod guarded;
#[path = "rogue/history.rs"]
mod history;
#[path = "rogue/link.rs"]
mod link;
#[path = "rogue/revocation.rs"]
mod revocation;
#[path = "rogue/stranger.rs"]
mod stranger;
mod support;
#[path = "rogue/zone.rs"]
mod zone;
