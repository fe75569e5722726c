//! What one caller may see, and change, of what this node knows: every question of a door passes here.
//!
//! Answers are found and cached as they are, for nobody in particular; whoever may see only some tools gets a copy with these, which
//! is kept nowhere. So what is cached never leaks, and what is cut never counts as missing.

use std::sync::Arc;

use aop_proto::access::{Action, Caller, Request, Sight};
use aop_proto::error::{Kind, Problem};
use aop_proto::name::{ZoneName, fit_label};
use aop_proto::node::{Brought, NewTool, NotBelieved};
use aop_proto::params::CALL_AGE_MAX;
use aop_proto::record::NodeId;
use aop_proto::trust::Repeated;
use aop_proto::wire::message::Call;
use serde_json::json;
use tokio::sync::oneshot;

use super::{Ask, Handle, Mode, busy, no_tool_here, stopping};
use crate::answers::{Circuits, Hit, Resolution};
use crate::auth::{self, Auth};
use crate::driver::{Job, Way};
use crate::upstream::ServerStatus;

/// A call that a peer brought, and whose it is.
#[derive(Debug)]
pub struct BroughtCall {
    /// The call, as it goes on.
    pub call: Box<Call>,
    /// To be carried out: who makes it. To be passed on: who brought it.
    pub caller: Caller,
    /// It came over a link that strangers may come over, here or on its way.
    afar: bool,
}

impl BroughtCall {
    /// The tool's name as rules know it: a dot at its end is a second spelling.
    fn tool(&self) -> &str {
        self.call.name.strip_suffix('.').unwrap_or(&self.call.name)
    }
}

impl Handle {
    /// Who may do what here.
    pub fn auth(&self) -> &Auth {
        &self.inner.auth
    }

    /// Takes the rules, as they are now, to where questions of other nodes are answered.
    pub async fn tell_rules(&self) {
        if self.inner.jobs.send(Job::Rules(self.auth().policy())).await.is_err() {
            tracing::debug!("the node is stopping; new rules make no difference to it");
        }
    }

    /// Answers a question with what `caller` may find: from L1, from the view, or from the federation.
    ///
    /// # Errors
    /// `Usage` when the question cannot be understood, `Busy` when too many wait, `TimedOut` when not even a partial answer came.
    pub async fn resolve(&self, caller: &Caller, ask: Ask) -> Result<Arc<Resolution>, Problem> {
        let Ask { sight, calls, .. } = self.bounds(caller);
        let resolution = self.resolve_any(Ask { sight, calls, ..ask }).await?;
        Ok(self.circuits().lay_over(resolution, &self.view().unheard, self.inner.clock.now().wall_ms))
    }

    /// How this node's breakers stand: said with whatever it shows.
    pub fn circuits(&self) -> &Circuits {
        self.inner.answers.circuits()
    }

    /// The one tool of that name, if `caller` may find it; by its full name also one that he may only do `action` with.
    ///
    /// # Errors
    /// `NameNotFound` with near names, `TimedOut` when a silent zone may have it, `Usage` when several tools go by that name. What the
    /// caller may not see is not there, and is no near name either.
    pub async fn find(&self, caller: &Caller, name: &str, action: Action) -> Result<Hit, Problem> {
        let bounds = self.bounds(caller);
        let is_bounded = bounds.sight.is_some();
        let mut found = self.find_any(name, &bounds).await;
        if found.is_err() && is_bounded && action != Action::Discover {
            let exact = Ask { query: name.to_owned(), mode: Mode::Exact, ..Ask::default() };
            let unseen = self.resolve_any(exact).await.ok().and_then(|exact| exact.hits.first().cloned());
            if let Some(hit) = unseen.filter(|hit| self.may(caller, action, hit)) {
                return Ok(hit);
            }
        }
        if let Ok(hit) = &mut found
            && action == Action::Discover
        {
            self.circuits().lay_over_one(hit, &self.view().unheard, self.inner.clock.now().wall_ms);
        }
        found
    }

