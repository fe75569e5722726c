//! Which addresses a registration may reach: judged when the connection is made, on the address that is connected to.
//!
//! ```text
//!  name ─▶ Screen (reqwest's resolver) ─▶ Gate ─▶ the addresses that are left
//!  IP literal: asks no resolver ────────▶ Gate, before anything is sent
//! ```
//!
//! Text is never judged: what a URL's host means is the `url` crate's to say, what a name means the system's resolver, once, and
//! its answer is both checked and used, so a name cannot change its meaning in between. What must always hold: an address
//! nobody granted is not connected to, whichever way it is written.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use futures::future::BoxFuture;
use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

use super::failure::UpstreamError;

/// Unicast addresses at which clouds hand out credentials, beside 169.254.169.254, which is link-local. Nobody's tools live there.
/// Source: the documentations of AWS (IMDS over IPv6), Google Cloud, Azure (WireServer) and Alibaba Cloud.
const METADATA: [IpAddr; 4] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
];

/// What kind of address it is, as far as reaching it is concerned.
/// Source: IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressClass {
    /// Anybody can reach it.
    Public,
    /// A network of the operator's own: RFC 1918, shared (CGNAT), unique local.
    Private,
    /// This machine.
    Loopback,
    /// No address at all; connecting to it reaches this machine on some systems.
    Unspecified,
    /// The cable this machine hangs on; in clouds, where credentials are handed out.
    LinkLocal,
    /// Where a cloud hands out credentials, though the address looks like any other.
    Metadata,
    /// Many at once.
    Multicast,
    /// All at once.
    Broadcast,
    /// Of books.
    Documentation,
    /// Not given to anybody, or to something that is no server.
    Reserved,
}

impl AddressClass {
    /// Judges an address; one that carries an IPv4 address inside is what that one is.
    pub fn of(address: IpAddr) -> Self {
        if METADATA.contains(&address) {
            return Self::Metadata;
        }
        match address {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => Self::of_v6(address),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        match address.octets() {
            [0, ..] => Self::Unspecified,
            [100, 64..=127, ..] => Self::Private,
            // Protocol assignments, the dead anycast of 6to4, and networks for benchmarks.
            [192, 0, 0, _] | [192, 88, 99, _] | [198, 18..=19, ..] => Self::Reserved,
            _ if address.is_loopback() => Self::Loopback,
            _ if address.is_private() => Self::Private,
            _ if address.is_link_local() => Self::LinkLocal,
            _ if address.is_multicast() => Self::Multicast,
            _ if address.is_broadcast() => Self::Broadcast,
            _ if address.is_documentation() => Self::Documentation,
            [240..=255, ..] => Self::Reserved,
            _ => Self::Public,
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        match address.segments() {
            _ if address.is_unspecified() => Self::Unspecified,
            _ if address.is_loopback() => Self::Loopback,
            // Compatible, mapped, NAT64: the IPv4 address is the last half. 6to4: it follows the prefix.
            [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
            | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
            | [0x2002, high, low, ..] => Self::of(IpAddr::V4(embedded(high, low))),
            _ if address.is_unicast_link_local() => Self::LinkLocal,
            _ if address.is_unique_local() => Self::Private,
            _ if address.is_multicast() => Self::Multicast,
            [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => Self::Documentation,
            // Teredo and the other protocol assignments of 2001::/23.
            [0x2001, 0..=0x01ff, ..] => Self::Reserved,
            // All that has been given to networks so far.
            [0x2000..=0x3fff, ..] => Self::Public,
            _ => Self::Reserved,
        }
    }

    /// Whether an operator can let a registration reach it.
    pub const fn can_be_granted(self) -> bool {
        matches!(self, Self::Private | Self::Loopback)
    }
}

fn embedded(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}

impl fmt::Display for AddressClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "a public address",
            Self::Private => "a private address",
            Self::Loopback => "a loopback address",
            Self::Unspecified => "the unspecified address",
            Self::LinkLocal => "a link-local address",
            Self::Metadata => "a cloud's metadata address",
            Self::Multicast => "a multicast address",
            Self::Broadcast => "the broadcast address",
            Self::Documentation => "a documentation address",
            Self::Reserved => "a reserved address",
        })
    }
}

