//! `aop refresh`: a server's tools listed again now, without waiting for it to say that they changed.

use std::time::Duration;

use clap::Args;

use super::client::Request;
use super::output::Exit;
use super::{Context, register};

/// A child that must be started again first takes its time.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(60);

const EXAMPLES: &str = "\
Examples:
  aop refresh everything
  aop refresh everything -o name";

/// List a server's tools again
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Refresh {
    /// The server's name
    server: String,
}

impl Refresh {
    /// Asks the node to ask the server.
    pub(crate) async fn run(self, context: &mut Context) -> anyhow::Result<Exit> {
        let request = Request::post(&["servers", &self.server, "refresh"], "{}").timeout(REFRESH_TIMEOUT);
        let reply = context.client.send(&request).await?;
        register::print(&reply, "refreshed", context)
    }
}
