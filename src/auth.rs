//! Who a request comes from, and what it may do: tokens, authorization servers and the operator's rules, all in one place.
//!
//! ```text
//!  door ── what was presented ──▶ identify ─▶ token    by hash, in constant time
//!                                     └─────▶ issuer   a signed token of an authorization server ─▶ keys
//!  door ── caller, action, zone, tool ──▶ allows ─▶ aop_proto::access
//! ```
//!
//! It speaks no HTTP to callers and is no authorization server: it gives out no OAuth tokens and passes none on. What must always
//! hold: what cannot be proven is nobody's, a secret is kept as its hash only, and whatever the configuration said before holds
//! until a new one has been read without error.

mod issuer;
mod keys;
mod scope;
mod standing;
mod token;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aop_proto::access::{Action, Caller, Grant, Policy, Principal, Request, Sight};
use aop_proto::error::{Kind, Problem};
use aop_proto::name::ZoneName;
use arc_swap::ArcSwap;
use serde_json::json;
use tokio::sync::Mutex;

pub use self::issuer::{ALGORITHMS, Algorithm, Issuer};
pub use self::keys::is_trusted_place;
pub use self::scope::scope_of;
pub use self::standing::Standing;
pub use self::token::{SecretHash, Token, TokenOrigin};

use self::issuer::Issuers;
use crate::store::{Op, Store, StoreError, Table};

/// Tokens of one node, configured and created; each is compared with what is presented.
pub const TOKENS_MAX: usize = 1_000;
/// Rules of one node; a request is compared with each.
pub const RULES_MAX: usize = 1_000;
/// Longest life of a created token; longer is for ever, which is said by naming none.
pub const TOKEN_LIFE_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// What an operator wrote about who may do what; taken over as a whole whenever the configuration is read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Terms {
    /// The rules, and whether the node is open.
    pub policy: Policy,
    /// Tokens of the configuration.
    pub tokens: Vec<Token>,
    /// Authorization servers whose tokens are believed.
    pub issuers: Vec<Issuer>,
    /// The URI this node is known by to them, without a slash at the end.
    pub resource: String,
}

/// The live state of admission at the doors of one node. Cheap to clone.
#[derive(Clone)]
pub struct Auth {
    inner: Arc<Inner>,
}

struct Inner {
    operator: SecretHash,
    configured: ArcSwap<Configured>,
    /// How many there were after the first.
    configurations: AtomicU64,
    created: RwLock<Vec<Token>>,
    /// Held by whoever changes the created tokens, from the check to the fsync.
    changing: Mutex<()>,
    store: Store,
}

struct Configured {
    policy: Policy,
    tokens: Vec<Token>,
    issuers: Issuers,
    resource: String,
    number: u64,
    nobody: Arc<Standing>,
    operator: Arc<Standing>,
    /// Of tokens that were presented and found good, by the hash of their secret. Asked only once a token was found good again.
    standings: RwLock<HashMap<SecretHash, Arc<Standing>>>,
}

impl Configured {
    fn of(terms: Terms, number: u64) -> Self {
        let issuers = Issuers::new(terms.issuers, &terms.resource);
        let standing = |caller| Arc::new(Standing::of(caller, &terms.policy, number));
        Self {
            nobody: standing(Caller::anonymous()),
            operator: standing(Caller::operator()),
            policy: terms.policy,
            tokens: terms.tokens,
            issuers,
            resource: terms.resource,
            number,
            standings: RwLock::default(),
        }
    }

    fn standing(&self, token: &Token) -> Arc<Standing> {
        let known = self.standings.read().unwrap_or_else(PoisonError::into_inner).get(&token.hash).cloned();
        known.unwrap_or_else(|| {
            let standing = Arc::new(Standing::of(token.caller(), &self.policy, self.number));
            let mut standings = self.standings.write().unwrap_or_else(PoisonError::into_inner);
            if standings.len() >= TOKENS_MAX {
                // Those of tokens that were revoked lie among them.
                standings.clear();
            }
            standings.insert(token.hash, Arc::clone(&standing));
            standing
        })
    }
}

