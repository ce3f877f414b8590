//! Keeps docs/threat-model.md true: what it names as proof is there.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::Path;

const THREAT_MODEL: &str = include_str!("../docs/threat-model.md");
const FUZZING: &str = include_str!("../docs/fuzzing.md");
/// Shorter names are claims, settings and fuzz targets.
const FEWEST_WORDS: usize = 4;

#[test]
fn every_test_that_it_names_is_there() -> Result<(), Box<dyn Error>> {
    let mut code = String::new();
    for directory in ["src", "tests", "sandbox/tests"] {
        read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(directory), &mut code)?;
    }
    let named: Vec<_> = quoted(THREAT_MODEL).filter(|name| is_test_name(name)).collect();
    assert!(named.len() > 50, "the names are found as this test means it: {named:?}");
    let missing: Vec<_> = named.iter().filter(|name| !code.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
    Ok(())
}

#[test]
fn every_fuzz_target_is_named_and_there() -> Result<(), Box<dyn Error>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let targets: BTreeSet<String> = fs::read_dir(corpus)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_, std::io::Error>>()?;
    let (table, _) = FUZZING.split_once("## How").ok_or("docs/fuzzing.md has a table of targets")?;
    let listed: BTreeSet<String> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(" | ").next())
        .flat_map(|cell| cell.split(", ").map(|name| name.trim_matches('`').to_owned()))
        .collect();
    assert_eq!(listed, targets, "docs/fuzzing.md and fuzz/corpus");
    let proofs = THREAT_MODEL.split("fuzz target").skip(1).filter_map(|rest| rest.split(" |").next());
    let named: BTreeSet<String> =
        proofs.flat_map(quoted).filter(|name| !is_test_name(name)).map(str::to_owned).collect();
    assert_eq!(named.difference(&targets).count(), 0, "{named:?}");
    Ok(())
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn is_test_name(name: &str) -> bool {
    let is_of_names = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    name.bytes().all(is_of_names) && name.split('_').count() >= FEWEST_WORDS
}

fn read(directory: &Path, code: &mut String) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            read(&path, code)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            code.push_str(&fs::read_to_string(&path)?);
        }
    }
    Ok(())
}
