//! The one client that speaks to an upstream directly and through a node alike: rmcp's, with many calls under way or one.
//!
//! Always true: every answer counted says what was asked to be said.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rmcp::model::{
    CallToolRequestParams, ClientCapabilities, ClientConfig, Implementation, JsonObject, ProtocolVersion,
};
use rmcp::service::{ClientLifecycleMode, ClientServiceExt as _, RunningService};
use rmcp::transport::{StreamableHttpClientTransport, TokioChildProcess};
use rmcp::{Peer, RoleClient};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::Result;
use crate::load::Done;
use crate::process::Process;
use crate::serving::{CONNECTIONS, CPU, P50, P50_ALONE, P99, P99_ALONE, RATE};
use crate::sheet::Sample;

/// Part of a round's time in which one call is under way.
const ALONE: f64 = 0.5;
const SAID: &str = "hello";

/// Where it calls.
pub(crate) enum To {
    Http(String),
    /// A child of its own.
    Pipes(std::process::Command),
}

/// A client that is connected.
pub(crate) struct RmcpClient {
    runtime: Runtime,
    running: RunningService<RoleClient, ClientConfig>,
    tool: String,
    /// The processor time of whom counts, if of anybody.
    server: Option<u32>,
}

impl RmcpClient {
    /// One that calls this tool, an echo, over revision 2026-07-28.
    ///
    /// # Errors
    /// It cannot be connected.
    pub(crate) fn connect(to: To, tool: &str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mode = ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] };
        let client = ClientConfig::new(ClientCapabilities::default(), Implementation::new("peers", "1"));
        let (running, server) = runtime.block_on(async {
            match to {
                To::Http(url) => {
                    let transport = StreamableHttpClientTransport::from_uri(url);
                    Result::Ok((client.serve_with_lifecycle(transport, mode).await?, None))
                }
                To::Pipes(command) => {
                    let command = tokio::process::Command::from(command);
                    let (child, _) = TokioChildProcess::builder(command).stderr(Stdio::null()).spawn()?;
                    let id = child.id();
                    Ok((client.serve_with_lifecycle(child, mode).await?, id))
                }
            }
        })?;
        Ok(Self { runtime, running, tool: tool.to_owned(), server })
    }

    /// Calls for `slice` with sixteen under way, and for a part of it with one.
    ///
    /// # Errors
    /// A call fails, or is answered wrongly.
    pub(crate) fn visit(&self, processes: &[&Process], slice: Duration) -> Result<Sample> {
        let used = || -> Result<Duration> {
            let own = match self.server {
                Some(id) => crate::process::threads_of(&id.to_string())?.values().sum(),
                None => 0,
            };
            let others: Duration =
                processes.iter().map(|process| process.processor_time()).sum::<std::io::Result<_>>()?;
            Ok(others + Duration::from_nanos(own))
        };
        let before = used()?;
        let crowd = self.run(CONNECTIONS, slice)?;
        let used = used()? - before;
        let alone = self.run(1, slice.mul_f64(ALONE))?;
        Ok(Sample::from([
            (RATE, crowd.per_second()),
            (CPU, used.as_secs_f64() * 1e6 / crowd.answers as f64),
            (P50, crowd.within_us(0.5)),
            (P99, crowd.within_us(0.99)),
            (P50_ALONE, alone.within_us(0.5)),
            (P99_ALONE, alone.within_us(0.99)),
        ]))
    }

    fn run(&self, callers: usize, time: Duration) -> Result<Done> {
        self.runtime.block_on(async {
            let began = Instant::now();
            let mut calling = JoinSet::new();
            let tool: Arc<str> = self.tool.as_str().into();
            for _ in 0..callers {
                let (peer, tool) = (self.running.peer().clone(), Arc::clone(&tool));
                calling.spawn(async move {
                    let mut times = Vec::new();
                    while began.elapsed() < time {
                        let asked = Instant::now();
                        call(&peer, &tool).await?;
                        times.push(asked.elapsed());
                    }
                    Result::Ok(times)
                });
            }
            let mut times = Vec::new();
            while let Some(own) = calling.join_next().await {
                times.extend(own??);
            }
            Ok(Done::of(began.elapsed(), times))
        })
    }
}

async fn call(peer: &Peer<RoleClient>, tool: &str) -> Result<()> {
    let arguments: JsonObject = [("text".to_owned(), SAID.into())].into_iter().collect();
    let answer = peer.call_tool(CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments)).await?;
    let text = answer.content.first().and_then(|content| content.as_text()).map(|text| text.text.as_str());
    if text == Some(SAID) { Ok(()) } else { Err(format!("a wrong answer: {answer:?}").into()) }
}