    /// The same for a call, which asks for one tool again and again: what this node's own view says of a name, to one from whom nothing
    /// is kept, it says again until the view changes.
    ///
    /// # Errors
    /// As [`Handle::find`].
    pub async fn find_to_call(&self, caller: &Caller, name: &str) -> Result<Arc<Hit>, Problem> {
        let (known, now, sees_all) = (&self.inner.known, self.moment(), self.auth().sight(caller).is_none());
        if let Some(hit) = sees_all.then(|| known.get(name, now)).flatten() {
            return Ok(hit);
        }
        let hit = Arc::new(self.find(caller, name, Action::Call).await?);
        if sees_all && hit.source == "local" && self.moment() == now {
            known.keep(name, &hit, now);
        }
        Ok(hit)
    }

    /// A question of `caller`, before anything is asked.
    fn bounds(&self, caller: &Caller) -> Ask {
        let calls = self.auth().calls(caller).map(Arc::new);
        Ask { sight: self.sight(caller), calls, ..Ask::default() }
    }

    /// What `caller` may find; nothing where no tool anywhere is kept from it.
    pub fn sight(&self, caller: &Caller) -> Option<Arc<Sight>> {
        self.auth().sight(caller).map(Arc::new)
    }

    /// Whether `caller` may do it to some tools of this zone only.
    pub(super) fn is_bounded(&self, caller: &Caller, action: Action) -> bool {
        self.auth().is_partial(caller, action, &self.view().zone)
    }

    fn may(&self, caller: &Caller, action: Action, hit: &Hit) -> bool {
        ZoneName::parse(&hit.zone)
            .is_ok_and(|zone| self.auth().allows(caller, Request { action, zone: &zone, tool: Some(&hit.name) }))
    }

    /// # Errors
    /// `caller` may not call that tool.
    pub fn may_call(&self, caller: &Caller, hit: &Hit) -> Result<(), Problem> {
        let zone = ZoneName::parse(&hit.zone).map_err(|error| Problem::new(Kind::Internal, error.to_string()))?;
        self.auth().require(caller, Request { action: Action::Call, zone: &zone, tool: Some(&hit.name) })
    }

    /// The call, signed by this node, so that its home knows whose it is whoever passes it on.
    ///
    /// # Errors
    /// `Busy`, `Internal` while the node is stopping.
    pub async fn sign(&self, call: Call) -> Result<Call, Problem> {
        let (reply, signed) = oneshot::channel();
        self.inner.jobs.send(Job::Sign(Box::new(call), reply)).await.map_err(|_| busy())?;
        signed.await.map(|call| *call).map_err(|_| stopping())
    }

    /// Whose call it is that a peer brought: to this node, or to be passed on.
    ///
    /// # Errors
    /// `Forbidden` when it is not its author's, or was brought before; `Busy`, with the seconds after which to come back; `Internal` while the node is stopping.
    pub async fn whose(&self, peer: NodeId, call: Call, way: Way) -> Result<BroughtCall, Problem> {
        let (reply, told) = oneshot::channel();
        self.inner.jobs.send(Job::Whose(peer, Box::new(call), way, reply)).await.map_err(|_| busy())?;
        let told = told.await.map_err(|_| stopping())?;
        let (call, Brought { by, afar }) = told.map_err(|error| {
            let retry_in_ms = match error {
                NotBelieved::Repeated(Repeated::Forgotten(ms)) => Some(ms),
                NotBelieved::Repeated(Repeated::Full) => Some(CALL_AGE_MAX.as_millis() as u64),
                _ => None,
            };
            let kind = if retry_in_ms.is_some() { Kind::Busy } else { Kind::Forbidden };
            let problem = Problem::new(kind, error.to_string()).hint("aop status");
            match retry_in_ms {
                Some(ms) => problem.detail(json!({"retry_after_s": ms.div_ceil(1000).max(1)})),
                None => problem,
            }
        })?;
        let caller = by.map_or_else(Caller::anonymous, |(zone, node)| self.caller_of(zone, node));
        Ok(BroughtCall { call, caller, afar })
    }

    /// Who a node of that zone is to the policy: its organisation, with what belonging to it brings.
    fn caller_of(&self, zone: ZoneName, node: NodeId) -> Caller {
        let view = self.view();
        let below = view.children.iter().map(|child| (&child.zone, child.role));
        Caller::of_zone(&view.zone, below, zone, node)
    }

