//! The shell of an AOP node: acts on the world, decides nothing about the protocol.

pub mod clock;
pub mod entropy;
pub mod peer;
pub mod store;
pub mod upstream;
