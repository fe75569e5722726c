//! What a registration that failed is told, with the command that would succeed.

use aop_proto::error::{Kind, Problem};
use serde_json::json;

use crate::upstream::{Secret, ServerSpec, TransportSpec, UpstreamError};

/// A taken name is solved by registering the same thing under another, or as a replica where it is one.
pub(super) fn register_hint(problem: Problem, spec: &ServerSpec) -> Problem {
    if problem.kind != Kind::NameTaken {
        return problem;
    }
    let same = problem.detail.as_ref().is_some_and(|detail| detail["same_definition"] == json!(true));
    let rename = if same { format!("--as {} --replica", spec.name) } else { format!("--as {}-2", spec.name) };
    let hint = match &spec.transport {
        TransportSpec::Http { .. } | TransportSpec::Agent { .. } => {
            format!("aop register {} {} {rename}", spec.transport.kind(), spec.transport.target())
        }
        TransportSpec::Api { .. } => {
            "aop register file FILE # with another `server`, or `replica` where it is one".to_owned()
        }
        TransportSpec::Stdio { .. } => format!("aop register stdio {rename} -- {}", spec.transport.target()),
    };
    problem.hint(hint)
}

pub(super) fn upstream_problem(spec: &ServerSpec, error: &UpstreamError) -> Problem {
    let kind = match error {
        UpstreamError::Invalid { .. } | UpstreamError::Secret { .. } | UpstreamError::Exposed { .. } => Kind::Usage,
        UpstreamError::Address { .. } => Kind::Forbidden,
        UpstreamError::NameTaken { .. } => Kind::NameTaken,
        _ => Kind::UpstreamDown,
    };
    let target = spec.transport.target();
    let hint = match error {
        UpstreamError::Address { class, .. } if class.can_be_granted() => granting(spec),
        _ => "aop register --help".to_owned(),
    };
    Problem::new(kind, format!("`{target}` cannot be registered: {error}")).hint(hint).detail(json!({"target": target}))
}

/// The same registration with the grant it needs. A literal secret is not repeated.
fn granting(spec: &ServerSpec) -> String {
    if let TransportSpec::Api { .. } = &spec.transport {
        return "aop register file FILE # with `allow_private`".to_owned();
    }
    let mut command = format!("aop register {} {}", spec.transport.kind(), spec.transport.target());
    if let TransportSpec::Http { headers, .. } | TransportSpec::Agent { headers, .. } = &spec.transport {
        for (name, secret) in headers {
            let value = match secret {
                Secret::Literal(_) => "…".to_owned(),
                Secret::Env { env } => format!("env:{env}"),
                Secret::File { file } => format!("@{}", file.display()),
            };
            command.push_str(&format!(" --header {name}={value}"));
        }
    }
    if !spec.name.is_empty() {
        command.push_str(&format!(" --as {}", spec.name));
    }
    if spec.replica {
        command.push_str(" --replica");
    }
    command + " --allow-private"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::AddressClass;

    #[test]
    fn the_hint_of_a_refused_address_is_the_same_registration_with_its_grant() {
        let headers = [
            ("authorization", Secret::Literal("hunter2".into())),
            ("x-env", Secret::Env { env: "KEY".into() }),
            ("x-file", Secret::File { file: "/run/key".into() }),
        ];
        let headers = headers.map(|(name, secret)| (name.to_owned(), secret)).into();
        let transport = TransportSpec::Http { url: "https://10.0.0.7/mcp".into(), headers };
        let spec =
            ServerSpec { name: "papers".into(), transport, replica: true, allow_private: false, tags: Vec::new() };
        let refused = |class| {
            let error = UpstreamError::Address { host: "h".into(), address: [10, 0, 0, 7].into(), class };
            upstream_problem(&spec, &error)
        };
        let problem = refused(AddressClass::Private);
        assert_eq!(problem.kind, Kind::Forbidden);
        assert_eq!(
            problem.hint.as_deref(),
            Some(
                "aop register mcp https://10.0.0.7/mcp --header authorization=… --header x-env=env:KEY \
                 --header x-file=@/run/key --as papers --replica --allow-private"
            )
        );
        assert_eq!(refused(AddressClass::LinkLocal).hint.as_deref(), Some("aop register --help"), "nothing helps");
    }
}
