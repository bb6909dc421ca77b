//! Nothing is lost without being counted, nothing is put in another order, nothing grows.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;

use super::*;

const TIMEOUT: Duration = Duration::from_millis(1_000);

fn buffering(items_max: usize, bytes_max: usize) -> Buffering {
    Buffering { items_max, bytes_max, timeout: TIMEOUT }
}

fn queue(items_max: usize, bytes_max: usize) -> Queue {
    Queue::new(buffering(items_max, bytes_max), Framing::Array, Budget::new(1 << 20))
}

fn told(dropped: Dropped, _reason: &'static str) -> Option<String> {
    Some(format!("{{\"d\":{},\"b\":{}}}", dropped.records, dropped.bytes))
}

fn untold(_: Dropped, _: &'static str) -> Option<String> {
    None
}

fn start() -> Instant {
    lambic_rt::Rt::simulated(1).instant()
}

/// A full batch is ready at once, another one when it is old enough or asked for.
#[test]
fn batches_are_ready_when_full_old_or_urgent() {
    let now = start();
    let mut queue = queue(3, 100);
    assert_eq!(queue.ready(now), Ready::Never);
    queue.push(now, "1", &told);
    assert_eq!(queue.ready(now), Ready::At(now + TIMEOUT));
    assert!(queue.take(now, &told).is_none());
    let later = now + TIMEOUT / 2;
    queue.push(later, "2", &told);
    assert_eq!(queue.ready(later), Ready::At(now + TIMEOUT), "the first event decides");
    let parcel = queue.take(now + TIMEOUT, &told).unwrap();
    assert_eq!(parcel.text, "[1,2]");
    queue.delivered(later, parcel, &told);
    for number in ["3", "4", "5"] {
        queue.push(later, number, &told);
    }
    let parcel = queue.take(later, &told).unwrap();
    assert_eq!(parcel.text, "[3,4,5]");
    queue.push(later, "6", &told);
    queue.hurry();
    assert!(!queue.is_settled());
    queue.delivered(later, parcel, &told);
    let parcel = queue.take(later, &told).unwrap();
    assert_eq!(parcel.text, "[6]");
    queue.delivered(later, parcel, &told);
    assert!(queue.is_settled());
    queue.push(later, "7", &told);
    assert_eq!(queue.ready(later), Ready::At(later + TIMEOUT), "the hurry is over");
}

#[test]
fn a_batch_has_at_most_its_bytes_but_a_single_event_may_have_more() {
    let now = start();
    let mut queue = queue(100, 10);
    let long = "x".repeat(19);
    for event in ["aaaa", "bbbb", "cccc", &long] {
        queue.push(now, event, &untold);
    }
    let parcel = queue.take(now, &untold).unwrap();
    assert_eq!(parcel.text, "[aaaa,bbbb]");
    queue.delivered(now, parcel, &untold);
    queue.hurry();
    let parcel = queue.take(now, &untold).unwrap();
    assert_eq!(parcel.text, "[cccc]", "the long one had no room beside the others");
    queue.push(now, &long, &untold);
    queue.delivered(now, parcel, &untold);
    let parcel = queue.take(now, &untold).unwrap();
    assert_eq!(parcel.text.len(), long.len() + 2);
    queue.delivered(now, parcel, &untold);
}

#[test]
fn lines_end_with_newlines() {
    let now = start();
    let mut queue = Queue::new(buffering(2, 100), Framing::Lines, Budget::new(1_000));
    queue.push(now, "1", &told);
    queue.push(now, "2", &told);
    let parcel = queue.take(now, &told).unwrap();
    assert_eq!(parcel.text, "1\n2\n");
    queue.delivered(now, parcel, &told);
}

#[test]
fn a_notice_stands_where_events_are_missing() {
    let now = start();
    let mut queue = queue(2, 1_000);
    for number in 1..=7 {
        queue.push(now, &number.to_string(), &told);
    }
    let first = queue.take(now, &told).unwrap();
    assert_eq!(first.text, "[1,2]");
    queue.push(now, "8", &told);
    queue.delivered(now, first, &told);
    let second = queue.take(now, &told).unwrap();
    assert_eq!(second.text, "[3,4]");
    queue.delivered(now, second, &told);
    let third = queue.take(now, &told).unwrap();
    assert_eq!(third.text, "[{\"d\":3,\"b\":3},8]", "5, 6 and 7 are missing here");
    // Given up: what it told and what it held is told again, before all that comes.
    queue.push(now, "9", &told);
    queue.give_up(now, third, &told);
    let fourth = queue.take(now, &told).unwrap();
    assert_eq!(fourth.text, "[{\"d\":4,\"b\":4}]");
    queue.give_up(now, fourth, &told);
    let fifth = queue.take(now, &told).unwrap();
    assert_eq!(fifth.text, "[{\"d\":4,\"b\":4}]", "a notice is no loss of its own");
    queue.delivered(now, fifth, &told);
    queue.hurry();
    assert_eq!(queue.take(now, &told).unwrap().text, "[9]");
}

