//! What doors do to a host: writes, rotations and questions, and what became of them.

use std::sync::Arc;
use std::time::Duration;

use aop_proto::access::{Role, Rule, Sight};
use aop_proto::invite::Invite;
use aop_proto::name::ZoneName;
use aop_proto::node::{Brought, Input, Invitation, Node, NotBelieved, Write, WriteError, Wrote};
use aop_proto::now::Now;
use aop_proto::params::INVITE_LIFE;
use aop_proto::resolver::Terms;
use aop_proto::trust::anchor_hash;
use aop_proto::wire::message::{Call, Question};

use super::{HostId, World};
use crate::host::Answered;

/// Time a door gives its question.
pub const DEADLINE: Duration = Duration::from_secs(2);

impl World {
    /// Hands a write to a host's node; the result comes later.
    pub fn write(&mut self, host: HostId, write: Write) -> u64 {
        self.next_token += 1;
        let token = self.next_token;
        self.tell(format_args!("{} is to write: {}", self.label(host), summary(&write)));
        self.hand(host.0, Input::Write { token, write });
        token
    }

    /// Whether a write was handed to the run of the host's node that goes on now.
    pub fn is_asked(&self, host: HostId, token: u64) -> bool {
        self.hosts[host.0].first_token <= token
    }

    /// How a write ended, once it has.
    pub fn written(&self, host: HostId, token: u64) -> Option<&Result<Wrote, WriteError>> {
        self.hosts[host.0].written.get(&token)
    }

    /// Writes and lets time pass until that has ended.
    ///
    /// # Errors
    /// What the node said.
    pub fn write_through(&mut self, host: HostId, write: Write) -> Result<Wrote, WriteError> {
        let token = self.write(host, write);
        let done = self.run_until(Duration::from_secs(5), |world| world.written(host, token).is_some());
        assert!(done.is_some(), "a write ends");
        self.hosts[host.0].written.remove(&token).expect("it has ended")
    }

    /// A call as a host's node makes it, once it runs.
    pub fn sign(&mut self, host: HostId, mut call: Call) -> Call {
        let (now, node) = self.running(host);
        node.sign(now, &mut call);
        call
    }

    /// A call as it leaves a host that it was brought to by another.
    ///
    /// # Errors
    /// What the node said.
    pub fn pass_on(&mut self, host: HostId, from: HostId, mut call: Call) -> Result<Call, NotBelieved> {
        let peer = self.id(from);
        let (now, node) = self.running(host);
        node.pass_on(now, peer, &mut call).map(|_| call)
    }

    /// Whose call it is that was brought to a host by another.
    ///
    /// # Errors
    /// What the node said.
    pub fn whose(&mut self, host: HostId, from: HostId, call: &Call) -> Result<Brought, NotBelieved> {
        let peer = self.id(from);
        let (now, node) = self.running(host);
        node.whose(now, peer, call)
    }

    pub(super) fn running(&mut self, host: HostId) -> (Now, &mut Node) {
        let host = &mut self.hosts[host.0];
        (host.now(self.time), host.node.as_mut().expect("it runs"))
    }

    /// Gives a running host an invite of `issuer`, as `aop join` does.
    pub fn join(&mut self, host: HostId, issuer: HostId, invitation: Invitation) {
        let addresses = vec![self.hosts[issuer.0].spec.address.clone()];
        self.hand(host.0, Input::Join { invitation, addresses });
    }

    /// Gives a node these rules, now and when it starts again.
    pub fn set_rules(&mut self, host: HostId, rules: Vec<Rule>) {
        self.checks.hides();
        self.hosts[host.0].spec.rules = rules;
        let policy = self.hosts[host.0].spec.policy();
        self.hand(host.0, Input::Rules(policy));
    }

    /// Asks a host's node to give its zone another key; the result comes as that of a write.
    pub fn rotate(&mut self, host: HostId) -> u64 {
        self.next_token += 1;
        let token = self.next_token;
        let key = self.hosts[host.0].next_key(&mut self.chances.births);
        self.tell(format_args!("{} rotates the key of {}", self.label(host), self.hosts[host.0].spec.zone));
        self.hand(host.0, Input::Rotate { token, key });
        token
    }