    /// # Errors
    /// The call may not be carried out here. What its author may not even find is not there.
    pub fn may_be_called(&self, brought: &BroughtCall) -> Result<(), Problem> {
        let (view, name) = (self.view(), brought.tool());
        let finding = Request { action: Action::Discover, zone: &view.zone, tool: Some(name) };
        if self.auth().is_denied(&brought.caller, finding) {
            return Err(no_tool_here(name, &view));
        }
        self.may_as_peer(brought, Action::Call, Some(name))
    }

    /// # Errors
    /// Whoever brought it may not send calls through this node, or not this one: to its own neighbours it says what they may call behind it.
    pub fn may_relay(&self, brought: &BroughtCall) -> Result<(), Problem> {
        self.may_as_peer(brought, Action::Peer, None)?;
        let Ok(zone) = ZoneName::parse(&brought.call.zone) else { return Ok(()) };
        let request = |action| Request { action, zone: &zone, tool: Some(brought.tool()) };
        if self.auth().is_denied(&brought.caller, request(Action::Discover)) {
            return Err(no_tool_here(brought.tool(), &self.view()));
        }
        match self.auth().is_denied(&brought.caller, request(Action::Call)) {
            true => Err(auth::refusal(&brought.caller, request(Action::Call))),
            false => Ok(()),
        }
    }

    /// What is open to this machine is not open to nodes of others, wherever this one listens and whoever passed it on.
    fn may_as_peer(&self, brought: &BroughtCall, action: Action, tool: Option<&str>) -> Result<(), Problem> {
        let view = self.view();
        let request = Request { action, zone: &view.zone, tool };
        match brought.afar {
            true => self.auth().require_granted(&brought.caller, request),
            false => self.auth().require(&brought.caller, request),
        }
    }

    /// # Errors
    /// `caller` may not register, change or end that server: its label, and where it has more, what stands between it and the zone.
    pub(super) fn may_register(&self, caller: &Caller, server: &str) -> Result<(), Problem> {
        let zone = self.view().zone.clone();
        let name = zone.join(server);
        self.auth().require(caller, Request { action: Action::Register, zone: &zone, tool: Some(&name) })
    }

    /// The servers behind this node as `caller` may see them: with which arguments a program runs is for whoever may register it.
    pub fn servers_for(&self, caller: &Caller) -> Vec<ServerStatus> {
        let mut servers = self.servers();
        for server in &mut servers {
            if self.may_register(caller, &server.name).is_err() {
                server.hide_arguments();
            }
        }
        servers
    }

    /// # Errors
    /// `caller` may register some servers only, and none of that name: in the same words whether there is one or not.
    pub fn may_ask_of_server(&self, caller: &Caller, name: &str) -> Result<(), Problem> {
        if self.is_bounded(caller, Action::Register) { self.may_register(caller, name) } else { Ok(()) }
    }

    /// # Errors
    /// `caller` may register some servers only, and this one has no name yet.
    pub(super) fn may_register_unnamed(&self, caller: &Caller) -> Result<(), Problem> {
        if self.is_bounded(caller, Action::Register) {
            let message =
                format!("{} may register some servers only, so this one needs a name: --as", caller.principal);
            return Err(Problem::new(Kind::Usage, message).hint("aop register --help"));
        }
        Ok(())
    }

    /// # Errors
    /// `caller` may not register one of them.
    pub(super) fn may_register_tools(&self, caller: &Caller, tools: &[NewTool]) -> Result<(), Problem> {
        tools.iter().try_for_each(|tool| {
            let server = fit_label(&tool.server);
            let inside = if tool.labels.is_empty() { server } else { format!("{server}.{}", tool.labels) };
            self.may_register(caller, &inside)
        })
    }
}

#[cfg(test)]
mod tests {
    use aop_proto::access::{Glob, Grant, Policy, Principal, Role, Rule};

    use super::*;
    use crate::auth::Terms;
    use crate::handle::Mode;

