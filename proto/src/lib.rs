//! Every word and every rule of the AOP protocol.
pub mod codec;
pub mod error;
pub mod membership;
pub mod name;
pub mod now;
pub mod params;
pub mod record;
pub mod registry;
pub mod selection;
pub mod trust;
pub mod wire;
