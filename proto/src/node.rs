//! The node: everything above, composed. Inputs go in with the time, outputs are drained, nothing else happens.
//!
//! ```text
//!  handle_input(now, Input) ─┐                       ┌─▶ Send, Dial, Disconnect     (peer)
//!  handle_timeout(now) ──────┴─▶ holders, talks ─────┼─▶ Persist                    (store)
//!                                                    ├─▶ Written, Resolved, Changed (doors)
//!                              poll_output() until Wait(deadline)
//! ```
//!
//! The same code runs behind QUIC and redb, and in the simulator. A write is visible to readers and peers only after the store
//! said that it is durable (I4).

mod admission;
mod calls;
mod exports;
mod gauges;
mod keys;
mod life;
mod links;
mod members;
mod offences;
mod questions;
mod reaper;
mod replication;
mod revocations;
mod tags;
mod transfers;
mod write;
mod writes;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ed25519_dalek::SigningKey;

pub use admission::{Admission, Invitation};
pub use calls::{Brought, NotBelieved};
pub use gauges::Gauge;
pub use links::Refusal;
pub use transfers::{Imported, Unfit, Why};
pub use write::{NewTool, Write, WriteError, Wrote};

use crate::access::{Policy, Sight};
use crate::cache::Tags;
use crate::codec::{Wire, WireRead, WireWrite};
use crate::gossip::{Gossip, Sends};
use crate::invite::Granted;
use crate::membership::{Liveness, Membership};
use crate::name::ZoneName;
use crate::now::Now;
use crate::params::{LEASE, REAP_INTERVAL, SERIAL_NOTICE_DELAY};
use crate::record::{Certificate, NodeId, Origin, Revocation, SignedRef};
use crate::registry::Registry;
use crate::resolver::{self, Outcome, Resolver, Terms};
use crate::search::Ranked;
use crate::selection::Chance;
use crate::trust::{Anchors, Chains, Lineage, Opened, Verifier};
use crate::view::{ChildView, Counts, MemberView, View};
use crate::wire::message::{Fork, Message, Question, Serial};
use crate::wire::{Class, class_of};
use crate::zone::{News, Zone};

/// Shortest time between two views.
const VIEW_INTERVAL: Duration = Duration::from_millis(10);

/// Longest time between two views of a node that is awake.
const COUNTERS_INTERVAL: Duration = Duration::from_secs(1);

/// What a node is made of.
pub struct Config {
    /// Its zone.
    pub zone: ZoneName,
    /// Its identity.
    pub key: SigningKey,
    /// The key it gives the zone when it is the first.
    pub zone_key: SigningKey,
    /// A key made for a rotation that may not have taken place: the zone's, when its logs say so.
    pub spare_key: Option<SigningKey>,
    /// Its log's life; persisted before the first send.
    pub incarnation: u64,
    /// Where it can be dialled.
    pub address: String,
    /// Version of the software.
    pub version: String,
    /// Seed of its chance.
    pub seed: [u8; 32],
    /// Addresses of the parent's gateways.
    pub parents: Vec<String>,
    /// Addresses of fellow replicas.
    pub joins: Vec<String>,
    /// Who may become a replica or a child without an invite.
    pub admission: Admission,
    /// An invite that this node was given.
    pub invitation: Option<Invitation>,
    /// Who may find what, until [`Input::Rules`] says otherwise.
    pub rules: Policy,
    /// Records opened by other nodes of this process, when they share.
    pub opened: Option<Arc<dyn Opened>>,
}

/// What an earlier run left in the store.
#[derive(Default)]
pub struct Restored {
    /// All records, of all origins.
    pub records: Vec<SignedRef>,
    /// The encoded [`TrustState`], when there is one.
    pub trust: Option<Vec<u8>>,
    /// Origins that are quarantined, and why.
    pub forks: Vec<Fork>,
    /// Who is believed no more.
    pub revocations: Vec<Revocation>,
}

/// What a node believes and is believed by, as it is stored.
#[derive(Clone, PartialEq, Eq, Debug, Default, WireRead, WireWrite)]
pub struct TrustState {
    /// The zone's key, once known.
    pub zone_key: Option<[u8; 32]>,
    /// Certificates from it to this node.
    pub chain: Vec<Certificate>,
    /// Somebody else relies on that key: it is not given up.
    pub committed: bool,
    /// Keys of zones, the own one included, as they are pinned.
    pub pinned: Vec<(String, Lineage)>,
}

