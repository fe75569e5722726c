//! Calls under an idempotency key, at their home: the ledger of `aop_proto::call::ledger`, made durable and acted on.
//!
//! ```text
//!  first ─▶ intent, fsync ─▶ upstream ─▶ end, fsync ─▶ told to all who wait under the key
//!  again ─▶ wait for the first, or hear what it ended with
//! ```
//!
//! What runs under a key runs on when its caller goes away: whoever comes back finds its answer. What must hold: nothing is sent before
//! the intent is durable, and nothing is sent twice, also where our own code panics on the way. An end that the store did not take is
//! told all the same: after a restart it is a call that may have run.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aop_proto::call::Failed;
use aop_proto::call::ledger::{Begun, End, Entry, Ledger};
use aop_proto::codec::Wire as _;
use aop_proto::error::{Kind, Problem};
use aop_proto::params::KEY_CHARS_MAX;
use aop_proto::record::Hash;
use bytes::Bytes;
use futures::FutureExt as _;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::Failure;
use crate::clock::Clock;
use crate::store::{Op, Store, StoreError, Table};

type Outcome = Result<Bytes, Failure>;

/// A call as the ledger knows it.
#[derive(Clone, Debug)]
pub(super) struct Keyed {
    key: Hash,
    arguments: Hash,
    owner: String,
    /// The home's operator says that it may run again.
    may_repeat: bool,
}

impl Keyed {
    /// A call of `caller` that `zone` brings under what its node made of its caller's key. Of two zones nobody comes upon the other's.
    pub(super) fn new(key: &Hash, zone: &str, caller: &str, arguments: &[u8], may_repeat: bool) -> Self {
        let key = Sha256::new_with_prefix(key).chain_update(zone).finalize().into();
        Self { key, arguments: Sha256::digest(arguments).into(), owner: format!("{zone} {caller}"), may_repeat }
    }
}

/// What a caller's key is on its way: of two callers, and of two tools, never the same, and nothing that could be read.
///
/// # Errors
/// `Usage`: it is empty or too long.
pub(super) fn key_of(principal: &str, tool: &str, key: &str) -> Result<Hash, Problem> {
    if key.is_empty() || key.chars().count() > KEY_CHARS_MAX {
        let message = format!("an idempotency key has 1 to {KEY_CHARS_MAX} characters");
        return Err(Problem::new(Kind::Usage, message).hint("aop call --help"));
    }
    let mut hash = Sha256::new_with_prefix("aop.key.v1");
    for part in [principal, tool, key] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    Ok(hash.finalize().into())
}

/// The ledger of this node. Cheap to clone.
#[derive(Clone)]
pub(super) struct Ledgers {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Who begins: what expired is queued to be deleted before anything comes in its place.
    begins: tokio::sync::Mutex<()>,
    store: Store,
    clock: Clock,
    tasks: TaskTracker,
}

#[derive(Default)]
struct State {
    ledger: Ledger,
    running: BTreeMap<Hash, watch::Receiver<Option<Outcome>>>,
}

impl Ledgers {
    /// The ledger as the store has it.
    ///
    /// # Errors
    /// The store's; also where an entry cannot be read.
    pub(super) fn open(store: Store, clock: Clock) -> Result<Self, StoreError> {
        let mut ledger = Ledger::default();
        for (key, value) in store.load(Table::Calls)? {
            let damaged = |why: &dyn std::fmt::Display| StoreError::damaged("table calls", why);
            let key = Hash::try_from(key).map_err(|_| damaged(&"a key has another length"))?;
            ledger.restore(key, Entry::decode(&value).map_err(|error| damaged(&error))?);
        }
        let state = Mutex::new(State { ledger, running: BTreeMap::new() });
        Ok(Self {
            shared: Arc::new(Shared {
                state,
                begins: tokio::sync::Mutex::default(),
                store,
                clock,
                tasks: TaskTracker::new(),
            }),
        })
    }

