//! `/v1/queues` and `/v1/stats`: calls that wait at this node, what became of others, and whom it leaves alone.

use aop_proto::access::Caller;
use aop_proto::error::{Kind, Problem};
use axum::extract::{Extension, Path, State};

use super::{
    Shared,
    reply::{self, Reply},
};
use crate::call::QueueAct;

/// `GET /v1/queues`
pub(super) async fn list(State(doors): Shared, Extension(caller): Extension<Caller>) -> Reply {
    Ok(reply::ok(&doors.calls.queues(&caller, None)?))
}

/// `GET /v1/queues/{name}`: with the calls that wait, and whose they are.
pub(super) async fn show(
    State(doors): Shared,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Reply {
    Ok(reply::ok(&doors.calls.queues(&caller, Some(&name))?))
}

/// `POST /v1/queues/{name}/{act}`: `pause`, `resume` or `clear`.
pub(super) async fn act(
    State(doors): Shared,
    Extension(caller): Extension<Caller>,
    Path((name, act)): Path<(String, String)>,
) -> Reply {
    let act = match act.as_str() {
        "pause" => QueueAct::Pause,
        "resume" => QueueAct::Resume,
        "clear" => QueueAct::Clear,
        other => {
            let message = format!("a queue cannot be told to `{other}`, but to pause, resume or clear");
            return Err(Problem::new(Kind::Usage, message).hint("aop queue --help").into());
        }
    };
    Ok(reply::ok(&doors.calls.move_queue(&caller, &name, act).await?))
}

/// `DELETE /v1/queues/{name}/calls/{ticket}`
pub(super) async fn cancel(
    State(doors): Shared,
    Extension(caller): Extension<Caller>,
    Path((name, ticket)): Path<(String, u64)>,
) -> Reply {
    Ok(reply::ok(&doors.calls.move_queue(&caller, &name, QueueAct::Cancel(ticket)).await?))
}

/// `GET /v1/stats`
pub(super) async fn all(State(doors): Shared, Extension(caller): Extension<Caller>) -> Reply {
    Ok(reply::ok(&doors.calls.stats(&caller, None)?))
}

/// `GET /v1/stats/{name}`: of one tool, by its full name, or of one server, by `server.zone`.
pub(super) async fn of(State(doors): Shared, Extension(caller): Extension<Caller>, Path(name): Path<String>) -> Reply {
    Ok(reply::ok(&doors.calls.stats(&caller, Some(&name))?))
}