/// What happens to a node.
#[derive(Debug)]
pub enum Input {
    /// A connection stands. `address` is the one dialled, or the peer's source address.
    PeerUp {
        /// Who.
        peer: NodeId,
        /// Where.
        address: String,
        /// Whether this node dialled.
        dialed: bool,
        /// What the handshake took there and back.
        rtt: Duration,
        /// Whether the other end is on this machine.
        is_local: bool,
    },
    /// A dial of ours reached a peer, by a new connection or by finding one that stood.
    Reached {
        /// Who.
        peer: NodeId,
        /// The address dialled.
        address: String,
    },
    /// The last connection to a peer ended.
    PeerDown {
        /// Who.
        peer: NodeId,
        /// Without a word: neither end gave it up.
        lost: bool,
    },
    /// An address was not reached.
    DialFailed {
        /// The address.
        address: String,
        /// Why.
        reason: String,
    },
    /// A frame from a peer.
    Frame {
        /// Who.
        peer: NodeId,
        /// The frame.
        bytes: Bytes,
    },
    /// The store has, or has not, made a [`Output::Persist`] durable.
    Persisted {
        /// Its token.
        token: u64,
        /// Whether it is durable.
        durable: bool,
    },
    /// A change to what this node serves.
    Write {
        /// Returned with the result.
        token: u64,
        /// The change.
        write: Write,
    },
    /// Another key for the zone, made and kept safe by whoever asks: the node may stop at any moment after this.
    Rotate {
        /// Returned with the result, as [`Output::Written`].
        token: u64,
        /// The key.
        key: SigningKey,
    },
    /// The invite of a peer was looked at, and its use is durable: what it grants, or in words why it grants nothing.
    Redeemed {
        /// Who presented it.
        peer: NodeId,
        /// What comes of it.
        granted: Result<Granted, String>,
    },
    /// This node was given an invite, and addresses of those who wait for it.
    Join {
        /// The invite.
        invitation: Invitation,
        /// Where its issuer is.
        addresses: Vec<String>,
    },
    /// A question from a door.
    Resolve {
        /// Returned with the result.
        token: u64,
        /// The question.
        question: Question,
        /// How it is to be answered.
        terms: Terms,
        /// What may be found; nothing where that is everything.
        sight: Option<Arc<Sight>>,
    },
    /// Who may find what from now on.
    Rules(Policy),
    /// Forget all cached answers, or what is kept of one zone and those below it.
    FlushCaches(Option<ZoneName>),
    /// Say goodbye.
    Leave,
}

/// Something to keep or to forget.
#[derive(Clone, Debug)]
pub enum Keep {
    /// Keep a record under its origin and number.
    Record(SignedRef),
    /// Forget a record.
    Drop(Origin, u64),
    /// Keep this instead of the trust state before.
    Trust(TrustState),
    /// The own log goes on under this incarnation: `Config::incarnation` of the next run.
    Incarnation(u64),
    /// Somebody is believed no more; back with [`Restored::revocations`]. Of one subject and writer the last one stands.
    Revocation(Revocation),
    /// Proof that an origin wrote two records under one number; back with [`Restored::forks`].
    Fork(Origin, Fork),
    /// Forget it: that life is over. So what is kept is what is held, of one life of a node at most.
    DropFork(Origin),
}

/// What is to be done.
#[derive(Debug)]
pub enum Output {
    /// Send a frame.
    Send {
        /// To whom.
        peer: NodeId,
        /// What.
        bytes: Bytes,
        /// How: which messages may overtake it, and whether it may be lost.
        class: Class,
    },
    /// Reach an address.
    Dial {
        /// Where.
        address: String,
        /// Who must answer there, when that is known.
        expected: Option<NodeId>,
    },
    /// Make this durable, then say so.
    Persist {
        /// To be returned with [`Input::Persisted`].
        token: u64,
        /// What.
        keep: Vec<Keep>,
    },
    /// A write ended.
    Written {
        /// Its token.
        token: u64,
        /// How.
        result: Result<Wrote, WriteError>,
    },
    /// A question is answered.
    Resolved {
        /// Its token.
        token: u64,
        /// What zones said.
        outcome: Box<Outcome>,
        /// The same, ranked.
        found: Ranked,
    },
    /// What changed in the zone, before readers see it.
    News(Vec<News>),
    /// A zone that is not the own one changed, as somebody says who may.
    ZoneChanged(Serial),
    /// What readers see has changed; who has any takes [`Node::view`].
    Changed,
    /// Nothing more is said to this peer; its connection may end.
    Close {
        /// Who.
        peer: NodeId,
    },
    /// Look at an invite that a peer presents, count its use durably, and answer with [`Input::Redeemed`].
    Redeem {
        /// Who.
        peer: NodeId,
        /// The invite as it came.
        token: String,
    },
    /// Something an operator should know.
    Refused(Refusal),
    /// Nothing to do before this time, unless something comes in.
    Wait(Duration),
}

