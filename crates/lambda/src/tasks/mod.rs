//! Background work, as reconcilers: each looks at what is stored, makes it so, may run twice, takes
//! no input, and is woken by a signal and by a clock.

pub(crate) mod mappings;
pub(crate) mod provision;
pub(crate) mod settle;
pub(crate) mod snapshots;
pub(crate) mod sweep;
