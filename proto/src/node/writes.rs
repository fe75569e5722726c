//! What this node itself writes: its tools, its servers' states, its own record, delegations, revocations. One writer, one log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::revocations::revocation_of;
use crate::access::Role;
use crate::codec::Wire;
use crate::name::{FullName, NameError, ZoneName, fit_label, fit_tool_labels};
use crate::node::{Keep, NewTool, Node, Output, Write, WriteError, Wrote};
use crate::params::{
    CUT_OFF_STEP_MS, ERROR_CHARS_MAX, LEASE, LOG_BYTES_RESERVED, MANIFESTS_MAX, NAME_CHARS_MAX, NODE_LEASE,
    PARENTS_MAX, RECORD_BYTES_MAX,
};
use crate::record::{
    DelegationBody, GrantBody, Head, Held, Kind, ManifestBody, NodeBody, NodeId, Origin, Record, Revocation,
    ServerBody, SignedRef, Subject, TOOL_WORDS_MAX, ToolBody, ToolText, VISIBILITY_PUBLIC, counted_bytes,
};
use crate::registry::root::Changes;
use crate::trust::{definition_hash, sign_flush};
use crate::zone::ToolInstance;

/// Room a record needs besides its definition.
const RECORD_OVERHEAD: usize = 4 * 1024;

/// The node's own log as it is being written.
#[derive(Debug)]
pub(super) struct Writes {
    incarnation: u64,
    seq: u64,
    hlc: u64,
    token: u64,
    /// What is on its way to the store and changes what the log holds: heads are signed from both.
    changes: Changes,
    /// Tombstones up to here are collected.
    floor: u64,
    /// The store failed once: what was signed after that has a gap before it, so nothing more is written in this run.
    broken: bool,
    /// Signed and on the way to the store, by the token of their [`Output::Persist`].
    unsettled: BTreeMap<u64, Unsettled>,
    /// The latest of them by key: what is written next follows these, not what readers see.
    latest: BTreeMap<(Kind, String), SignedRef>,
}

#[derive(Debug)]
struct Unsettled {
    records: Vec<SignedRef>,
    /// What they count.
    bytes: usize,
    answers: Vec<(u64, Wrote)>,
}

/// A record to be, without its place in the log.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) def_hash: Option<[u8; 32]>,
    pub(super) body: Option<Vec<u8>>,
    pub(super) leased: bool,
}

impl Writes {
    pub(super) fn new(incarnation: u64) -> Self {
        Self {
            incarnation,
            seq: 0,
            hlc: 0,
            token: 0,
            changes: Changes::new(),
            floor: 0,
            broken: false,
            unsettled: BTreeMap::new(),
            latest: BTreeMap::new(),
        }
    }

    pub(super) const fn next_token(&mut self) -> u64 {
        self.token += 1;
        self.token
    }

    /// The log begins anew under another incarnation; what it wrote before is durable by now.
    pub(super) fn begin(&mut self, incarnation: u64, wall_ms: u64) {
        assert!(self.unsettled.is_empty(), "the store acknowledges in order");
        self.incarnation = incarnation;
        self.seq = 0;
        // Stamps grow within a life; between two of one node the incarnation decides.
        self.hlc = self.hlc.min(wall_ms << 16);
        self.floor = 0;
        self.changes.clear();
        self.latest.clear();
    }

    /// A stamp of another node: what is written from now on comes after it.
    pub(super) const fn hear(&mut self, hlc: u64) {
        if hlc > self.hlc {
            self.hlc = hlc;
        }
    }

    pub(super) const fn last_hlc(&self) -> u64 {
        self.hlc
    }

    pub(super) const fn last_seq(&self) -> u64 {
        self.seq
    }

    /// Hybrid logical clock: the wall's milliseconds, or one more than the last (Kulkarni et al. 2014).
    pub(super) fn tick(&mut self, wall_ms: u64) -> u64 {
        self.hlc = (wall_ms << 16).max(self.hlc + 1);
        self.hlc
    }
}

impl Node {
    pub(super) const fn origin(&self) -> Origin {
        Origin { node: self.id, incarnation: self.config.incarnation }
    }

