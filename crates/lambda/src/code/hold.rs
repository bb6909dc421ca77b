//! Which bundles are in use, counted.
//!
//! A bundle (unpacked code) is shared by every snapshot with the same digest and may outlive the
//! function that brought it: an environment still running the old code needs its files. Each
//! snapshot carries a [`BundleHold`]; the sweep removes only what nobody holds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts who uses which bundle.
#[derive(Clone, Debug, Default)]
pub struct BundleUses {
    counts: Arc<Mutex<HashMap<String, usize>>>,
}

/// Keeps one bundle from being swept; dropping the last one lets it go.
#[derive(Debug)]
pub struct BundleHold {
    uses: BundleUses,
    digest: String,
}

impl BundleUses {
    /// Holds the bundle of this digest (64 hexadecimal digits).
    pub fn hold(&self, digest: &str) -> BundleHold {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(digest.to_owned()).or_insert(0) += 1;
        BundleHold { uses: self.clone(), digest: digest.to_owned() }
    }

    /// Whether anybody holds it now.
    pub fn is_held(&self, digest: &str) -> bool {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).contains_key(digest)
    }
}

impl Clone for BundleHold {
    fn clone(&self) -> BundleHold {
        self.uses.hold(&self.digest)
    }
}

impl Drop for BundleHold {
    fn drop(&mut self) {
        let mut counts = self.uses.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.digest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_held_until_the_last_hold_is_dropped() {
        let uses = BundleUses::default();
        let first = uses.hold("aa");
        let second = first.clone();
        drop(first);
        assert!(uses.is_held("aa"));
        drop(second);
        assert!(!uses.is_held("aa"));
        assert!(!uses.is_held("bb"));
    }
}
