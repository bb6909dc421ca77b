//! The one thread that writes.
//!
//! It takes all commits that wait and makes them durable together. Each keeps its own fate: a
//! conflict is found before anything of it is written, so the others go on; and when there is no
//! room for a batch it is rolled back and its commits are tried one by one, as a small one or a
//! removal may still fit.

use std::io;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use lambic_rt::Rt;
use rusqlite::{Connection, OptionalExtension};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::dir::DirLock;
use crate::engine::{COMMIT_BYTES_MAX, Commit, CommitError, EngineError, Entry, Revision};
use crate::watch::{Change, Watchers};

use super::checkpoint::Checkpointer;
use super::failure;

/// The most commits in one batch.
const BATCH_COMMITS_MAX: usize = 512;
/// A batch takes no further commit beyond as many bytes.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The most bytes of commits that wait for the writer, or are being written.
const WAITING_BYTES_MAX: usize = 4 * COMMIT_BYTES_MAX;
/// How long a commit waits for room in the queue.
const WAITING_MS_MAX: u64 = 10_000;
/// How much a commit weighs beyond its bytes, which also bounds how many can wait: 16,384.
const COMMIT_OVERHEAD_BYTES: usize = 4_096;

/// The callers' side of the thread.
pub(crate) struct Writer {
    /// Unbounded by itself; who sends has taken its share of `room` first.
    queue: Mutex<Option<mpsc::UnboundedSender<Job>>>,
    room: Arc<Semaphore>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Job {
    commit: Commit,
    bytes: usize,
    reply: oneshot::Sender<Result<Revision, CommitError>>,
    _room: OwnedSemaphorePermit,
}

/// What became of one commit of a batch.
enum Outcome {
    Applied { revision: Revision, changes: Vec<Change> },
    Conflict { key: Vec<u8> },
}

impl Writer {
    pub(crate) fn start(
        connection: Connection,
        checkpoints: Connection,
        revision: Revision,
        watchers: Arc<Watchers>,
        lock: &Arc<DirLock>,
        rt: &Rt,
    ) -> io::Result<Writer> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let checkpointer = Checkpointer::start(checkpoints, rt)?;
        let lock = lock.clone();
        // Reads would go on without it, and the server look well while no write is possible.
        let fate = rt.essential_thread("store-writer");
        let thread = std::thread::Builder::new().name("store-writer".into()).spawn(move || {
            let _fate = fate;
            let mut work = Work { connection, checkpointer, watchers, revision };
            work.run(receiver);
            work.finish();
            drop(lock);
        })?;
        Ok(Writer {
            queue: Mutex::new(Some(sender)),
            room: Arc::new(Semaphore::new(WAITING_BYTES_MAX)),
            thread: Mutex::new(Some(thread)),
        })
    }

    pub(crate) async fn commit(&self, commit: Commit, rt: &Rt) -> Result<Revision, CommitError> {
        commit.check()?;
        let (reply, answer) = oneshot::channel();
        let limit = Duration::from_millis(WAITING_MS_MAX);
        match rt.within(limit, self.enqueue(commit, reply)).await {
            Some(queued) => queued?,
            None => return Err(CommitError::Failed("too many commits are waiting".into())),
        }
        answer.await.unwrap_or_else(|_| Err(CommitError::Failed("its writer has ended".into())))
    }

    async fn enqueue(
        &self,
        commit: Commit,
        reply: oneshot::Sender<Result<Revision, CommitError>>,
    ) -> Result<(), CommitError> {
        let closed = || CommitError::Failed(EngineError::Closed.to_string());
        let bytes = commit.bytes() + COMMIT_OVERHEAD_BYTES;
        let weight = u32::try_from(bytes).expect("a checked commit is smaller than 4 GiB");
        let room = self.room.clone().acquire_many_owned(weight).await.map_err(|_| closed())?;
        let job = Job { commit, bytes, reply, _room: room };
        self.queue().as_ref().ok_or_else(closed)?.send(job).map_err(|_| closed())
    }

    /// From now on commits are refused; those that were accepted still happen.
    pub(crate) fn refuse_new(&self) {
        self.queue().take();
        self.room.close();
    }

    /// Blocks until the thread has ended. Call [`Writer::refuse_new`] first.
    pub(crate) fn join(&self) {
        let thread = self.thread.lock().expect("nothing panics while this is locked").take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, Option<mpsc::UnboundedSender<Job>>> {
        self.queue.lock().expect("nothing panics while the queue is locked")
    }
}

/// What the thread owns.
struct Work {
    connection: Connection,
    checkpointer: Checkpointer,
    watchers: Arc<Watchers>,
    revision: Revision,
}

impl Work {
    fn run(&mut self, mut queue: mpsc::UnboundedReceiver<Job>) {
        while let Some(first) = queue.blocking_recv() {
            let mut bytes = first.bytes;
            let mut batch = vec![first];
            while batch.len() < BATCH_COMMITS_MAX && bytes < BATCH_BYTES_MAX {
                let Ok(job) = queue.try_recv() else { break };
                bytes += job.bytes;
                batch.push(job);
            }
            self.perform(batch);
        }
    }

    /// Commits a batch and answers its callers.
    fn perform(&mut self, batch: Vec<Job>) {
        match self.commit_batch(&batch) {
            Ok(outcomes) => self.answer(batch, outcomes),
            Err(error) if batch.len() > 1 && failure::is_full(&error) => {
                for job in batch {
                    self.perform(vec![job]);
                }
            }
            Err(error) => {
                tracing::warn!(%error, commits = batch.len(), "the store could not commit");
                for job in batch {
                    let _ = job.reply.send(Err(failure::commit(&error)));
                }
            }
        }
    }

