//! What stands before the routes: names, rates, who calls, TLS. One for a port; what an operator changed is taken over as a whole.
//!
//! ```text
//!  connection ─▶ place of its address ─▶ TLS ─▶ request ─▶ Host, Origin ─▶ no form ─▶ who is it? ─▶ rate ─▶ routes
//! ```
//!
//! What must always hold: a request is asked for its caller exactly once, here; routes find him among its extensions and decide.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use aop_proto::access::Principal;
use aop_proto::error::{Kind, Problem};
use arc_swap::ArcSwap;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};

use super::guard::{Asked, Named, Names, check_form};
use super::limits::{Rate, customer};
use super::places::{Entered, Full, Places};
use super::tls::{Tls, TlsError, TlsFiles};
use super::{limits, places, reply};
use crate::auth::{Auth, Standing};
use crate::telemetry::{Metrics, Refused};

/// What an operator says about the port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortSettings {
    /// Names of this node besides loopback and its addresses, lower case.
    pub hosts: Vec<String>,
    /// Pages of others that may use it, `scheme://host[:port]`.
    pub origins: Vec<String>,
    /// Requests a second of one principal; nothing for any number.
    pub rate: Option<NonZeroU32>,
    /// Requests a second of one address without good credentials; nothing for any number.
    pub stranger_rate: Option<NonZeroU32>,
    /// Connections open at once; see [`limits::CONNECTIONS`].
    pub connections: u64,
    /// The same of one address; nothing for any number.
    pub connections_per_address: Option<u64>,
    /// Connections a second that one address may begin; nothing for any number.
    pub connection_rate: Option<NonZeroU32>,
    /// Certificate and key.
    pub tls: Option<TlsFiles>,
}

impl Default for PortSettings {
    /// As on loopback.
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            origins: Vec::new(),
            rate: None,
            stranger_rate: None,
            connections: limits::CONNECTIONS.0,
            connections_per_address: None,
            connection_rate: None,
            tls: None,
        }
    }
}

/// The entrance of one port.
pub struct Entrance {
    auth: Auth,
    metrics: Metrics,
    live: ArcSwap<Live>,
    tls: Option<Tls>,
    places: Arc<Places>,
}

/// What is replaced when the configuration is read again.
struct Live {
    names: Names,
    principals: Gauge,
    strangers: Gauge,
    newcomers: Gauge,
    per_address: Option<u64>,
}

/// A rate, with the number it was made of.
#[derive(Clone)]
struct Gauge {
    per_second: Option<NonZeroU32>,
    rate: Option<Arc<Rate>>,
}

/// Where a request came in.
pub(super) struct Place {
    /// The address of this machine.
    pub(super) local: IpAddr,
    /// The other side's.
    pub(super) remote: IpAddr,
    /// The connection's among all.
    pub(super) held: places::Place,
}

/// Who calls, for the routes: or why nobody knows.
pub(super) type Arrival = Result<Arc<Standing>, Problem>;

impl Entrance {
    /// The entrance of a port with these settings.
    ///
    /// # Errors
    /// Certificate or key cannot be used.
    pub fn new(settings: &PortSettings, auth: Auth, metrics: Metrics) -> Result<Self, TlsError> {
        let tls = settings.tls.clone().map(Tls::open).transpose()?;
        let places = Places::new(settings.connections);
        let live = ArcSwap::from_pointee(Live::of(settings, None));
        Ok(Self { auth, metrics, live, tls, places })
    }

    /// Takes over what can change while the port is open: names, rates, the certificate. Whether there is TLS at all, and the number
    /// of all connections, are of the start.
    pub fn replace(&self, settings: &PortSettings) {
        let before = self.live.load_full();
        self.live.store(Arc::new(Live::of(settings, Some(&before))));
        if let (Some(tls), Some(files)) = (&self.tls, settings.tls.clone()) {
            tls.replace(files);
        }
    }

    pub(super) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    pub(super) fn refused(&self, why: Refused) {
        self.metrics.refused(why);
    }

    /// A place for a connection of that address, now or when somebody leaves; nothing where it has too many, or they come too fast.
    pub(super) async fn enter(&self, remote: IpAddr) -> Option<places::Place> {
        if self.live.load().newcomers.take(&customer(remote)).is_err() {
            self.refused(Refused::Connections);
            return None;
        }
        loop {
            match self.places.enter(remote, self.live.load().per_address) {
                Ok(Entered { place, yielded }) => {
                    if yielded {
                        self.refused(Refused::Crowded);
                    }
                    return Some(place);
                }
                Err(Full::Wait) => self.places.left().await,
                Err(Full::Refused) => {
                    self.refused(Refused::Connections);
                    return None;
                }
            }
        }
    }

    /// Who it is that asks, for the request's extensions if it goes on to the routes; or the answer to it.
    pub(super) async fn admit<B>(&self, request: &Request<B>, place: &Place) -> Result<Arrival, Response> {
        let live = self.live.load();
        let (uri, headers) = (request.uri(), request.headers());
        let named = Named { uri, headers, local: place.local, secure: self.tls.is_some() };
        live.names.check(&named).map_err(|(why, problem)| self.turn_away(why, &problem))?;
        check_form(request.method(), headers)
            .map_err(|problem| reply::problem_as(&problem, StatusCode::UNSUPPORTED_MEDIA_TYPE))?;
        let arrival = self.identify(headers).await;
        live.count(&arrival, place.remote).map_err(|wait| self.slow_down(wait))?;
        if arrival.as_ref().is_ok_and(|standing| standing.caller().principal != Principal::Anonymous)
            || self.auth.is_open()
        {
            place.held.prove();
        }
        Ok(arrival)
    }