    /// An invite by a host, for nodes of `zone`: its own or one below. The host knows its zone's key by then.
    pub fn invite(&mut self, host: HostId, zone: &str, role: Role, uses: u32) -> Invitation {
        self.next_token += 1;
        let token = format!("invite-{}", self.next_token);
        let view = self.view(host).cloned().expect("it runs");
        let anchor = anchor_hash(&view.zone, &view.zone_key.expect("its zone has a key"));
        let zone = ZoneName::parse(zone).expect("scenarios name zones that are zones");
        let wall_ms = self.hosts[host.0].now(self.time).wall_ms;
        let invite = Invite::new(&zone, role, INVITE_LIFE.0, uses, wall_ms);
        self.hosts[host.0].invites.insert(token.clone(), invite);
        Invitation { token, issuer: view.node, zone: view.zone.clone(), anchor }
    }

    /// Rotates and lets time pass until that has ended.
    ///
    /// # Errors
    /// What the node said.
    pub fn rotate_through(&mut self, host: HostId) -> Result<Wrote, WriteError> {
        let token = self.rotate(host);
        let done = self.run_until(Duration::from_secs(5), |world| world.written(host, token).is_some());
        assert!(done.is_some(), "a rotation ends");
        self.hosts[host.0].written.remove(&token).expect("it has ended")
    }

    /// Asks a host's node; the answer comes later.
    pub fn ask(&mut self, host: HostId, question: Question, terms: impl FnOnce(Terms) -> Terms) -> u64 {
        self.next_token += 1;
        let token = self.next_token;
        let now = self.hosts[host.0].now(self.time);
        let terms = terms(Terms::of_door(question.form, now.mono + DEADLINE));
        self.hosts[host.0].asked.insert(token, self.time);
        self.hand(host.0, Input::Resolve { token, question, terms, sight: None });
        token
    }

    /// The same for somebody who may find only some of what there is.
    pub fn ask_for(&mut self, host: HostId, question: Question, sight: Sight) -> u64 {
        self.checks.hides();
        self.next_token += 1;
        let token = self.next_token;
        let now = self.hosts[host.0].now(self.time);
        let terms = Terms::of_door(question.form, now.mono + DEADLINE);
        self.hosts[host.0].asked.insert(token, self.time);
        self.hand(host.0, Input::Resolve { token, question, terms, sight: Some(Arc::new(sight)) });
        token
    }

    /// Whether a question is answered.
    pub fn is_answered(&self, host: HostId, token: u64) -> bool {
        self.hosts[host.0].answered.contains_key(&token)
    }

    /// Takes the answer to a question, once it is there.
    pub fn answer(&mut self, host: HostId, token: u64) -> Option<Answered> {
        self.hosts[host.0].answered.remove(&token)
    }

    /// Asks and lets time pass until the answer is there.
    pub fn resolve(&mut self, host: HostId, question: Question) -> Answered {
        self.resolve_as(host, question, |terms| terms)
    }

    /// The same on other terms than a door's.
    pub fn resolve_as(&mut self, host: HostId, question: Question, terms: impl FnOnce(Terms) -> Terms) -> Answered {
        let token = self.ask(host, question, terms);
        let done = self.run_until(DEADLINE * 4, |world| world.is_answered(host, token));
        assert!(done.is_some(), "every question is answered");
        self.answer(host, token).expect("it is there")
    }
}

fn summary(write: &Write) -> String {
    match write {
        Write::Server { server, tools, .. } => format!("server {server} with {} tools", tools.len()),
        Write::ServerState { server, up, .. } => format!("server {server} is {}", if *up { "up" } else { "down" }),
        Write::Catalogue(tools) => {
            let names: Vec<&str> = tools.iter().map(|tool| tool.original.as_str()).take(3).collect();
            format!("catalogue of {}, {}", tools.len(), names.join(" "))
        }
        Write::Remove(what) => format!("without {what}"),
        Write::Delegate { zone, role, .. } => format!("{zone} is delegated to, as {}", role.name()),
        Write::Undelegate { zone, .. } => format!("{zone} is not delegated to any more"),
        Write::Revoke { node, .. } => format!("{} is revoked", node.short()),
    }
}
