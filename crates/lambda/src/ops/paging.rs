//! Pages of lists: a limit that every operation has, and a marker that names what was given out last,
//! so that paging goes on rightly while things come and go.

use lambic_wire::{Error, paging};

use crate::limits::{PAGE_ITEMS_MAX, invalid};

/// As many items as a page may have: what the caller wants, at most `max`.
pub(super) fn limit(wanted: Option<i32>, max: usize) -> usize {
    let wanted = wanted.and_then(|items| usize::try_from(items).ok());
    wanted.unwrap_or(max).clamp(1, max)
}

/// The same for most lists.
pub(super) fn usual_limit(wanted: Option<i32>) -> usize {
    limit(wanted, PAGE_ITEMS_MAX)
}

/// What was given out last; `None` for a first page.
///
/// # Errors
/// A marker that is not ours.
pub(super) fn after(marker: Option<&str>) -> Result<Option<String>, Error> {
    let marker = marker.filter(|marker| !marker.is_empty());
    marker.map(|marker| paging::decode(marker).ok_or_else(invalid_marker)).transpose()
}

/// Cuts `found`, which has one item more than a page if there are more, to a page; the marker names
/// the last item by what `name` says.
pub(super) fn cut<T>(
    found: &mut Vec<T>,
    limit: usize,
    name: impl FnOnce(&T) -> String,
) -> Option<String> {
    if found.len() <= limit {
        return None;
    }
    found.truncate(limit);
    found.last().map(|last| paging::encode(&name(last)))
}

pub(super) fn invalid_marker() -> Error {
    invalid("The marker is not one that this operation has given out.")
}