    /// Whose the credentials are; nobody's where there are none.
    async fn identify(&self, headers: &HeaderMap) -> Arrival {
        let mut presented = headers.get_all(header::AUTHORIZATION).iter();
        match (presented.next(), presented.next()) {
            (None, _) => self.auth.identify(None).await,
            (Some(value), None) => match value.to_str().ok().and_then(bearer) {
                Some(token) => self.auth.identify(Some(token)).await,
                None => Err(unreadable("only `Authorization: Bearer TOKEN` is understood")),
            },
            (Some(_), Some(_)) => Err(unreadable("there is more than one Authorization header")),
        }
    }

    fn turn_away(&self, why: Refused, problem: &Problem) -> Response {
        self.refused(why);
        reply::problem(problem)
    }

    fn slow_down(&self, wait: Duration) -> Response {
        let seconds = wait.as_secs_f64().ceil().max(1.0) as u64;
        let problem = Problem::new(Kind::RateLimited, format!("too many requests; the next one in {seconds} s"));
        let mut response = self.turn_away(Refused::Rate, &problem.hint("aop status"));
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        response
    }

    /// Where clients that were refused find out whose tokens would do. Only of use to those who were asked for one.
    pub(super) fn challenge(&self, response: &mut Response, asked: &Asked) {
        let status = response.status();
        match status {
            StatusCode::UNAUTHORIZED => self.refused(Refused::Auth),
            StatusCode::FORBIDDEN if response.headers().contains_key(header::WWW_AUTHENTICATE) => {
                self.refused(Refused::Forbidden);
            }
            StatusCode::REQUEST_TIMEOUT => self.refused(Refused::Timeout),
            _ => {}
        }
        let Some(challenge) = response.headers().get(header::WWW_AUTHENTICATE).and_then(|value| value.to_str().ok())
        else {
            return;
        };
        let speaks_oauth = !self.auth.is_open() || !self.auth.issuers().is_empty();
        let Some(asked) = asked.name().filter(|_| speaks_oauth) else { return };
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let path = super::metadata::PATH;
        let full = format!("{challenge}, resource_metadata=\"{scheme}://{asked}{path}\"");
        if let Ok(full) = HeaderValue::try_from(full) {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, full);
        }
    }
}

impl Live {
    fn of(settings: &PortSettings, before: Option<&Self>) -> Self {
        Self {
            names: Names {
                hosts: settings.hosts.iter().cloned().collect(),
                origins: settings.origins.iter().map(|origin| origin.to_ascii_lowercase()).collect(),
            },
            principals: Gauge::of(settings.rate, before.map(|live| &live.principals)),
            strangers: Gauge::of(settings.stranger_rate, before.map(|live| &live.strangers)),
            newcomers: Gauge::of(settings.connection_rate, before.map(|live| &live.newcomers)),
            per_address: settings.connections_per_address,
        }
    }

    /// Counts a request for whom it is of: the principal, or the address of whoever is none.
    fn count(&self, arrival: &Arrival, remote: IpAddr) -> Result<(), Duration> {
        match arrival {
            Ok(standing) if standing.caller().principal != Principal::Anonymous => {
                self.principals.take(&standing.caller().principal)
            }
            _ => self.strangers.take(&customer(remote)),
        }
    }
}

impl Gauge {
    /// What was counted goes on where the number has not changed.
    fn of(per_second: Option<NonZeroU32>, before: Option<&Self>) -> Self {
        match before.filter(|before| before.per_second == per_second) {
            Some(before) => before.clone(),
            None => Self { per_second, rate: per_second.map(|number| Arc::new(Rate::new(number))) },
        }
    }

    fn take(&self, who: &impl Hash) -> Result<(), Duration> {
        self.rate.as_ref().map_or(Ok(()), |rate| rate.take(who))
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn unreadable(message: &str) -> Problem {
    Problem::new(Kind::AuthRequired, message)
        .hint("aop token --help")
        .detail(serde_json::json!({"error": "invalid_request"}))
}

#[cfg(test)]
mod tests {
    use aop_proto::access::{Caller, Policy};

    use super::*;

    #[test]
    fn a_bearer_token_is_read_whatever_the_case_of_its_scheme() {
        assert_eq!(bearer("Bearer s3cret"), Some("s3cret"));
        assert_eq!(bearer("bearer  s3cret "), Some("s3cret"));
        assert!(bearer("Basic s3cret").is_none() && bearer("s3cret").is_none());
    }

    #[test]
    fn what_was_counted_survives_a_reload_that_leaves_the_number() {
        let settings = |rate| PortSettings { stranger_rate: NonZeroU32::new(rate), ..PortSettings::default() };
        let standing = |caller| -> Arrival { Ok(Arc::new(Standing::of(caller, &Policy::open(), 0))) };
        let stranger = standing(Caller::anonymous());
        let from = IpAddr::from([192, 0, 2, 7]);
        let first = Live::of(&settings(1), None);
        assert!(first.count(&stranger, from).is_ok() && first.count(&stranger, from).is_err());
        assert!(first.count(&standing(Caller::operator()), from).is_ok(), "who is known is counted by himself");
        let same = Live::of(&settings(1), Some(&first));
        assert!(same.count(&stranger, from).is_err());
        let more = Live::of(&settings(2), Some(&first));
        assert!(more.count(&stranger, from).is_ok());
        let none = Live::of(&PortSettings::default(), Some(&more));
        assert!((0..100).all(|_| none.count(&stranger, from).is_ok()));
    }
}