    /// Does `work` once for its key, or tells what became of it.
    pub(super) async fn once(&self, call: Keyed, work: impl Future<Output = Outcome> + Send + 'static) -> Outcome {
        let (begun, waiting) = {
            let _begins = self.shared.begins.lock().await;
            let wall_ms = self.shared.clock.now().wall_ms;
            self.shared.forget(wall_ms).await;
            let mut state = self.shared.lock();
            if call.may_repeat {
                state.ledger.repeat(call.key, call.arguments);
            }
            let begun = state.ledger.begin(wall_ms, call.key, call.arguments, &call.owner);
            let waiting = match &begun {
                Begun::First(entry) => {
                    let (told, waiting) = watch::channel(None);
                    state.running.insert(call.key, waiting.clone());
                    let run = self.shared.clone().run(call.key, entry.clone(), work, told);
                    self.shared.tasks.spawn(run);
                    Some(waiting)
                }
                Begun::Running => state.running.get(&call.key).cloned(),
                _ => None,
            };
            (begun, waiting)
        };
        match begun {
            Begun::First(_) | Begun::Running => heard(waiting).await,
            Begun::Ended(end) => replayed(end),
            Begun::Differs => Err(Failure::refused(
                Problem::new(Kind::KeyReused, "the idempotency key was used with other arguments")
                    .hint("aop call --help"),
            )),
            Begun::Full(hint) => {
                let message = "no more calls under idempotency keys can be remembered here for now";
                let detail = json!({"retry_after_s": hint.as_secs().max(1)});
                Err(Failure::refused(Problem::new(Kind::Busy, message).detail(detail).hint("aop status")))
            }
        }
    }

    /// Waits until nothing runs any more.
    pub(super) async fn finish(&self) {
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// How many calls are remembered.
    pub(super) fn len(&self) -> usize {
        self.shared.lock().ledger.len()
    }
}

impl Shared {
    /// Forgets what expired, here and in the store, where it is gone before any later change is made.
    async fn forget(&self, wall_ms: u64) {
        let expired = self.lock().ledger.expire(wall_ms);
        if !expired.is_empty() {
            let ops = expired.into_iter().map(|key| Op::Delete { table: Table::Calls, key: key.to_vec() }).collect();
            // Where they are not gone yet at the next start, they are gone a moment after it.
            let _ = self.store.queue(ops, drop).await;
        }
    }

