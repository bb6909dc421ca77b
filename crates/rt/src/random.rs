//! Random bytes, from the kernel or from a seed.

use std::sync::Mutex;

/// Where random bytes come from.
pub(crate) enum Source {
    System,
    Seeded(Mutex<u64>),
}

impl Source {
    pub(crate) fn system() -> Source {
        Source::System
    }

    pub(crate) fn seeded(seed: u64) -> Source {
        Source::Seeded(Mutex::new(seed))
    }

    pub(crate) fn fill(&self, bytes: &mut [u8]) {
        match self {
            Source::System => {
                getrandom::fill(bytes).expect("the kernel gives random bytes once it has booted");
            }
            Source::Seeded(state) => {
                let mut state = state.lock().expect("no panic while the seed is held");
                for chunk in bytes.chunks_mut(8) {
                    chunk.copy_from_slice(&split_mix(&mut state).to_le_bytes()[..chunk.len()]);
                }
            }
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): tiny and well spread, enough for simulation.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

pub(crate) fn uuid(source: &Source) -> String {
    let mut bytes = [0; 16];
    source.fill(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_uuids() {
        let (a, b) = (Source::seeded(7), Source::seeded(7));
        let first: Vec<_> = (0..3).map(|_| uuid(&a)).collect();
        assert_eq!(first, (0..3).map(|_| uuid(&b)).collect::<Vec<_>>());
        assert_ne!(first[0], first[1]);
        assert_ne!(first[0], uuid(&Source::system()));
    }
}