/// One replica of one zone.
pub struct Node {
    config: Config,
    id: NodeId,
    now: Now,
    chance: Chance,
    registry: Registry,
    zone: Zone,
    membership: Membership,
    gossip: Gossip,
    resolver: Resolver,
    verifier: Verifier,
    anchors: Anchors,
    chains: Chains,
    tags: Tags,
    trust: TrustState,
    /// Whether its certificates make this node a signer.
    signs: bool,
    keys: keys::Keys,
    links: links::Links,
    writes: writes::Writes,
    life: life::Life,
    reaps: reaper::Reaps,
    statements: revocations::Statements,
    calls: calls::Calls,
    offences: offences::Offences,
    exporting: exports::Exporting,
    /// A bundle that is being taken in.
    import: Option<Box<transfers::Import>>,
    /// This node's own log of a former life, as bundles of this run had it.
    former: Option<Box<Registry>>,
    /// Ends of bundles on their way to the store, and who is told.
    imports: BTreeMap<u64, u64>,
    renew_at: Duration,
    reap_at: Duration,
    clock_notice: Duration,
    notice: Option<Duration>,
    noticed_tag: u64,
    epoch: u64,
    view_dirty: bool,
    view_at: Duration,
    /// What readers see of the caches.
    view_answers: resolver::Shown,
    counts: Counts,
    outputs: VecDeque<Output>,
}

impl Node {
    /// A node that has not spoken yet; drain its outputs.
    pub fn new(config: Config, restored: Restored, now: Now) -> Self {
        let id = NodeId(config.key.verifying_key().to_bytes());
        let has_run = restored.trust.is_some() || !restored.records.is_empty();
        let trust = restored.trust.and_then(|bytes| TrustState::decode(&bytes).ok()).unwrap_or_default();
        let mut node = Self {
            id,
            now,
            chance: Chance::new(config.seed),
            registry: Registry::new(config.zone.clone()),
            zone: Zone::sharing(config.opened.clone(), &config.seed),
            membership: Membership::new(id, now.mono),
            gossip: Gossip::default(),
            resolver: Resolver::default(),
            verifier: Verifier::sharing(config.opened.clone()),
            anchors: Anchors::default(),
            chains: Chains::default(),
            tags: Tags::default(),
            links: links::Links::new(&config.parents, &config.joins),
            writes: writes::Writes::new(config.incarnation),
            life: life::Life::default(),
            reaps: reaper::Reaps::default(),
            statements: revocations::Statements::default(),
            calls: calls::Calls::starting(now, has_run),
            offences: offences::Offences::default(),
            exporting: exports::Exporting::default(),
            import: None,
            former: None,
            imports: BTreeMap::new(),
            renew_at: Duration::ZERO,
            reap_at: now.mono + REAP_INTERVAL,
            clock_notice: Duration::ZERO,
            notice: None,
            noticed_tag: 0,
            epoch: 0,
            view_dirty: true,
            view_at: Duration::ZERO,
            view_answers: resolver::Shown::default(),
            counts: Counts::default(),
            outputs: VecDeque::new(),
            trust,
            signs: false,
            keys: keys::Keys::default(),
            config,
        };
        node.restore_pins();
        node.restore(restored.records);
        node.settle_trust();
        node.restore_revocations(&restored.revocations);
        node.restore_forks(&restored.forks);
        node.go_on();
        node.mark_own_end();
        node.settle();
        node
    }

    /// This node's identity.
    pub const fn id(&self) -> NodeId {
        self.id
    }

    /// Answers kept in L2 and L3; views show them a little later.
    pub fn kept(&self) -> [usize; 2] {
        self.resolver.kept()
    }

    /// The key of its zone, once known; views show it a little later.
    pub const fn zone_key(&self) -> Option<[u8; 32]> {
        self.trust.zone_key
    }

