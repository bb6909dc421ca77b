//! Prints how many durable 1 KB commits per second a store takes from 1, 16, 64 and 256 callers.
//!
//! `cargo run --release -p lambic-store --example enqueue [directory]`

#![allow(clippy::print_stdout, reason = "it is what the example is for")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use lambic_rt::{Rt, TaskKind};
use lambic_store::{Commit, Store};

const SECONDS: u64 = 2;
const VALUE_BYTES: usize = 1_024;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rt = Rt::real();
    let scratch = PathBuf::from(format!("enqueue-{}", rt.uuid()));
    let dir = std::env::args().nth(1).map_or(std::env::temp_dir(), PathBuf::from).join(scratch);
    let store = Store::open(&dir, rt.clone()).await?;
    println!("callers   commits/s   median ms   p99 ms");
    for callers in [1, 16, 64, 256] {
        let (count, mut latencies) = measure(&rt, &store, callers).await;
        latencies.sort_unstable();
        let at = |percent: usize| millis(latencies[(latencies.len() - 1) * percent / 100]);
        println!("{callers:>7} {:>11} {:>11.2} {:>8.2}", count / SECONDS, at(50), at(99));
    }
    store.close().await;
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

async fn measure(rt: &Rt, store: &Store, callers: usize) -> (u64, Vec<Duration>) {
    let next = Arc::new(AtomicU64::new(0));
    let end = rt.instant() + Duration::from_secs(SECONDS);
    let tasks = (0..callers).map(|_| {
        let (rt_of_task, store, next) = (rt.clone(), store.clone(), next.clone());
        rt.spawn("caller", TaskKind::Request, async move {
            let value = Bytes::from(vec![b'x'; VALUE_BYTES]);
            let mut latencies = Vec::new();
            while rt_of_task.instant() < end {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let key = format!("queue {callers} {number:016}").into_bytes();
                let puts = vec![(key, value.clone())];
                let start = rt_of_task.instant();
                let commit = Commit { puts, ..Commit::default() };
                store.engine().commit(commit).await.expect("the disk takes what it is given");
                latencies.push(rt_of_task.instant() - start);
            }
            latencies
        })
    });
    let latencies: Vec<Duration> = join_all(tasks).await.into_iter().flatten().flatten().collect();
    (latencies.len() as u64, latencies)
}
