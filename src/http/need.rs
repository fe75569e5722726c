//! What each route asks of its caller: a route is made together with its need, so that none is without one.
//!
//! Asked before the handler sees the request, by the rules of [`aop_proto::access`]. What only the handler can know, the one tool or
//! server it is about, is asked for there, of the same rules.

use aop_proto::access::{self, Action, Caller, Principal};
use aop_proto::error::{Kind, Problem};
use aop_proto::name::ZoneName;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::MethodRouter;
use http::Request;

use super::entrance::Arrival;
use super::reply;
use crate::auth::{self, Auth};

/// What a caller has to be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing: whether the process is alive, and where to get a token.
    Open,
    /// To see the state of this node: to find every tool of its zone.
    See,
    /// To find tools, some at least, wherever they are.
    Find,
    /// To find tools or to call them, some at least: MCP, which does both at one path.
    Use,
    /// To call some, and to say who one is: what happens is then somebody's doing, on loopback too.
    Call,
    /// To change what this node serves, some of it at least.
    Register,
    /// To change the node.
    Admin,
}

impl Need {
    /// Whether `caller` has it, at a node of `zone`.
    ///
    /// # Errors
    /// What the caller is told.
    fn ask(self, auth: &Auth, caller: &Caller, zone: &ZoneName) -> Result<(), Problem> {
        let (actions, zone): (&[Action], ZoneName) = match self {
            Self::Open => return Ok(()),
            Self::See => (&[Action::Discover], zone.clone()),
            // Below the root lies every zone a grant may be for.
            Self::Find => (&[Action::Discover], ZoneName::root()),
            Self::Use => (&[Action::Discover, Action::Call], ZoneName::root()),
            Self::Call => (&[Action::Call], ZoneName::root()),
            Self::Register => (&[Action::Register], zone.clone()),
            Self::Admin => (&[Action::Admin], zone.clone()),
        };
        let request = |action: Action| access::Request { action, zone: &zone, tool: None };
        // The state of a node tells of all its tools.
        if self == Self::See && auth.sight(caller).is_some_and(|sight| !sight.sees_all_of(&zone)) {
            return Err(auth::refusal(caller, request(Action::Discover)));
        }
        let is_nobody = self == Self::Call && caller.principal == Principal::Anonymous;
        if !is_nobody && actions.iter().any(|action| auth.allows(caller, request(*action))) {
            return Ok(());
        }
        Err(auth::refusal(caller, request(actions[0])))
    }
}

/// Routes of one port, each with its need.
pub(super) struct Routes<S> {
    router: Router<S>,
    auth: Auth,
    zone: ZoneName,
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    pub(super) fn new(auth: Auth, zone: ZoneName) -> Self {
        Self { router: Router::new(), auth, zone }
    }

    pub(super) fn at(self, need: Need, path: &str, methods: MethodRouter<S>) -> Self {
        let check = from_fn_with_state((need, self.auth.clone(), self.zone.clone()), check);
        Self { router: self.router.route(path, methods.route_layer(check)), ..self }
    }

    /// Takes in routes that were made elsewhere, all of one need.
    pub(super) fn all(self, need: Need, routes: Router<S>) -> Self {
        if !routes.has_routes() {
            return self;
        }
        let check = from_fn_with_state((need, self.auth.clone(), self.zone.clone()), check);
        Self { router: self.router.merge(routes.route_layer(check)), ..self }
    }

    pub(super) fn done(self) -> Router<S> {
        self.router
    }
}

/// Lets a request to its handler, with its caller, or answers it.
async fn check(
    State((need, auth, zone)): State<(Need, Auth, ZoneName)>,
    mut request: Request<Body>,
    next: Next,
) -> Response {
    let arrival = request.extensions_mut().remove::<Arrival>();
    let standing = match arrival {
        _ if need == Need::Open => Ok(None),
        Some(arrival) => {
            arrival.and_then(|standing| need.ask(&auth, standing.caller(), &zone).map(|()| Some(standing)))
        }
        None => Err(Problem::new(Kind::Internal, "a request came to a route without passing the entrance")),
    };
    match standing {
        Ok(standing) => {
            let caller = standing.as_ref().map_or_else(Caller::anonymous, |standing| standing.caller().clone());
            request.extensions_mut().insert(caller);
            if let Some(standing) = standing {
                request.extensions_mut().insert(standing);
            }
            next.run(request).await
        }
        Err(problem) => reply::problem(&problem),
    }
}