    fn commit_batch(&mut self, batch: &[Job]) -> rusqlite::Result<Vec<Outcome>> {
        let result = self.write_batch(batch);
        if result.is_err() && !self.connection.is_autocommit() {
            // Some errors have rolled back already; for the others it is up to us.
            if let Err(error) = self.connection.execute_batch("ROLLBACK") {
                tracing::error!(%error, "a failed batch could not be rolled back");
            }
        }
        result
    }

    fn write_batch(&mut self, batch: &[Job]) -> rusqlite::Result<Vec<Outcome>> {
        let connection = &self.connection;
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let mut revision = self.revision;
        let mut outcomes = Vec::with_capacity(batch.len());
        for job in batch {
            let outcome = apply(connection, &job.commit, revision + 1)?;
            if let Outcome::Applied { .. } = outcome {
                revision += 1;
            }
            outcomes.push(outcome);
        }
        if revision == self.revision {
            connection.prepare_cached("ROLLBACK")?.execute([])?;
            return Ok(outcomes);
        }
        connection
            .prepare_cached("UPDATE meta SET value = ?1 WHERE name = 'revision'")?
            .execute([revision as i64])?;
        connection.prepare_cached("COMMIT")?.execute([])?;
        self.revision = revision;
        Ok(outcomes)
    }

    /// Watches learn before callers do, so that who waits for a commit finds its change waiting.
    fn answer(&mut self, batch: Vec<Job>, outcomes: Vec<Outcome>) {
        let mut frames = 2;
        for (job, outcome) in batch.into_iter().zip(outcomes) {
            let result = match outcome {
                Outcome::Applied { revision, changes } => {
                    frames += changes.len() as u64 + job.bytes as u64 / 4_096;
                    self.watchers.publish(&changes);
                    Ok(revision)
                }
                Outcome::Conflict { key } => Err(CommitError::Conflict { key }),
            };
            let _ = job.reply.send(result);
        }
        self.checkpointer.written(frames, &self.connection);
    }

    /// Leaves a database without a log behind, if nobody else has it open.
    fn finish(mut self) {
        self.checkpointer.join();
        let _ = self.connection.busy_timeout(Duration::ZERO);
        let truncate = "PRAGMA wal_checkpoint(TRUNCATE)";
        if let Err(error) = self.connection.query_row(truncate, [], |_| Ok(())) {
            tracing::warn!(%error, "the last checkpoint of the store failed");
        }
    }
}

fn apply(
    connection: &Connection,
    commit: &Commit,
    revision: Revision,
) -> rusqlite::Result<Outcome> {
    for (key, expected) in &commit.expect {
        if revision_of(connection, key)? != *expected {
            return Ok(Outcome::Conflict { key: key.clone() });
        }
    }
    let mut changes = Vec::with_capacity(commit.puts.len() + commit.deletes.len());
    for key in &commit.deletes {
        let mut delete = connection.prepare_cached("DELETE FROM records WHERE key = ?1")?;
        if delete.execute([text(key)])? > 0 {
            changes.push(Change::Deleted { key: key.clone(), revision });
        }
    }
    for (key, value) in &commit.puts {
        put(connection, key, value, revision)?;
        let (key, value) = (key.clone(), value.clone());
        changes.push(Change::Put(Entry { key, value, revision }));
    }
    Ok(Outcome::Applied { revision, changes })
}

fn revision_of(connection: &Connection, key: &[u8]) -> rusqlite::Result<Option<Revision>> {
    let found: Option<i64> = connection
        .prepare_cached("SELECT revision FROM records WHERE key = ?1")?
        .query_row([text(key)], |row| row.get(0))
        .optional()?;
    Ok(found.map(i64::unsigned_abs))
}

fn put(
    connection: &Connection,
    key: &[u8],
    value: &Bytes,
    revision: Revision,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO records (key, value, revision) VALUES (?1, ?2, ?3)
         ON CONFLICT (key) DO UPDATE SET value = excluded.value, revision = excluded.revision",
    )?;
    // Text wherever it is text, so that people can read it; other bytes are kept as they are.
    match std::str::from_utf8(value) {
        Ok(value) => statement.execute((text(key), value, revision as i64))?,
        Err(_) => statement.execute((text(key), &value[..], revision as i64))?,
    };
    Ok(())
}

fn text(key: &[u8]) -> &str {
    std::str::from_utf8(key).expect("Commit::check refuses keys that are no UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir;
    use crate::sqlite::SqliteEngine;

    #[tokio::test]
    async fn a_writer_that_breaks_stops_the_server() {
        let scratch = tempfile::tempdir().unwrap();
        let rt = Rt::real();
        let lock = Arc::new(dir::prepare(scratch.path()).unwrap());
        let engine = SqliteEngine::open(scratch.path(), lock, rt.clone()).unwrap();
        // Past the check, which keeps such a key away from the thread.
        let puts = vec![(b"\xff".to_vec(), Bytes::new())];
        let (reply, answer) = oneshot::channel();
        engine.writer.enqueue(Commit { puts, ..Commit::default() }, reply).await.unwrap();
        assert!(answer.await.is_err());
        rt.within(Duration::from_secs(10), rt.shutdown().requested()).await.unwrap();
        assert_eq!(rt.shutdown().fault(), Some("store-writer"));
    }
}
