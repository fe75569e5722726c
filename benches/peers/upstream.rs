//! Upstreams that do nothing: an MCP server of the library's own making over HTTP and over pipes, and plain HTTP agents.
//!
//! They are floors like others (see [`crate::floor`]): this program started again. `echo` says back what it is told, `wait` answers after
//! so many milliseconds, and an agent of any name says `ok` to its task.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::{RequestContext, ServiceExt as _};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Value, json};

use crate::Result;

/// The MCP server over HTTP, at `/mcp`.
pub(crate) const MCP_HTTP: &str = "mcp-http";
/// The same over standard input and output.
pub(crate) const MCP_PIPES: &str = "mcp-pipes";
/// Agents: `GET /NAME/` describes one, `POST /NAME/invoke` executes.
pub(crate) const AGENTS: &str = "agents";

#[derive(Clone)]
struct Idle {
    tools: Arc<Vec<Tool>>,
}

impl Idle {
    fn new() -> Self {
        let tool = |name: &'static str, about: &'static str, properties: Value| {
            let schema = json!({"type": "object", "properties": properties});
            Tool::new(name, about, schema.as_object().cloned().unwrap_or_default())
        };
        let tools = vec![
            tool("echo", "Says back what it is told", json!({"text": {"type": "string"}})),
            tool("wait", "Answers after a while", json!({"ms": {"type": "integer"}})),
        ];
        Self { tools: Arc::new(tools) }
    }
}

impl ServerHandler for Idle {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("idle", "1"))
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> std::result::Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.tools.to_vec()))
    }

    async fn call_tool(
        &self,
        asked: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> std::result::Result<CallToolResponse, ErrorData> {
        let arguments = asked.arguments.unwrap_or_default();
        let said = match asked.name.as_ref() {
            "echo" => arguments.get("text").and_then(Value::as_str).unwrap_or_default().to_owned(),
            "wait" => {
                let ms = arguments.get("ms").and_then(Value::as_u64).unwrap_or_default();
                tokio::time::sleep(Duration::from_millis(ms)).await;
                format!("waited {ms} ms")
            }
            other => return Err(ErrorData::invalid_params(format!("no tool {other}"), None)),
        };
        Ok(CallToolResult::success(vec![ContentBlock::text(said)]).into())
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.tools.iter().find(|tool| tool.name == name).cloned()
    }
}

/// Stateless, with JSON answers.
pub(crate) fn mcp() -> Router {
    let idle = Idle::new();
    let config = StreamableHttpServerConfig::default().with_legacy_session_mode(false).with_json_response(true);
    let service = StreamableHttpService::new(move || Ok(idle.clone()), LocalSessionManager::default().into(), config);
    Router::new().nest_service("/mcp", service)
}

/// Serves until the input closes.
///
/// # Errors
/// The library's.
pub(crate) fn over_pipes() -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let running = Idle::new().serve(rmcp::transport::stdio()).await?;
        running.waiting().await?;
        Ok(())
    })
}

/// As many agents as anybody asks for.
pub(crate) fn agents() -> Router {
    Router::new()
        .route("/{agent}", get(described))
        .route("/{agent}/", get(described))
        .route("/{agent}/invoke", post(invoked))
}

async fn described(Path(agent): Path<String>) -> Response {
    Json(json!({"agent_id": agent, "description": format!("{agent} does nothing"), "capabilities": ["nothing"]}))
        .into_response()
}

#[derive(serde::Deserialize)]
struct Task {
    goal: String,
}

async fn invoked(Json(task): Json<Task>) -> Response {
    Json(json!({"result": format!("ok:{}", task.goal)})).into_response()
}
