//! Makers: processes that make environments for the spawner, several at a time.
//!
//! Most of making one is waiting: for locks of the kernel, for a new file system, for init to build its
//! root. So the spawner has a few copies of itself that do nothing else. They are forked when the server
//! has begun, keep nothing of the one environment that there is by then, take their orders from the spawner
//! alone, and end with it. What they make is the spawner's own child and hangs on a descriptor that goes to
//! the spawner, so that nothing depends on who made it: when a maker ends, what it had not handed over
//! ends, too. A maker that somebody has ended is not replaced, because the spawner has environments by
//! then; with none left it makes all of them itself. Environments that copies of a template enter are made
//! by them, too: they get the template's namespaces with the order (`template::nest`).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::cgroup::Limits;
use crate::channel::{Channel, is_readable};
use crate::init;
use crate::machine::{Machine, Place, Waiting};
use crate::network::Way;
use crate::oom::Notice;
use crate::protocol::Mode;
use crate::sys;
use crate::template::nest::Nest;

/// More than that only wait for each other.
const MAKERS_MAX: usize = 8;
/// Orders that one may have: the next one is there when it is done with the last.
const ORDERS_MAX: usize = 2;

/// From the spawner to a maker. Descriptors: what a [`Nest`] consists of, if it is for a copy.
#[derive(Serialize, Deserialize)]
struct Order {
    slot: u32,
    /// Whether a launch waits for it.
    is_hurried: bool,
    limits: Option<Limits>,
}

/// Back, in the order of the orders. Descriptors: the process, its control channel, its two listeners,
/// what tells of its memory.
#[derive(Serialize, Deserialize)]
enum Answer {
    Made { pid: i32, limits: Option<Limits>, is_in_network: bool, link: Option<u32> },
    Failed(String),
}

/// What an order came to.
pub(crate) struct Done {
    pub(crate) slot: u32,
    /// The template for whose copy it is.
    pub(crate) template: Option<i32>,
    pub(crate) made: Result<Waiting, String>,
}

struct Maker {
    pid: i32,
    orders: Channel,
    /// The slots of its orders, and the templates for whose copies they are.
    slots: Vec<(u32, Option<i32>)>,
}

/// All makers of a spawner.
#[derive(Default)]
pub(crate) struct Makers {
    list: Vec<Maker>,
}

