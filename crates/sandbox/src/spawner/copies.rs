//! Environments that are copies of a template, and the templates.
//!
//! There are two sorts. A zygote has nothing of any function: it is started like a spare, and spares of
//! its kind are copied from it. The other is an environment of a function that is initialized. A template makes one copy at a time; the work is done by a process of
//! its own (`template::midwife`) while the spawner goes on serving. A copy lives and ends with its template's
//! process namespace, so a zygote that is not wanted any more stays until its last copy has ended.

mod launches;
mod trust;

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::patience::Patience;
use super::{Running, Spawner, UNWANTED};
use crate::channel::Channel;
use crate::channel::is_readable;
use crate::machine::{Place, Waiting, group_name};
use crate::protocol::{Origin, Reply, Source, Spec};
use crate::sandbox::Ends;
use crate::spares::{FAILURES_MAX, Spare};
use crate::sys;
use crate::template::midwife::{Outcome, Work, deliver};

/// Tells our clients to stand as a template, on [`crate::TEMPLATE_FD`].
const TEMPLATE_NAME: &str = "_LAMBIC_TEMPLATE";

/// Whose template it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// Of a kind of spares.
    Kind(u64),
    /// The daemon's number of it.
    Function(u64),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// A zygote whose program has not loaded itself yet.
    Starting,
    Ready,
    /// A copy is being made.
    Busy,
    /// No more copies are made of it.
    Retired,
}

struct Template {
    whose: Whose,
    state: State,
    /// Its first process, and its slot.
    pid: i32,
    slot: u32,
    word: Channel,
    /// Whether a copy of it has come to life.
    is_proven: bool,
    /// Of a zygote: its control channel, and our ends of its output and of its stream.
    kept: Option<(Channel, OwnedFd, OwnedFd)>,
}

/// What a copy is made for.
enum Purpose {
    Spare {
        kind: u64,
        output: OwnedFd,
        stream: OwnedFd,
    },
    /// A spare that somebody waits for.
    Wanted {
        wanted: Box<Wanted>,
        output: OwnedFd,
        stream: OwnedFd,
    },
    Launch {
        id: u64,
    },
}

/// A launch that found no spare of its kind at hand.
pub(super) struct Wanted {
    pub(super) id: u64,
    pub(super) kind: u64,
    pub(super) spec: Spec,
    pub(super) given: Vec<OwnedFd>,
}

/// A copy that is being made.
struct Birth {
    purpose: Purpose,
    template: i32,
    waiting: Waiting,
    /// The process that brings the two together, and what it says in the end.
    midwife: Option<i32>,
    report: Channel,
    /// The environment for it has ended meanwhile.
    is_lost: bool,
}

/// A launch that waits until its template is free.
struct Queued {
    id: u64,
    template: u64,
    spec: Spec,
    given: Vec<OwnedFd>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Copies {
    templates: Vec<Template>,
    births: Vec<Birth>,
    queue: VecDeque<Queued>,
    /// Launches that wait until a zygote is free, which is sooner than a start.
    wanted: VecDeque<Wanted>,
    nested: Vec<Nested>,
    /// Kinds whose zygotes have failed, and how often.
    failures: Vec<(u64, u32)>,
    /// With zygotes that load themselves.
    patience: Patience,
}

/// The environment of a copy.
struct Nested {
    pid: i32,
    slot: u32,
    /// The first process of its template's.
    template: i32,
}

/// Where the next spare of a kind comes from.
enum Next {
    Fresh,
    /// There has to be a zygote first.
    Zygote,
    Copy,
}

impl Copies {
    /// Whether something that is made ahead of requests is being made.
    pub(super) fn is_preparing(&self) -> bool {
        let is_spare = |birth: &Birth| !matches!(birth.purpose, Purpose::Launch { .. });
        self.births.iter().any(is_spare)
            || self.templates.iter().any(|template| template.state == State::Starting)
    }

    /// Ends those that bring copies in, and what they hold: nobody can end while it is held.
    pub(super) fn end_midwives(&self) {
        for midwife in self.births.iter().filter_map(|birth| birth.midwife) {
            let _ = kill(Pid::from_raw(midwife), Signal::SIGKILL);
        }
    }

    /// What tells that a copy is made, or that a zygote has loaded itself or ended.
    pub(super) fn watched(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let reports = self.births.iter().map(|birth| birth.report.as_fd());
        reports.chain(self.patience.watched()).chain(self.templates.iter().flat_map(|template| {
            let is_starting = template.state == State::Starting;
            let kept = template.kept.iter();
            kept.flat_map(move |(control, _, stream)| {
                let stream = is_starting.then(|| stream.as_fd());
                std::iter::once(control.as_fd()).chain(stream)
            })
        }))
    }

