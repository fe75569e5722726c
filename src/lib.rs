//! The shell of an AOP node: acts on the world, decides nothing about the protocol.
