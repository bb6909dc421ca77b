//! Which kinds of spares are copied no more, because copies of them or what these are made from have
//! failed: they are started by themselves, until the daemon asks for the kind anew.

use std::os::fd::{AsFd, BorrowedFd};

use super::{Copies, Purpose, State, Template};
use crate::spares::FAILURES_MAX;

/// The first copy of a zygote has to come to life before others are made: our end of its stream.
pub(super) fn trial<'a>(purpose: &'a Purpose, zygote: &Template) -> Option<BorrowedFd<'a>> {
    match purpose {
        Purpose::Spare { stream, .. } | Purpose::Wanted { stream, .. } => {
            (!zygote.is_proven).then(|| stream.as_fd())
        }
        Purpose::Launch { .. } => None,
    }
}

impl Copies {
    /// Something of this kind could not be copied, or did not live.
    pub(super) fn has_failed(&mut self, kind: u64) {
        match self.failures.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => self.failures.push((kind, 1)),
        }
    }

    /// A spare has broken before it was at hand. If it was a copy that says something of its template,
    /// of which no more are made. What is to be told of it; `None` if it was none.
    pub(crate) fn has_broken(&mut self, pid: i32) -> Option<&'static str> {
        let copy = self.nested.iter().find(|copy| copy.pid == pid)?;
        let (template, kind) = (copy.template, copy.kind?);
        if let Some(template) = self.template(template) {
            template.state = State::Retired;
        }
        self.has_failed(kind);
        let failures = self.failures.iter().find(|(known, _)| *known == kind);
        Some(match failures.is_some_and(|(_, count)| *count >= FAILURES_MAX) {
            true => "; spares of its kind are started by themselves for now",
            false => "; what it was copied from is not copied any more",
        })
    }

    /// A kind is asked for again: what has failed is tried again.
    pub(crate) fn try_again(&mut self, kind: u64) {
        self.failures.retain(|(known, _)| *known != kind);
    }
}
