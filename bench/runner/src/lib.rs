//! What the programs of the measurements share: HTTP/1.1 in its smallest form, signatures, load of three
//! kinds (closed, open, all at once), what processes used, priorities, statistics and plots.

pub mod burst;
pub mod http;
pub mod load;
pub mod open;
pub mod plot;
pub mod priority;
pub mod proc;
pub mod sign;
pub mod stats;
