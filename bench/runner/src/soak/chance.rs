//! Chance under a seed: what is done, in which order. The same seed makes the same choices; when they
//! meet each other is the machine's doing.

use serde_json::{Value, json};

use crate::zoo::Kind;

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub struct Chance(u64);

impl Chance {
    /// One stream of choices out of many: each thread has its own, so that threads do not meet.
    pub fn new(seed: u64, stream: u64) -> Chance {
        let mut chance = Chance(seed ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        chance.next();
        chance
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// True with this probability.
    pub fn hits(&mut self, probability: f64) -> bool {
        ((self.next() >> 11) as f64) < probability * (1_u64 << 53) as f64
    }

    /// One of these, as often as its weight says.
    pub fn weighted<T: Copy>(&mut self, choices: &[(u64, T)]) -> T {
        let mut at = self.below(choices.iter().map(|(weight, _)| weight).sum());
        for (weight, choice) in choices {
            if at < *weight {
                return *choice;
            }
            at -= weight;
        }
        unreachable!("the number is below the sum of the weights")
    }
}

/// What an event makes a function do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    Quick,
    Print,
    /// Prints more than the server passes on in a second or a turn.
    Flood,
    Allocate,
    Write,
    Fork,
    Exec,
    Socket,
    Throw,
    /// Ends by itself with this status.
    Exit(i32),
    /// Ends itself by this signal.
    Signal(i32),
    OutOfMemory,
    /// Sleeps past the function's timeout.
    Sleep,
}

/// Leave the environment as it was, or nearly so.
const STAYING: [(u64, Deed); 9] = [
    (878, Deed::Quick),
    (20, Deed::Print),
    (2, Deed::Flood),
    (20, Deed::Allocate),
    (20, Deed::Write),
    (15, Deed::Fork),
    (15, Deed::Exec),
    (15, Deed::Socket),
    (15, Deed::Throw),
];
/// End it.
const ENDING: [(u64, Deed); 6] = [
    (20, Deed::Exit(0)),
    (30, Deed::Exit(3)),
    (20, Deed::Signal(libc::SIGSEGV)),
    (15, Deed::Signal(libc::SIGABRT)),
    (10, Deed::Signal(libc::SIGKILL)),
    (5, Deed::OutOfMemory),
];

impl Deed {
    /// What the next event is; `ending` is the share of those that end the environment.
    pub fn choose(chance: &mut Chance, kind: Kind, ending: f64) -> Deed {
        match kind {
            Kind::Slow => Deed::Sleep,
            // An interpreter takes a hundred times as long to start.
            Kind::Python | Kind::Node if !chance.hits(ending / 4.0) => chance.weighted(&STAYING),
            Kind::Native if !chance.hits(ending) => chance.weighted(&STAYING),
            _ => chance.weighted(&ENDING),
        }
    }

    /// The event.
    pub fn event(self, n: u64) -> Value {
        match self {
            Deed::Quick => json!({"do": "quick", "n": n}),
            Deed::Print => json!({"do": "print", "n": n, "bytes": 20_000}),
            Deed::Flood => json!({"do": "print", "n": n, "bytes": 2_000_000}),
            Deed::Allocate => json!({"do": "allocate", "n": n}),
            Deed::Write => json!({"do": "write", "n": n}),
            Deed::Fork => json!({"do": "fork", "n": n}),
            Deed::Exec => json!({"do": "exec", "n": n}),
            Deed::Socket => json!({"do": "socket", "n": n}),
            Deed::Throw => json!({"do": "throw", "n": n}),
            Deed::Exit(code) => json!({"do": "exit", "n": n, "bytes": 5_000, "code": code}),
            Deed::Signal(signal) => json!({"do": "signal", "n": n, "bytes": 5_000, "signal": signal}),
            Deed::OutOfMemory => json!({"do": "oom", "n": n}),
            Deed::Sleep => json!({"do": "sleep", "n": n}),
        }
    }

    /// What the error document has to contain; nothing when an ordinary answer is due.
    pub fn error(self) -> Option<&'static str> {
        match self {
            Deed::Throw => Some("on purpose"),
            Deed::Exit(0) => Some("Runtime exited without providing a reason"),
            Deed::Exit(_) => Some("Runtime exited with error: exit status 3"),
            Deed::Signal(libc::SIGSEGV) => Some("Runtime exited with error: signal: segmentation fault"),
            Deed::Signal(libc::SIGABRT) => Some("Runtime exited with error: signal: aborted"),
            Deed::Signal(_) | Deed::OutOfMemory => Some("Runtime exited with error: signal: killed"),
            Deed::Sleep => Some("Task timed out after 1.00 seconds"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deeds(seed: u64, stream: u64) -> Vec<Deed> {
        let mut chance = Chance::new(seed, stream);
        (0..1_000).map(|_| Deed::choose(&mut chance, Kind::Native, 0.1)).collect()
    }

    #[test]
    fn the_same_seed_makes_the_same_choices_and_another_makes_others() {
        assert_eq!(deeds(1, 2), deeds(1, 2));
        assert_ne!(deeds(1, 2), deeds(2, 2));
        assert_ne!(deeds(1, 2), deeds(1, 3));
    }

    #[test]
    fn shares_are_kept() {
        let ended = deeds(7, 0).iter().filter(|deed| ENDING.iter().any(|(_, one)| one == *deed)).count();
        assert!((70..130).contains(&ended), "{ended} of 1000 with a share of 0.1");
    }
}
