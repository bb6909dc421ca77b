//! System calls that a held process does in one go.
//!
//! To hold a process for each of sixty calls costs more than the calls. So a list of them is laid into
//! memory of its own, and a few instructions that walk through it over those at which it is held; it
//! runs, and stops at the list's end or at the first call that did not go well. Then the instructions are
//! as before. Nothing of it may be there when the process goes on.

use std::io;

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;

use super::trace::{Arguments, Held, WALKER, Walk, failed};

/// A call and what came of it, as the instructions read and write it: number, arguments, result, and the
/// least result with which they go on.
pub(super) const CALL_WORDS: usize = 9;
const CALL_BYTES: usize = CALL_WORDS * 8;
const RESULT_AT: usize = 7;

struct Call {
    what: &'static str,
    number: i64,
    arguments: Arguments,
    least: i64,
}

/// A list of calls.
#[derive(Default)]
pub(super) struct Block {
    calls: Vec<Call>,
}

impl Block {
    /// Adds one that must succeed.
    pub(super) fn must(&mut self, what: &'static str, number: i64, arguments: &[u64]) {
        self.add(what, number, arguments, 0);
    }

    /// Adds one that may fail. Its place among the results.
    pub(super) fn may(&mut self, what: &'static str, number: i64, arguments: &[u64]) -> usize {
        self.add(what, number, arguments, i64::MIN);
        self.calls.len() - 1
    }

    fn add(&mut self, what: &'static str, number: i64, some: &[u64], least: i64) {
        let mut arguments = Arguments::default();
        arguments[..some.len()].copy_from_slice(some);
        self.calls.push(Call { what, number, arguments, least });
    }

    /// Makes a process do them, with so many bytes of its memory for the list. Their results.
    pub(super) fn run(
        &self,
        held: &mut Held<'_>,
        room: u64,
        room_bytes: u64,
    ) -> Result<Vec<i64>, String> {
        let at = held.enters_at();
        let mut before = [0; WALKER.len()];
        held.read(at, &mut before)?;
        held.write(at, &WALKER)?;
        let mut results = Vec::with_capacity(self.calls.len());
        for calls in self.calls.chunks(room_bytes as usize / CALL_BYTES) {
            run_some(calls, held, room, &mut results)?;
        }
        held.write(at, &before)?;
        Ok(results)
    }
}

fn run_some(
    calls: &[Call],
    held: &mut Held<'_>,
    room: u64,
    results: &mut Vec<i64>,
) -> Result<(), String> {
    let mut list = Vec::with_capacity(calls.len() * CALL_BYTES);
    for call in calls {
        let [a, b, c, d, e, f] = call.arguments;
        let words = [call.number as u64, a, b, c, d, e, f, 0, call.least as u64];
        list.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
    }
    held.write(room, &list)?;
    let end = room + list.len() as u64;
    let stopped_at = walk(held, room, end)?;
    held.read(room, &mut list)?;
    for (call, words) in calls.iter().zip(list.chunks_exact(CALL_BYTES)) {
        let result = words[RESULT_AT * 8..][..8].try_into().map_err(|_| "no result")?;
        let result = i64::from_ne_bytes(result);
        if result < call.least {
            let error = io::Error::from_raw_os_error(-result as i32);
            return Err(format!("{}: {error}", call.what));
        }
        results.push(result);
    }
    if stopped_at == end { Ok(()) } else { Err("it did not do all that it was to do".to_owned()) }
}

/// Lets it walk through a list. Where it has stopped.
fn walk(held: &mut Held<'_>, from: u64, to: u64) -> Result<u64, String> {
    let walk = Walk::new(&held.registers, from, to);
    ptrace::setregs(held.pid, walk.registers).map_err(failed("setting registers"))?;
    ptrace::cont(held.pid, None).map_err(failed("letting it go on"))?;
    match held.next()? {
        WaitStatus::Stopped(_, Signal::SIGTRAP) => {}
        other => return Err(format!("a list of calls: {other:?}")),
    }
    let after = ptrace::getregs(held.pid).map_err(failed("reading registers"))?;
    walk.stopped_at(&after)
}
