//! One machine for one day: the product's own decisions (`pool`, `place`, `worth`) over a simulated
//! clock. Only what keeps idle environments differs between two runs.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet};
use std::time::Duration;

use lambic_lambda::invoke::place::{self, Budget, IdleEnvironment, Placement, Used};
use lambic_lambda::invoke::pool::{Answer, EnvironmentId, Evictable, Free, Impatient, Pool};
use lambic_lambda::invoke::worth::{Keep, PRICE, Policy, Worth};
use lambic_rt::{Instant, Rt};

use super::bound::Levels;
use super::trace::{DAY, Function, SECOND, Time, Trace};

/// How often idle environments are looked at (the product: every second).
const SWEEP_EVERY: Time = 10 * SECOND;
/// Environments of the machine; memory is what is short here.
const ENVIRONMENTS_MAX: usize = 100_000;

/// What keeps idle environments.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Keeping {
    /// Each for so long; the oldest make room.
    Fixed { minutes: u64 },
    /// Until the room is needed; the oldest make it.
    Lru,
    /// FaasCache's Greedy-Dual-Size-Frequency (ASPLOS 2021): until the room is needed; those with the
    /// lowest (clock of the last use + uses × start / size) make it.
    GreedyDual,
    /// The product's: each for an hour at most, memory as dear as it is scarce.
    Worth,
    /// The same with one price for idle memory.
    Priced { price: f32 },
    /// Knows the future: until the room is needed; those whose next use times size is farthest make it.
    Clairvoyant,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    pub(crate) memory_mb_max: u64,
    pub(crate) keeping: Keeping,
    /// Whether requests may wait for environments at work.
    pub(crate) binds_early: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) calls: usize,
    pub(crate) served: usize,
    pub(crate) cold: usize,
    /// Calls for which there was no room.
    pub(crate) refused: usize,
    /// Calls that waited for an environment at work and got it within their patience.
    pub(crate) bound: usize,
    /// Calls that waited so long in vain.
    pub(crate) disappointed: usize,
    pub(crate) starts: usize,
    pub(crate) evicted: usize,
    pub(crate) memory_mb_most: u64,
    /// On average over the day.
    pub(crate) memory_mb: f64,
    pub(crate) idle_mb: f64,
    /// How long each call waited for its environment, in microseconds; ascending, without zeros.
    pub(crate) waits: Vec<u32>,
    /// Waits beyond patience and the longest start of the function; must not be.
    pub(crate) waited_too_long: usize,
}

impl Outcome {
    pub(crate) fn cold_share(&self) -> f64 {
        self.cold as f64 / self.calls as f64
    }

    /// The wait in milliseconds that so much of all calls do not exceed.
    pub(crate) fn wait_ms(&self, share: f64) -> f64 {
        let zeros = self.calls - self.waits.len();
        let at = (share * (self.calls - 1) as f64) as usize;
        at.checked_sub(zeros).map_or(0.0, |at| f64::from(self.waits[at]) / 1e3)
    }

    pub(crate) fn wait_ms_mean(&self) -> f64 {
        self.waits.iter().map(|wait| f64::from(*wait)).sum::<f64>() / 1e3 / self.calls as f64
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Started { pool: u32, id: EnvironmentId },
    Over { pool: u32, id: EnvironmentId },
    Patience { pool: u32, call: u64 },
}

struct World<'a> {
    trace: &'a Trace,
    levels: &'a [Levels],
    machine: Machine,
    keep: Keep,
    budget: Budget,
    begin: Instant,
    now: Time,
    pools: Vec<Pool>,
    /// Pools with environments.
    live: BTreeSet<u32>,
    used: Used,
    fresh: HashSet<EnvironmentId>,
    next: u64,
    events: BinaryHeap<Reverse<(Time, u64, Event)>>,
    /// For GreedyDual: the uses of each function since it has environments, the clock of each
    /// environment's last use, and the clock.
    uses: Vec<f32>,
    clocks: HashMap<EnvironmentId, f32>,
    clock: f32,
    busy_mb_us: f64,
    mb_us: f64,
    out: Outcome,
}

