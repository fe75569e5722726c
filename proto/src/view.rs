//! What readers see of a node without asking it: an immutable snapshot, published at most every few milliseconds. Whoever holds
//! one sees one moment; the next is another value.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::access::Role;
use crate::cache::Count;
use crate::name::ZoneName;
use crate::record::{Certificate, NodeId, Origin};
use crate::resolver::Routes;
use crate::trust::Anchor;
use crate::zone::Tools;
use crate::{gossip, membership};

/// One moment of one node.
#[derive(Clone, Debug)]
pub struct View {
    /// The node.
    pub node: NodeId,
    /// Its zone.
    pub zone: ZoneName,
    /// Counts changes of the zone as this node saw them; numbers lists and events.
    pub serial: u64,
    /// Tag of everything a cached answer of this zone depends on.
    pub tag: u64,
    /// Grows with every tag heard of any zone: what a door kept under another number is old.
    pub epoch: u64,
    /// The zone's tools.
    pub tools: Tools,
    /// The zone's key, once the node is admitted.
    pub zone_key: Option<[u8; 32]>,
    /// The keys this node believes.
    pub keys: Arc<KeysView>,
    /// Whether the node belongs to the zone.
    pub admitted: bool,
    /// Whether it speaks for the zone as well: certifies, delegates, revokes.
    pub signs: bool,
    /// Fellow replicas.
    pub members: Vec<MemberView>,
    /// Those of them of whom it is only believed that they are there.
    pub unheard: BTreeSet<NodeId>,
    /// Delegated zones.
    pub children: Vec<ChildView>,
    /// Who is connected and has proven who it is.
    pub relations: BTreeMap<NodeId, Relation>,
    /// Addresses this node keeps contact with.
    pub contacts: Vec<ContactView>,
    /// Ways to other zones.
    pub routes: Routes,
    /// Zone of the parent, once it was reached.
    pub parent: Option<ZoneName>,
    /// The version vector.
    pub vector: Vec<(Origin, u64)>,
    /// Counters, as they were when the view was made.
    pub counts: Counts,
}

/// What a connected peer is, by its certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Relation {
    /// A replica of the own zone.
    Fellow,
    /// A node of a zone above.
    Parent(ZoneName),
    /// A node of a zone below.
    Child(ZoneName),
}

/// The keys a node believes, and its own place under them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeysView {
    /// Epoch of the zone's key, 0 while none is known.
    pub epoch: u64,
    /// Whether this node holds it, and so can rotate it.
    pub held: bool,
    /// Who made it, when that is known.
    pub maker: Option<NodeId>,
    /// Certificates from a key of the zone to this node.
    pub chain: Vec<Certificate>,
    /// Keys of all zones that are known, pins first.
    pub anchors: Vec<Anchor>,
    /// Why this node is believed no more, if it is.
    pub revoked: Option<String>,
    /// Nodes of the zone that are believed no more, and why.
    pub outcasts: Vec<(NodeId, String)>,
}

/// A fellow replica.
#[derive(Clone, Debug)]
pub struct MemberView {
    /// Who.
    pub node: NodeId,
    /// `unknown`, `alive`, `suspect`, `down` or `left`.
    pub state: &'static str,
    /// Where.
    pub address: String,
    /// Version of its software.
    pub version: String,
}

/// A delegated zone.
#[derive(Clone, Debug)]
pub struct ChildView {
    /// Its name.
    pub zone: ZoneName,
    /// Its nodes that are connected.
    pub connected: usize,
    /// Its gateways' addresses.
    pub gateways: Vec<String>,
    /// Tools it exports.
    pub tools: u64,
    /// What its organisation may do here, where somebody said so.
    pub role: Option<Role>,
    /// End of the lease, milliseconds since the Unix epoch.
    pub expires_ms: u64,
}

/// An address that contact is kept with.
#[derive(Clone, Debug)]
pub struct ContactView {
    /// The address as configured or learned.
    pub address: String,
    /// `parent`, `join`, `fellow` or `gateway`.
    pub purpose: &'static str,
    /// `connected`, `connecting`, `unreachable` or `refused`.
    pub state: &'static str,
    /// The last error.
    pub error: Option<String>,
    /// When it is tried next.
    pub next_try: Duration,
}

/// Counters of the core.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// L2.
    pub l2: Count,
    /// L3.
    pub l3: Count,
    /// Answers kept in L2 and in L3.
    pub kept: [usize; 2],
    /// Questions on their way.
    pub questions: usize,
    /// Of the exchange of logs.
    pub gossip: gossip::Counts,
    /// Of what is believed of members.
    pub membership: membership::Counts,
    /// Origins that were quarantined in this run.
    pub forks: u64,
    /// Times a fellow held back what this node wrote, because of its clock.
    pub clock_ahead: u64,
    /// Nodes of the zone of which something is held back here, because of their clocks.
    pub held_back: usize,
    /// Lives of the own log begun in this run, because its sequence could not be proven continuous.
    pub lives: u64,
    /// Records taken from peers.
    pub applied: u64,
    /// Records, ranges and answers that were not believed.
    pub refused: u64,
    /// Frames that could not be read, or of unknown kinds.
    pub bad_frames: u64,
    /// Nodes that came without an invite where one is needed, or with one that was no good.
    pub kept_out: u64,
    /// Times a peer was shut out for what it brought.
    pub quarantined: u64,
}
