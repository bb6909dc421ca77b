//! Many environments at once: who makes them, and what happens when one of those is ended.

use std::collections::HashSet;

use lambic_sandbox::{Mode, Sandboxes};
use tokio::task::JoinSet;

use super::network::{Hand, children, wait_for};
use super::{run, spec};

/// More than are ready, and more than makers have orders.
const MANY: usize = 24;

/// Launches so many at once, and looks whether each is a user of its own and has a `/tmp` of its own.
async fn many(sandboxes: &Sandboxes) {
    let script = "tr -s ' ' < /proc/self/uid_map; stat -f -c %a /tmp; ls -A /tmp; touch /tmp/file; \
                  exec sleep 0.2";
    let mut launched = JoinSet::new();
    for _ in 0..MANY {
        let (sandboxes, spec) = (sandboxes.clone(), spec(script));
        launched.spawn(async move { run(&sandboxes, &spec).await });
    }
    let mut users = HashSet::new();
    for ran in launched.join_all().await {
        assert_eq!(ran.exit.code, Some(0), "{}", ran.output);
        let (user, room) = ran.output.trim().split_once('\n').unwrap();
        let room: u64 = room.parse().unwrap();
        assert!((512 << 20..513 << 20).contains(&(room * 4096)), "{room}");
        assert!(users.insert(user.to_owned()), "{user} is somebody else, too");
    }
}

fn end(hand: &mut Hand, pids: &[u32]) {
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    assert_eq!(hand.order(&format!("kill -9 {}", pids.join(" "))), "end 0\n");
}

pub(crate) async fn makers(sandboxes: &Sandboxes, mode: Mode, hand: &mut Hand) {
    let spawner = children(std::process::id(), "lambic-spawner")[0];
    let of_spawner = || children(spawner, "lambic-maker");
    if mode != Mode::Privileged {
        assert_eq!(of_spawner(), [0_u32; 0]);
        return;
    }
    many(sandboxes).await;
    let all = of_spawner();
    assert!(all.len() > 1, "{all:?}");
    for maker in &all {
        assert_eq!(children(*maker, ""), [0_u32; 0], "what it makes is the spawner's");
    }
    // One ends while all are at work; the launches that it worked for are made by others.
    tokio::join!(many(sandboxes), async {
        tokio::task::yield_now().await;
        end(hand, &all[..1]);
    });
    wait_for(|| of_spawner().len() == all.len() - 1, "the end of one").await;
    many(sandboxes).await;
    // With none left the spawner makes them itself.
    end(hand, &of_spawner());
    wait_for(|| of_spawner().is_empty(), "the end of all").await;
    many(sandboxes).await;
}