/// Lets the day pass.
pub(crate) fn run(trace: &Trace, levels: &[Levels], machine: Machine) -> Outcome {
    let (policy, minutes, price) = match machine.keeping {
        Keeping::Fixed { minutes } => (Policy::Fixed, minutes, PRICE),
        Keeping::Worth => (Policy::Worth, 60, PRICE),
        Keeping::Priced { price } => (Policy::Worth, 1 << 32, price),
        Keeping::Lru | Keeping::GreedyDual | Keeping::Clairvoyant => {
            (Policy::Fixed, 1 << 32, PRICE)
        }
    };
    let fresh_pool = |function: &Function| Pool::new(function.memory_mb, Default::default());
    let mut world = World {
        trace,
        levels,
        machine,
        keep: Keep { policy, idle_max: Duration::from_secs(60 * minutes), price },
        budget: Budget { memory_mb_max: machine.memory_mb_max, environments_max: ENVIRONMENTS_MAX },
        begin: Rt::simulated(1).instant(),
        now: 0,
        pools: trace.functions.iter().map(fresh_pool).collect(),
        live: BTreeSet::new(),
        used: Used::default(),
        fresh: HashSet::new(),
        next: 0,
        events: BinaryHeap::new(),
        uses: vec![0.0; trace.functions.len()],
        clocks: HashMap::new(),
        clock: 0.0,
        busy_mb_us: 0.0,
        mb_us: 0.0,
        out: Outcome { calls: trace.calls.len(), ..Outcome::default() },
    };
    world.pass();
    world.out.waits.sort_unstable();
    world.out.memory_mb = world.mb_us / DAY as f64;
    world.out.idle_mb = (world.mb_us - world.busy_mb_us) / DAY as f64;
    world.out
}