    /// Takes back what an earlier run stored: every log is complete through its last record.
    pub(super) fn restore(&mut self, mut records: Vec<SignedRef>) {
        // The own log first: what the others say may have this node write, and it has to know where its log ends.
        records.sort_by_key(|signed| (signed.record.node() != self.id, signed.record.origin(), signed.record.seq));
        let mut drop = Vec::new();
        for log in records.chunk_by(|one, next| one.record.origin() == next.record.origin()) {
            let applied = self.registry.restore(log);
            let is_node = |record: &Held| record.kind() == Kind::Node && !record.is_tombstone();
            if let Some(signed) = applied.stored.iter().find(|signed| is_node(&signed.record)) {
                self.chains.restore(signed);
            }
            if log[0].record.node() == self.id {
                self.restore_writes();
            }
            self.follow(&applied);
            drop.extend(applied.dropped.iter().map(|(origin, seq)| Keep::Drop(*origin, *seq)));
        }
        if !drop.is_empty() {
            self.persist(drop);
        }
    }

    /// The own log goes on where the store has it.
    fn restore_writes(&mut self) {
        let origin = self.origin();
        self.writes.seq = self.registry.through(origin);
        self.writes.floor = self.registry.floor(origin);
        for signed in self.registry.records_of(origin) {
            self.writes.hlc = self.writes.hlc.max(signed.record.hlc);
        }
    }

    pub(super) fn on_write(&mut self, token: u64, write: Write) {
        if self.is_between_lives() {
            if !self.life.keep_write(token, write) {
                self.answer(token, Err(WriteError::TooMany));
            }
            return;
        }
        match self.draft(write) {
            Ok((drafts, wrote)) => self.write(token, drafts, wrote),
            Err(error) => self.answer(token, Err(error)),
        }
    }

    fn draft(&mut self, write: Write) -> Result<(Vec<Draft>, Wrote), WriteError> {
        let is_state = matches!(write, Write::ServerState { .. });
        let reserved = if is_state { LOG_BYTES_RESERVED / 2 } else { LOG_BYTES_RESERVED };
        let (drafts, wrote) = match write {
            Write::Server { server, .. } | Write::ServerState { server, .. } if server.len() > NAME_CHARS_MAX => {
                return Err(NameError::TooLong.into());
            }
            Write::Server { server, replica, tools } => self.draft_server(&server, replica, &tools)?,
            Write::ServerState { server, up, error } => (self.draft_state(server, up, error), Wrote::default()),
            Write::Catalogue(tools) => self.draft_catalogue(&tools)?,
            Write::Remove(what) => self.draft_removal(&what)?,
            Write::Delegate { zone, key, role } => (self.draft_delegation(&zone, key, role)?, Wrote::default()),
            Write::Undelegate { zone, reason } => (self.draft_undelegation(&zone, &reason)?, Wrote::default()),
            Write::Revoke { node, reason } => (self.draft_revocation(node, &reason)?, Wrote::default()),
        };
        self.check_room(&drafts, reserved)?;
        Ok((drafts, wrote))
    }

    /// Refuses what would make the log larger than fellows take, with `reserved` bytes less.
    pub(super) fn check_room(&self, drafts: &[Draft], reserved: usize) -> Result<(), WriteError> {
        let (held, most) = self.registry.log_bytes(self.origin());
        let zone = self.config.zone.as_str();
        let new: usize = drafts.iter().map(|draft| counted_bytes(zone, &draft.name, draft.body.as_deref())).sum();
        let coming: usize = self.writes.unsettled.values().map(|unsettled| unsettled.bytes).sum();
        // Nearly always, and cheap to say: as if nothing were replaced.
        if held + coming + new <= most - reserved {
            return Ok(());
        }
        let counted = |signed: &SignedRef| signed.record.counted_bytes();
        let mut log = held;
        for ((kind, name), signed) in &self.writes.latest {
            log += counted(signed);
            log -= self.registry.latest(self.origin(), *kind, name).map_or(0, counted);
        }
        let replaced =
            drafts.iter().filter_map(|draft| self.own_latest(&(draft.kind, draft.name.to_ascii_lowercase())));
        let replaced: usize = replaced.map(counted).sum();
        let bytes = (log + new).saturating_sub(replaced);
        // What makes it no larger is always welcome.
        if new <= replaced || bytes <= most - reserved { Ok(()) } else { Err(WriteError::LogFull { bytes }) }
    }

