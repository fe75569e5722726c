//! Why each origin may speak for the zone, held once: where a node's own record says the same, in that record.
//!
//! Zones of thousands hold thousands of these in every node, and most are read only when somebody new asks.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::record::{ByNode, Certificate, NodeId, SignedRef};

/// Certificates by node, as far as they were verified.
#[derive(Debug, Default)]
pub struct Chains {
    /// As they were told.
    told: BTreeMap<NodeId, Box<[Certificate]>>,
    /// As these node records say, of all others.
    written: ByNode<SignedRef>,
}

impl Chains {
    /// Whether anything is known of a node.
    pub fn contains(&self, node: NodeId) -> bool {
        self.written.contains(node) || self.told.contains_key(&node)
    }

    /// Certificates from the zone's key to a node.
    pub fn get(&self, node: NodeId) -> Option<Cow<'_, [Certificate]>> {
        let written = || self.written.get(node)?.node_body().map(|body| &*body.chain);
        self.told.get(&node).map(|chain| &**chain).or_else(written).map(Cow::Borrowed)
    }

    /// Nodes that `elder` certified, or somebody it had.
    pub fn certified_by(&self, elder: NodeId) -> Vec<NodeId> {
        let told = self.told.iter().map(|(node, chain)| (*node, &**chain));
        let written = self.written.values();
        let written = written.filter_map(|signed| Some((signed.record.node(), &*signed.node_body()?.chain)));
        let through = |(node, chain): (NodeId, &[Certificate])| {
            (node != elder && chain.iter().any(|certificate| certificate.node == elder)).then_some(node)
        };
        told.chain(written).filter_map(through).collect()
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.told.len() + self.written.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a chain that was verified.
    pub fn insert(&mut self, node: NodeId, chain: Vec<Certificate>) {
        if self.get(node).as_deref() != Some(&chain) {
            self.written.remove(node);
            self.told.insert(node, chain.into());
        }
    }

    /// Takes what a stored record of the zone says: it was verified before it was stored.
    pub fn restore(&mut self, signed: &SignedRef) {
        self.told.remove(&signed.record.node());
        self.written.insert(signed.clone());
    }

    /// A node's record says what is known already: that is held there from now on.
    pub fn written(&mut self, signed: &SignedRef, chain: &[Certificate]) {
        if self.get(signed.record.node()).as_deref() == Some(chain) {
            self.restore(signed);
        }
    }

    /// Forgets all nodes but these.
    pub fn retain(&mut self, is_of_use: impl Fn(NodeId) -> bool) {
        let told = self.told.keys().copied();
        let written = self.written.values().map(|signed| signed.record.node());
        let idle: Vec<NodeId> = told.chain(written).filter(|node| !is_of_use(*node)).collect();
        for node in idle {
            self.remove(node);
        }
    }

    /// Forgets a node.
    pub fn remove(&mut self, node: NodeId) {
        self.told.remove(&node);
        self.written.remove(node);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::codec::Wire;
    use crate::name::ZoneName;
    use crate::record::{Head, Kind, NodeBody, Record, VISIBILITY_PUBLIC};
    use crate::trust::samples::{id, key};
    use crate::trust::sign_flush;

    fn node_record(chain: &[Certificate]) -> SignedRef {
        let key = key(2);
        let body =
            NodeBody { address: "a:1".to_owned(), version: "0".to_owned(), chain: chain.to_vec(), parents: Vec::new() };
        let record = Record {
            zone: "research".to_owned(),
            kind: Kind::Node.number(),
            name: id(&key).to_string(),
            node: id(&key),
            incarnation: 1,
            seq: 1,
            epoch: 0,
            hlc: 1 << 16,
            visibility: VISIBILITY_PUBLIC,
            issued_ms: 1,
            expires_ms: 2,
            def_hash: None,
            body: Some(body.encode()),
        };
        Arc::new(sign_flush(&key, vec![record], Head::default()).remove(0))
    }

    #[test]
    fn a_chain_is_the_same_wherever_it_is_held_and_a_record_replaces_no_other() {
        let zone = ZoneName::parse("research").unwrap();
        let node = id(&key(2));
        let told = vec![Certificate::issue(&key(1), &zone, node, 5)];
        let other = vec![Certificate::issue(&key(3), &zone, node, 5)];
        let mut chains = Chains::default();
        chains.written(&node_record(&told), &told);
        assert!(!chains.contains(node), "a record proves nothing by itself");
        chains.insert(node, told.clone());
        chains.written(&node_record(&other), &other);
        assert_eq!(chains.get(node).as_deref(), Some(&told[..]));
        chains.written(&node_record(&told), &told);
        assert_eq!(chains.get(node).as_deref(), Some(&told[..]));
        assert!(chains.told.is_empty() && chains.len() == 1, "it is held once");
    }
}
