//! Why each origin may speak for the zone, held once: where a node's own record says the same, in that record.
//!
//! Zones of thousands hold thousands of these in every node, and most are read only when somebody new asks.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::record::{Certificate, NodeId, SignedRef};

#[derive(Debug)]
enum Known {
    /// As it was told.
    Told(Box<[Certificate]>),
    /// As that node record says.
    Written(SignedRef),
}

/// Certificates by node, as far as they were verified.
#[derive(Debug, Default)]
pub struct Chains {
    by_node: BTreeMap<NodeId, Known>,
}

impl Chains {
    /// Whether anything is known of a node.
    pub fn contains(&self, node: NodeId) -> bool {
        self.by_node.contains_key(&node)
    }

    /// Certificates from the zone's key to a node.
    pub fn get(&self, node: NodeId) -> Option<Cow<'_, [Certificate]>> {
        match self.by_node.get(&node)? {
            Known::Told(chain) => Some(Cow::Borrowed(chain)),
            Known::Written(signed) => signed.node_body().map(|body| Cow::Borrowed(&*body.chain)),
        }
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.by_node.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_node.is_empty()
    }

    /// Takes a chain that was verified.
    pub fn insert(&mut self, node: NodeId, chain: Vec<Certificate>) {
        self.by_node.insert(node, Known::Told(chain.into()));
    }

    /// Takes what a stored record of the zone says: it was verified before it was stored.
    pub fn restore(&mut self, signed: &SignedRef) {
        self.by_node.insert(signed.record.node, Known::Written(signed.clone()));
    }

    /// A node's record says what is known already: that is held there from now on.
    pub fn written(&mut self, signed: &SignedRef, chain: &[Certificate]) {
        let node = signed.record.node;
        if self.get(node).is_some_and(|known| *known == *chain) {
            self.restore(signed);
        }
    }

    /// Forgets a node.
    pub fn remove(&mut self, node: NodeId) {
        self.by_node.remove(&node);
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
        assert!(matches!(chains.by_node[&node], Known::Written(_)));
    }
}
