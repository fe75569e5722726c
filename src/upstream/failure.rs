//! The one error of the upstream side, and what it proves.
//!
//! It is not a `Problem`: the caller decides what a person or a model is told. What must always hold: [`UpstreamError::not_sent`]
//! is true only when the server cannot have begun the call, because a call may be repeated on the strength of it.

use std::{net::IpAddr, time::Duration};

use aop_proto::error::to_ms;
use bytes::Bytes;

use super::egress::AddressClass;

/// Why a server could not be registered, listed or called.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamError {
    /// No server of that name is registered on this node.
    #[error("no such server")]
    UnknownServer,
    /// The name is in use by another registration.
    #[error("the server name {server} is taken")]
    NameTaken {
        /// The name.
        server: String,
    },
    /// A registration that can never work.
    #[error("{reason}")]
    Invalid {
        /// Which field, and why.
        reason: String,
    },
    /// A reference to a secret that leads nowhere.
    #[error("secret not found: {reason}")]
    Secret {
        /// Names the reference, never a value.
        reason: String,
    },
    /// The server's address is one that its registration may not reach. Nothing was sent.
    #[error("{host} is {class}{}, which {}", shown(host, *address), reach(*class))]
    Address {
        /// The host as registered.
        host: String,
        /// What it stands for.
        address: IpAddr,
        /// What kind of address that is.
        class: AddressClass,
    },
    /// A header of the registration would travel unencrypted to another machine. Nothing was sent.
    #[error("{host} is another machine, and over http:// anybody on the way could read the headers; use https://")]
    Exposed {
        /// The host as registered.
        host: String,
    },
    /// The server could not be started, reached or agreed with.
    #[error("{reason}")]
    Connect {
        /// With the child's last words where there is a child.
        reason: String,
    },
    /// The call provably never reached the server.
    #[error("not sent: {reason}")]
    NotSent {
        /// Why not.
        reason: String,
    },
    /// Others have all places, or the client has had its share of them. Nothing was sent.
    #[error("{reason}")]
    Crowded {
        /// Of what there is no more.
        reason: String,
        /// When it may be otherwise.
        retry_after: Duration,
        /// The places are a client's share, which one with a token of its own does not share with others.
        is_share: bool,
    },
    /// The connection ended after the call had been sent; it may have run.
    #[error("connection lost after the call was sent, it may have run: {reason}")]
    Lost {
        /// What was seen, with the child's last words where there is a child.
        reason: String,
    },
    /// The server, or what stands before it, answered with a status that is no success. Nobody can tell from it what was done.
    #[error("the server answers {reason}")]
    Status {
        /// Its status.
        status: u16,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
        /// The status in words, and what was said with it.
        reason: String,
    },
    /// Sent, and no answer within the caller's time; it was cancelled and may have run.
    #[error("no answer within {:?}, it may have run", to_ms(*after))]
    TimedOut {
        /// The time given.
        after: Duration,
    },
    /// The server answered with a JSON-RPC error.
    #[error("the server answered with error {code}: {message}")]
    Rpc {
        /// Its code.
        code: i64,
        /// Its message.
        message: String,
        /// The whole error object, byte for byte.
        raw: Bytes,
    },
    /// The server answered with something that is not an answer; the call may have run.
    #[error("unreadable answer: {reason}")]
    Garbage {
        /// What was wrong with it.
        reason: String,
    },
}

impl UpstreamError {
    /// Whether the server cannot have begun the call.
    pub fn not_sent(&self) -> bool {
        match self {
            Self::UnknownServer
            | Self::NameTaken { .. }
            | Self::Invalid { .. }
            | Self::Secret { .. }
            | Self::Address { .. }
            | Self::Exposed { .. }
            | Self::Connect { .. }
            | Self::Crowded { .. }
            | Self::NotSent { .. } => true,
            Self::Lost { .. }
            | Self::Status { .. }
            | Self::TimedOut { .. }
            | Self::Rpc { .. }
            | Self::Garbage { .. } => false,
        }
    }
}

/// The address behind a name; an address needs no second mention.
fn shown(host: &str, address: IpAddr) -> String {
    let text = address.to_string();
    if host.contains(&text) { String::new() } else { format!(" ({text})") }
}

fn reach(class: AddressClass) -> &'static str {
    match class.can_be_granted() {
        true => "only a registration with --allow-private (allow_private = true in a file) may reach",
        false => "no registration may reach",
    }
}