impl Makers {
    /// Forks them, if environments are made in a way that several can be made at a time. `closed` are
    /// descriptors of the caller that are not theirs.
    pub(crate) fn start(
        machine: &mut Machine,
        closed: &[BorrowedFd<'_>],
    ) -> Result<Makers, String> {
        let mut makers = Makers::default();
        if machine.mode != Mode::Privileged {
            return Ok(makers);
        }
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        // Each waits about half of its time.
        let count = (2 * processors + 1).min(MAKERS_MAX);
        for number in 1..=count {
            let (orders, theirs) = Channel::pair().map_err(|e| format!("socket pair: {e}"))?;
            match sys::fork().map_err(|error| format!("forking a maker: {error}"))? {
                Some(pid) => makers.list.push(Maker { pid, orders, slots: Vec::new() }),
                None => {
                    drop((makers, orders));
                    for fd in closed {
                        let _ = sys::close_number(fd.as_raw_fd());
                    }
                    let parts = (number as u32, count as u32 + 1);
                    work(machine, &theirs, parts);
                    sys::exit_now(0)
                }
            }
        }
        Ok(makers)
    }

    /// Whether nobody but the spawner makes environments.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Environments that are being made.
    pub(crate) fn ordered(&self) -> usize {
        self.list.iter().map(|maker| maker.slots.len()).sum()
    }

    /// Those that are for copies of this template, or for none.
    pub(crate) fn ordered_for(&self, template: Option<i32>) -> usize {
        let all = self.list.iter().flat_map(|maker| &maker.slots);
        all.filter(|(_, whose)| *whose == template).count()
    }

    /// Whether one of them can take another order.
    pub(crate) fn can_order(&self) -> bool {
        self.list.iter().any(|maker| maker.slots.len() < ORDERS_MAX)
    }

    /// Orders an environment in this slot from who has the least to do, inside the namespaces of a template
    /// if it is for a copy. Whether it was possible.
    pub(crate) fn order(
        &mut self,
        slot: u32,
        limits: Option<Limits>,
        is_hurried: bool,
        within: Option<(i32, &Nest)>,
    ) -> bool {
        let Some(maker) = self.list.iter_mut().min_by_key(|maker| maker.slots.len()) else {
            return false;
        };
        let nest = within.map(|(_, nest)| nest.descriptors());
        let order = Order { slot, is_hurried, limits };
        let sent = maker.orders.send(&order, nest.as_ref().map_or(&[], |both| both));
        if sent.is_ok() {
            maker.slots.push((slot, within.map(|(template, _)| template)));
        }
        sent.is_ok()
    }

    /// What tells that one of them is done, or has ended.
    pub(crate) fn watched(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.list.iter().map(|maker| maker.orders.as_fd())
    }

    /// What has been done; and how many have ended.
    pub(crate) fn done(&mut self) -> (Vec<Done>, usize) {
        let (mut done, mut ended) = (Vec::new(), 0);
        self.list.retain_mut(|maker| match maker.take() {
            Some(taken) => {
                done.extend(taken);
                true
            }
            None => {
                let lost = |(slot, template)| {
                    let made = Err("its maker has ended".to_owned());
                    Done { slot, template, made }
                };
                done.extend(maker.slots.drain(..).map(lost));
                ended += 1;
                false
            }
        });
        (done, ended)
    }

    /// Ends them; the slots of what was being made.
    pub(crate) fn end(&mut self) -> (Vec<i32>, Vec<u32>) {
        let all = std::mem::take(&mut self.list);
        for maker in &all {
            let _ = kill(Pid::from_raw(maker.pid), Signal::SIGKILL);
        }
        let slots =
            all.iter().flat_map(|maker| maker.slots.iter().map(|(slot, _)| *slot)).collect();
        (all.iter().map(|maker| maker.pid).collect(), slots)
    }
}

impl Maker {
    /// What it has done since the last look; `None` when it has ended.
    fn take(&mut self) -> Option<Vec<Done>> {
        let mut done = Vec::new();
        while !self.slots.is_empty() && is_readable(self.orders.as_fd()) {
            let packet = self.orders.receive().ok().flatten()?;
            let answer = packet.parse::<Answer>().ok()?;
            let (slot, template) = self.slots.remove(0);
            let made = match answer {
                Answer::Made { pid, limits, is_in_network, link } => {
                    received(slot, pid, packet.descriptors, (limits, is_in_network, link))
                }
                Answer::Failed(reason) => Err(reason),
            };
            done.push(Done { slot, template, made });
        }
        // It says nothing without an order.
        let is_over = self.slots.is_empty() && is_readable(self.orders.as_fd());
        (!is_over || !done.is_empty()).then_some(done)
    }
}

fn received(
    slot: u32,
    pid: i32,
    descriptors: Vec<OwnedFd>,
    (limits, is_in_network, link): (Option<Limits>, bool, Option<u32>),
) -> Result<Waiting, String> {
    let mut given = descriptors.into_iter();
    let mut next = || given.next().ok_or("a descriptor is missing");
    let (pidfd, control) = (next()?, Channel::from_fd(next()?));
    let listeners = vec![next()?, next()?];
    let notice = given.next().map(|counts| Notice::from_descriptors(counts, given.next()));
    if is_readable(pidfd.as_fd()) {
        // It may have been reaped already, as somebody who is not known.
        let _ = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
        return Err("it ended at once".to_owned());
    }
    let way = link.map_or(Way::None, Way::Link);
    Ok(Waiting { slot, pid, pidfd, control, listeners, notice, limits, is_in_network, way })
}

/// The life of a maker.
fn work(machine: &mut Machine, orders: &Channel, (part, parts): (u32, u32)) {
    sys::set_process_name(c"lambic-maker");
    init::forget_command_line("lambic-maker");
    if sys::die_with_parent().is_err() || machine.go_apart(part, parts).is_err() {
        return;
    }
    while let Ok(Some(packet)) = orders.receive() {
        let Ok(Order { slot, is_hurried, limits }) = packet.parse() else { return };
        machine.limits_usual = limits;
        machine.is_hurried = is_hurried;
        let nest = Nest::received(packet.descriptors);
        let place = nest.as_ref().map_or(Place::Alone, Place::Within);
        // Nobody waits for it, and who has an environment has work to do. (What becomes a program by itself
        // would have to be told that it is as any other again.)
        let yields = nest.is_some() && !is_hurried;
        sys::set_yielding(yields);
        let made = machine.make_in(slot, place);
        if let (true, Ok(waiting)) = (yields, &made) {
            sys::set_promptness(waiting.pid, Some(init::PROMPT_SLICE_NS));
        }
        let sent = match made {
            Ok(waiting) => hand_over(orders, &waiting),
            Err(reason) => orders.send(&Answer::Failed(reason), &[]),
        };
        if sent.is_err() {
            return;
        }
    }
}

fn hand_over(orders: &Channel, waiting: &Waiting) -> std::io::Result<()> {
    let link = match waiting.way {
        Way::Link(number) => Some(number),
        _ => None,
    };
    let Waiting { pid, limits, is_in_network, .. } = *waiting;
    let descriptors: Vec<_> = waiting.descriptors().collect();
    orders.send(&Answer::Made { pid, limits, is_in_network, link }, &descriptors)
}
