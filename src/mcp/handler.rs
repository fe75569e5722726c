//! What rmcp answers for us: discovery, the handshake of the older revisions, subscriptions, and "no such method".
//!
//! The one `ServerHandler` type of the node (each costs a minute of compile time). It never sees `tools/list` or `tools/call`:
//! those are answered from raw bytes before rmcp parses anything.

use std::{sync::Arc, time::Duration};

use aop_proto::access::Caller;
use bytes::Bytes;
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CacheScope, CompleteRequestMethod, CompleteRequestParams, CompleteResult, DiscoverResult, Implementation,
        ListPromptsRequestMethod, ListPromptsResult, ListToolsRequestMethod, ListToolsResult, PaginatedRequestParams,
        ServerCapabilities, ServerConfig, SubscriptionFilter,
    },
    service::{RequestContext, SubscriptionContext},
};
use tokio::time::{Instant, sleep, timeout};

use super::{door::Scope, pins::Pins, zone::Lists};
use crate::handle::Handle;

/// Changes within this time are told once.
const COALESCE: Duration = Duration::from_millis(250);
/// Lists of other zones are looked at this often, also where nothing is told of them.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// What is written for a subscriber takes a fifth of the time at most.
const WRITING_SHARE: u32 = 4;
/// What discovery says holds for as long as the program runs.
pub(super) const CONSTANT_TTL: Duration = Duration::from_secs(3600);

const INSTRUCTIONS: &str = "Use search_tools first whenever a task may need a tool you do not see: it finds tools of every zone of \
this federation by plain words or by name, several queries at once. Then describe_tool gives the exact input schema, and call_tool \
runs the tool by its full name with those arguments. When a call is refused, the error says which argument does not fit and what was \
expected: repair it and call again. list_zones shows which parts of the federation exist and which are silent. Answers say how long \
they hold (ttl_ms) and whether a zone did not answer (partial).";

/// Cheap to clone: rmcp takes a new one for every request.
#[derive(Clone)]
pub(super) struct NodeHandler {
    handle: Handle,
    pins: Arc<Pins>,
    lists: Arc<Lists>,
}

impl NodeHandler {
    pub(super) fn new(handle: Handle, pins: Arc<Pins>, lists: Arc<Lists>) -> Self {
        Self { handle, pins, lists }
    }
}

impl ServerHandler for NodeHandler {
    fn get_info(&self) -> ServerConfig {
        let capabilities =
            ServerCapabilities::builder().enable_tools().enable_tool_list_changed().enable_resources().build();
        let node = Implementation::new("aop-node", env!("CARGO_PKG_VERSION")).with_title("AOP node");
        ServerConfig::new(capabilities).with_server_info(node).with_instructions(INSTRUCTIONS)
    }

    async fn discover(&self, _context: RequestContext<RoleServer>) -> Result<DiscoverResult, ErrorData> {
        let versions = self.supported_protocol_versions().into_owned();
        Ok(DiscoverResult::from_server_info(versions, self.get_info())
            .with_ttl_ms(CONSTANT_TTL.as_millis().try_into().unwrap_or(u64::MAX))
            .with_cache_scope(CacheScope::Public))
    }

    fn accepted_subscription_filter(&self, _requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(SubscriptionFilter::builder().tools_list_changed().build())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let scope = context
            .request_context()
            .extensions
            .get::<http::request::Parts>()
            .and_then(|p| p.extensions.get::<Scope>());
        let scope = scope.cloned().filter(|scope| *scope != Scope::Menu || !self.pins.is_empty());
        match scope.filter(|_| context.accepted().tools_list_changed == Some(true)) {
            Some(scope) => tokio::select! {
                () = context.cancelled() => {}
                () = self.tell_changes(&scope, &context) => {}
            },
            // The list of `/mcp` alone never changes.
            None => context.cancelled().await,
        }
        Ok(())
    }

    // Resources are what calls were told of (`shelf`), and nobody else: their lists are empty, as rmcp answers. It would say the same of
    // what is not declared.

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Err(ErrorData::method_not_found::<ListToolsRequestMethod>())
    }

    async fn list_prompts(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Err(ErrorData::method_not_found::<ListPromptsRequestMethod>())
    }

    async fn complete(
        &self,
        _request: CompleteRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        Err(ErrorData::method_not_found::<CompleteRequestMethod>())
    }
}

impl NodeHandler {
    /// Tells a subscriber whenever the list is another, several changes within a moment as one. What this node may not be told of it
    /// looks for itself. Ends when the node or the client does.
    async fn tell_changes(&self, scope: &Scope, context: &SubscriptionContext) {
        let mut changes = self.handle.changes();
        // What is there now was listed already; only what comes after is news.
        changes.mark_unchanged();
        let mut last = self.written(scope).await;
        let own = matches!(scope, Scope::Zone(zone) if zone.eq_ignore_ascii_case(self.handle.view().zone.as_str()));
        let look_every = if own { Duration::MAX } else { LOOK_EVERY };
        loop {
            match timeout(look_every, changes.changed()).await {
                Ok(Ok(())) => sleep(COALESCE).await,
                Ok(Err(_)) => return,
                Err(_) => {}
            }
            changes.mark_unchanged();
            let since = Instant::now();
            let now = self.written(scope).await;
            // A long list is not written all the time because something in it changes all the time.
            sleep((since.elapsed() * WRITING_SHARE).min(LOOK_EVERY)).await;
            // Of a zone that is silent now nothing is known.
            let Some(now) = now else { continue };
            if last.replace(now.clone()).is_some_and(|last| last == now) {
                continue;
            }
            if context.sink().notify_tool_list_changed().await.is_err() {
                return;
            }
        }
    }

    async fn written(&self, scope: &Scope) -> Option<Bytes> {
        match scope {
            Scope::Menu => Some(self.pins.list(&self.handle, &Caller::operator()).await.tools()),
            Scope::Zone(zone) => self.lists.written(&self.handle, zone).await,
        }
    }
}
