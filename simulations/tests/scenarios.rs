//! Every scenario in `scenarios/` reads, ends well, and is the same run again.

use std::path::Path;

use aop_simulations::scenario::file::Scenario;
use aop_simulations::scenario::run::play;
use aop_simulations::world::{Tell, Watch};

fn scenarios() -> Vec<(String, Scenario)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).expect("it is there").flatten().map(|entry| entry.path()).collect();
    files.sort();
    let read = |path: &Path| {
        let text = std::fs::read_to_string(path).expect("it can be read");
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let scenario = Scenario::read(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, scenario)
    };
    files.iter().map(|path| read(path)).collect()
}

#[test]
fn every_scenario_ends_well() {
    let scenarios = scenarios();
    assert_eq!(scenarios.len(), 10);
    for (name, scenario) in scenarios {
        let report = play(&scenario, 7, Tell::Nothing, Watch::Everything).expect("its hosts are there");
        assert!(report.well, "{name}:\n{}", report.lines.join("\n"));
    }
}

#[test]
fn a_scenario_is_the_same_run_again_whatever_is_watched() {
    for (name, scenario) in scenarios().into_iter().take(3) {
        let trace = |watch| play(&scenario, 3, Tell::Nothing, watch).expect("it plays").world.trace();
        assert_eq!(trace(Watch::Everything), trace(Watch::Nothing), "{name}");
    }
}