    fn holder(grant: Grant) -> Caller {
        Caller { principal: Principal::Token("ci".to_owned()), grants: vec![grant] }
    }

    async fn closed_with(tools: &[(&str, &str)]) -> Handle {
        let handle = Handle::for_tests();
        let lines = tools
            .iter()
            // Of one definition they would be told as one.
            .map(|(server, name)| serde_json::json!({"server": server, "name": name, "description": format!("finds papers at {server}")}));
        let mut changes = handle.changes();
        handle.register_tools(&Caller::operator(), lines.collect()).await.unwrap();
        while handle.view().tools.len() < tools.len() {
            changes.changed().await.unwrap();
        }
        handle.auth().replace(Terms { policy: Policy::default(), ..Terms::default() });
        handle
    }

    /// A rule is about a tool, however its name is spelled.
    #[tokio::test]
    async fn a_denied_tool_is_denied_under_every_spelling_of_its_name() {
        let handle = closed_with(&[("till", "pay")]).await;
        let denied = Rule {
            principal: Glob::any(),
            action: Some(Action::Call),
            zone: None,
            tool: Glob::new("pay.till.research"),
            deny: true,
        };
        let policy = Policy { rules: vec![denied], ..Policy::default() };
        handle.auth().replace(Terms { policy, ..Terms::default() });
        let brought = |name: &str| BroughtCall {
            call: Box::new(Call {
                name: name.to_owned(),
                home: handle.view().node,
                zone: "research".to_owned(),
                def_hash: None,
                arguments: Vec::new(),
                extra: Vec::new(),
                deadline_ms: 1_000,
                hops: 1,
                progress: false,
                key: None,
                priority: 5,
                afar: true,
                author: None,
            }),
            caller: holder(Grant::of(Role::Caller)),
            afar: true,
        };
        assert!(handle.may_be_called(&brought("list.till.research")).is_ok());
        for name in ["pay.till.research", "pay.till.research.", "Pay.TILL.research"] {
            assert!(handle.may_be_called(&brought(name)).is_err(), "{name}");
            assert!(handle.may_relay(&brought(name)).is_err(), "{name}");
        }
    }

    #[tokio::test]
    async fn whoever_may_see_some_tools_sees_these_and_no_trace_of_others() {
        let handle =
            closed_with(&[("arxiv", "search_papers"), ("secret", "search_papers"), ("secret", "papers")]).await;
        let bounded = holder(Grant { role: Role::Caller, zone: None, tool: Glob::new("*.arxiv.research") });
        let full = holder(Grant::of(Role::Reader));
        let names =
            |resolution: Arc<Resolution>| resolution.hits.iter().map(|hit| hit.name.clone()).collect::<Vec<_>>();
        let ask = |limit| Ask { query: "papers".to_owned(), mode: Mode::Search, limit, ..Ask::default() };
        // The same question from both, in both orders: what one has asked is cached for the other.
        for limit in [1, 3] {
            for _ in 0..2 {
                assert_eq!(names(handle.resolve(&full, ask(limit)).await.unwrap()).len(), limit);
                let some = handle.resolve(&bounded, ask(limit)).await.unwrap();
                assert_eq!(
                    (names(some.clone()), some.hits[0].rank),
                    (vec!["search_papers.arxiv.research".to_owned()], 1)
                );
            }
        }
        let list = Ask { mode: Mode::List, limit: 1_000, ..Ask::default() };
        assert_eq!(names(handle.resolve(&bounded, list).await.unwrap()).len(), 1);
        let exact = Ask { query: "papers.secret.research".to_owned(), mode: Mode::Exact, ..Ask::default() };
        assert!(handle.resolve(&bounded, exact).await.unwrap().hits.is_empty());
        // What is hidden and what is not there are told alike.
        let none = [
            ("papers.secret.research", "papers.sacred.research"),
            ("secret__papers", "sacred__papers"),
            ("secret/papers", "sacred/papers"),
        ];
        for (hidden, missing) in none {
            let told = async |name: &str| {
                let problem = handle.find(&bounded, name, Action::Call).await.unwrap_err();
                (problem.kind, problem.message.replace(name, "NAME"), problem.did_you_mean)
            };
            assert_eq!(told(hidden).await, told(missing).await, "{hidden}");
            for mode in [Mode::Auto, Mode::Search] {
                let asked = async |name: &str| {
                    let ask = Ask { query: name.to_owned(), mode, ..Ask::default() };
                    let all = handle.resolve(&bounded, ask).await.unwrap();
                    (names(all.clone()), all.denied_by.clone(), all.documents, all.trace[0].hits, all.near.clone())
                };
                assert_eq!(asked(hidden).await, asked(missing).await, "{hidden} {mode:?}");
            }
        }
        // A name that a hidden tool has as well is no less the other's.
        let found = handle.find(&bounded, "search_papers", Action::Call).await.unwrap();
        assert_eq!(found.name, "search_papers.arxiv.research");
        let zones = handle.zones(&bounded).await;
        assert_eq!(zones["zones"][0]["tools"], serde_json::Value::Null);
        assert!(handle.find(&bounded, "search_papers.arxiv.research", Action::Call).await.is_ok());
        assert!(handle.resolve(&holder(Grant::of(Role::Registrar)), ask(3)).await.is_ok());
    }