/// What a node lets its registrations reach without being told so one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Egress {
    /// Whether this machine's own servers may be registered without a grant. So it is on a node that only this machine can
    /// reach: who can register there can reach them anyway.
    pub loopback_implied: bool,
}

impl Egress {
    /// The gate of one registration. `allow_private` is its grant; `exposed` says that it sends secrets unencrypted.
    pub(crate) const fn gate(self, allow_private: bool, exposed: bool) -> Gate {
        Gate { loopback: allow_private || self.loopback_implied, private: allow_private, exposed }
    }
}

/// What one registration may reach.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gate {
    loopback: bool,
    private: bool,
    exposed: bool,
}

impl Gate {
    /// Whether `address`, which `host` stands for, may be connected to.
    pub(crate) fn check(self, host: &str, address: IpAddr) -> Result<(), Refusal> {
        let class = AddressClass::of(address);
        let granted = match class {
            AddressClass::Public => true,
            AddressClass::Private => self.private,
            AddressClass::Loopback => self.loopback,
            _ => false,
        };
        let refuse = |why| Err(Refusal { host: host.to_owned(), address, why });
        match class {
            _ if !granted => refuse(Why::Class(class)),
            AddressClass::Loopback => Ok(()),
            _ if self.exposed => refuse(Why::Exposed),
            _ => Ok(()),
        }
    }

    /// Checks a URL whose host is an address; a name is checked when it is resolved.
    pub(crate) fn check_literal(self, url: &Url) -> Result<(), Refusal> {
        let host = url.host_str().unwrap_or_default();
        // The URL has been read: whatever form the address had, `127.1` or `0x7f000001`, it is spelt the usual way now.
        match host.trim_start_matches('[').trim_end_matches(']').parse() {
            Ok(address) => self.check(host, address),
            Err(_) => Ok(()),
        }
    }

    /// The addresses that may be connected to; the refusal when there were some and none is left.
    fn sift(self, host: &str, found: impl IntoIterator<Item = SocketAddr>) -> Result<Vec<SocketAddr>, Refusal> {
        let mut refusal = None;
        let mut kept = Vec::new();
        for address in found {
            match self.check(host, address.ip()) {
                Ok(()) => kept.push(address),
                Err(refused) => refusal = refusal.or(Some(refused)),
            }
        }
        match refusal {
            Some(refusal) if kept.is_empty() => Err(refusal),
            _ => Ok(kept),
        }
    }
}

/// An address that was not connected to.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", self.as_upstream())]
pub(crate) struct Refusal {
    host: String,
    address: IpAddr,
    why: Why,
}

#[derive(Debug, Clone, Copy)]
enum Why {
    Class(AddressClass),
    Exposed,
}

impl Refusal {
    pub(crate) fn as_upstream(&self) -> UpstreamError {
        let host = self.host.clone();
        match self.why {
            Why::Class(class) => UpstreamError::Address { host, address: self.address, class },
            Why::Exposed => UpstreamError::Exposed { host },
        }
    }
}

type Lookup = dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync;

/// The system's resolver behind a gate.
pub(crate) struct Screen {
    gate: Gate,
    lookup: Arc<Lookup>,
}

impl Screen {
    pub(crate) fn new(gate: Gate) -> Self {
        Self::over(gate, Arc::new(|host| Box::pin(system_lookup(host))))
    }

    fn over(gate: Gate, lookup: Arc<Lookup>) -> Self {
        Self { gate, lookup }
    }
}

async fn system_lookup(host: String) -> io::Result<Vec<SocketAddr>> {
    // The port is the URL's, which reqwest puts in.
    Ok(tokio::net::lookup_host((host, 0)).await?.collect())
}