    fn zygote(&mut self, kind: u64) -> Option<&mut Template> {
        let is_it = |known: &&mut Template| {
            known.whose == Whose::Kind(kind) && known.state != State::Retired
        };
        self.templates.iter_mut().find(is_it)
    }

    fn template(&mut self, pid: i32) -> Option<&mut Template> {
        self.templates.iter_mut().find(|template| template.pid == pid)
    }

    fn source(&mut self, kind: u64) -> Next {
        let failures = self.failures.iter().find(|(known, _)| *known == kind);
        if failures.is_some_and(|(_, count)| *count >= FAILURES_MAX) {
            return Next::Fresh;
        }
        self.zygote(kind).map_or(Next::Zygote, |_| Next::Copy)
    }

    /// An environment has ended.
    pub(super) fn has_ended(&mut self, pid: i32) {
        // Its number may be somebody else's from now on.
        let of_it = self.births.iter_mut().filter(|birth| birth.midwife == Some(pid));
        of_it.for_each(|birth| birth.midwife = None);
        self.templates.retain(|template| template.pid != pid);
        self.nested.retain(|copy| copy.pid != pid);
    }
}

impl Spawner {
    /// Makes the next spare of a kind whose program can stand as a template.
    pub(super) fn copy_spare(&mut self, kind: u64, spec: Spec) -> Result<(), String> {
        match self.copies.source(kind) {
            Next::Fresh => self.try_start_spare(kind, spec),
            Next::Zygote => self.start_zygote(kind, spec).inspect_err(|_| {
                self.copies.has_failed(kind);
            }),
            Next::Copy => self.copy_zygote(kind, spec, None),
        }
    }

    /// For nobody yet, or for a launch, which is served in another way when this fails.
    fn copy_zygote(
        &mut self,
        kind: u64,
        prepared: Spec,
        wanted: Option<Wanted>,
    ) -> Result<(), String> {
        let (template, mut waiting, ends) = match self.place_in_zygote(kind, &prepared) {
            Ok(placed) => placed,
            Err(reason) => return self.serve_otherwise(wanted, reason),
        };
        let told = self.machine.prepare_spare(&mut waiting, prepared, &[], Origin::Copied);
        let Ends { output, stream, output_inside, stream_inside, .. } = ends;
        let purpose = match wanted {
            Some(wanted) => Purpose::Wanted { wanted: Box::new(wanted), output, stream },
            None => Purpose::Spare { kind, output, stream },
        };
        self.begin(purpose, template, waiting, told, vec![output_inside, stream_inside])
    }

    fn place_in_zygote(
        &mut self,
        kind: u64,
        prepared: &Spec,
    ) -> Result<(i32, Waiting, Ends), String> {
        let ends = Ends::of(prepared).map_err(|error| error.to_string())?;
        let zygote = self.copies.zygote(kind).ok_or("there is no zygote any more")?;
        let template = zygote.pid;
        Ok((template, self.machine.make_placed(Place::Within(template))?, ends))
    }

    /// What cannot be copied for a launch is started.
    fn serve_otherwise(&mut self, wanted: Option<Wanted>, reason: String) -> Result<(), String> {
        wanted.map(|wanted| self.start_instead(wanted)).ok_or(reason)
    }

    fn start_instead(&mut self, Wanted { id, spec, given, .. }: Wanted) {
        self.launch(id, spec, Source::Fresh, given);
    }

    /// Whether a launch of this kind that finds no spare is served by a zygote.
    pub(super) fn can_be_copied(&mut self, kind: u64, spec: &Spec) -> bool {
        let state = self.copies.zygote(kind).map(|zygote| zygote.state);
        let prepared = self.spares.prepared(kind);
        matches!(state, Some(State::Ready | State::Busy))
            && prepared.is_some_and(|prepared| spec.left_to_attach(&prepared).is_some())
    }

    /// Lets a launch wait for a copy.
    pub(super) fn want(&mut self, wanted: Wanted) {
        self.copies.wanted.push_back(wanted);
        self.serve_wanted();
    }

    fn serve_wanted(&mut self) {
        for _ in 0..self.copies.wanted.len() {
            let Some(wanted) = self.copies.wanted.pop_front() else { return };
            let state = self.copies.zygote(wanted.kind).map(|zygote| zygote.state);
            match (state, self.spares.prepared(wanted.kind)) {
                (Some(State::Busy), Some(_)) => self.copies.wanted.push_back(wanted),
                (Some(State::Ready), Some(prepared)) => {
                    let _ = self.copy_zygote(wanted.kind, prepared, Some(wanted));
                }
                _ => self.start_instead(wanted),
            }
        }
    }