    #[tokio::test]
    async fn a_registrar_of_some_names_registers_these() {
        let handle = closed_with(&[("arxiv", "search"), ("other", "search")]).await;
        let bounded = holder(Grant { role: Role::Registrar, zone: None, tool: Glob::new("arxiv*.research") });
        let line = |server: &str, zone: &str| vec![serde_json::json!({"server": server, "name": "a", "zone": zone})];
        assert!(handle.register_tools(&bounded, line("arxiv", "")).await.is_ok());
        assert!(handle.register_tools(&bounded, line("arxiv", "lab")).await.is_ok());
        assert_eq!(handle.register_tools(&bounded, line("other", "")).await.unwrap_err().kind, Kind::Forbidden);
        assert!(handle.register_tools(&Caller::operator(), line("@o/ther", "")).await.is_ok());
        for name in
            ["other", " other", "OTHER\t", "search.other.research", "other/search", "@o/ther", "_o_ther-8ae57e", "none"]
        {
            let ended = handle.unregister(&bounded, name).await;
            assert!(matches!(ended.unwrap_err().kind, Kind::Forbidden | Kind::NameNotFound), "{name}");
        }
        // What is somebody else's and what is not there are refused in the same words.
        for (others, missing) in [
            ("other", "ather"),
            ("search.other.research", "saerch.other.research"),
            ("other/search", "other/saerch"),
            ("other__search", "other__saerch"),
        ] {
            let told = async |name: &str| {
                let problem = handle.unregister(&bounded, name).await.unwrap_err();
                (problem.kind, problem.message.replace(name, "NAME"), problem.did_you_mean)
            };
            assert_eq!(told(others).await, told(missing).await, "{others}");
            let asked = |name: &str| handle.may_ask_of_server(&bounded, name).map_err(|problem| problem.kind);
            assert_eq!((asked(others), asked(missing)), (Err(Kind::Forbidden), Err(Kind::Forbidden)));
        }
        // Of those that share a name its own ends.
        assert_eq!(handle.unregister(&bounded, "search").await.unwrap(), ["search.arxiv.research"]);
        assert_eq!(handle.view().tools.called("search.other.research").len(), 1);
    }

    #[tokio::test]
    async fn a_call_is_asked_for_by_the_full_name_of_the_tool() {
        let handle = closed_with(&[("arxiv", "search"), ("secret", "delete")]).await;
        let reader = holder(Grant::of(Role::Reader));
        let hit = handle.find(&reader, "search.arxiv.research", Action::Call).await.unwrap();
        assert_eq!(handle.may_call(&reader, &hit).unwrap_err().kind, Kind::Forbidden);
        assert_eq!(handle.may_call(&Caller::anonymous(), &hit).unwrap_err().kind, Kind::AuthRequired);
        assert_eq!(handle.may_call(&holder(Grant::of(Role::Caller)), &hit), Ok(()));
        assert_eq!(handle.may_call(&Caller::operator(), &hit), Ok(()));
    }
}