impl World<'_> {
    fn pass(&mut self) {
        let mut sweep = SWEEP_EVERY;
        let mut calls = self.trace.calls.iter().enumerate().peekable();
        while self.now < DAY {
            let event = self.events.peek().map_or(DAY, |event| event.0.0);
            let call = calls.peek().map_or(DAY, |(_, call)| call.at);
            let next = event.min(call).min(sweep);
            self.advance(next.min(DAY));
            if self.now >= DAY {
                break;
            }
            if event <= next {
                let Some(Reverse((_, _, event))) = self.events.pop() else { continue };
                self.happens(event);
            } else if sweep <= next {
                sweep += SWEEP_EVERY;
                self.sweep();
            } else if let Some((number, call)) = calls.next() {
                self.request(call.function, number as u64);
            }
        }
    }

    fn advance(&mut self, to: Time) {
        self.mb_us += self.used.memory_mb as f64 * (to - self.now) as f64;
        self.now = to;
    }

    fn instant(&self) -> Instant {
        self.begin + Duration::from_micros(self.now)
    }

    fn later(&mut self, at: Time, event: Event) {
        self.next += 1;
        self.events.push(Reverse((at, self.next, event)));
    }

    fn request(&mut self, pool: u32, call: u64) {
        self.uses[pool as usize] += 1.0;
        let now = self.instant();
        match self.pools[pool as usize].request(call, now) {
            Answer::Use(id) => self.serve(pool, id, call),
            Answer::Wait => {}
            Answer::WaitAndStart => self.start_for(pool, call),
            Answer::WaitBriefly(patience) if self.machine.binds_early => {
                let until = self.now + patience.as_micros() as Time;
                self.later(until, Event::Patience { pool, call });
            }
            Answer::WaitBriefly(_) => self.loses_patience(pool, call),
            Answer::Closed => unreachable!("closed pools are replaced at once"),
        }
    }

    fn loses_patience(&mut self, pool: u32, call: u64) {
        let now = self.instant();
        if self.pools[pool as usize].impatient(call, now) == Impatient::Start {
            self.start_for(pool, call);
        }
    }

    fn start_for(&mut self, pool: u32, call: u64) {
        if self.start(pool) {
            return;
        }
        if self.pools[pool as usize].withdraw(call) {
            self.out.refused += 1;
        }
    }

    fn start(&mut self, pool: u32) -> bool {
        let function = self.trace.functions[pool as usize];
        if !self.make_room(function.memory_mb) {
            return false;
        }
        self.used = self.used.plus(function.memory_mb);
        self.out.memory_mb_most = self.out.memory_mb_most.max(self.used.memory_mb);
        self.out.starts += 1;
        self.next += 1;
        let id = u64::from(pool) << 32 | self.next;
        let now = self.instant();
        self.pools[pool as usize].starts(id, now);
        self.live.insert(pool);
        self.later(self.now + function.start, Event::Started { pool, id });
        // What the product's task does as soon as it is woken.
        if self.budget.is_short(self.used) {
            let ids = place::make_reserve(self.budget, self.used, self.idle());
            self.evict(&ids);
        }
        true
    }

    fn make_room(&mut self, memory_mb: u32) -> bool {
        match place::place(self.budget, self.used, memory_mb, Vec::new()) {
            Placement::Start => return true,
            Placement::Evict(_) | Placement::Full => {}
        }
        match place::place(self.budget, self.used, memory_mb, self.idle()) {
            Placement::Start => true,
            Placement::Evict(ids) => {
                self.evict(&ids);
                true
            }
            Placement::Full => false,
        }
    }

    fn evict(&mut self, ids: &[u64]) {
        for id in ids {
            let pool = (id >> 32) as u32;
            self.clock = self.clock.max(self.greedy_dual(pool, *id));
            assert!(self.pools[pool as usize].evict(*id), "what is idle can be evicted");
            self.out.evicted += 1;
            self.ended(pool, *id);
        }
    }

    /// The idle environments, each with its worth.
    fn idle(&self) -> Vec<IdleEnvironment> {
        let mut all = Vec::new();
        for pool in &self.live {
            let memory_mb = self.trace.functions[*pool as usize].memory_mb;
            for one in self.pools[*pool as usize].evictable(self.instant(), &self.keep) {
                let worth = self.worth(*pool, memory_mb, &one);
                all.push(IdleEnvironment { id: one.id, worth, memory_mb });
            }
        }
        all
    }

    fn worth(&self, pool: u32, memory_mb: u32, one: &Evictable) -> Worth {
        match self.machine.keeping {
            Keeping::Fixed { .. } | Keeping::Lru | Keeping::Worth | Keeping::Priced { .. } => {
                one.worth
            }
            Keeping::GreedyDual => Worth(self.greedy_dual(pool, one.id)),
            Keeping::Clairvoyant => {
                let next = self.levels[pool as usize].next(one.level, self.now).unwrap_or(2 * DAY);
                Worth(1e12 / ((next - self.now + 1) as f32 * memory_mb as f32))
            }
        }
    }

    fn greedy_dual(&self, pool: u32, id: EnvironmentId) -> f32 {
        let function = self.trace.functions[pool as usize];
        let cost = function.start as f32 / 1e6;
        let clock = self.clocks.get(&id).copied().unwrap_or_default();
        clock + self.uses[pool as usize] * cost / function.memory_mb as f32
    }

    fn serve(&mut self, pool: u32, id: EnvironmentId, call: u64) {
        let what = self.trace.calls[call as usize];
        let waited = self.now - what.at;
        let is_cold = self.fresh.remove(&id);
        self.out.served += 1;
        self.clocks.insert(id, self.clock);
        self.out.cold += usize::from(is_cold);
        if waited > 0 {
            self.out.waits.push(waited as u32);
            let start = self.trace.functions[pool as usize].start;
            // His patience at most, and then a start; the pool knows its time as a mean only.
            let bound = start.min(250_000) + start + start / 100 + 1_000;
            self.out.waited_too_long += usize::from(waited > bound);
            self.out.bound += usize::from(!is_cold);
        }
        let over = self.now + Time::from(what.runs);
        let memory_mb = self.trace.functions[pool as usize].memory_mb;
        self.busy_mb_us += f64::from(memory_mb) * (over.min(DAY) - self.now) as f64;
        self.later(over, Event::Over { pool, id });
    }

    fn happens(&mut self, event: Event) {
        let now = self.instant();
        match event {
            Event::Started { pool, id } => {
                self.fresh.insert(id);
                self.free(pool, id);
            }
            Event::Over { pool, id } => {
                self.pools[pool as usize].responded(id, now);
                self.free(pool, id);
            }
            Event::Patience { pool, call } => {
                // Nothing rests here, so it is never one of those.
                if self.pools[pool as usize].impatient(call, now) == Impatient::Start {
                    self.out.disappointed += 1;
                    self.start_for(pool, call);
                }
            }
        }
    }

    fn free(&mut self, pool: u32, id: EnvironmentId) {
        let now = self.instant();
        match self.pools[pool as usize].ready(id, now) {
            Free::Use(call) => self.serve(pool, id, call),
            Free::Idle => {}
            Free::Stop | Free::Unknown => unreachable!("nothing is retired or too old"),
        }
    }

    fn ended(&mut self, pool: u32, id: EnvironmentId) {
        self.fresh.remove(&id);
        self.clocks.remove(&id);
        let memory_mb = self.trace.functions[pool as usize].memory_mb;
        self.used = self.used.minus(memory_mb);
        let known = &mut self.pools[pool as usize];
        // As in the product, the pool goes and its history stays.
        if known.close_if_empty() {
            *known = Pool::new(memory_mb, known.history().clone().kept());
            self.live.remove(&pool);
            self.uses[pool as usize] = 0.0;
        }
    }

    fn sweep(&mut self) {
        let now = self.instant();
        let keep = match self.machine.keeping {
            Keeping::Worth => self.keep.with(self.budget, self.used),
            _ => self.keep,
        };
        let live: Vec<u32> = self.live.iter().copied().collect();
        for pool in live {
            for id in self.pools[pool as usize].reap(now, &keep) {
                self.ended(pool, id);
            }
        }
        if self.budget.is_short(self.used) {
            let ids = place::make_reserve(self.budget, self.used, self.idle());
            self.evict(&ids);
        }
    }
}