    async fn run(
        self: Arc<Self>,
        key: Hash,
        entry: Entry,
        work: impl Future<Output = Outcome>,
        told: watch::Sender<Option<Outcome>>,
    ) {
        let put = |entry: &Entry| Op::Put { table: Table::Calls, key: key.to_vec(), value: entry.encode().into() };
        let outcome = match self.store.commit(vec![put(&entry)]).await {
            // A panic in it is a mistake of ours. It must not leave the key taken until the next start: what panicked may have been sent.
            Ok(()) => AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| Err(may_have_run())),
            Err(error) => Err(Failure::refused(Problem::new(Kind::StoreFailed, error.to_string()))),
        };
        let not_sent = matches!(&outcome, Err(failure) if failure.failed.not_sent());
        let op = match &outcome {
            Ok(answer) => self.lock().ledger.end(key, false, Some(answer)).as_ref().map(put),
            // It is taken until that is durable: otherwise the intent of whoever comes next could be deleted with it.
            Err(_) if not_sent => Some(Op::Delete { table: Table::Calls, key: key.to_vec() }),
            Err(failure) => {
                let answer = (failure.failed == Failed::Answered).then(|| failure.problem.to_json().to_string());
                self.lock().ledger.end(key, true, answer.as_deref().map(str::as_bytes)).as_ref().map(put)
            }
        };
        if let Err(error) = self.store.commit(op.into_iter().collect()).await {
            // After a restart the call is one that may have run: it does not run again, and that is what counts.
            tracing::error!(%error, "the end of a call under a key could not be kept");
        }
        {
            let mut state = self.lock();
            if not_sent {
                state.ledger.not_sent(key);
            }
            state.running.remove(&key);
        }
        // Nobody may be waiting any more.
        let _ = told.send(Some(outcome));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the one that runs ends with.
async fn heard(waiting: Option<watch::Receiver<Option<Outcome>>>) -> Outcome {
    let Some(mut waiting) = waiting else { return Err(may_have_run()) };
    match waiting.wait_for(Option::is_some).await {
        Ok(outcome) => outcome.clone().unwrap_or_else(|| Err(may_have_run())),
        Err(_) => Err(may_have_run()),
    }
}

fn replayed(end: End) -> Outcome {
    match end {
        End { failed: false, answer: Some(answer) } => Ok(answer.into()),
        End { failed: true, answer: Some(answer) } => {
            let problem = serde_json::from_slice(&answer).ok().and_then(|value| Problem::from_json(&value));
            Err(problem.map_or_else(may_have_run, |problem| Failure { problem, failed: Failed::Answered }))
        }
        End { failed: false, answer: None } => {
            let message = "the call under this idempotency key ran, and there was no room to keep its answer";
            Err(Failure { problem: Problem::new(Kind::MayHaveRun, message), failed: Failed::MayHaveRun })
        }
        End { failed: true, answer: None } => Err(may_have_run()),
    }
}

fn may_have_run() -> Failure {
    let message = "a call under this idempotency key was sent and nobody knows how it ended; it is not sent again";
    Failure { problem: Problem::new(Kind::MayHaveRun, message), failed: Failed::MayHaveRun }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::oneshot;

    use super::*;
    use crate::store::tests::faults::Machine;

    fn call(key: u8) -> Keyed {
        Keyed::new(&[key; 32], "research", "token:a", b"{}", false)
    }

    fn open(store: &Store) -> Ledgers {
        Ledgers::open(store.clone(), Clock::start()).unwrap()
    }

    struct Counting(Arc<AtomicU32>);

    impl Counting {
        fn run(&self, outcome: Outcome) -> impl Future<Output = Outcome> + use<> {
            let count = self.0.clone();
            async move {
                count.fetch_add(1, Ordering::Relaxed);
                outcome
            }
        }

        fn ran(&self) -> u32 {
            self.0.load(Ordering::Relaxed)
        }
    }

    fn counting() -> Counting {
        Counting(Arc::default())
    }

    fn answer() -> Outcome {
        Ok(Bytes::from_static(b"42"))
    }

    fn lost() -> Outcome {
        let problem = Problem::new(Kind::UpstreamFailed, "lost");
        Err(Failure { problem, failed: Failed::MayHaveRun })
    }

    fn told(outcome: &Outcome) -> Result<&[u8], Kind> {
        outcome.as_ref().map(|bytes| &bytes[..]).map_err(|failure| failure.problem.kind)
    }

    #[tokio::test]
    async fn an_answer_is_replayed_also_after_a_restart() {
        let (store, upstream) = (Store::memory(), counting());
        for _ in 0..2 {
            assert_eq!(told(&open(&store).once(call(1), upstream.run(answer())).await), Ok(&b"42"[..]));
        }
        assert_eq!(told(&open(&store).once(call(1), upstream.run(lost())).await), Ok(&b"42"[..]));
        let other = Keyed::new(&[1; 32], "research", "token:a", b"{\"a\":1}", false);
        assert_eq!(told(&open(&store).once(other, upstream.run(answer())).await), Err(Kind::KeyReused));
        assert_eq!(upstream.ran(), 1);
        // The same words of another zone are another key.
        assert!(open(&store).once(Keyed::new(&[1; 32], "lab", "", b"{}", false), upstream.run(answer())).await.is_ok());
        assert_eq!(upstream.ran(), 2);
    }

    #[tokio::test]
    async fn what_may_have_run_never_runs_again_and_what_was_not_sent_does() {
        let (store, upstream) = (Store::memory(), counting());
        assert_eq!(told(&open(&store).once(call(1), upstream.run(lost())).await), Err(Kind::UpstreamFailed));
        for _ in 0..2 {
            assert_eq!(told(&open(&store).once(call(1), upstream.run(answer())).await), Err(Kind::MayHaveRun));
        }
        assert_eq!(upstream.ran(), 1);
        let down = || Err(Failure::refused(Problem::new(Kind::UpstreamDown, "down")));
        assert_eq!(told(&open(&store).once(call(2), upstream.run(down())).await), Err(Kind::UpstreamDown));
        assert_eq!(told(&open(&store).once(call(2), upstream.run(answer())).await), Ok(&b"42"[..]));
        assert_eq!(upstream.ran(), 3);
    }

    #[tokio::test]
    async fn what_may_be_repeated_is_not_held_up_by_an_answer_that_was_lost() {
        let (store, upstream) = (Store::memory(), counting());
        let repeatable = || Keyed { may_repeat: true, ..call(1) };
        for _ in 0..2 {
            let outcome = open(&store).once(repeatable(), upstream.run(lost())).await;
            assert_eq!(told(&outcome), Err(Kind::UpstreamFailed));
        }
        assert_eq!(told(&open(&store).once(repeatable(), upstream.run(answer())).await), Ok(&b"42"[..]));
        assert_eq!(told(&open(&store).once(repeatable(), upstream.run(lost())).await), Ok(&b"42"[..]));
        assert_eq!(upstream.ran(), 3);
    }

    #[tokio::test]
    async fn a_key_is_taken_until_it_is_durable_that_nothing_was_sent() {
        let (store, upstream) = (Store::memory(), counting());
        let ledgers = open(&store);
        let key = call(1).key;
        let down = || Err(Failure::refused(Problem::new(Kind::UpstreamDown, "down")));
        let seen = ledgers.clone();
        // While it ends, whoever looks finds it either taken and running, or neither.
        let watch = tokio::spawn(async move {
            for _ in 0..10_000 {
                {
                    let state = seen.shared.lock();
                    assert_eq!(state.ledger.len(), state.running.len());
                }
                tokio::task::yield_now().await;
            }
        });
        for _ in 0..50 {
            assert_eq!(told(&ledgers.once(call(1), upstream.run(down())).await), Err(Kind::UpstreamDown));
        }
        watch.await.unwrap();
        assert!(!ledgers.shared.lock().running.contains_key(&key));
    }

    #[tokio::test]
    async fn what_expired_is_deleted_before_what_comes_in_its_place_is_kept() {
        let (store, upstream) = (Store::memory(), counting());
        let expired = Entry { arguments: call(1).arguments, owner: String::new(), expires_ms: 1, end: None };
        let put =
            |number| Op::Put { table: Table::Calls, key: call(number).key.to_vec(), value: expired.encode().into() };
        store.commit(vec![put(1), put(2)]).await.unwrap();
        let (ledgers, (begun, begins)) = (open(&store), oneshot::channel::<()>());
        let endless = async move {
            let _ = begun.send(());
            std::future::pending().await
        };
        tokio::select! {
            _ = ledgers.once(call(2), endless) => panic!("it ended"),
            begun = begins => begun.unwrap(),
        }
        // Whatever was on its way to the store before this is there after it: the intent stands, whenever the power fails.
        store.commit(vec![Op::Delete { table: Table::Calls, key: vec![0; 32] }]).await.unwrap();
        assert_eq!(told(&open(&store).once(call(2), upstream.run(answer())).await), Err(Kind::MayHaveRun));
        assert_eq!(upstream.ran(), 0);
        assert_eq!(told(&open(&store).once(call(1), upstream.run(answer())).await), Ok(&b"42"[..]));
        assert_eq!(told(&open(&store).once(call(1), upstream.run(lost())).await), Ok(&b"42"[..]));
        assert_eq!(upstream.ran(), 1);
    }

    #[tokio::test]
    async fn a_call_runs_on_without_its_caller_and_whoever_comes_back_hears_its_end() {
        let (store, upstream) = (Store::memory(), counting());
        let ledgers = open(&store);
        let (go, gone) = oneshot::channel::<()>();
        let (begun, begins) = oneshot::channel::<()>();
        let slow = upstream.run(answer());
        let first = ledgers.once(call(1), async move {
            let _ = begun.send(());
            let _ = gone.await;
            slow.await
        });
        tokio::select! {
            _ = first => panic!("it ended"),
            begun = begins => begun.unwrap(),
        }
        let again = ledgers.once(call(1), upstream.run(answer()));
        tokio::pin!(again);
        assert!(futures::poll!(again.as_mut()).is_pending());
        // As another run of the node would find it: sent, and nobody knows.
        assert_eq!(told(&open(&store).once(call(1), upstream.run(answer())).await), Err(Kind::MayHaveRun));
        go.send(()).unwrap();
        assert_eq!(told(&again.await), Ok(&b"42"[..]));
        ledgers.finish().await;
        assert_eq!((upstream.ran(), ledgers.len()), (1, 1));
    }

    #[tokio::test]
    async fn nothing_is_sent_that_the_store_did_not_take() {
        let (store, upstream) = (Store::memory(), counting());
        let ledgers = open(&store);
        store.close();
        assert_eq!(told(&ledgers.once(call(1), upstream.run(answer())).await), Err(Kind::StoreFailed));
        assert_eq!((upstream.ran(), ledgers.len()), (0, 0));
    }

    #[tokio::test]
    async fn what_panics_under_a_key_may_have_run_and_everybody_is_told() {
        let (store, upstream) = (Store::memory(), counting());
        let ledgers = open(&store);
        let (go, gone) = oneshot::channel::<()>();
        let first = ledgers.once(call(1), async move {
            let _ = gone.await;
            panic!("our own mistake")
        });
        let again = ledgers.once(call(1), upstream.run(answer()));
        let (first, again, ()) = tokio::join!(biased; first, again, async { go.send(()).unwrap() });
        assert_eq!((told(&first), told(&again)), (Err(Kind::MayHaveRun), Err(Kind::MayHaveRun)));
        for ledgers in [ledgers.clone(), open(&store)] {
            assert_eq!(told(&ledgers.once(call(1), upstream.run(answer())).await), Err(Kind::MayHaveRun));
        }
        // What may be repeated is not held up by it, here or after a restart.
        let repeatable = Keyed { may_repeat: true, ..call(1) };
        assert_eq!(told(&ledgers.once(repeatable, upstream.run(answer())).await), Ok(&b"42"[..]));
        assert_eq!((upstream.ran(), ledgers.shared.lock().running.len()), (1, 0));
    }

    #[tokio::test]
    async fn under_one_key_an_upstream_is_called_once_whenever_the_power_fails() {
        let mut ends = std::collections::BTreeSet::new();
        for seed in 0..60 {
            let (mut machine, upstream) = (Machine::new(seed), counting());
            for round in 0..5 {
                let power = if round == 4 { u64::MAX } else { machine.below(50) };
                let before = upstream.ran();
                let once = async |store: Store| open(&store).once(call(1), upstream.run(answer())).await;
                let outcome = machine.run(power, once).await;
                assert!(upstream.ran() <= 1, "seed {seed}: it ran twice");
                let Some(outcome) = outcome else { continue };
                match told(&outcome) {
                    Ok(answer) => assert_eq!((answer, upstream.ran()), (&b"42"[..], 1)),
                    // Also where the intent was kept and the power failed before anything was sent: nobody can know.
                    Err(kind) => assert!(matches!(kind, Kind::MayHaveRun | Kind::StoreFailed), "{kind:?}"),
                }
                ends.insert((told(&outcome).is_ok(), before, upstream.ran()));
            }
        }
        // It ran at once, was replayed, may have run, and could not be kept.
        for end in [(true, 0, 1), (true, 1, 1), (false, 1, 1), (false, 0, 0)] {
            assert!(ends.contains(&end), "{end:?} of {ends:?}");
        }
    }

    #[test]
    fn keys_of_two_callers_or_two_tools_are_two() {
        let key = |who, tool, key| key_of(who, tool, key).map_err(|problem| problem.kind);
        assert_ne!(key("token:a", "t", "1"), key("token:b", "t", "1"));
        assert_ne!(key("token:a", "t", "1"), key("token:a", "u", "1"));
        assert_ne!(key("ab", "c", "1"), key("a", "bc", "1"));
        let (longest, longer) = ("ä".repeat(255), "ä".repeat(256));
        assert_eq!((key("a", "t", ""), key("a", "t", &longer)), (Err(Kind::Usage), Err(Kind::Usage)));
        assert!(key("a", "t", &longest).is_ok());
    }
}