#[test]
fn the_budget_is_shared_and_given_back() {
    let now = start();
    let budget = Budget::new(10);
    let new = || Queue::new(buffering(1, 100), Framing::Array, budget.clone());
    let (mut one, mut other) = (new(), new());
    one.push(now, "aaaaaaaa", &untold);
    other.push(now, "bbb", &untold);
    assert_eq!(other.untold, Dropped { records: 1, bytes: 3 });
    let parcel = one.take(now, &untold).unwrap();
    other.push(now, "bbb", &untold);
    assert_eq!(other.untold.records, 2, "on its way it is still held");
    drop(parcel);
    other.push(now, "bbb", &untold);
    assert_eq!(other.take(now, &untold).unwrap().text, "[bbb]");
    other.is_sending = false;
    other.push(now, "cccccccccc", &untold);
    drop(other);
    assert!(budget.take(10), "all of it is back");
}

#[derive(Clone, Debug)]
enum Step {
    Push(usize),
    Take,
    Deliver,
    GiveUp,
    Wait(u64),
    Hurry,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1_usize..40).prop_map(Step::Push),
        2 => Just(Step::Take),
        2 => Just(Step::Deliver),
        1 => Just(Step::GiveUp),
        1 => (0_u64..1_500).prop_map(Step::Wait),
        1 => Just(Step::Hurry),
    ];
    proptest::collection::vec(step, 0..200)
}

/// Runs the steps and then sends all that is left; the texts that were delivered.
fn run(queue: &mut Queue, steps: &[Step], notice: &dyn Notice) -> (u64, u64, Vec<Bytes>) {
    let mut now = start();
    let (mut pushed, mut bytes, mut sent) = (0, 0, Vec::new());
    let mut parcel: Option<Parcel> = None;
    for step in steps {
        match step {
            Step::Push(length) => {
                let event = format!("{{\"n\":{pushed},\"x\":\"{}\"}}", "x".repeat(*length));
                queue.push(now, &event, notice);
                pushed += 1;
                bytes += event.len() as u64;
            }
            Step::Take if parcel.is_none() => parcel = queue.take(now, notice),
            Step::Deliver => {
                if let Some(parcel) = parcel.take() {
                    sent.push(parcel.text.clone());
                    queue.delivered(now, parcel, notice);
                }
            }
            Step::GiveUp => {
                if let Some(parcel) = parcel.take() {
                    queue.give_up(now, parcel, notice);
                }
            }
            Step::Wait(ms) => now += Duration::from_millis(*ms),
            Step::Hurry => queue.hurry(),
            Step::Take => {}
        }
        let waiting: usize = queue.full.iter().chain([&queue.filling]).map(|b| b.bytes).sum();
        assert!(waiting <= 2 * queue.buffering.bytes_max + 200, "{waiting}");
    }
    if let Some(parcel) = parcel {
        sent.push(parcel.text.clone());
        queue.delivered(now, parcel, notice);
    }
    while !queue.is_settled() {
        queue.hurry();
        let parcel = queue.take(now, notice).expect("what is urgent is ready");
        sent.push(parcel.text.clone());
        queue.delivered(now, parcel, notice);
    }
    (pushed, bytes, sent)
}

proptest! {
    #[test]
    fn nothing_is_lost_uncounted_nor_put_in_another_order(
        steps in steps(),
        items_max in 1_usize..8,
        bytes_max in 30_usize..200,
        budget in 50_usize..1_000,
    ) {
        let budget_left = Budget::new(budget);
        let mut queue =
            Queue::new(buffering(items_max, bytes_max), Framing::Array, budget_left.clone());
        let (pushed, bytes, sent) = run(&mut queue, &steps, &told);
        prop_assert_eq!(queue.untold, Dropped::default());
        let (mut next, mut seen_bytes) = (0, 0);
        for text in &sent {
            let batch: Vec<Value> = serde_json::from_slice(text).unwrap();
            prop_assert!(batch.len() <= items_max);
            for event in batch {
                if let Some(number) = event["n"].as_u64() {
                    prop_assert_eq!(number, next, "missing without a notice, or in another order");
                    next += 1;
                    seen_bytes += event.to_string().len() as u64;
                } else {
                    next += event["d"].as_u64().unwrap();
                    seen_bytes += event["b"].as_u64().unwrap();
                }
            }
        }
        prop_assert_eq!(next, pushed);
        prop_assert_eq!(seen_bytes, bytes);
        prop_assert!(budget_left.take(budget), "the budget is whole again");
    }

    #[test]
    fn who_is_not_told_of_losses_still_gets_the_rest_in_order(steps in steps()) {
        let mut queue = queue(3, 60);
        let (pushed, _, sent) = run(&mut queue, &steps, &untold);
        let events: Vec<u64> = sent
            .iter()
            .flat_map(|text| serde_json::from_slice::<Vec<Value>>(text).unwrap())
            .map(|event| event["n"].as_u64().unwrap())
            .collect();
        prop_assert!(events.is_sorted());
        prop_assert_eq!(events.len() as u64 + queue.untold.records, pushed);
    }
}
