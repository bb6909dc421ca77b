//! restJson1 binding. Being built.
