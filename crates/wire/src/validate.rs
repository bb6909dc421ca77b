//! Constraint validation. Being built.
