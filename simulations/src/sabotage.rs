//! Planted bugs, without touching the protocol's code: what a host is told, what it says, and what is on its disk can be doctored.
//! A check that no sabotage turns red checks nothing.
//!
//! The checks are not told: a doctored host is an honest one with a defect. One that is meant to lie is made so by
//! [`World::possess`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use aop_proto::codec::Wire;
use aop_proto::node::{Input, Output};
use aop_proto::params::DATAGRAM_BYTES_MAX;
use aop_proto::record::{Certificate, Head, Kind, NodeBody, Origin, Record, Signed};
use aop_proto::registry::root::root_of;
use aop_proto::trust::{SigningKey, sign_flush};
use aop_proto::wire::message::{Message, Range, Ranges};
use aop_proto::wire::{Class, class_of};

use crate::checks::{Bounds, Coverage};
use crate::world::{HostId, World};

/// Changes what goes into or out of a node; `None` swallows it.
type Hearing = Box<dyn FnMut(Input) -> Option<Input>>;
/// The same on its way out. [`Output::Wait`] is never shown.
type Saying = Box<dyn FnMut(Output) -> Option<Output>>;

/// What stands between a node and its world.
#[derive(Default)]
pub(crate) struct Doctor {
    hears: Option<Hearing>,
    says: Option<Saying>,
}

impl fmt::Debug for Doctor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Doctor({}, {})", self.hears.is_some(), self.says.is_some())
    }
}

impl Doctor {
    pub(crate) fn hear(&mut self, input: Input) -> Option<Input> {
        match &mut self.hears {
            Some(hears) => hears(input),
            None => Some(input),
        }
    }

    pub(crate) fn say(&mut self, output: Output) -> Option<Output> {
        match &mut self.says {
            Some(says) if !matches!(output, Output::Wait(_)) => says(output),
            _ => Some(output),
        }
    }
}

/// What a host's disk holds: records by origin and number.
pub type Plates = BTreeMap<(Origin, u64), Arc<Signed>>;

impl World {
    /// From now on the host's node is told what `hears` makes of its inputs.
    pub fn doctor_hearing(&mut self, host: HostId, hears: impl FnMut(Input) -> Option<Input> + 'static) {
        self.hosts[host.0].doctor.hears = Some(Box::new(hears));
    }

    /// From now on the host says what `says` makes of its node's outputs.
    pub fn doctor_saying(&mut self, host: HostId, says: impl FnMut(Output) -> Option<Output> + 'static) {
        self.hosts[host.0].doctor.says = Some(Box::new(says));
    }

    /// The same for frames alone: `None` keeps the message as it is, an empty list swallows it, anything else goes instead, first
    /// come first sent, as long as it is one.
    pub fn doctor_frames(&mut self, host: HostId, mut change: impl FnMut(Message) -> Option<Message> + 'static) {
        self.doctor_saying(host, move |output| match output {
            Output::Send { peer, bytes, class } => {
                let Ok(message) = Message::decode(&bytes) else { return Some(Output::Send { peer, bytes, class }) };
                let changed = change(message)?.try_encode()?;
                // The sender chose among the classes of this kind.
                let class = if changed.get(3) == bytes.get(3) { class } else { class_of(changed[3]) };
                Some(Output::Send { peer, class, bytes: changed.into() })
            }
            other => Some(other),
        });
    }

    /// Nothing is changed any more.
    pub fn undoctor(&mut self, host: HostId) {
        self.hosts[host.0].doctor = Doctor::default();
    }

    /// Changes what is on a host's disk.
    pub fn tamper(&mut self, host: HostId, change: impl FnOnce(&mut Plates)) {
        let mut plates = self.plates(host);
        change(&mut plates);
        self.hosts[host.0].disk.replace_records(plates);
    }

    /// What is on a host's disk.
    pub fn plates(&self, host: HostId) -> Plates {
        self.hosts[host.0].disk.records()
    }

    /// From now on the host is an enemy that was admitted: nothing it holds or says is checked, and what others hold of it is
    /// only held against their own rules. What its node says goes out as before; [`World::say`] adds to it.
    pub fn possess(&mut self, host: HostId) {
        self.hosts[host.0].hostile = true;
        self.checks.hostile(self.hosts[host.0].id);
    }

    /// Sends bytes as that host, if the two are connected and the class takes so many.
    pub fn say(&mut self, from: HostId, to: HostId, bytes: Vec<u8>) {
        let class = class_of(bytes.get(3).copied().unwrap_or(0));
        if class != Class::Datagram || bytes.len() <= DATAGRAM_BYTES_MAX {
            self.send(from.0, self.hosts[to.0].id, bytes.into(), class);
        }
    }

    /// What a host's wall clock says, milliseconds since the Unix epoch.
    pub fn wall_ms(&self, host: HostId) -> u64 {
        self.hosts[host.0].now(self.time()).wall_ms
    }

    /// A host's key.
    pub fn key(&self, host: HostId) -> SigningKey {
        SigningKey::from_bytes(&self.hosts[host.0].key)
    }

    /// Certificates from the zone's key to a host's node, once it is admitted.
    pub fn chain(&self, host: HostId) -> Option<Vec<Certificate>> {
        let (id, node) = (self.hosts[host.0].id, self.node(host)?);
        let incarnation = node.registry().incarnation_of(id)?;
        let mut records = node.registry().records_of(Origin { node: id, incarnation });
        let own = records.find(|signed| signed.record.kind() == Kind::Node)?;
        NodeBody::decode(own.record.body()?).ok().map(|body| body.chain)
    }

    /// How long things may take once this world is calm.
    pub fn set_bounds(&mut self, bounds: Bounds) {
        self.checks.bounds = bounds;
    }

    /// Which branches were taken so far.
    pub const fn coverage(&self) -> &Coverage {
        &self.checks.coverage
    }
}

/// Signs records of one log as its writer would: with the head of everything that `held` and they leave.
pub fn sign(key: &SigningKey, held: &[Arc<Signed>], records: Vec<Record>) -> Vec<Arc<Signed>> {
    let unsigned = sign_flush(key, records.clone(), Head::default());
    let mut live = BTreeMap::new();
    for signed in held.iter().map(AsRef::as_ref).chain(&unsigned) {
        live.insert(signed.record.key(), (signed.record.seq, signed.hash));
    }
    let mut leaves: Vec<_> = live.into_values().collect();
    leaves.sort_unstable();
    let seq = leaves.last().map_or(0, |(seq, _)| *seq);
    let head = Head { seq, floor: 0, count: leaves.len() as u64, root: root_of(leaves.into_iter()) };
    sign_flush(key, records, head).into_iter().map(Arc::new).collect()
}

/// A frame of one range of these records, which are of one log and ascending.
pub fn ranges(from_exclusive: u64, records: &[Arc<Signed>], chain: Vec<Certificate>, hop: u8) -> Option<Ranges> {
    let (first, last) = (records.first()?, records.last()?);
    let range = Range {
        origin: first.record.origin(),
        from_exclusive,
        to_inclusive: last.record.seq,
        cut: false,
        records: records.iter().map(|signed| signed.envelope()).collect(),
    };
    Some(Ranges { ranges: vec![range], chains: vec![chain], more: false, hop })
}