    fn draft_server(&self, server: &str, replica: bool, tools: &[NewTool]) -> Result<(Vec<Draft>, Wrote), WriteError> {
        let labels = fit_tool_labels(tools.iter().map(|tool| tool.original.as_str()));
        let mut drafts = Vec::new();
        let mut wrote = Wrote::default();
        let mut named = BTreeSet::new();
        for (tool, label) in tools.iter().zip(labels) {
            let name = self.name_of(&label, server, &tool.labels)?;
            if !named.insert(name.key().to_owned()) {
                continue;
            }
            let draft = self.draft_tool(&name, server, tool, replica, true)?;
            wrote.tools.push((name.to_string(), format!("{server}/{}", tool.original)));
            drafts.extend(draft);
        }
        for (name, _) in self.own_tools(|body| body.served && body.server == server) {
            if !named.contains(name.key()) {
                wrote.removed.push(name.to_string());
                drafts.push(tombstone(Kind::Tool, name.as_str()));
            }
        }
        drafts.extend(self.draft_state(server.to_owned(), true, String::new()));
        Ok((drafts, wrote))
    }

    fn draft_catalogue(&self, tools: &[NewTool]) -> Result<(Vec<Draft>, Wrote), WriteError> {
        let mut by_server: BTreeMap<(&str, &str), Vec<&NewTool>> = BTreeMap::new();
        for tool in tools {
            by_server.entry((&tool.server, &tool.labels)).or_default().push(tool);
        }
        let mut drafts = Vec::new();
        let mut wrote = Wrote::default();
        for ((server, place), tools) in by_server {
            let labels = fit_tool_labels(tools.iter().map(|tool| tool.original.as_str()));
            let server_label = fit_label(server);
            for (tool, label) in tools.into_iter().zip(labels) {
                let name = self.name_of(&label, &server_label, place)?;
                wrote.tools.push((name.to_string(), format!("{server}/{}", tool.original)));
                drafts.extend(self.draft_tool(&name, server, tool, true, false)?);
            }
        }
        Ok((drafts, wrote))
    }

    fn name_of(&self, label: &str, server: &str, place: &str) -> Result<FullName, NameError> {
        let mut labels = format!("{label}.{}", fit_label(server));
        if !place.is_empty() {
            labels.push('.');
            labels.push_str(place);
        }
        FullName::parse(&self.config.zone.join(&labels))
    }

    /// The record of a tool, unless it stands already as it is.
    fn draft_tool(
        &self,
        name: &FullName,
        server: &str,
        tool: &NewTool,
        replica: bool,
        served: bool,
    ) -> Result<Option<Draft>, WriteError> {
        let bytes = tool.bytes() + server.len();
        if bytes + RECORD_OVERHEAD > RECORD_BYTES_MAX {
            return Err(WriteError::TooLarge { tool: tool.original.clone(), bytes });
        }
        let words = tool.words().count();
        if words > TOOL_WORDS_MAX {
            return Err(WriteError::TooManyWords { tool: tool.original.clone(), words });
        }
        let Ok(hash) = definition_hash(&tool.definition) else {
            return Err(WriteError::Definition { tool: tool.original.clone() });
        };
        self.check_taken(name, hash, replica)?;
        let body = ToolBody {
            server: server.to_owned(),
            original: tool.original.clone(),
            definition: tool.definition.to_vec(),
            tags: tool.tags.clone(),
            capabilities: tool.capabilities.clone(),
            examples: tool.examples.clone(),
            agent: tool.agent.clone(),
            replica,
            served,
        }
        .encode();
        if body.len() + RECORD_OVERHEAD > RECORD_BYTES_MAX {
            return Err(WriteError::TooLarge { tool: tool.original.clone(), bytes: body.len() });
        }
        let stands = self.own_latest(&(Kind::Tool, name.key().to_owned()));
        if stands.is_some_and(|signed| signed.record.body() == Some(&body)) {
            return Ok(None);
        }
        let name = name.to_string();
        Ok(Some(Draft { kind: Kind::Tool, name, def_hash: Some(hash), body: Some(body), leased: false }))
    }