    /// The logs, for those who check that replicas are equal.
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Takes one input.
    pub fn handle_input(&mut self, now: Now, input: Input) {
        self.now = now;
        match input {
            Input::PeerUp { peer, address, dialed, rtt, is_local } => {
                self.on_peer_up(peer, links::Up { address, dialed, rtt, is_local });
            }
            Input::Reached { peer, address } => self.on_reached(peer, &address),
            Input::PeerDown { peer, lost } => self.on_peer_down(peer, lost),
            Input::DialFailed { address, reason } => self.on_dial_failed(&address, reason),
            Input::Frame { peer, bytes } => self.on_frame(peer, &bytes),
            Input::Persisted { token, durable } => self.on_persisted(token, durable),
            Input::Write { token, write } => self.on_write(token, write),
            Input::Rotate { token, key } => self.on_rotate(token, key),
            Input::Redeemed { peer, granted } => self.on_redeemed(peer, granted),
            Input::Join { invitation, addresses } => self.on_invited(invitation, &addresses),
            Input::Resolve { token, question, terms, sight } => self.on_resolve(token, question, terms, sight),
            Input::Rules(rules) => self.config.rules = rules,
            Input::FlushCaches(zone) => {
                self.resolver.flush(zone.as_ref());
                self.epoch += 1;
                self.view_dirty = true;
            }
            Input::Leave => self.on_leave(),
        }
        self.settle();
    }

    /// Does what is due by now.
    pub fn handle_timeout(&mut self, now: Now) {
        self.now = now;
        self.check_goal(false);
        self.greet_again();
        self.gossip_on_time();
        self.members_on_time();
        self.questions_on_time();
        self.mind_clock();
        self.begin_owed_life();
        self.renew();
        self.reap();
        self.settle();
    }

    /// The next thing to do; [`Output::Wait`] when there is none.
    pub fn poll_output(&mut self) -> Output {
        match self.outputs.pop_front() {
            Some(output) => output,
            None => Output::Wait(self.next_deadline()),
        }
    }

    fn next_deadline(&self) -> Duration {
        let mut next = self.links.next_due().unwrap_or(Duration::MAX).min(self.renew_at).min(self.next_reap());
        next = next.min(self.membership.next_deadline());
        if self.has_fellows() {
            next = next.min(self.gossip.next_deadline());
        }
        if let Some(retry) = self.registry.next_retry(self.now) {
            next = next.min(retry);
        }
        if let Some(deadline) = self.resolver.next_deadline() {
            next = next.min(deadline);
        }
        if let Some(notice) = self.notice {
            next = next.min(notice);
        }
        if let Some(life) = self.next_life() {
            next = next.min(life);
        }
        if self.view_dirty {
            next = next.min(self.view_at + VIEW_INTERVAL);
        } else if self.resolver.shown() != self.view_answers {
            next = next.min(self.view_at + COUNTERS_INTERVAL);
        }
        next.max(self.now.mono)
    }

    fn on_frame(&mut self, peer: NodeId, bytes: &[u8]) {
        let Ok(message) = Message::decode(bytes) else {
            self.counts.bad_frames += 1;
            return;
        };
        match message {
            Message::Hello(hello) => self.on_hello(peer, hello),
            Message::Admit(admit) => self.on_admit(peer, admit),
            Message::Refuse(refuse) => self.on_refuse(peer, &refuse),
            Message::Leave(_) => self.on_peer_leave(peer),
            Message::Join(join) => self.on_join(peer, join),
            Message::Revoked(revoked) => self.on_revoked(peer, &revoked),
            Message::Referral(referral) => self.on_referral(peer, referral),
            Message::Above(above) => self.on_above(peer, above),
            Message::Delegate(delegate) => self.on_delegate(peer, delegate),
            Message::Serials(serials) => self.on_serials(peer, serials),
            Message::Query(query) => self.on_query(peer, query),
            Message::Answer(answer) => self.on_answer(peer, answer),
            Message::AskExport(ask) => self.on_ask_export(peer, &ask),
            Message::Export(export) => self.on_export(peer, export),
            message if self.is_fellow(peer) => self.on_fellow_frame(peer, message),
            // Both sides become fellows when each has read the other's greeting: the first words may come before that.
            _ if self.is_greeting(peer) => {}
            _ => self.counts.bad_frames += 1,
        }
    }

    /// What only a fellow replica may say.
    fn on_fellow_frame(&mut self, peer: NodeId, message: Message) {
        // An answer measures the way, and so has to find its probe.
        if !matches!(message, Message::Ack(_)) {
            self.membership.on_heard(peer);
        }
        match message {
            Message::Fork(fork) => self.on_fork(peer, &fork),
            Message::Digest(digest) => self.on_digest(peer, &digest),
            Message::Buckets(buckets) => self.on_buckets(peer, &buckets),
            Message::Vector(vector) => self.on_vector(peer, vector),
            Message::Ranges(ranges) => self.on_ranges(peer, &ranges),
            Message::Announce(announce) => self.on_announce(peer, &announce),
            Message::Busy(busy) => self.on_busy(peer, &busy),
            Message::ClockAhead(ahead) => self.on_clock_ahead(peer, &ahead),
            Message::Ping(ping) => self.on_ping(peer, &ping),
            Message::Ack(ack) => self.on_ack(peer, &ack),
            Message::PingRequest(ask) => self.on_ping_request(peer, &ask),
            Message::Members(members) => self.on_members(peer, &members),
            Message::Keeps(keeps) => self.on_keeps(peer, &keeps),
            _ => self.counts.bad_frames += 1,
        }
    }

