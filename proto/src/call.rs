//! The rules of execution: which instance is tried when, what may be repeated, who waits, who is left alone for a while.
//!
//! ```text
//!  caller's node                                              home of the tool
//!  policy ─▶ plan: Try / Wait / Done ── balance, breaker ──▶  ledger (keyed calls) ─▶ queue ─▶ upstream
//!              backoff, budget                                 lifecycle: what is said of the upstream
//! ```
//!
//! A call runs at most once unless it may be repeated (P4). Nothing here acts: the shell tries and waits, the simulator does too.

mod backoff;
mod balance;
mod breaker;
mod budget;
mod deadline;
pub mod ledger;
pub mod lifecycle;
mod plan;
mod policy;
pub mod queue;

pub use backoff::Backoff;
pub use balance::{Balance, Load, Standing};
pub use breaker::{Breaker, Circuit, Pass, Verdict, had_time, patience};
pub use budget::Budget;
pub use deadline::handed_on;
pub use plan::{Ended, Failed, Plan, Step};
pub use policy::{Policies, Policy};
