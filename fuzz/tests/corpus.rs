//! What was once worth finding is run with every other test: no engine needed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use ticketd_fuzz::TARGETS;

/// Larger inputs make every run slow, and show nothing that a smaller one does not.
const MAX_BYTES: u64 = 16 * 1024;
const MAX_INPUTS: usize = 300;

#[test]
fn every_input_of_the_corpus_does_what_it_should() {
    for target in TARGETS {
        let inputs = files(&corpus().join(target.name));
        assert!((3..=MAX_INPUTS).contains(&inputs.len()), "{}: {} inputs", target.name, inputs.len());
        for input in &inputs {
            // The last line before a failure names the input.
            println!("{}", input.display());
            assert!(input.metadata().unwrap().len() <= MAX_BYTES);
            (target.run)(&fs::read(input).unwrap());
        }
        (target.run)(b"");
    }
}

#[test]
fn every_directory_of_the_corpus_is_a_targets() {
    let directories: BTreeSet<_> =
        files(&corpus()).iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(directories, TARGETS.iter().map(|target| target.name.to_owned()).collect());
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}
