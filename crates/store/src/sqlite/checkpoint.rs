//! Checkpoints on a thread of their own.
//!
//! A passive checkpoint never makes a writer or a reader wait. Under writes without a pause it
//! never catches up with the end of the log either, and the log would grow for ever; past
//! [`LOG_FRAMES_MAX`] the writer is asked to do the small rest itself, between two batches, after
//! which the log starts over.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use lambic_rt::Rt;
use rusqlite::Connection;

/// A checkpoint is due after about as many log frames (of 4 KiB).
const FRAMES_BETWEEN: u64 = 4_000;
/// A log longer than this makes the writer help (64 MiB).
const LOG_FRAMES_MAX: i64 = 16_384;

/// The writer's side.
pub(crate) struct Checkpointer {
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    help: Arc<AtomicBool>,
    frames: u64,
}

impl Checkpointer {
    pub(crate) fn start(connection: Connection, rt: &Rt) -> io::Result<Checkpointer> {
        let (wake, woken) = sync_channel(1);
        let help = Arc::new(AtomicBool::new(false));
        let asked = help.clone();
        let fate = rt.essential_thread("store-checkpoint");
        let thread =
            std::thread::Builder::new().name("store-checkpoint".into()).spawn(move || {
                let _fate = fate;
                run(&connection, &woken, &asked);
            })?;
        Ok(Checkpointer { wake: Some(wake), thread: Some(thread), help, frames: 0 })
    }

    /// Tells of about `frames` more in the log; `connection` is the writer's, between batches.
    pub(crate) fn written(&mut self, frames: u64, connection: &Connection) {
        self.frames += frames;
        if self.frames < FRAMES_BETWEEN {
            return;
        }
        self.frames = 0;
        if self.help.swap(false, Ordering::AcqRel) {
            passive(connection);
        }
        if let Some(wake) = &self.wake {
            // Full means that one is due already.
            let _ = wake.try_send(());
        }
    }

    /// Ends the thread.
    pub(crate) fn join(&mut self) {
        self.wake.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(connection: &Connection, woken: &Receiver<()>, help: &AtomicBool) {
    while woken.recv().is_ok() {
        let frames = passive(connection);
        if frames > LOG_FRAMES_MAX {
            help.store(true, Ordering::Release);
        }
    }
}

/// Moves what can be moved without waiting, and answers the length of the log in frames.
fn passive(connection: &Connection) -> i64 {
    let result = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(1));
    result.unwrap_or_else(|error| {
        // The log stays as it is and nothing is lost; the next one tries again.
        tracing::warn!(%error, "a checkpoint of the store failed");
        0
    })
}
