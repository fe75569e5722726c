//! Where a call goes on that was asked for input: at the instance that asked. Only that one can read what it wrote into `requestState`
//! (MCP 2026-07-28), and who calls knows nothing of instances.
//!
//! Kept by this node alone, for a while and bounded: whoever goes on at another node comes to any instance, as without this.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aop_proto::cache::Shelf;
use aop_proto::record::NodeId;
use bytes::Bytes;
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// States that are remembered, and for how long: somebody may have to be asked.
const STATES_MAX: usize = 4_096;
const KEPT: Duration = Duration::from_secs(15 * 60);
/// A longer result is no question.
const QUESTION_BYTES_MAX: usize = 256 * 1024;
const STATE: &[u8] = b"\"requestState\"";

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(super) struct Continued(Arc<Mutex<Shelf<[u8; 32], NodeId>>>);

#[derive(Deserialize)]
struct Asking {
    #[serde(rename = "requestState")]
    state: Option<String>,
}

impl Continued {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Shelf::new(STATES_MAX))))
    }

    /// `result` of `tool` came from that node; if it asks for input, that is remembered.
    pub(super) fn hear(&self, tool: &str, result: &[u8], from: NodeId, now: Duration) {
        if result.len() > QUESTION_BYTES_MAX || !result.windows(STATE.len()).any(|part| part == STATE) {
            return;
        }
        if let Ok(Asking { state: Some(state) }) = serde_json::from_slice(result) {
            let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            drop(asked.put(key(tool, &state), from, size_of::<[u8; 64]>(), KEPT, now));
        }
    }

    /// Who asked for what a call of `tool` with these further parameters answers, if that is known.
    pub(super) fn asked_by(&self, tool: &str, extra: &[(String, Bytes)], now: Duration) -> Option<NodeId> {
        let (_, state) = extra.iter().find(|(member, _)| member == "requestState")?;
        let state: String = serde_json::from_slice(state).ok()?;
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.get(&key(tool, &state), now).map(|kept| kept.value)
    }
}

fn key(tool: &str, state: &str) -> [u8; 32] {
    Sha256::new().chain_update(tool).chain_update([0]).chain_update(state).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asked_is_known_by_what_it_wrote_for_a_while() {
        let (asked, from, now) = (Continued::new(), NodeId([7; 32]), Duration::from_secs(9));
        asked.hear("a.b.c", br#"{"resultType":"input_required","requestState":"s\/1"}"#, from, now);
        asked.hear("a.b.c", br#"{"content":[{"type":"text","text":"\"requestState\""}]}"#, NodeId([8; 32]), now);
        let with = |state: &'static str| vec![("requestState".to_owned(), Bytes::from_static(state.as_bytes()))];
        assert_eq!(asked.asked_by("a.b.c", &with(r#""s/1""#), now), Some(from), "however it is escaped");
        assert_eq!(asked.asked_by("a.b.d", &with(r#""s/1""#), now), None);
        assert_eq!(asked.asked_by("a.b.c", &with("7"), now), None);
        assert_eq!(asked.asked_by("a.b.c", &[], now), None);
        assert_eq!(asked.asked_by("a.b.c", &with(r#""s/1""#), now + KEPT), None);
    }
}
