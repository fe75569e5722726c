//! A zone whose nodes have met already, without simulating how: each disk holds every node's record and the certificates of one
//! founder, as if all had been stopped after a long time together. The records are held once for all.

use std::sync::Arc;

use aop_proto::codec::Wire;
use aop_proto::name::ZoneName;
use aop_proto::node::TrustState;
use aop_proto::params::NODE_LEASE;
use aop_proto::record::{Certificate, Head, Kind, NodeBody, NodeId, Record, SignedRef, VISIBILITY_PUBLIC};
use aop_proto::registry::root::root_of;
use aop_proto::trust::{Lineage, SigningKey, sign_flush};

use super::{Spec, World};
use crate::disk::{Disk, Records};
use crate::host::{EPOCH_MS, Host};

/// The zone of a formed world.
pub const FORMED_ZONE: &str = "bench";

impl World {
    /// A world of `count` hosts of the zone `bench`, acquainted and not started yet; the first is the founder.
    pub fn formed(count: u32, seed: u64) -> Self {
        let mut world = Self::new(seed);
        for number in 1..=count {
            world.add(Spec::new(FORMED_ZONE, number));
        }
        let zone = ZoneName::parse(FORMED_ZONE).expect("it is a zone's name");
        let Some(founder) = world.hosts.first() else { return world };
        let (founder_key, zone_key) = (SigningKey::from_bytes(&founder.key), SigningKey::from_bytes(&founder.zone_key));
        let root = Certificate::issue(&zone_key, &zone, founder.id, EPOCH_MS);
        let chain_of = |node: NodeId| match node == root.node {
            true => vec![root.clone()],
            false => vec![root.clone(), Certificate::issue(&founder_key, &zone, node, EPOCH_MS)],
        };
        let chains: Vec<Vec<Certificate>> = world.hosts.iter().map(|host| chain_of(host.id)).collect();
        let records = world.hosts.iter().zip(&chains).map(|(host, chain)| node_record(host, chain));
        let base: Arc<Records> =
            Arc::new(records.map(|signed| ((signed.record.origin(), signed.record.seq), signed)).collect());
        base.values().for_each(|signed| world.checks.founded(signed));
        let zone_key = zone_key.verifying_key().to_bytes();
        let pinned = vec![(zone.to_string(), Lineage::of(1, zone_key))];
        for (host, chain) in world.hosts.iter_mut().zip(chains) {
            let trust = TrustState { zone_key: Some(zone_key), chain, committed: true, pinned: pinned.clone() };
            host.disk = Disk::holding(base.clone(), trust.encode());
        }
        world
    }

    /// Starts every host that does not run.
    pub fn start_all(&mut self) {
        for host in self.hosts() {
            if !self.hosts[host.0].runs() {
                self.start(host);
            }
        }
    }
}

/// The first record of a node's log: where it is and why it may speak.
fn node_record(host: &Host, chain: &[Certificate]) -> SignedRef {
    let (address, version) = (host.spec.address.clone(), "0.0.0".to_owned());
    let body = NodeBody { address, version, chain: chain.to_vec(), parents: Vec::new() };
    let record = Record {
        zone: host.spec.zone.clone(),
        kind: Kind::Node.number(),
        name: host.id.to_string(),
        node: host.id,
        incarnation: host.incarnation,
        seq: 1,
        epoch: 0,
        hlc: EPOCH_MS << 16,
        visibility: VISIBILITY_PUBLIC,
        issued_ms: EPOCH_MS,
        expires_ms: EPOCH_MS + NODE_LEASE.as_millis() as u64,
        def_hash: None,
        body: Some(body.encode()),
    };
    let key = SigningKey::from_bytes(&host.key);
    let sign = |head| sign_flush(&key, vec![record.clone()], head).remove(0);
    // The head names the record's hash, which does not depend on it.
    let root = root_of(std::iter::once((1, sign(Head::default()).hash)));
    Arc::new(sign(Head { seq: 1, floor: 0, count: 1, root }))
}