    fn persist(&mut self, keep: Vec<Keep>) -> u64 {
        let token = self.writes.next_token();
        self.outputs.push_back(Output::Persist { token, keep });
        token
    }

    fn send(&mut self, peer: NodeId, message: impl Into<Message>) {
        match message.into().try_encode() {
            Some(bytes) => {
                self.outputs.push_back(Output::Send { peer, class: class_of(bytes[3]), bytes: bytes.into() });
            }
            None => self.counts.bad_frames += 1,
        }
    }

    fn send_all(&mut self, sends: Sends) {
        for (peer, message) in sends {
            self.send(peer, message);
        }
    }

    /// After every input: tell neighbours of a change, publish what readers see.
    fn settle(&mut self) {
        self.settle_keys();
        self.settle_members();
        let changed = self.zone.take_news();
        if !changed.is_empty() {
            self.outputs.push_back(Output::News(changed));
        }
        let tag = self.zone.tag();
        let now = self.now.mono;
        if tag != self.noticed_tag && self.notice.is_none() {
            self.notice = Some(now + SERIAL_NOTICE_DELAY);
        }
        if self.notice.is_some_and(|at| at <= now) {
            self.notice = None;
            self.noticed_tag = tag;
            let own = self.own_serial();
            self.spread(None, vec![own]);
        }
        // Counters alone make no view at once; who reads them gets them a moment late.
        let due = self.view_dirty || now >= self.view_at + COUNTERS_INTERVAL;
        if due && (now >= self.view_at + VIEW_INTERVAL || self.view_at.is_zero()) {
            self.view_dirty = false;
            self.view_at = now;
            self.view_answers = self.resolver.shown();
            self.outputs.push_back(Output::Changed);
        }
    }

    /// Writes the node's own record while its lease is young, and tells parents that the zone still stands.
    fn renew(&mut self) {
        if self.now.mono < self.renew_at {
            return;
        }
        self.renew_at = self.now.mono + LEASE / 3;
        self.renew_chains();
        self.write_node_record();
        self.delegate_again();
    }

    /// What readers see now. Taking it changes nothing.
    pub fn view(&self) -> View {
        let resolver::Shown { l2, l3, kept } = self.resolver.shown();
        let counts = Counts {
            l2,
            l3,
            questions: self.resolver.in_flight(),
            kept,
            gossip: self.gossip.counts(),
            membership: self.membership.counts(),
            refused: self.counts.refused + self.resolver.refused(),
            held_back: self.registry.held_back(),
            ..self.counts
        };
        let tools = self.zone.tools_as_taken();
        let members = self.membership.all().map(|(node, liveness)| {
            let body = tools.node(node);
            let (address, version) = body.map(|body| (body.address.clone(), body.version.clone())).unwrap_or_default();
            let is_unheard = liveness == Liveness::Alive && self.membership.unheard().contains(&node);
            let state = if is_unheard { "unknown" } else { liveness.name() };
            MemberView { node, state, address, version }
        });
        let members = members.collect();
        let children = self.children_view();
        let keys = self.keys_view();
        View {
            keys,
            node: self.id,
            zone: self.config.zone.clone(),
            serial: self.zone.serial(),
            tag: self.zone.tag(),
            epoch: self.epoch,
            zone_key: self.trust.zone_key,
            admitted: self.is_admitted(),
            signs: self.signs,
            members,
            unheard: self.membership.unheard().clone(),
            children,
            relations: self.links.relations(),
            contacts: self.links.contacts_view(),
            routes: self.routes(),
            parent: self.links.parent_zone(),
            vector: self.registry.vector(),
            counts,
            tools: self.zone.shown(),
        }
    }

    fn children_view(&self) -> Vec<ChildView> {
        let mut views = BTreeMap::new();
        for zone in self.zone.children().keys() {
            let Some(child) = self.zone.child(zone) else { continue };
            let gateways = child.gateways().map(|gateway| gateway.address.clone()).collect();
            let view = ChildView {
                zone: zone.clone(),
                connected: self.links.of_zone(zone).len(),
                gateways,
                tools: child.body.tools,
                role: self.zone.role_of(zone),
                expires_ms: child.signed.record.expires_ms,
            };
            views.insert(zone.clone(), view);
        }
        views.into_values().collect()
    }
}
