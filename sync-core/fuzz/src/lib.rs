//! What must hold of any bytes from outside: the bodies of the fuzz targets, their seeds, and a replay on stable Rust.
//!
//! A target that returns has found nothing; one that panics has. Each asserts what its reader promises, not only that
//! it comes back. The tests here replay seeds, crashers and a few thousand mutations, so that no target rots.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a target that cannot go on has found something")]

#[path = "../../tests/properties/allocations.rs"]
mod allocations;
mod changes;
mod messages;
mod seeds;

pub use changes::{decode, guard};
pub use messages::{manifest, qr, sync_request, sync_response};
pub use seeds::{folder, seeds};

/// A target's body.
pub type Target = fn(&[u8]);

/// Every target by the name of its binary.
pub const TARGETS: [(&str, Target); 6] = [
    ("guard", guard),
    ("decode", decode),
    ("sync_request", sync_request),
    ("sync_response", sync_response),
    ("manifest", manifest),
    ("qr", qr),
];

/// Most bytes that reading one change, or one other small thing, may hold at once.
pub const READ_BYTES_MAX: usize = 1024 * 1024;

/// Runs a target over the files named on the command line.
///
/// # Errors
/// When a file cannot be read.
pub fn replay(target: Target) -> std::io::Result<()> {
    for path in std::env::args_os().skip(1) {
        target(&std::fs::read(path)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SplitMix64: small, seeded, the same everywhere.
    fn next(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    #[test]
    fn every_seed_keeps_what_its_target_promises() {
        for (name, target) in TARGETS {
            let seeds = seeds(name).unwrap();
            assert!(!seeds.is_empty(), "{name} has no seeds");
            seeds.iter().for_each(|seed| target(seed));
        }
    }

    #[test]
    fn every_crasher_that_was_found_is_harmless_now() {
        for (name, target) in TARGETS {
            let Ok(files) = std::fs::read_dir(folder("crashers").join(name)) else { continue };
            files.for_each(|file| target(&std::fs::read(file.unwrap().path()).unwrap()));
        }
    }

    #[test]
    fn a_few_thousand_mutated_seeds_keep_it_too() {
        let mut dice = 20_261_121;
        for (name, target) in TARGETS {
            let seeds = seeds(name).unwrap();
            for _ in 0..3_000 {
                let mut bytes = seeds[next(&mut dice) as usize % seeds.len()].clone();
                for _ in 0..=next(&mut dice) % 3 {
                    let at = next(&mut dice) as usize % (bytes.len() + 1);
                    let with = &next(&mut dice).to_le_bytes()[..next(&mut dice) as usize % 3];
                    let cut = at + (next(&mut dice) as usize % 3).min(bytes.len() - at);
                    bytes.splice(at..cut, with.iter().copied());
                }
                target(&bytes);
            }
        }
    }
}
