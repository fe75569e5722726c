//! Manifests and the lock file: reasons beside dependencies, the number of crates, versions that must not come back.
//!
//! Read line by line, because the reason is a comment and a TOML parser would drop it; the house writes one dependency a line.

/// One line of a dependency table.
#[derive(Debug)]
pub(crate) struct Dependency {
    /// The last part of the table's name: `dependencies`, `dev-dependencies`, `build-dependencies`.
    pub(crate) section: String,
    pub(crate) name: String,
    pub(crate) line: usize,
    /// What stands right of the `=`, comment included.
    pub(crate) rest: String,
}

/// At most this many crates in the tree, ours included.
const CRATES_MAX: usize = 400;

/// Crates below these versions have known holes.
const BANNED_BELOW: [(&str, &str); 5] = [
    ("quinn-proto", "0.11.18"),
    ("jsonwebtoken", "10.3.0"),
    ("tracing-subscriber", "0.3.20"),
    ("h2", "0.4.4"),
    ("redb", "4.2.0"),
];

/// Crates of which only this version may be in the tree, and only for tests.
const ONLY_FOR_TESTS: [(&str, &str); 1] = [("bincode", "2.0.1")];

/// Every line of every dependency table of a manifest.
pub(crate) fn dependencies(manifest: &str) -> Vec<Dependency> {
    let mut section = String::new();
    let mut found = Vec::new();
    for (number, line) in manifest.lines().enumerate() {
        let trimmed = line.trim();
        if trimmed.starts_with('[') {
            section = trimmed.trim_matches(['[', ']']).rsplit('.').next().unwrap_or("").to_owned();
        } else if section.ends_with("dependencies")
            && !trimmed.starts_with('#')
            && let Some((name, rest)) = trimmed.split_once('=')
        {
            let name = name.trim().trim_end_matches(".workspace").trim_matches('"').to_owned();
            found.push(Dependency { section: section.clone(), name, line: number + 1, rest: rest.to_owned() });
        }
    }
    found
}

/// Dependencies without a reason beside them, and members that do not take the workspace's lints.
pub(crate) fn check_manifest(path: &str, manifest: &str) -> Vec<String> {
    let mut findings: Vec<String> = dependencies(manifest)
        .into_iter()
        .filter(|dependency| !dependency.rest.contains("path ="))
        .filter(|dependency| dependency.rest.split_once('#').is_none_or(|(_, reason)| reason.trim().len() < 4))
        .map(|dependency| format!("{path}:{}: `{}` has no reason beside it", dependency.line, dependency.name))
        .collect();
    if !manifest.replace("\r\n", "\n").contains("[lints]\nworkspace = true") {
        findings.push(format!("{path}: does not take the workspace's lints"));
    }
    for dependency in dependencies(manifest) {
        if dependency.section != "dev-dependencies" && ONLY_FOR_TESTS.iter().any(|(name, _)| *name == dependency.name) {
            findings.push(format!("{path}:{}: `{}` is for tests only", dependency.line, dependency.name));
        }
    }
    findings
}

/// Name and version of every crate in the lock file.
fn locked(lock: &str) -> Vec<(String, String)> {
    let value = |line: &str, key: &str| {
        line.strip_prefix(key)
            .and_then(|rest| rest.strip_prefix(" = \""))
            .map(|rest| rest.trim_end_matches('"').to_owned())
    };
    let mut found: Vec<(String, String)> = Vec::new();
    for line in lock.lines() {
        if let Some(name) = value(line, "name") {
            found.push((name, String::new()));
        } else if let (Some(version), Some(last)) = (value(line, "version"), found.last_mut())
            && last.1.is_empty()
        {
            last.1 = version;
        }
    }
    found
}

/// What is wrong with the tree that the lock file pins.
pub(crate) fn check_lock(lock: &str) -> Vec<String> {
    let crates = locked(lock);
    let mut findings = Vec::new();
    if crates.len() > CRATES_MAX {
        findings.push(format!("Cargo.lock: {} crates, at most {CRATES_MAX}", crates.len()));
    }
    for (name, version) in &crates {
        for (banned, floor) in BANNED_BELOW {
            if name == banned && numbers(version) < numbers(floor) {
                findings.push(format!("Cargo.lock: {name} {version} is below {floor}"));
            }
        }
        for (banned, only) in ONLY_FOR_TESTS {
            if name == banned && version != only {
                findings.push(format!("Cargo.lock: {name} {version}, only {only} may be here"));
            }
        }
    }
    findings
}

fn numbers(version: &str) -> Vec<u64> {
    version.split(['.', '-', '+']).map_while(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::{check_lock, check_manifest};

    const LINTS: &str = "[lints]\nworkspace = true\n";

    #[test]
    fn a_dependency_without_a_reason_is_red() {
        let manifest = format!(
            "{LINTS}[dependencies]\nbytes = \"1\"\nhttp = \"1\" # types of the doors\nour = {{ path = \"x\" }}\n"
        );
        assert_eq!(check_manifest("Cargo.toml", &manifest), ["Cargo.toml:4: `bytes` has no reason beside it"]);
        assert_eq!(check_manifest("Cargo.toml", "").len(), 1);
    }

    #[test]
    fn bincode_outside_tests_is_red() {
        let manifest = format!("{LINTS}[dependencies]\nbincode = \"=2.0.1\" # oracle\n");
        assert_eq!(check_manifest("Cargo.toml", &manifest).len(), 1);
    }

    #[test]
    fn banned_versions_are_red() {
        let lock = |name: &str, version: &str| format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n");
        assert_eq!(check_lock(&lock("quinn-proto", "0.11.9")).len(), 1);
        assert_eq!(check_lock(&lock("quinn-proto", "0.11.18")).len(), 0);
        assert_eq!(check_lock(&lock("h2", "0.4.3")).len(), 1);
        assert_eq!(check_lock(&lock("bincode", "3.0.0")).len(), 1);
        assert_eq!(check_lock(&lock("bincode", "2.0.1")).len(), 0);
    }

    #[test]
    fn too_many_crates_are_red() {
        let lock: String = (0..401).map(|n| format!("[[package]]\nname = \"c{n}\"\nversion = \"1.0.0\"\n")).collect();
        assert_eq!(check_lock(&lock).len(), 1);
    }
}
