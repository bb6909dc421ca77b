//! What all threads of the soak share, and how they meet: the gate, the turbulence, the excuses.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::zoo::{Api, Ledger, Packages};

/// Texts of failures that are kept; all are counted.
const TEXTS_MAX: usize = 40;
/// A killed process explains one odd answer of its function for so long. A frozen one only dies when
/// its environment is used again.
const EXCUSE_S: u64 = 30;
/// Whatever is under way when the gate closes has this long to end.
const QUIET_S_MAX: u64 = 90;

/// See the module.
pub struct Soak {
    pub api: Api,
    pub packages: Packages,
    pub seed: u64,
    /// Share of events that end their environment.
    pub ending: f64,
    /// Invokes in a second.
    pub rate: f64,
    pub gate: Gate,
    pub stop: AtomicBool,
    /// Odd while a server dies or starts: what fails then is explained.
    turbulence: AtomicU64,
    excuses: Mutex<BTreeMap<String, Vec<Instant>>>,
    pub ledger: Mutex<Ledger>,
    /// Number of the next change of a function.
    pub rounds: AtomicU64,
    pub counts: Counts,
}

/// What has happened.
#[derive(Default)]
pub struct Counts {
    pub invokes: AtomicU64,
    pub cut_off: AtomicU64,
    pub changes: AtomicU64,
    pub kills_inside: AtomicU64,
    pub excused: AtomicU64,
    pub unexpected: AtomicU64,
    pub slowest_us: AtomicU64,
    texts: Mutex<Vec<String>>,
}

impl Soak {
    pub fn new(api: Api, packages: Packages, seed: u64, ending: f64, rate: f64) -> Soak {
        Soak {
            api,
            packages,
            seed,
            ending,
            rate,
            gate: Gate::default(),
            stop: AtomicBool::new(false),
            turbulence: AtomicU64::new(1),
            excuses: Mutex::default(),
            ledger: Mutex::default(),
            rounds: AtomicU64::new(1),
            counts: Counts::default(),
        }
    }

    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// From here on failures are explained.
    pub fn turbulence_begins(&self) {
        let before = self.turbulence.fetch_or(1, Ordering::AcqRel);
        assert_eq!(before % 2, 0, "turbulence began twice");
    }

    /// From here on they are not.
    pub fn turbulence_ends(&self) {
        let before = self.turbulence.fetch_add(1, Ordering::AcqRel);
        assert_eq!(before % 2, 1, "turbulence ended twice");
    }

    /// To be given to [`Soak::was_calm_since`] later.
    pub fn turbulence(&self) -> u64 {
        self.turbulence.load(Ordering::Acquire)
    }

    /// Whether no server died from then on.
    pub fn was_calm_since(&self, then: u64) -> bool {
        then.is_multiple_of(2) && self.turbulence() == then
    }

    /// Something that nobody explains.
    pub fn unexpected(&self, text: String) {
        self.counts.unexpected.fetch_add(1, Ordering::Relaxed);
        eprintln!("unexpected: {text}");
        let mut texts = locked(&self.counts.texts);
        if texts.len() < TEXTS_MAX {
            texts.push(text);
        }
    }

    pub fn texts(&self) -> Vec<String> {
        locked(&self.counts.texts).clone()
    }

    /// A process of this function's environment is about to be killed; of an unknown one without a name.
    pub fn excuse(&self, function: Option<&str>) {
        let now = Instant::now();
        let mut excuses = locked(&self.excuses);
        excuses.entry(function.unwrap_or_default().to_owned()).or_default().push(now);
    }

    /// Whether a kill explains one odd answer of this function; it explains no second one.
    pub fn excused(&self, function: &str) -> bool {
        let mut excuses = locked(&self.excuses);
        for name in [function, ""] {
            if let Some(times) = excuses.get_mut(name) {
                times.retain(|time| time.elapsed() < Duration::from_secs(EXCUSE_S));
                if !times.is_empty() {
                    times.remove(0);
                    self.counts.excused.fetch_add(1, Ordering::Relaxed);
                    return true;
                }
            }
        }
        false
    }

    /// The number of the next change.
    pub fn round(&self) -> u64 {
        self.rounds.fetch_add(1, Ordering::Relaxed)
    }

    /// Closes the gate and waits until nothing is under way.
    pub fn quiet(&self) -> Result<(), String> {
        if self.gate.close(Duration::from_secs(QUIET_S_MAX)) {
            Ok(())
        } else {
            Err(format!("requests were still under way {QUIET_S_MAX} s after the last one was sent"))
        }
    }
}

/// What everybody passes before a request; while it is closed nothing is under way.
#[derive(Default)]
pub struct Gate {
    /// Whether it is closed, and how many are inside.
    state: Mutex<(bool, usize)>,
    changed: Condvar,
}

/// Somebody inside.
pub struct Inside<'a>(&'a Gate);

impl Gate {
    /// Nothing when it is closed.
    pub fn enter(&self) -> Option<Inside<'_>> {
        let mut state = locked(&self.state);
        if state.0 {
            return None;
        }
        state.1 += 1;
        Some(Inside(self))
    }

    /// Waits until it is open, or a moment.
    pub fn wait(&self) {
        let state = locked(&self.state);
        if state.0 {
            // Woken too early or too late: the caller tries again.
            _ = self.changed.wait_timeout(state, Duration::from_millis(100));
        }
    }

    /// Whether nobody is left inside after at most this time.
    fn close(&self, limit: Duration) -> bool {
        let begun = Instant::now();
        let mut state = locked(&self.state);
        state.0 = true;
        while state.1 > 0 {
            let left = limit.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return false;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    pub fn open(&self) {
        locked(&self.state).0 = false;
        self.changed.notify_all();
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let mut state = locked(&self.0.state);
        state.1 -= 1;
        if state.1 == 0 {
            self.0.changed.notify_all();
        }
    }
}

/// What a panicking thread has left is still right.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
