//! Launches of environments that stand as templates of functions, and of copies of those.

use std::os::fd::{AsFd, OwnedFd};

use super::{Purpose, Queued, Spawner, State, Template, Whose};
use crate::channel::Channel;
use crate::machine::{Place, Waiting};
use crate::protocol::{Origin, Refusal, Reply, Role, Spec};
use crate::template::nest::Nest;

impl Spawner {
    /// An environment that is to stand as a template, or to be a copy of one.
    pub(in crate::spawner) fn launch_role(
        &mut self,
        id: u64,
        spec: Spec,
        role: Role,
        given: Vec<OwnedFd>,
    ) -> Result<(), Refusal> {
        if !self.machine.has_templates() || spec.extensions.is_some() {
            return Err(Refusal::Template("it cannot be copied on this machine".to_owned()));
        }
        match role {
            Role::Becomes(number) => self.launch_template(id, spec, number, &given),
            Role::From(template) => {
                let queued = Queued { id, template, spec, given };
                self.copies.queue.push_back(queued);
                self.launch_queued();
                self.order_nested();
                Ok(())
            }
        }
    }

    fn launch_template(
        &mut self,
        id: u64,
        spec: Spec,
        number: u64,
        given: &[OwnedFd],
    ) -> Result<(), Refusal> {
        let (word, theirs) = Channel::pair().map_err(|error| error.to_string())?;
        let waiting = self.machine.make_placed(Place::Template)?;
        let nest = match Nest::of(waiting.pid) {
            Ok(nest) => nest,
            Err(reason) => {
                self.discard(waiting);
                return Err(Refusal::Template(reason));
            }
        };
        let mut outputs: Vec<_> = given.iter().map(AsFd::as_fd).collect();
        outputs.push(theirs.as_fd());
        let assigned = self.machine.assign(&waiting, spec, &outputs, Origin::Template);
        let (pid, slot) = (waiting.pid, waiting.slot);
        self.hand_over(id, waiting, assigned, None, None)?;
        let (whose, state) = (Whose::Function(number), State::Ready);
        let (kept, is_proven) = (None, false);
        let stock = Vec::new();
        let template = Template { whose, state, pid, slot, word, nest, stock, is_proven, kept };
        self.copies.templates.push(template);
        Ok(())
    }

    /// A launch does not wait any longer for others. One that is next only waits for its environment.
    pub(in crate::spawner) fn forgo(&mut self, id: u64) {
        let queue = &mut self.copies.queue;
        let Some(at) = queue.iter().position(|queued| queued.id == id) else { return };
        let number = queue[at].template;
        let is_next = !queue.iter().take(at).any(|earlier| earlier.template == number);
        let is_free = |template: &&Template| {
            template.whose == Whose::Function(number) && template.state == State::Ready
        };
        if is_next && self.copies.templates.iter().any(|template| is_free(&template)) {
            return;
        }
        queue.remove(at);
        let _ = self.daemon.send(&Reply::Failed { id, reason: Refusal::Busy }, &[]);
    }

    /// Begins with what waits, as far as templates are free.
    pub(super) fn launch_queued(&mut self) {
        for _ in 0..self.copies.queue.len() {
            let Some(queued) = self.copies.queue.pop_front() else { return };
            let whose = Whose::Function(queued.template);
            let template = self.copies.templates.iter().find(|template| template.whose == whose);
            let (id, state) = (queued.id, template.map(|template| template.state));
            let begun = match (template.map(|known| (known.pid, known.slot)), state) {
                (Some((pid, slot)), Some(State::Ready)) => match self.take_nested(pid) {
                    Ok(Some(waiting)) => self.launch_copy(queued, waiting, pid, slot),
                    // It is being made.
                    Ok(None) => {
                        self.copies.queue.push_back(queued);
                        Ok(())
                    }
                    Err(reason) => Err(reason.into()),
                },
                (Some(_), Some(State::Busy | State::Starting)) => {
                    self.copies.queue.push_back(queued);
                    Ok(())
                }
                (_, Some(_)) => Err(Refusal::Template("it could not be copied before".to_owned())),
                (_, None) => Err(Refusal::Template("there is none any more".to_owned())),
            };
            if let Err(reason) = begun {
                let _ = self.daemon.send(&Reply::Failed { id, reason }, &[]);
            }
        }
    }

    fn launch_copy(
        &mut self,
        queued: Queued,
        waiting: Waiting,
        template: i32,
        slot: u32,
    ) -> Result<(), Refusal> {
        let assigned = self.machine.assign(&waiting, queued.spec, &[], Origin::Copied);
        if let Err(reason) = assigned {
            self.discard(waiting);
            return Err(reason);
        }
        self.machine.thaw(slot);
        let purpose = Purpose::Launch { id: queued.id };
        let begun = self.begin(purpose, template, waiting, Ok(()), queued.given);
        begun.map_err(|why| {
            let _ = self.machine.group(slot).set_frozen(true);
            Refusal::Template(why)
        })
    }
}
