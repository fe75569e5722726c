//! `/v1/transfer`: the whole zone as a file, and back. For whoever may administer the node only: a bundle holds everything, whoever may
//! find it, and what is taken in speaks for others.

use std::convert::Infallible;
use std::time::Duration;

use aop_proto::access::Caller;
use aop_proto::error::{Kind, Problem};
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Request, Uri, header};
use axum::response::Response;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::reply::{self, Reply, read_body};
use super::{Shared, ask};
use crate::handle::{Exporting, Taken, read_opening};

/// What a bundle is called in a header.
const MEDIA: &str = "application/vnd.aop.bundle";
/// A client that sends nothing of a bundle for so long is let go.
const QUIET_MAX: Duration = Duration::from_secs(30);

/// `GET /v1/transfer`: the whole zone.
pub(super) async fn export(State(doors): Shared, Extension(caller): Extension<Caller>) -> Reply {
    Ok(streamed(doors.handle.export(None, &caller.principal).await?))
}

/// `POST /v1/transfer/since`, with the beginning of an older bundle: what is new.
pub(super) async fn since(State(doors): Shared, Extension(caller): Extension<Caller>, request: Request<Body>) -> Reply {
    let known = read_opening(&read_body(request.into_body()).await?)?;
    Ok(streamed(doors.handle.export(Some(known), &caller.principal).await?))
}

fn streamed(exporting: Exporting) -> Response {
    let frames = stream::iter(exporting.map(|frame| Ok::<_, Infallible>(Bytes::from(frame))));
    let mut response = Response::new(Body::from_stream(frames));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// `POST /v1/transfer?dry_run=1`: takes a bundle, or says what would come of it.
pub(super) async fn import(
    State(doors): Shared,
    Extension(caller): Extension<Caller>,
    uri: Uri,
    request: Request<Body>,
) -> Reply {
    let mut trial = false;
    for (name, value) in ask::pairs(&uri)? {
        match &*name {
            "dry_run" => trial = ask::flag(&name, &value)?,
            _ => return Err(ask::unknown(&name, &["dry_run"]).into()),
        }
    }
    let mut received = doors.handle.receive().await?;
    let mut body = request.into_body().into_data_stream();
    loop {
        let broken = |why: &str| Problem::new(Kind::Usage, format!("the bundle {why}; nothing was taken"));
        match timeout(QUIET_MAX, body.next()).await {
            Ok(Some(Ok(bytes))) => {
                if let Err(problem) = received.take(&bytes).await {
                    // Whoever still sends reads no answer.
                    while let Ok(Some(Ok(_))) = timeout(QUIET_MAX, body.next()).await {}
                    return Err(problem.into());
                }
            }
            Ok(Some(Err(_))) => return Err(broken("broke off on its way").into()),
            Ok(None) => break,
            Err(_) => return Err(broken("did not come").into()),
        }
    }
    let taken = doors.handle.import(received, trial, &caller.principal).await?;
    Ok(reply::ok(&told(&taken, trial)))
}

fn told(taken: &Taken, trial: bool) -> Value {
    let Taken { opening, bytes, sum } = taken;
    let refused = sum.refused.iter().map(
        |(why, (logs, records))| json!({"kind": why.name(), "reason": why.text(), "logs": logs, "records": records}),
    );
    json!({
        "schema": "aop.imported/1", "zone": opening.bundle.zone, "dry_run": trial,
        "bundle": {"node": opening.bundle.node.to_string(), "issued_ms": opening.bundle.issued_ms, "delta": opening.bundle.delta,
            "bytes": bytes},
        "logs": sum.logs, "records": sum.records, "taken": sum.taken, "known": sum.known, "waiting": sum.waiting,
        "replaced": sum.replaced, "restored": sum.restored, "tools": {"changed": sum.tools, "gone": sum.tools_gone},
        "statements": sum.statements, "adopted": sum.adopted, "refused": refused.collect::<Vec<_>>(),
    })
}
