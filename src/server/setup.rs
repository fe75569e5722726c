//! What one node of this process is to be, and what follows from where it listens and whom it is to meet.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use aop_proto::call::Policies;
use aop_proto::name::ZoneName;
use aop_proto::node;

use crate::audit;
use crate::config::{Admission, NodeConfig, ResolveConfig};
use crate::invites::Offer;
use crate::peer::is_local;

/// Everything a node is started with.
pub(super) struct Setup {
    pub(super) zone: ZoneName,
    pub(super) parents: Vec<String>,
    pub(super) joins: Vec<String>,
    pub(super) listen: SocketAddr,
    pub(super) advertise: Option<String>,
    pub(super) data_dir: Option<PathBuf>,
    pub(super) resolve: ResolveConfig,
    pub(super) audit: audit::Settings,
    /// How tools are called.
    pub(super) policies: Policies,
    /// Tools that stand on `/mcp` besides the node's own.
    pub(super) pinned: Vec<String>,
    /// Who may become a replica or a child without an invite.
    pub(super) joining: node::Admission,
    /// Who may come in at the client port.
    pub(super) admission: Admission,
    /// An invite that was given.
    pub(super) offer: Option<Offer>,
}

impl Setup {
    pub(super) fn of(config: &NodeConfig) -> Self {
        Self {
            zone: config.zone.clone(),
            parents: config.parents.iter().map(ToString::to_string).collect(),
            joins: config.join.iter().map(ToString::to_string).collect(),
            listen: config.listen,
            advertise: config.advertise.as_ref().map(ToString::to_string),
            data_dir: config.data_dir.clone(),
            resolve: config.resolve.clone(),
            audit: config.audit,
            policies: config.policies.clone(),
            pinned: config.mcp.pinned.clone(),
            joining: config.joining(),
            admission: config.admission.clone(),
            offer: config.invite.clone(),
        }
        .with_offer()
    }

    /// Whoever issued the invite is the parent, or a fellow to be.
    fn with_offer(mut self) -> Self {
        if let Some(offer) = &self.offer {
            let list = if offer.is_replica() { &mut self.joins } else { &mut self.parents };
            let new = offer.addresses.iter().filter(|address| !list.contains(address));
            let new: Vec<String> = new.cloned().collect();
            list.extend(new);
        }
        self
    }

    /// Whether this node serves its own machine and belongs to a federation that goes beyond: it dials, and is not dialled.
    pub(super) fn reaches_out(&self) -> bool {
        self.listen.ip().is_loopback() && self.parents.iter().chain(&self.joins).any(|address| !is_local(address))
    }

    /// Where the federation's socket is.
    pub(super) fn udp_ip(&self) -> IpAddr {
        match self.listen.ip() {
            ip if !self.reaches_out() => ip,
            IpAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
        }
    }

    /// What other nodes are told to dial; nothing where nobody could.
    pub(super) fn address(&self, listen: SocketAddr) -> String {
        match &self.advertise {
            Some(advertise) => advertise.clone(),
            None if self.reaches_out() => String::new(),
            None if listen.ip().is_unspecified() => SocketAddr::new(own_ip(listen), listen.port()).to_string(),
            None => listen.to_string(),
        }
    }
}

/// The address by which this machine reaches others, as its routes say. Nothing is sent.
fn own_ip(listen: SocketAddr) -> IpAddr {
    // Any address beyond this machine does; these are for documentation (RFC 5737, RFC 3849).
    let (any, beyond) = match listen.ip() {
        IpAddr::V4(_) => ("0.0.0.0:0", "192.0.2.1:9"),
        IpAddr::V6(_) => ("[::]:0", "[2001:db8::1]:9"),
    };
    let route =
        std::net::UdpSocket::bind(any).and_then(|socket| socket.connect(beyond).and_then(|()| socket.local_addr()));
    route.map_or(listen.ip(), |address| address.ip())
}