impl Auth {
    /// The state of a node whose admin token is `operator`, with the tokens its store holds.
    ///
    /// # Errors
    /// `StoreFailed` when they cannot be read.
    pub fn open(operator: &str, terms: Terms, store: Store) -> Result<Self, Problem> {
        let rows = store.load(Table::Meta).map_err(store_problem)?;
        let created = rows.iter().filter_map(|(key, value)| token::read_row(key, value)).collect::<Result<_, _>>();
        let created = created.map_err(|why| Problem::new(Kind::StoreFailed, why))?;
        let inner = Inner {
            operator: SecretHash::of(operator),
            configured: ArcSwap::from_pointee(Configured::of(terms, 0)),
            configurations: AtomicU64::new(0),
            created: RwLock::new(created),
            changing: Mutex::default(),
            store,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Takes over what was configured anew; created tokens stay.
    pub fn replace(&self, terms: Terms) {
        let number = self.inner.configurations.fetch_add(1, Ordering::Relaxed) + 1;
        self.inner.configured.store(Arc::new(Configured::of(terms, number)));
    }

    /// Whose the presented secret is; nobody's where none is.
    ///
    /// # Errors
    /// `AuthRequired`: it is no secret of anybody, or has expired.
    pub async fn identify(&self, presented: Option<&str>) -> Result<Arc<Standing>, Problem> {
        let configured = self.inner.configured.load();
        let Some(presented) = presented else { return Ok(Arc::clone(&configured.nobody)) };
        if presented.is_empty() {
            return Err(invalid("the token is empty".to_owned()));
        }
        let hash = SecretHash::of(presented);
        if self.inner.operator.is(&hash) {
            return Ok(Arc::clone(&configured.operator));
        }
        match self.by_token(&configured, &hash) {
            Some(found) => found,
            None if configured.issuers.may_have_signed(presented) => {
                let caller = configured.issuers.verify(presented).await.map_err(|error| invalid(error.to_string()))?;
                Ok(Arc::new(Standing::of(caller, &configured.policy, configured.number)))
            }
            None => Err(invalid("the token is not known here, or was revoked".to_owned())),
        }
    }

    /// Every token is looked at, so that the time it takes tells nothing of the one that fits.
    fn by_token(&self, configured: &Configured, hash: &SecretHash) -> Option<Result<Arc<Standing>, Problem>> {
        let created = self.inner.created.read().unwrap_or_else(PoisonError::into_inner);
        let all = configured.tokens.iter().chain(created.iter());
        let token = all.fold(None, |found, token| if token.hash.is(hash) { Some(token) } else { found })?;
        if !token.is_alive(now_ms()) {
            return Some(Err(invalid(format!("token `{}` has expired", token.name))));
        }
        Some(Ok(configured.standing(token)))
    }

    /// Whether `caller` may do that; asked of [`Policy::allows`].
    pub fn allows(&self, caller: &Caller, request: Request<'_>) -> bool {
        self.inner.configured.load().policy.allows(caller, request)
    }

    /// Whether `caller` may do it to some tools and perhaps not to others; see [`Policy::is_partial`].
    pub fn is_partial(&self, caller: &Caller, action: Action, zone: &ZoneName) -> bool {
        self.inner.configured.load().policy.is_partial(caller, action, zone)
    }

    /// The rules as they are now.
    pub fn policy(&self) -> Policy {
        self.inner.configured.load().policy.clone()
    }

    /// Whether nothing was configured anew since.
    pub fn is_current(&self, standing: &Standing) -> bool {
        self.inner.configured.load().number == standing.configuration()
    }

    /// What `caller` may find; nothing where that is everything.
    pub fn sight(&self, caller: &Caller) -> Option<Sight> {
        Sight::of(&self.inner.configured.load().policy, caller, false)
    }

    /// What `caller` may call; nothing where that is everything.
    pub fn calls(&self, caller: &Caller) -> Option<Sight> {
        Sight::of_calls(&self.inner.configured.load().policy, caller)
    }

    /// Whether a rule denies that to `caller`; see [`Policy::is_denied`].
    pub fn is_denied(&self, caller: &Caller, request: Request<'_>) -> bool {
        self.inner.configured.load().policy.is_denied(caller, request)
    }

    /// Whether whoever reaches the node may find and call.
    pub fn is_open(&self) -> bool {
        self.inner.configured.load().policy.is_open
    }

    /// What `caller` is told that may not do that.
    ///
    /// # Errors
    /// Always: `AuthRequired` for whoever has not said who it is, `Forbidden` otherwise.
    pub fn require(&self, caller: &Caller, request: Request<'_>) -> Result<(), Problem> {
        if self.allows(caller, request) { Ok(()) } else { Err(refusal(caller, request)) }
    }

    /// The same for somebody to whom nothing is open that no rule and no grant opens.
    ///
    /// # Errors
    /// As [`Self::require`].
    pub fn require_granted(&self, caller: &Caller, request: Request<'_>) -> Result<(), Problem> {
        let configured = self.inner.configured.load();
        if configured.policy.allows_stranger(caller, request) { Ok(()) } else { Err(refusal(caller, request)) }
    }

    /// The URI authorization servers know this node by.
    pub fn resource(&self) -> String {
        self.inner.configured.load().resource.clone()
    }

    /// The authorization servers whose tokens are believed.
    pub fn issuers(&self) -> Vec<String> {
        self.inner.configured.load().issuers.names()
    }

    /// All tokens, by name.
    pub fn tokens(&self) -> Vec<Token> {
        let created = self.inner.created.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut tokens = self.inner.configured.load().tokens.clone();
        tokens.extend(created);
        tokens.sort_by(|one, other| one.name.cmp(&other.name));
        tokens
    }

    /// Makes a token, durably, and gives it back with its secret, which is known nowhere else from then on.
    ///
    /// # Errors
    /// `NameTaken`, `TooLarge` when there are [`TOKENS_MAX`], `StoreFailed`.
    pub async fn create_token(
        &self,
        name: &str,
        grant: Grant,
        life: Option<Duration>,
    ) -> Result<(Token, String), Problem> {
        let _alone = self.inner.changing.lock().await;
        let tokens = self.tokens();
        if tokens.iter().any(|token| token.name.eq_ignore_ascii_case(name)) {
            return Err(Problem::new(Kind::NameTaken, format!("there is a token `{name}` already"))
                .hint(format!("aop token revoke {name}")));
        }
        if tokens.len() >= TOKENS_MAX {
            return Err(
                Problem::new(Kind::TooLarge, format!("a node has at most {TOKENS_MAX} tokens")).hint("aop token ls")
            );
        }
        let secret = token::make_secret().map_err(|error| Problem::new(Kind::Internal, error.to_string()))?;
        let created_ms = now_ms();
        let life = life.map(|life| u64::try_from(life.min(TOKEN_LIFE_MAX).as_millis()).unwrap_or(u64::MAX));
        let token = Token {
            name: name.to_owned(),
            hash: SecretHash::of(&secret),
            grant,
            expires_ms: life.map(|life| created_ms.saturating_add(life)),
            origin: TokenOrigin::Created { at_ms: created_ms },
        };
        self.commit(Op::Put { table: Table::Meta, key: token::key(name), value: token::write_row(&token).into() })
            .await?;
        self.inner.created.write().unwrap_or_else(PoisonError::into_inner).push(token.clone());
        tracing::info!(token = name, role = token.grant.role.name(), "token.create");
        Ok((token, secret))
    }

    /// Ends a created token, durably: who presents it from then on is refused.
    ///
    /// # Errors
    /// `NameNotFound`, `Forbidden` for a token of the configuration, `StoreFailed`.
    pub async fn revoke_token(&self, name: &str) -> Result<(), Problem> {
        let _alone = self.inner.changing.lock().await;
        let tokens = self.tokens();
        let Some(token) = tokens.iter().find(|token| token.name.eq_ignore_ascii_case(name)) else {
            let names = tokens.iter().map(|token| token.name.as_str());
            return Err(Problem::new(Kind::NameNotFound, format!("no token is called `{name}`"))
                .hint("aop token ls")
                .did_you_mean(aop_proto::error::did_you_mean(name, names)));
        };
        if token.origin == TokenOrigin::Configured {
            let message =
                format!("token `{}` stands in the configuration; take it out there and send SIGHUP", token.name);
            return Err(Problem::new(Kind::Forbidden, message).hint("aop-node config"));
        }
        self.commit(Op::Delete { table: Table::Meta, key: token::key(&token.name) }).await?;
        let mut created = self.inner.created.write().unwrap_or_else(PoisonError::into_inner);
        created.retain(|other| other.name != token.name);
        tracing::info!(token = token.name, "token.revoke");
        Ok(())
    }

    async fn commit(&self, op: Op) -> Result<(), Problem> {
        self.inner.store.commit(vec![op]).await.map_err(store_problem)
    }
}

/// Why `caller` may not do that, with the scope that would be needed for programs that can ask for one.
pub fn refusal(caller: &Caller, request: Request<'_>) -> Problem {
    let action = request.action.name();
    let what = request.tool.map_or_else(|| action.to_owned(), |tool| format!("{action} `{tool}`"));
    let scope = scope_of(request.action);
    if caller.principal == Principal::Anonymous {
        return Problem::new(Kind::AuthRequired, format!("to {what} needs a token"))
            .hint("aop token --help")
            .detail(json!({"scope": scope}));
    }
    Problem::new(
        Kind::Forbidden,
        format!("{} may not {what} here; the operator of this node can allow it", caller.principal),
    )
    .detail(json!({"error": "insufficient_scope", "scope": scope}))
}

fn invalid(message: String) -> Problem {
    Problem::new(Kind::AuthRequired, message).hint("aop token --help").detail(json!({"error": "invalid_token"}))
}

fn store_problem(error: StoreError) -> Problem {
    Problem::new(Kind::StoreFailed, error.to_string()).hint("aop status")
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use aop_proto::access::Role;

    use super::*;

    #[tokio::test]
    async fn a_node_has_so_many_tokens_and_one_more_only_after_another_has_ended() {
        let configured = |number: usize| Token {
            name: format!("c{number}"),
            hash: SecretHash::of(&format!("secret {number}")),
            grant: Grant::of(Role::Reader),
            expires_ms: None,
            origin: TokenOrigin::Configured,
        };
        let tokens = (2..TOKENS_MAX).map(configured).collect();
        let auth = Auth::open("operator", Terms { tokens, ..Terms::default() }, Store::memory()).unwrap();
        let create = |name: &'static str| auth.create_token(name, Grant::of(Role::Reader), None);
        let (_, first) = create("first").await.unwrap();
        create("second").await.unwrap();
        let problem = create("third").await.unwrap_err();
        assert_eq!((problem.kind, problem.message.as_str()), (Kind::TooLarge, "a node has at most 1000 tokens"));
        assert_eq!(auth.identify(Some(&first)).await.unwrap().caller().principal, Principal::Token("first".into()));
        auth.revoke_token("first").await.unwrap();
        assert!(auth.identify(Some(&first)).await.is_err());
        create("third").await.unwrap();
    }
}