    /// Two services under one name are refused, never merged; replicas of one service are welcome (DESIGN D4). One that is a replica already
    /// may change before the others do: until they follow it is the one that is shown and called.
    fn check_taken(&self, name: &FullName, hash: [u8; 32], replica: bool) -> Result<(), WriteError> {
        let Some(tool) = self.zone.tools_as_taken().find(name) else { return Ok(()) };
        let is_one = tool.of_node(self.id).is_some_and(|own| own.body().replica);
        for instance in tool.instances().iter().filter(|instance| instance.node() != self.id) {
            let same_definition = instance.signed.record.def_hash() == Some(hash);
            if !(replica && instance.body().replica && (same_definition || is_one)) {
                return Err(WriteError::Taken { name: name.to_string(), node: instance.node(), same_definition });
            }
        }
        Ok(())
    }

    fn draft_state(&self, server: String, up: bool, error: String) -> Vec<Draft> {
        let error: String = error.chars().take(ERROR_CHARS_MAX).collect();
        let key = (Kind::Server, server.to_ascii_lowercase());
        let stands = self.own_latest(&key).and_then(|signed| signed.record.body());
        let known = stands.and_then(|body| ServerBody::decode(body).ok());
        if known.is_some_and(|known| known.up == up && known.error == error) {
            return Vec::new();
        }
        let body = ServerBody { up, error, since_ms: self.now.wall_ms }.encode();
        vec![Draft { kind: Kind::Server, name: server, def_hash: None, body: Some(body), leased: false }]
    }

    fn draft_removal(&self, what: &str) -> Result<(Vec<Draft>, Wrote), WriteError> {
        let wanted = what.trim().to_lowercase();
        let is_one = |name: &FullName, own: &ToolInstance| crate::zone::aliases(name, &own.body()).contains(&wanted);
        let mut found = self.own_tools(|body| fit_label(body.server).to_lowercase() == wanted);
        let is_server = !found.is_empty() || self.server_stands(&wanted);
        if !is_server {
            found = self.own_tools(|_| true);
            found.retain(|(name, own)| is_one(name, own));
        }
        if found.is_empty() && !is_server {
            let tools = self.zone.tools_as_taken();
            let elsewhere = tools.called(what).first().map(|tool| tool.shown().node());
            return Err(match elsewhere {
                Some(node) if node != self.id => WriteError::Elsewhere { name: what.to_owned(), node },
                _ => WriteError::Unknown(what.to_owned()),
            });
        }
        let mut drafts: Vec<Draft> = found.iter().map(|(name, _)| tombstone(Kind::Tool, name.as_str())).collect();
        if is_server && self.server_stands(&wanted) {
            drafts.push(tombstone(Kind::Server, &wanted));
        }
        let removed = found.into_iter().map(|(name, _)| name.to_string()).collect();
        Ok((drafts, Wrote { removed, ..Wrote::default() }))
    }

    fn server_stands(&self, server: &str) -> bool {
        let latest = self.own_latest(&(Kind::Server, server.to_ascii_lowercase()));
        latest.is_some_and(|signed| !signed.record.is_tombstone())
    }

    /// Whether anything of such a kind is on its way to the store.
    pub(super) fn writes_any(&self, is_such: impl Fn(Kind) -> bool) -> bool {
        self.writes.latest.keys().any(|(kind, _)| is_such(*kind))
    }

    /// What this node last wrote under a key, durable or on its way there.
    pub(super) fn own_latest(&self, key: &(Kind, String)) -> Option<&SignedRef> {
        self.writes.latest.get(key).or_else(|| self.registry.latest(self.origin(), key.0, &key.1))
    }

