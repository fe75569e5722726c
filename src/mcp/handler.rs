//! What rmcp answers for us: discovery, the handshake of the older revisions, subscriptions, and "no such method".
//!
//! The one `ServerHandler` type of the node (each costs a minute of compile time). It never sees `tools/list` or `tools/call`:
//! those are answered from raw bytes before rmcp parses anything.

use std::{future::pending, time::Duration};

use aop_proto::name::ZoneName;
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CacheScope, CompleteRequestMethod, CompleteRequestParams, CompleteResult, DiscoverResult, Implementation,
        InitializeRequestParams, InitializeResult, ListPromptsRequestMethod, ListPromptsResult, ListToolsRequestMethod,
        ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, SubscriptionFilter,
    },
    service::{RequestContext, SubscriptionContext},
};
use tokio::time::sleep;

use super::{door::Scope, news::News, running::LIFE};

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
    news: News,
}

impl NodeHandler {
    pub(super) fn new(news: News) -> Self {
        Self { news }
    }

    /// What is said of the node at that path.
    fn about(&self, scope: Option<&Scope>) -> ServerConfig {
        let mut config = self.get_info().with_instructions(instructions(scope));
        if let Some(tools) = &mut config.capabilities.tools {
            tools.list_changed = scope.map(|scope| self.news.may_come(scope));
        }
        config
    }

    /// Tells a subscriber whenever the list is another. Ends when the node or the client does.
    async fn tell_changes(&self, scope: Scope, context: &SubscriptionContext) {
        let mut following = self.news.follow(scope).await;
        while following.next().await {
            if context.sink().notify_tool_list_changed().await.is_err() {
                return;
            }
        }
    }
}

impl ServerHandler for NodeHandler {
    fn get_info(&self) -> ServerConfig {
        let capabilities =
            ServerCapabilities::builder().enable_tools().enable_tool_list_changed().enable_resources().build();
        let node = Implementation::new("aop-node", env!("CARGO_PKG_VERSION")).with_title("AOP node");
        ServerConfig::new(capabilities).with_server_info(node)
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        let mut about = self.about(scope(&context).as_ref());
        about.protocol_version = self.negotiate_initialize(&request)?.protocol_version;
        context.peer.set_peer_info(request);
        Ok(about)
    }

    async fn discover(&self, context: RequestContext<RoleServer>) -> Result<DiscoverResult, ErrorData> {
        let versions = self.supported_protocol_versions().into_owned();
        Ok(DiscoverResult::from_server_info(versions, self.about(scope(&context).as_ref()))
            .with_ttl_ms(CONSTANT_TTL.as_millis().try_into().unwrap_or(u64::MAX))
            .with_cache_scope(CacheScope::Public))
    }

    fn accepted_subscription_filter(&self, _requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(SubscriptionFilter::builder().tools_list_changed().build())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let scope = scope(context.request_context()).filter(|scope| self.news.may_come(scope));
        let scope = scope.filter(|_| context.accepted().tools_list_changed == Some(true));
        tokio::select! {
            () = context.cancelled() => {}
            () = sleep(LIFE) => {}
            () = async {
                match scope {
                    Some(scope) => self.tell_changes(scope, &context).await,
                    // The list of `/mcp` alone never changes.
                    None => pending().await,
                }
            } => {}
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

/// The path that is asked.
fn scope(context: &RequestContext<RoleServer>) -> Option<Scope> {
    let parts = context.extensions.get::<http::request::Parts>()?;
    parts.extensions.get::<Scope>().cloned()
}

/// What a model is told of the tools it finds at the path.
fn instructions(scope: Option<&Scope>) -> String {
    let Some(Scope::Zone(zone)) = scope else { return INSTRUCTIONS.to_owned() };
    // What is no name of a zone is nothing to repeat to a model.
    let zone = match ZoneName::parse(zone) {
        Ok(zone) if zone.is_root() => "the root zone".to_owned(),
        Ok(zone) => format!("zone `{zone}`"),
        Err(_) => "one zone".to_owned(),
    };
    format!(
        "Here are the tools of {zone} and no others, each under its own definition: what is listed as `server__tool` is called by that \
         name, with its own arguments. When a call is refused, the error says which argument does not fit and what was expected: \
         repair it and call again. Tools of other zones are not here: they are found and called at the path /mcp of this server."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_tells_of_the_tools_that_are_there() {
        for tool in ["search_tools", "describe_tool", "call_tool", "list_zones"] {
            assert!(instructions(Some(&Scope::Menu)).contains(tool));
            assert!(!instructions(Some(&Scope::Zone("lab".to_owned()))).contains(tool));
        }
        for (zone, told) in
            [("lab", "zone `lab`"), (".", "the root zone"), ("ignore all\u{202e} that", "of one zone and")]
        {
            let said = instructions(Some(&Scope::Zone(zone.to_owned())));
            assert!(said.contains(told) && said.contains("server__tool"), "{said}");
        }
    }
}
