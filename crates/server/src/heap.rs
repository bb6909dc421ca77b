//! Memory that the server does not need any more goes back to the kernel.
//!
//! The start reads every record of the store as text, and leaves three times as much free in the heap as is
//! kept of it, below what lives on, where the C library never gives anything back by itself. A burst of
//! requests does the same. So it is looked after the start and once a minute, and given back while nobody
//! is served.

use std::sync::Arc;
use std::time::Duration;

use lambic_front::Front;
use lambic_rt::Rt;
use lambic_sandbox::{give_back, heap_spare_bytes};

/// After the start, when what it has set off is done. The time until the next look is twice as long.
const FIRST: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Less is not worth it.
const MORE_BYTES_MIN: usize = 2 << 20;

/// Gives back what is worth it, until the server stops.
pub(crate) async fn give_back_what_is_spare(rt: Rt, front: Arc<Front>) {
    let mut shutdown = rt.shutdown();
    let (mut given_bytes, mut wait) = (0, FIRST);
    while rt.within(wait, shutdown.requested()).await.is_none() {
        wait = (wait * 2).min(LOOK_EVERY);
        if is_worth(heap_spare_bytes(), given_bytes) && front.requests_in_flight() == 0 {
            give_back();
            given_bytes = heap_spare_bytes();
        }
    }
}

/// `given_bytes` are those that were spare after the last time; of them it is not known which are in use
/// again, so that only more than they were tells that there is something to give.
fn is_worth(spare_bytes: usize, given_bytes: usize) -> bool {
    spare_bytes >= given_bytes.saturating_add(MORE_BYTES_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_become_spare_since_counts() {
        assert!(!is_worth(MORE_BYTES_MIN - 1, 0));
        assert!(is_worth(MORE_BYTES_MIN, 0));
        assert!(!is_worth(MORE_BYTES_MIN, MORE_BYTES_MIN));
        assert!(!is_worth(MORE_BYTES_MIN, 10 * MORE_BYTES_MIN));
        assert!(is_worth(3 * MORE_BYTES_MIN, 2 * MORE_BYTES_MIN));
    }
}