    /// The node's own tools that stand, or will when everything on its way is durable.
    fn own_tools(&self, wanted: impl Fn(&ToolText<'_>) -> bool) -> Vec<(FullName, ToolInstance)> {
        let shown = self.zone.tools_as_taken().all().into_iter();
        let shown = shown.filter_map(|tool| tool.of_node(self.id).cloned().map(|own| (own.name(), own)));
        let settled = shown.filter(|(name, _)| !self.writes.latest.contains_key(&(Kind::Tool, name.key().to_owned())));
        let coming = self.writes.latest.iter().filter(|((kind, _), _)| *kind == Kind::Tool);
        let coming = coming.filter_map(|(_, signed)| ToolInstance::read(signed)).map(|own| (own.name(), own));
        settled.chain(coming).filter(|(_, own)| wanted(&own.body())).collect()
    }

    /// The node's own record: where it is and why it may speak. Only once it may.
    pub(super) fn write_node_record(&mut self) {
        if !self.is_admitted() {
            return;
        }
        let body = NodeBody {
            address: self.config.address.clone(),
            version: self.config.version.clone(),
            chain: self.trust.chain.clone(),
            parents: self.config.parents.iter().take(PARENTS_MAX).cloned().collect(),
        };
        self.chains.insert(self.id, body.chain.clone());
        let (name, body) = (self.id.to_string(), Some(body.encode()));
        let stands = self.own_latest(&(Kind::Node, name.clone()));
        let young = |expires_ms: u64| expires_ms > self.now.wall_ms + NODE_LEASE.as_millis() as u64 / 3 * 2;
        if stands.is_some_and(|signed| signed.record.body() == body.as_deref() && young(signed.record.expires_ms)) {
            return;
        }
        self.say(vec![Draft { kind: Kind::Node, name, def_hash: None, body, leased: true }]);
    }

    /// What this node, as a parent, says of a child, and what that may do here when somebody said so. False when its log has no room.
    pub(super) fn write_delegation(&mut self, zone: &ZoneName, body: DelegationBody, role: Option<Role>) -> bool {
        let mut drafts = vec![delegation_of(zone, &body)];
        drafts.extend(role.map(|role| grant_of(zone, role)));
        let has_room = self.check_room(&drafts, LOG_BYTES_RESERVED).is_ok();
        if has_room {
            self.links.delegating(zone.clone(), body);
            self.say(drafts);
        } else {
            self.counts.refused += 1;
        }
        has_room
    }

    /// The operator says whose a zone below is, before anybody of it was here.
    fn draft_delegation(&mut self, zone: &ZoneName, key: [u8; 32], role: Role) -> Result<Vec<Draft>, WriteError> {
        self.check_signer()?;
        if !zone.is_below(&self.config.zone) {
            return Err(WriteError::NotBelow { zone: zone.clone(), own: self.config.zone.clone() });
        }
        let grant = grant_of(zone, role);
        let lineage = self.anchors.lineage(zone);
        match self.delegation_of(zone) {
            Some(known) if known.zone_key == key => return Ok(vec![grant]),
            Some(_) if lineage.is_some_and(|lineage| lineage.epoch_of(&key).is_some()) => return Ok(vec![grant]),
            Some(_) => return Err(WriteError::Delegated { zone: zone.clone() }),
            None => {}
        }
        if let Some(why) = self.why_not_delegate(zone) {
            return Err(WriteError::Nested { why });
        }
        let since_ms = self.delegated_from(zone);
        let body = DelegationBody { zone_key: key, epoch: 1, gateways: Vec::new(), tools: 0, since_ms };
        let drafts = vec![delegation_of(zone, &body), grant];
        self.check_room(&drafts, LOG_BYTES_RESERVED)?;
        self.links.delegating(zone.clone(), body);
        Ok(drafts)
    }

    fn draft_undelegation(&self, zone: &ZoneName, reason: &str) -> Result<Vec<Draft>, WriteError> {
        self.check_signer()?;
        let known = self.delegation_of(zone).ok_or_else(|| WriteError::NotDelegated { zone: zone.clone() })?;
        let before = self.anchors.revoked().void_until(&self.config.zone, zone);
        let again = before.map_or(0, |until| until.saturating_add(CUT_OFF_STEP_MS));
        let until_ms = self.now.wall_ms.max(known.since_ms).max(again);
        let said = self.say_revoked(Subject::Child(zone.to_string(), until_ms), reason);
        Ok(vec![revocation_of(&said)])
    }

    /// What this node had said of a child that was cut off ends.
    pub(super) fn draft_cut_off(&self, zone: &ZoneName) -> Vec<Draft> {
        let stands =
            |kind| self.own_latest(&(kind, zone.as_str().to_owned())).is_some_and(|s| !s.record.is_tombstone());
        let kinds = [Kind::Delegation, Kind::Grant].into_iter().filter(|kind| stands(*kind));
        kinds.map(|kind| tombstone(kind, zone.as_str())).collect()
    }

    fn draft_revocation(&self, node: NodeId, reason: &str) -> Result<Vec<Draft>, WriteError> {
        self.check_signer()?;
        if self.trust.chain.iter().any(|certificate| certificate.node == node) {
            return Err(WriteError::Elder { node });
        }
        if self.anchors.revoked().contains(&self.config.zone, node) {
            return Err(WriteError::Revoked { node });
        }
        Ok(vec![revocation_of(&self.say_revoked(Subject::Node(node), reason))])
    }

    fn say_revoked(&self, subject: Subject, reason: &str) -> Revocation {
        let (key, zone, chain) = (&self.config.key, &self.config.zone, self.trust.chain.clone());
        Revocation::issue(key, chain, zone, subject, reason, self.now.wall_ms)
    }

    fn check_signer(&self) -> Result<(), WriteError> {
        let is_settled = !self.is_provisional();
        let zone = self.config.zone.clone();
        match self.is_signer() {
            true if is_settled => Ok(()),
            true => Err(WriteError::KeyUnsettled { zone }),
            false => Err(WriteError::NotSigner { zone }),
        }
    }

    /// How the zone came to its key, as its maker keeps it; of more than [`MANIFESTS_MAX`] the oldest go.
    pub(super) fn draft_manifests(&self, manifests: &[ManifestBody]) -> Vec<Draft> {
        let draft = |manifest: &ManifestBody| {
            let (kind, name, body) = (Kind::Manifest, manifest.epoch.to_string(), Some(manifest.encode()));
            Draft { kind, name, def_hash: None, body, leased: false }
        };
        let mut drafts: Vec<Draft> = manifests.iter().map(draft).collect();
        let over = manifests.last().and_then(|last| last.epoch.checked_sub(MANIFESTS_MAX as u64));
        if let Some(over) = over.filter(|over| self.own_manifest(*over)) {
            drafts.push(tombstone(Kind::Manifest, &over.to_string()));
        }
        drafts
    }

    /// Whether this node's log holds the manifest of that epoch, or will.
    pub(super) fn own_manifest(&self, epoch: u64) -> bool {
        self.own_latest(&(Kind::Manifest, epoch.to_string())).is_some_and(|signed| !signed.record.is_tombstone())
    }

    /// Writes what was asked for, of a log that is not between two lives.
    pub(super) fn write(&mut self, token: u64, drafts: Vec<Draft>, wrote: Wrote) {
        if self.writes.broken {
            return self.answer(token, Err(WriteError::Store));
        }
        if !drafts.is_empty() {
            let wrote = Wrote { records: drafts.len(), ..wrote };
            return self.flush(drafts, Some((token, wrote)));
        }
        // What stands already may still be on its way: nobody is told before it is durable.
        match self.writes.unsettled.values_mut().next_back() {
            Some(last) => last.answers.push((token, wrote)),
            None => self.answer(token, Ok(wrote)),
        }
    }

    /// Writes what this node says of itself: in this life, or in the next when that is coming.
    pub(super) fn say(&mut self, drafts: Vec<Draft>) {
        if self.is_between_lives() {
            self.life.keep_drafts(drafts);
        } else if !drafts.is_empty() && !self.writes.broken {
            self.flush(drafts, None);
        }
    }

    pub(super) fn answer(&mut self, token: u64, result: Result<Wrote, WriteError>) {
        self.outputs.push_back(Output::Written { token, result });
    }

    /// Signs one flush and hands it to the store. Readers and peers see it when it is durable.
    fn flush(&mut self, drafts: Vec<Draft>, answer: Option<(u64, Wrote)>) {
        let records: Vec<Record> = drafts.into_iter().map(|draft| self.place(draft)).collect();
        let head = self.head_after(&records);
        let records: Vec<SignedRef> = sign_flush(&self.config.key, records, head).into_iter().map(Arc::new).collect();
        let token = self.persist(records.iter().cloned().map(Keep::Record).collect());
        self.writes.latest.extend(records.iter().map(|signed| (signed.record.key(), signed.clone())));
        let bytes = records.iter().map(|signed| signed.record.counted_bytes()).sum();
        self.writes.unsettled.insert(token, Unsettled { records, bytes, answers: answer.into_iter().collect() });
    }

    /// The log as it is once these records, which follow everything written so far, stand in it.
    fn head_after(&mut self, records: &[Record]) -> Head {
        let origin = self.origin();
        self.writes.floor = self.writes.floor.max(self.registry.collectable(origin, self.now.wall_ms));
        for seq in self.registry.tombstones_of(origin).take_while(|seq| *seq <= self.writes.floor) {
            self.writes.changes.insert(seq, None);
        }
        let mut flush = BTreeMap::new();
        for record in records {
            let key = record.key();
            let before = self.own_latest(&key).map(|signed| signed.record.seq);
            if let Some(before) = flush.insert(key, record.seq).or(before) {
                self.writes.changes.insert(before, None);
            }
            self.writes.changes.insert(record.seq, Some(Sha256::digest(record.encode()).into()));
        }
        self.registry.head_after(origin, &self.writes.changes, self.writes.seq, self.writes.floor)
    }

    fn place(&mut self, draft: Draft) -> Record {
        self.writes.seq += 1;
        let hlc = self.writes.tick(self.now.wall_ms);
        let lease = if draft.kind == Kind::Node { NODE_LEASE } else { LEASE };
        let expires_ms = if draft.leased { self.now.wall_ms + lease.as_millis() as u64 } else { 0 };
        Record {
            zone: self.config.zone.as_str().to_owned(),
            kind: draft.kind.number(),
            name: draft.name,
            node: self.id,
            incarnation: self.writes.incarnation,
            seq: self.writes.seq,
            epoch: 0,
            hlc,
            visibility: VISIBILITY_PUBLIC,
            issued_ms: self.now.wall_ms,
            expires_ms,
            def_hash: draft.def_hash,
            body: draft.body,
        }
    }

    /// The store answered: what is durable becomes visible here and goes to the fellows.
    pub(super) fn on_persisted(&mut self, token: u64, durable: bool) {
        if self.on_life_persisted(token, durable) || self.on_import_persisted(token, durable) {
            return;
        }
        self.writes.broken |= !durable;
        let Some(unsettled) = self.writes.unsettled.remove(&token) else { return };
        let durable = !self.writes.broken;
        for signed in &unsettled.records {
            let key = signed.record.key();
            if self.writes.latest.get(&key).is_some_and(|latest| latest.record.seq == signed.record.seq) {
                self.writes.latest.remove(&key);
            }
        }
        if durable {
            self.publish(&unsettled.records);
            // What the log holds by now, or holds no more, changes nothing after it. What is still on its way may be gone already.
            let (origin, registry) = (self.origin(), &self.registry);
            let through = registry.through(origin);
            let is_to_come =
                |seq: u64, change: &Option<_>| seq > through || change.is_some() != registry.stands(origin, seq);
            self.writes.changes.retain(|seq, change| is_to_come(*seq, change));
        }
        for (token, wrote) in unsettled.answers {
            let result = if durable { Ok(wrote) } else { Err(WriteError::Store) };
            self.answer(token, result);
        }
    }
}

fn tombstone(kind: Kind, name: &str) -> Draft {
    Draft { kind, name: name.to_owned(), def_hash: None, body: None, leased: false }
}

fn delegation_of(zone: &ZoneName, body: &DelegationBody) -> Draft {
    let (name, body) = (zone.as_str().to_owned(), Some(body.encode()));
    Draft { kind: Kind::Delegation, name, def_hash: None, body, leased: true }
}

fn grant_of(zone: &ZoneName, role: Role) -> Draft {
    let (name, body) = (zone.as_str().to_owned(), Some(GrantBody { role: role.number() }.encode()));
    Draft { kind: Kind::Grant, name, def_hash: None, body, leased: false }
}