    fn start_zygote(&mut self, kind: u64, mut spec: Spec) -> Result<(), String> {
        spec.env.push((TEMPLATE_NAME.to_owned(), "1".to_owned()));
        spec.name = "zygote".to_owned();
        let ends = Ends::of(&spec).map_err(|error| error.to_string())?;
        let (word, theirs) = Channel::pair().map_err(|error| error.to_string())?;
        let mut waiting = self.machine.make_placed(Place::Template)?;
        let mut inside = ends.inside();
        inside.push(theirs.as_fd());
        let prepared = self.machine.prepare_spare(&mut waiting, spec, &inside, Origin::Zygote);
        let Waiting { slot, pid, pidfd, control, way, .. } = waiting;
        self.running.push(Running { id: UNWANTED, slot, pid, pidfd, way });
        prepared?;
        let kept = Some((control, ends.output, ends.stream));
        let (whose, state) = (Whose::Kind(kind), State::Starting);
        let is_proven = false;
        self.copies.templates.push(Template { whose, state, pid, slot, word, is_proven, kept });
        self.copies.patience.begin();
        Ok(())
    }

    /// Lets a process bring the two together.
    fn begin(
        &mut self,
        purpose: Purpose,
        template: i32,
        waiting: Waiting,
        prepared: Result<(), String>,
        ends: Vec<OwnedFd>,
    ) -> Result<(), String> {
        let begun = prepared.and_then(|()| self.fork_midwife(&purpose, template, &waiting, ends));
        let (midwife, report) = match begun {
            Ok(begun) => begun,
            Err(reason) => {
                self.discard(waiting);
                let wanted = match purpose {
                    Purpose::Wanted { wanted, .. } => Some(*wanted),
                    Purpose::Spare { .. } | Purpose::Launch { .. } => None,
                };
                return self.serve_otherwise(wanted, reason);
            }
        };
        if let Some(template) = self.copies.template(template) {
            template.state = State::Busy;
        }
        self.copies.nested.push(Nested { pid: waiting.pid, slot: waiting.slot, template });
        let birth =
            Birth { purpose, template, waiting, midwife: Some(midwife), report, is_lost: false };
        self.copies.births.push(birth);
        Ok(())
    }

    fn fork_midwife(
        &mut self,
        purpose: &Purpose,
        template: i32,
        waiting: &Waiting,
        ends: Vec<OwnedFd>,
    ) -> Result<(i32, Channel), String> {
        let groups = self.machine.doors(waiting.slot)?;
        let (report, theirs) = Channel::pair().map_err(|error| error.to_string())?;
        let known = self.copies.template(template).ok_or("there is no such template")?;
        let spawner = std::process::id();
        if let Some(midwife) = sys::fork().map_err(|error| format!("fork: {error}"))? {
            return Ok((midwife, report));
        }
        if sys::die_with_parent().is_err() || std::os::unix::process::parent_id() != spawner {
            sys::exit_now(1);
        }
        sys::set_process_name(c"lambic-midwife");
        let work = Work {
            template,
            word: &known.word,
            is_function: matches!(purpose, Purpose::Launch { .. }),
            first: waiting.pid,
            owner: self.machine.host_ids(waiting.slot),
            control: &waiting.control,
            ends,
            trial: trust::trial(purpose, known),
            groups,
            move_in: &|pid| match &self.machine.groups {
                Some(groups) => groups
                    .attach(&group_name(waiting.slot), pid)
                    .map_err(|error| format!("joining a control group: {error}")),
                None => Ok(()),
            },
        };
        let _ = theirs.send(&deliver(&work), &[]);
        sys::exit_now(0)
    }

    /// Something has happened to a zygote or to a copy that is being made.
    pub(super) fn follow_copies(&mut self) {
        let births = std::mem::take(&mut self.copies.births);
        let (done, going) = births.into_iter().partition(|birth| is_readable(birth.report.as_fd()));
        self.copies.births = going;
        for birth in done {
            self.finish(birth);
        }
        let (mut ended, mut loaded) = (Vec::new(), Vec::new());
        let is_too_long = self.copies.patience.is_over();
        for template in &mut self.copies.templates {
            let Some((control, _, stream)) = &template.kept else { continue };
            if is_readable(control.as_fd()) {
                ended.push((template.pid, template.whose));
            } else if template.state == State::Starting && is_readable(stream.as_fd()) {
                template.state = State::Ready;
                loaded.push(template.slot);
            } else if template.state == State::Starting && is_too_long {
                ended.push((template.pid, template.whose));
            }
        }
        for slot in loaded {
            if let Some(groups) = &self.machine.groups {
                groups.set_background(&group_name(slot), false);
            }
        }
        for (pid, whose) in ended {
            if let Whose::Kind(kind) = whose {
                self.copies.has_failed(kind);
            }
            self.tell("a process that spares are copied from has ended".to_owned());
            self.end_template(pid);
        }
        self.launch_queued();
        self.serve_wanted();
    }

