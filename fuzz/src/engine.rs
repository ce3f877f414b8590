//! Lets libFuzzer make up inputs for the target that `FUZZ_TARGET` names: `fuzz/run` starts it.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let target = ticketd_fuzz::TARGETS.iter().find(|target| target.name == name);
    target.map_or_else(|| panic!("FUZZ_TARGET names no target"), |target| target.run)
});

fuzz_target!(|input: &[u8]| TARGET(input));
