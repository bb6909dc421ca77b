//! Environments that wait for a copy of a template.
//!
//! They are made inside the template's namespaces, by makers as any other. A zygote has a few of them ready
//! at any time: a launch that finds no spare then costs the copy and what it is given, and no environment.
//! Those for copies of a function's template are made when they are wanted.

use super::{Spawner, State, Template, Wanted, Whose};
use crate::machine::{Place, Waiting};
use crate::protocol::{Refusal, Reply};

/// More than that would take the processors from launches.
const MADE_AT_A_TIME: usize = 2;

impl Spawner {
    /// How many a zygote has ready: more than are ready for programs that are started, because copies are
    /// made more quickly. One is needed for any copy.
    fn nested_wanted(&self) -> usize {
        (2 * self.stock.least()).max(1)
    }

    /// A zygote of which one is to be made: it has fewer than that, and nobody is about to make it.
    pub(in crate::spawner) fn lacks_nested(&self) -> Option<i32> {
        let wanted = self.nested_wanted();
        let can_order = self.makers.ordered() < MADE_AT_A_TIME;
        let has =
            |zygote: &Template| zygote.stock.len() + self.makers.ordered_for(Some(zygote.pid));
        let can_have = |zygote: &&Template| {
            matches!(zygote.whose, Whose::Kind(_))
                && matches!(zygote.state, State::Ready | State::Busy)
        };
        let zygotes = self.copies.templates.iter().filter(can_have);
        let least = zygotes.min_by_key(|zygote| has(zygote))?;
        (can_order && has(least) < wanted).then_some(least.pid)
    }

    /// Makes one that is to be ready for a copy of this template, or has it made.
    pub(in crate::spawner) fn make_nested(&mut self, template: i32) -> Result<(), String> {
        if !self.makers.is_empty() {
            return self.order_for(template, false);
        }
        let made = self.make_within(template)?;
        if let (Some(known), Some(waiting)) = (self.copies.template(template), made) {
            known.stock.push(waiting);
        }
        Ok(())
    }

    fn make_within(&mut self, template: i32) -> Result<Option<Waiting>, String> {
        let known = self.copies.templates.iter().find(|known| known.pid == template);
        known.map(|known| self.machine.make_placed(Place::Within(&known.nest))).transpose()
    }

    /// One that is ready; without makers it is made now.
    pub(super) fn take_nested(&mut self, template: i32) -> Result<Option<Waiting>, String> {
        let known = self.copies.template(template);
        let ready = known.and_then(|known| known.stock.pop());
        match ready {
            None if self.makers.is_empty() => self.make_within(template),
            ready => Ok(ready),
        }
    }

    /// Orders as many as launches wait for, as far as makers can take orders.
    pub(in crate::spawner) fn order_nested(&mut self) {
        if self.copies.wanted.is_empty() && self.copies.queue.is_empty() {
            return;
        }
        let templates: Vec<i32> = self.copies.templates.iter().map(|known| known.pid).collect();
        for template in templates {
            while self.is_waited_for(template) && self.makers.can_order() {
                if let Err(reason) = self.order_for(template, true) {
                    self.do_without(template, reason);
                }
            }
        }
    }

    fn is_waited_for(&self, template: i32) -> bool {
        let copies = &self.copies;
        let known = copies.templates.iter().find(|known| known.pid == template);
        let Some(known) = known.filter(|known| known.state != State::Retired) else { return false };
        let wait = match known.whose {
            Whose::Kind(kind) => copies.wanted.iter().filter(|one| one.kind == kind).count(),
            Whose::Function(number) => {
                copies.queue.iter().filter(|one| one.template == number).count()
            }
        };
        known.stock.len() + self.makers.ordered_for(Some(template)) < wait
    }

    fn order_for(&mut self, template: i32, is_hurried: bool) -> Result<(), String> {
        let slot = self.machine.take_slot()?;
        let known = self.copies.templates.iter().find(|known| known.pid == template);
        let limits = self.machine.limits_usual;
        let is_ordered = known.is_some_and(|known| {
            self.makers.order(slot, limits, is_hurried, Some((template, &known.nest)))
        });
        if is_ordered {
            return Ok(());
        }
        self.machine.release(slot);
        Err("its maker could not be told".to_owned())
    }

    /// A maker has made one, or could not.
    pub(in crate::spawner) fn follow_nested(
        &mut self,
        slot: u32,
        template: i32,
        made: Result<Waiting, String>,
        is_made_again: bool,
    ) {
        let known = self.copies.template(template);
        match (made, known.filter(|known| known.state != State::Retired)) {
            (Ok(waiting), Some(known)) => {
                known.stock.push(waiting);
                self.failing = false;
            }
            (Ok(waiting), None) => self.discard(waiting),
            (Err(reason), known) => {
                let is_known = known.is_some();
                self.cleaning.push(slot);
                if is_known && !is_made_again {
                    self.failing = true;
                    self.do_without(template, reason);
                }
            }
        }
        self.serve_wanted();
        self.launch_queued();
    }

    /// No environment can be made for the first launch that waits for a copy of this template.
    fn do_without(&mut self, template: i32, reason: String) {
        let Some(whose) = self.copies.template(template).map(|known| known.whose) else { return };
        match whose {
            Whose::Kind(kind) => {
                let first = self.copies.wanted.iter().position(|one| one.kind == kind);
                let first: Option<Wanted> = first.and_then(|at| self.copies.wanted.remove(at));
                first.into_iter().for_each(|wanted| self.start_instead(wanted));
            }
            Whose::Function(number) => {
                let first = self.copies.queue.iter().position(|one| one.template == number);
                let first = first.and_then(|at| self.copies.queue.remove(at));
                if let Some(queued) = first {
                    let reason = Refusal::Template(reason);
                    let _ = self.daemon.send(&Reply::Failed { id: queued.id, reason }, &[]);
                }
            }
        }
    }

    /// Ends those of a template that is copied no more.
    pub(in crate::spawner) fn discard_stock(&mut self, template: i32) {
        let known = self.copies.template(template);
        let stock = known.map(|known| std::mem::take(&mut known.stock)).unwrap_or_default();
        stock.into_iter().for_each(|waiting| self.discard(waiting));
    }

    /// The slot of one that has ended, if this was one.
    pub(in crate::spawner) fn has_lost_nested(&mut self, pid: i32) -> Option<u32> {
        self.copies.templates.iter_mut().find_map(|known| {
            let at = known.stock.iter().position(|waiting| waiting.pid == pid)?;
            Some(known.stock.remove(at).slot)
        })
    }
}
