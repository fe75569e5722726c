//! Every word and every rule of the AOP protocol.
pub mod error;
