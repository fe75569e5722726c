//! The client port's own part of a running node: who may come in, as it was configured and as it is configured anew.

use std::net::SocketAddr;
use std::sync::Arc;

use aop_proto::call::Policies;
use aop_proto::error::{Kind, Problem};
use aop_proto::node;

use crate::auth::{Auth, Terms};
use crate::config::{Admission, ConfigError, NodeConfig};
use crate::entropy::AdminToken;
use crate::http::{Entrance, PortSettings, TlsFiles};
use crate::store::Store;
use crate::telemetry::Metrics;

/// The door of one node. Cheap to clone.
#[derive(Clone)]
pub(super) struct Door {
    auth: Auth,
    entrance: Arc<Entrance>,
    listen: SocketAddr,
    insecure_no_auth: bool,
    /// Who may become a replica or a child without an invite.
    joining: node::Admission,
    tls: Option<TlsFiles>,
}

impl Door {
    /// The door of a node that listens there.
    pub(super) fn open(
        admission: Admission,
        joining: node::Admission,
        listen: SocketAddr,
        admin_token: &AdminToken,
        store: &Store,
        metrics: &Metrics,
    ) -> Result<Self, Problem> {
        let Admission { terms, port, insecure_no_auth } = admission;
        let auth = Auth::open(admin_token.reveal(), known_as(terms, &port, listen), store.clone())?;
        let entrance = Entrance::new(&port, auth.clone(), metrics.clone());
        let entrance =
            entrance.map_err(|error| Problem::new(Kind::Config, error.to_string()).hint("aop-node check"))?;
        metrics.set_insecure_no_auth(insecure_no_auth);
        Ok(Self { auth, entrance: Arc::new(entrance), listen, insecure_no_auth, joining, tls: port.tls })
    }

    pub(super) fn auth(&self) -> &Auth {
        &self.auth
    }

    pub(super) fn entrance(&self) -> Arc<Entrance> {
        Arc::clone(&self.entrance)
    }

    /// Certificate and key, where the port has TLS.
    pub(super) fn tls(&self) -> Option<&TlsFiles> {
        self.tls.as_ref()
    }

    pub(super) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Reads the configuration again and takes over what can change while the port is open; on an error everything stays as it was.
    /// Returns how tools are called from then on, which is somebody else's to take over.
    pub(super) fn reload(&self, again: &impl Fn() -> Result<NodeConfig, ConfigError>) -> Option<Policies> {
        let config = match again() {
            Ok(config) => config,
            Err(error) => {
                tracing::error!(%error, "SIGHUP: the new configuration cannot be used; the former stays");
                return None;
            }
        };
        let joining = config.joining();
        let Admission { terms, port, insecure_no_auth } = config.admission;
        let is_of_start = port.tls.is_some() != self.tls.is_some() || insecure_no_auth != self.insecure_no_auth;
        if is_of_start || joining != self.joining {
            tracing::error!(
                "SIGHUP: TLS, `[auth] required`, and their absence, are of the start; restart the node. The former configuration stays"
            );
            return None;
        }
        self.auth.replace(known_as(terms, &port, self.listen));
        self.entrance.replace(&port);
        tracing::info!(
            "SIGHUP: rules, tokens, issuers, names, rates, certificate and how tools are called are those of the new configuration"
        );
        Some(config.policies)
    }

    /// Says so loudly where nothing keeps anybody out.
    pub(super) fn warn_if_open(&self) {
        if !self.insecure_no_auth {
            return;
        }
        for line in [
            "--insecure-no-auth: NOTHING PROTECTS THIS NODE",
            "whoever reaches it finds every tool and calls every tool, and nobody is asked who he is",
            "what is sent, tokens included, can be read and changed on its way unless there is TLS",
            "for anything but a closed test network: --tls-cert cert.pem --tls-key key.pem instead",
        ] {
            tracing::warn!(listen = %self.listen, "{line}");
        }
    }
}

/// The URI authorization servers know this node by: what was configured, or its first name, or its address.
fn known_as(terms: Terms, port: &PortSettings, listen: SocketAddr) -> Terms {
    if !terms.resource.is_empty() {
        return terms;
    }
    let scheme = if port.tls.is_some() { "https" } else { "http" };
    let resource = match port.hosts.first() {
        Some(host) if host.contains(':') => format!("{scheme}://[{host}]:{}", listen.port()),
        Some(host) => format!("{scheme}://{host}:{}", listen.port()),
        None => format!("{scheme}://{listen}"),
    };
    Terms { resource, ..terms }
}
