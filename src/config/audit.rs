//! `[audit]`: how much of what happened is kept, and of what.

use serde::Deserialize;

use super::file::Text;
use super::{ConfigError, Sources, value};
use crate::audit::{FILE_BYTES, KEEP, Settings};

/// The section as it stands in the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    max_bytes: Option<Text>,
    keep: Option<Text>,
    calls: Option<Text>,
}

/// The section from file and variables.
pub(super) fn read(from: &mut Sources<'_>) -> Result<Settings, ConfigError> {
    let max_bytes =
        from.one("audit.max_bytes", ("", None), "AOP_AUDIT__MAX_BYTES", |f| f.audit.as_ref()?.max_bytes.clone());
    let max_bytes = from.parse(max_bytes.as_ref(), |text| value::parse_number(text, FILE_BYTES))?;
    let keep = from.one("audit.keep", ("", None), "AOP_AUDIT__KEEP", |f| f.audit.as_ref()?.keep.clone());
    let keep = from.parse(keep.as_ref(), |text| value::parse_number(text, KEEP))?;
    let calls = from.one("audit.calls", ("", None), "AOP_AUDIT__CALLS", |f| f.audit.as_ref()?.calls.clone());
    let calls = from.parse(calls.as_ref(), value::parse_bool)?;
    Ok(Settings {
        file_bytes_max: max_bytes.unwrap_or(FILE_BYTES.0),
        keep: keep.unwrap_or(KEEP.0),
        calls: calls.unwrap_or(true),
    })
}

#[cfg(test)]
mod tests {
    use super::super::{NodeFlags, Origin, load};
    use super::*;

    #[test]
    fn the_section_has_bounds_and_variables_come_first() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("node.toml");
        let read = |text: &str| {
            std::fs::write(&path, text).expect("written");
            let env = |name: &str| match name {
                "HOME" => Some("/home/somebody".to_owned()),
                "AOP_AUDIT__KEEP" => Some("3".to_owned()),
                _ => None,
            };
            load(NodeFlags { config: Some(path.clone()), ..NodeFlags::default() }, &env)
        };
        let config = read("[audit]\nmax_bytes = 1048576\nkeep = 5\ncalls = false\n").expect("fits");
        assert_eq!(config.audit, Settings { file_bytes_max: 1 << 20, keep: 3, calls: false });
        assert_eq!(config.origin("audit.keep"), &Origin::Env("AOP_AUDIT__KEEP"));
        assert_eq!(read("").expect("fits").audit, Settings { keep: 3, ..Settings::default() });
        for wrong in ["max_bytes = 1048575", "max_bytes = 1073741825", "calls = \"perhaps\"", "size = 1"] {
            assert!(read(&format!("[audit]\n{wrong}")).is_err(), "{wrong}");
        }
    }
}