    fn finish(&mut self, birth: Birth) {
        let Birth { purpose, template, waiting, report, is_lost, .. } = birth;
        let said = report.receive().ok().flatten().map(|packet| packet.parse());
        let outcome = match said {
            Some(Ok(Outcome::Delivered)) => Ok(()),
            Some(Ok(Outcome::Failed(why))) => Err(why),
            None | Some(Err(_)) => Err("the process that was to make it has ended".into()),
        };
        let is_zygote = !matches!(purpose, Purpose::Launch { .. });
        if let Some(known) = self.copies.template(template) {
            // What has failed once fails again: it holds what cannot be copied, or is hostile.
            known.state = if outcome.is_ok() { State::Ready } else { State::Retired };
            known.is_proven |= outcome.is_ok();
            let slot = known.slot;
            if !is_zygote {
                let _ = self.machine.group(slot).set_frozen(true);
            }
        }
        let outcome = outcome.and_then(|()| match is_lost {
            true => Err("its environment has ended".into()),
            false => Ok(()),
        });
        match (purpose, outcome) {
            (Purpose::Spare { kind, output, stream }, Ok(())) => {
                self.spares.add(Spare::starting(kind, waiting, output, stream));
            }
            (Purpose::Spare { kind, .. }, Err(why)) => {
                self.copies.has_failed(kind);
                self.tell(format!("a spare could not be copied: {why}"));
                self.discard_unborn(waiting, is_lost);
                self.end_retired();
            }
            (Purpose::Wanted { wanted, output, stream }, Ok(())) => {
                let spare = Spare::starting(wanted.kind, waiting, output, stream);
                let used = match self.spares.prepared(wanted.kind) {
                    Some(prepared) => self.use_spare(wanted.id, &wanted.spec, spare, &prepared),
                    None => {
                        self.discard(spare.waiting);
                        Err("its kind is not kept any more".to_owned().into())
                    }
                };
                if used.is_err() {
                    self.start_instead(*wanted);
                }
            }
            (Purpose::Wanted { wanted, .. }, Err(why)) => {
                self.copies.has_failed(wanted.kind);
                self.tell(format!("a spare could not be copied: {why}"));
                self.discard_unborn(waiting, is_lost);
                self.start_instead(*wanted);
                self.end_retired();
            }
            (Purpose::Launch { id }, Ok(())) => {
                if let Err(reason) = self.hand_over(id, waiting, Ok(()), None) {
                    let _ = self.daemon.send(&Reply::Failed { id, reason }, &[]);
                }
            }
            (Purpose::Launch { id }, Err(why)) => {
                self.discard_unborn(waiting, is_lost);
                let reason = why.into();
                let _ = self.daemon.send(&Reply::Failed { id, reason }, &[]);
            }
        }
    }

    /// Zygotes of kinds that are not kept any more are not copied any more.
    pub(super) fn retire_zygotes(&mut self, kind: u64) {
        for template in &mut self.copies.templates {
            if template.whose == Whose::Kind(kind) {
                template.state = State::Retired;
            }
        }
        self.end_retired();
    }

    /// Ends the zygotes that nothing lives in any more and that are not wanted.
    pub(super) fn end_retired(&mut self) {
        let copies = &self.copies;
        let is_over = |template: &&Template| {
            matches!(template.whose, Whose::Kind(_))
                && template.state == State::Retired
                && !copies.nested.iter().any(|copy| copy.template == template.pid)
        };
        let over: Vec<i32> = copies.templates.iter().filter(is_over).map(|t| t.pid).collect();
        over.into_iter().for_each(|pid| self.end_template(pid));
    }

    fn end_template(&mut self, pid: i32) {
        if let Some(running) = self.running.iter().find(|running| running.pid == pid) {
            let _ = sys::signal_pidfd(running.pidfd.as_fd(), libc::SIGKILL);
        }
        self.copies.templates.retain(|template| template.pid != pid);
        self.thaw_within(pid);
    }

    /// Lets the copies of a template that ends go on, so that they can end: until they have, it has not.
    pub(super) fn thaw_within(&self, template: i32) {
        let within = self.copies.nested.iter().filter(|copy| copy.template == template);
        within.for_each(|copy| self.machine.thaw(copy.slot));
    }

    fn discard_unborn(&mut self, waiting: Waiting, is_lost: bool) {
        match is_lost {
            true => self.cleaning.push(waiting.slot),
            false => self.discard(waiting),
        }
    }

    /// Whether an environment that has ended was that of a copy that is being made.
    pub(super) fn has_lost_birth(&mut self, pid: i32) -> bool {
        let birth = self.copies.births.iter_mut().find(|birth| birth.waiting.pid == pid);
        birth.map(|birth| birth.is_lost = true).is_some()
    }

    /// The first processes of environments that wait for a copy.
    pub(super) fn unborn(&self) -> impl Iterator<Item = &Waiting> {
        self.copies.births.iter().map(|birth| &birth.waiting)
    }
}
