//! The flags of `aop-node`, as typed; what they mean is decided together with the other sources in `config.rs`.

use std::path::PathBuf;

use clap::Args;

/// Every flag; none is required.
#[derive(Debug, Clone, Default, Args)]
pub struct NodeFlags {
    /// The zone this node serves, `.` for the root [default: local]
    #[arg(long, global = true, value_name = "ZONE")]
    pub zone: Option<String>,
    /// A gateway of the parent zone (repeat for more)
    #[arg(long, global = true, value_name = "HOST:PORT", value_delimiter = ',')]
    pub parent: Vec<String>,
    /// A node of the same zone to find the others through (repeat for more)
    #[arg(long, global = true, value_name = "HOST:PORT", value_delimiter = ',')]
    pub join: Vec<String>,
    /// An invite of the zone to join or of the parent, as `aop invite` printed it; it names the zone and whom to dial
    #[arg(long, global = true, value_name = "TOKEN")]
    pub invite: Option<String>,
    /// One address for UDP federation and TCP clients, port 0 picks one [default: 127.0.0.1:7400]
    #[arg(long, global = true, value_name = "ADDR:PORT")]
    pub listen: Option<String>,
    /// What other nodes are told to dial instead
    #[arg(long, global = true, value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// Certificate of the client port in PEM, with those that lead to its authority; wanted beyond loopback
    #[arg(long, global = true, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Its private key in PEM
    #[arg(long, global = true, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Let everybody in who reaches the node, unencrypted; never where strangers can
    #[arg(long, global = true)]
    pub insecure_no_auth: bool,
    /// Where everything lasting is kept [default: the XDG data directory, one folder per zone and port]
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The configuration file [default: ~/.config/aop/node.toml, /etc/aop/node.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A catalogue to list, one MCP tool a line (repeat for more)
    #[arg(long, global = true, value_name = "FILE.jsonl")]
    pub import: Vec<PathBuf>,
    /// A root and two demo zones in one process, in memory, on loopback
    #[arg(long, global = true)]
    pub dev: bool,
    /// auto, pretty or json [default: auto]
    #[arg(long, global = true, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// error, warn, info, debug, trace, or directives such as info,aop=debug [default: info]
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log_level: Option<String>,
}
