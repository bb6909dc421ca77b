//! What every engine must do, and what the SQLite engine must survive.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "these are tests")]

mod blobs;
mod crash;
mod directory;
mod full;
mod records;
mod suite;
mod watches;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use lambic_rt::Rt;
use lambic_store::{Commit, Engine, MemoryEngine, Store};

/// Runs `test` on each engine in turn; a new engine is added here and nowhere else.
async fn on_every_engine(test: impl AsyncFn(Arc<dyn Engine>)) {
    test(Arc::new(MemoryEngine::new())).await;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    test(store.engine().clone()).await;
}

async fn open(dir: &Path) -> Store {
    Store::open(dir, Rt::real()).await.unwrap()
}

/// Blocks on `future` with a runtime of one thread, which must be enough for a store.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap().block_on(future)
}

fn put(key: &str, value: &str) -> Commit {
    let puts = vec![(key.into(), Bytes::copy_from_slice(value.as_bytes()))];
    Commit { puts, ..Commit::default() }
}

fn delete(key: &str) -> Commit {
    Commit { deletes: vec![key.into()], ..Commit::default() }
}

/// `n` below `limit`, from the kernel.
fn random(limit: u64) -> u64 {
    let mut bytes = [0; 8];
    Rt::real().fill_random(&mut bytes);
    u64::from_le_bytes(bytes) % limit
}