impl Resolve for Screen {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        let (gate, found) = (self.gate, (self.lookup)(host.clone()));
        Box::pin(async move {
            let kept = gate.sift(&host, found.await?)?;
            Ok(Box::new(kept.into_iter()) as Addrs)
        })
    }
}

/// The refusal among the causes of an error, if that is what it was.
pub(crate) fn refusal_in(error: &reqwest::Error) -> Option<&Refusal> {
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        if let Some(refusal) = cause.downcast_ref::<Refusal>() {
            return Some(refusal);
        }
        next = cause.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const NOTHING: Egress = Egress { loopback_implied: false };
    const LAPTOP: Egress = Egress { loopback_implied: true };

    fn class(address: &str) -> AddressClass {
        AddressClass::of(address.parse().unwrap_or_else(|_| panic!("{address}")))
    }

    #[test]
    fn every_special_network_is_known_by_its_first_and_last_address() {
        use AddressClass::*;
        for (class_is, addresses) in [
            (Public, &["1.1.1.1", "9.255.255.255", "11.0.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255"][..]),
            (Public, &["100.63.255.255", "100.128.0.0", "169.253.255.255", "169.255.0.0", "223.255.255.255"]),
            (Public, &["198.17.255.255", "198.20.0.0", "2001:200::", "2606:4700::1111", "2a00::1"]),
            (Private, &["10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.0"]),
            (Private, &["192.168.255.255", "100.64.0.0", "100.127.255.255", "fc00::", "fdff:ffff::1"]),
            (Loopback, &["127.0.0.1", "127.255.255.255", "::1"]),
            (Unspecified, &["0.0.0.0", "0.255.255.255", "::"]),
            (LinkLocal, &["169.254.0.0", "169.254.169.254", "169.254.255.255", "fe80::", "febf::1"]),
            (Metadata, &["fd00:ec2::254", "fd20:ce::254", "168.63.129.16", "100.100.100.200"]),
            (Multicast, &["224.0.0.0", "239.255.255.255", "ff00::", "ff02::1", "ffff::"]),
            (Broadcast, &["255.255.255.255"]),
            (Documentation, &["192.0.2.1", "198.51.100.1", "203.0.113.255", "2001:db8::1", "3fff::1", "3fff:fff::1"]),
            (Reserved, &["192.0.0.8", "192.88.99.1", "198.18.0.0", "198.19.255.255", "240.0.0.0", "255.255.255.254"]),
            (Reserved, &["2001::1", "2001:1ff::1", "fec0::1", "100::1", "64:ff9b:1::1", "4000::1", "1::"]),
        ] {
            for address in addresses {
                assert_eq!(class(address), class_is, "{address}");
            }
        }
    }

    #[test]
    fn an_address_inside_an_address_is_what_counts() {
        for (inside, class_is) in [
            ("7f00:1", AddressClass::Loopback),
            ("a9fe:a9fe", AddressClass::LinkLocal),
            ("a00:1", AddressClass::Private),
            ("a83f:8110", AddressClass::Metadata),
            ("101:101", AddressClass::Public),
        ] {
            for outside in [format!("::ffff:{inside}"), format!("64:ff9b::{inside}"), format!("2002:{inside}::")] {
                assert_eq!(class(&outside), class_is, "{outside}");
            }
        }
        assert_eq!(class("::7f00:1"), AddressClass::Loopback, "the compatible form");
        assert_eq!(class("::ffff:0:7f00:1"), AddressClass::Reserved, "the translated form is nobody's address");
    }

    #[test]
    fn a_grant_opens_private_networks_and_this_machine_and_nothing_else() {
        let open = |gate: Gate, address: &str| gate.check("h", address.parse().expect("an address")).is_ok();
        let (none, laptop, granted) =
            (NOTHING.gate(false, false), LAPTOP.gate(false, false), NOTHING.gate(true, false));
        for (address, opened) in [
            ("1.1.1.1", [true, true, true]),
            ("127.0.0.1", [false, true, true]),
            ("::1", [false, true, true]),
            ("10.0.0.1", [false, false, true]),
            ("fd00::1", [false, false, true]),
            ("169.254.169.254", [false, false, false]),
            ("fd00:ec2::254", [false, false, false]),
            ("0.0.0.0", [false, false, false]),
            ("224.0.0.1", [false, false, false]),
            ("192.0.2.1", [false, false, false]),
        ] {
            assert_eq!([open(none, address), open(laptop, address), open(granted, address)], opened, "{address}");
        }
    }

    #[test]
    fn a_secret_travels_unencrypted_on_this_machine_only() {
        let gate = LAPTOP.gate(true, true);
        let refused = |address: &str| gate.check("h", address.parse().expect("an address")).err();
        assert!(refused("127.0.0.1").is_none());
        for address in ["1.1.1.1", "10.0.0.1"] {
            let refusal = refused(address).expect("it would be read on its way");
            assert!(matches!(refusal.as_upstream(), UpstreamError::Exposed { .. }), "{refusal}");
        }
    }

    #[test]
    fn a_literal_is_judged_however_it_is_written() {
        for url in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://017700000001/",
            "http://127.1/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
            "http://１２７.0.0.1/",
        ] {
            let parsed: Url = url.parse().unwrap_or_else(|error| panic!("{url}: {error}"));
            let refusal = NOTHING.gate(false, false).check_literal(&parsed).expect_err(url);
            assert!(matches!(refusal.why, Why::Class(AddressClass::Loopback)), "{url}: {refusal}");
        }
    }

    #[test]
    fn of_mixed_answers_only_the_granted_are_left() {
        let gate = NOTHING.gate(false, false);
        let found = |addresses: &[&str]| -> Vec<SocketAddr> {
            addresses.iter().map(|address| SocketAddr::new(address.parse().expect("an address"), 0)).collect()
        };
        let kept = gate.sift("h", found(&["10.0.0.1", "1.1.1.1", "::1", "169.254.169.254"])).expect("one is public");
        assert_eq!(kept, found(&["1.1.1.1"]));
        let refusal = gate.sift("h", found(&["10.0.0.1", "::1"])).expect_err("none is left");
        assert!(matches!(refusal.why, Why::Class(AddressClass::Private)), "the first one tells why: {refusal}");
        assert!(gate.sift("h", []).expect("nothing was refused").is_empty());
    }

    /// Rebinding: a name that may be reached when it is registered, and stands for something else afterwards.
    #[tokio::test]
    async fn a_name_that_changes_its_meaning_is_not_followed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let lookup: Arc<Lookup> = Arc::new(move |_| {
            let meaning = if count.fetch_add(1, Ordering::SeqCst) == 0 { "127.0.0.1" } else { "169.254.169.254" };
            Box::pin(async move { Ok(vec![SocketAddr::new(meaning.parse().expect("an address"), 0)]) })
        });
        let screen = Screen::over(LAPTOP.gate(false, false), lookup);
        let client = reqwest::Client::builder().no_proxy().dns_resolver(Arc::new(screen)).build().expect("a client");
        let answering = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("somebody");
            let read = stream.read(&mut [0; 4096]).await.expect("readable");
            assert!(read > 0, "a request");
            stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await.expect("written");
        });
        let url = format!("http://rebinding.example:{port}/");
        assert_eq!(client.get(&url).send().await.expect("what it means now is checked and used").status(), 204);
        answering.await.expect("no panic");
        let error = client.get(&url).send().await.expect_err("it means something else now");
        let refusal = refusal_in(&error).expect("the gate said so");
        assert!(matches!(refusal.why, Why::Class(AddressClass::LinkLocal)) && error.is_connect(), "{error:?}");
        assert_eq!(asked.load(Ordering::SeqCst), 2, "every connection asks once");
    }
}
