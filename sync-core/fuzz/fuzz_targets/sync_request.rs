//! The target `sync_request`. Without cargo-fuzz it replays the files that it is given.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| muster_fuzz::sync_request(bytes));

#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    muster_fuzz::replay(muster_fuzz::sync_request)
}
