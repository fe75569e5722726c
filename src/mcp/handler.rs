//! What rmcp answers for us: discovery, the handshake of the older revisions, subscriptions, and "no such method".
//!
//! The one `ServerHandler` type of the node (each costs a minute of compile time). It never sees `tools/list` or `tools/call`:
//! those are answered from raw bytes before rmcp parses anything.

use std::{sync::Arc, time::Duration};

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CacheScope, CompleteRequestMethod, CompleteRequestParams, CompleteResult, DiscoverResult, Implementation,
        ListPromptsRequestMethod, ListPromptsResult, ListToolsRequestMethod, ListToolsResult, PaginatedRequestParams,
        ServerCapabilities, ServerConfig, SubscriptionFilter,
    },
    service::{RequestContext, SubscriptionContext},
};
use tokio::{sync::watch, time::sleep};

use super::door::Scope;
use crate::handle::Handle;

/// Changes within this time are told once.
const COALESCE: Duration = Duration::from_millis(250);
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
    /// The node's own zone: the only one whose changes it is told of.
    zone: Arc<str>,
}

impl NodeHandler {
    pub(super) fn new(handle: Handle, zone: Arc<str>) -> Self {
        Self { handle, zone }
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
        let own = matches!(scope, Some(Scope::Zone(zone)) if zone.eq_ignore_ascii_case(&self.zone));
        if own && context.accepted().tools_list_changed == Some(true) {
            tokio::select! {
                () = context.cancelled() => {}
                () = tell_changes(self.handle.changes(), &context) => {}
            }
        } else {
            // The list of `/mcp` never changes, and of another zone's changes this node is not told: its `ttlMs` is short instead.
            context.cancelled().await;
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

/// Tells a subscriber of every change of the own zone, several within a moment as one. Ends when the node or the client does.
async fn tell_changes(mut changes: watch::Receiver<u64>, context: &SubscriptionContext) {
    // What is there now was listed already; only what comes after is news.
    changes.mark_unchanged();
    while changes.changed().await.is_ok() {
        sleep(COALESCE).await;
        changes.mark_unchanged();
        if context.sink().notify_tool_list_changed().await.is_err() {
            return;
        }
    }
}
