//! The keys a node believes, as JSON, and the rotation of its zone's.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use aop_proto::access::Principal;
use aop_proto::error::{Kind, Problem};
use aop_proto::record::Certificate;
use aop_proto::trust::Anchor;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{Handle, busy};
use crate::audit::{Entry, Event};
use crate::driver::Job;
use crate::entropy::{EntropyError, ZoneKeys, hex};

/// Time until readers see a rotation that has taken place: they are told at most every few milliseconds.
const SEEN_WITHIN: Duration = Duration::from_secs(1);

impl Handle {
    /// `aop.keys/1`: the zone's key, why this node may speak for the zone, and every zone's key that is known.
    pub fn keys(&self) -> Value {
        let view = self.view();
        let keys = &view.keys;
        json!({
            "schema": "aop.keys/1",
            "zone": view.zone.as_str(),
            "node": view.node.to_string(),
            "admitted": view.admitted,
            "key": view.zone_key.map(|key| hex(&key)),
            "epoch": keys.epoch,
            "held": keys.held,
            "maker": keys.maker.map(|maker| maker.to_string()),
            "chain": keys.chain.iter().map(certificate_json).collect::<Vec<_>>(),
            "keys": keys.anchors.iter().map(anchor_json).collect::<Vec<_>>(),
        })
    }

    /// Gives the zone another key, durably, and answers as [`Self::keys`].
    ///
    /// # Errors
    /// `Forbidden` when another node holds the zone's key or the zone is frozen, `Busy` while the key is not settled, `StoreFailed`
    /// when it cannot be kept, or not be written down.
    pub async fn rotate_key(&self, by: &Principal) -> Result<Value, Problem> {
        let handle = self.clone();
        let entry = Entry::by(by, Event::Rotated).zone(&self.view().zone);
        self.may_begin()?;
        super::servers::to_its_end(async move {
            let rotated = handle.rotate_key_to_its_end().await;
            handle.audited(entry, rotated).await
        })
        .await?;
        Ok(self.keys())
    }

    async fn rotate_key_to_its_end(&self) -> Result<(), Problem> {
        let current = self.view().zone_key;
        // One that became the zone's in a rotation whose end was not seen is no next one.
        self.with_zone_keys(move |keys| current.map_or(Ok(()), |key| keys.settle(&key))).await?;
        let next = self.with_zone_keys(ZoneKeys::make_next).await?;
        let (reply, answer) = oneshot::channel();
        let job = Job::Rotate(next.signing_key().clone(), reply);
        self.inner.jobs.send(job).await.map_err(|_| busy())?;
        match answer.await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(self.write_problem(error)),
            Err(_) => return Err(super::stopping()),
        }
        let public = next.public();
        tracing::info!(key = hex(&public), "the zone has another key");
        if let Err(problem) = self.with_zone_keys(move |keys| keys.settle(&public)).await {
            // The rotation stands; the next start finds its key where it is.
            tracing::error!("the zone's key keeps its provisional name: {problem}");
        }
        let seen = async {
            while self.view().zone_key != Some(public) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        // Whoever looks later sees it; the answer then shows the key before.
        let _ = tokio::time::timeout(SEEN_WITHIN, seen).await;
        Ok(())
    }

    /// Works on the zone's keys where waiting for the disk holds up nobody.
    async fn with_zone_keys<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut ZoneKeys) -> Result<T, EntropyError> + Send + 'static,
    ) -> Result<T, Problem> {
        let keys = Arc::clone(&self.inner.zone_keys);
        // Keys are changed in one assignment: whoever failed while he held them left them whole.
        let done = tokio::task::spawn_blocking(move || work(&mut keys.lock().unwrap_or_else(PoisonError::into_inner)));
        match done.await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(Problem::new(Kind::StoreFailed, error.to_string()).hint("aop status")),
            Err(error) => Err(Problem::new(Kind::Internal, error.to_string())),
        }
    }
}

fn certificate_json(certificate: &Certificate) -> Value {
    json!({
        "node": certificate.node.to_string(), "issuer": hex(&certificate.issuer), "issued_ms": certificate.issued_ms,
    })
}

fn anchor_json(anchor: &Anchor) -> Value {
    json!({
        "zone": anchor.zone.as_str(), "key": hex(&anchor.key), "epoch": anchor.epoch, "pinned": anchor.pinned, "frozen": anchor.frozen,
    })
}
