//! Random bytes, from the kernel or from a seed.

use std::sync::Mutex;

/// Where random bytes come from.
pub(crate) enum Source {
    /// The kernel's bytes, fetched in advance: a system call for each request id is dear.
    System(Box<Mutex<Fetched>>),
    Seeded(Mutex<u64>),
}

/// Bytes that nobody has had yet. Whoever takes some wipes them.
pub(crate) struct Fetched {
    bytes: [u8; FETCHED_BYTES],
    used: usize,
}

const FETCHED_BYTES: usize = 1_024;

impl Fetched {
    fn take(&mut self, wanted: &mut [u8]) {
        if wanted.len() > FETCHED_BYTES - self.used {
            system(&mut self.bytes);
            self.used = 0;
        }
        let taken = &mut self.bytes[self.used..self.used + wanted.len()];
        wanted.copy_from_slice(taken);
        taken.fill(0);
        self.used += wanted.len();
    }
}

fn system(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the kernel gives random bytes once it has booted");
}

impl Source {
    pub(crate) fn system() -> Source {
        let fetched = Fetched { bytes: [0; FETCHED_BYTES], used: FETCHED_BYTES };
        Source::System(Box::new(Mutex::new(fetched)))
    }

    pub(crate) fn seeded(seed: u64) -> Source {
        Source::Seeded(Mutex::new(seed))
    }

    pub(crate) fn fill(&self, bytes: &mut [u8]) {
        match self {
            Source::System(_) if bytes.len() > FETCHED_BYTES => system(bytes),
            Source::System(fetched) => {
                fetched.lock().expect("no panic while the bytes are held").take(bytes);
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
    fn the_kernels_bytes_are_given_out_once() {
        let source = Source::system();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1_000 {
            assert!(seen.insert(uuid(&source)));
        }
        let mut many = vec![0; 3 * FETCHED_BYTES];
        source.fill(&mut many);
        assert!(many.iter().filter(|byte| **byte == 0).count() < 100);
    }

    #[test]
    fn the_same_seed_gives_the_same_uuids() {
        let (a, b) = (Source::seeded(7), Source::seeded(7));
        let first: Vec<_> = (0..3).map(|_| uuid(&a)).collect();
        assert_eq!(first, (0..3).map(|_| uuid(&b)).collect::<Vec<_>>());
        assert_ne!(first[0], first[1]);
        assert_ne!(first[0], uuid(&Source::system()));
    }
}
