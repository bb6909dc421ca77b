//! Environments that are copies of a template, and the templates.
//!
//! There are two sorts. A zygote has nothing of any function: it is started like a spare, and spares of
//! its kind are copied from it, or environments of functions that found no spare. The other is an environment
//! of a function that is initialized. The work is done by a process of its own for each copy
//! (`template::midwife`) while the spawner goes on serving. A zygote forks for one copy at a time, and for the
//! next while that one is brought in; another template waits until it has been. A copy lives and ends with its
//! template's process namespace, so a zygote that is not wanted any more stays until its last copy has ended.

mod births;
mod launches;
mod stock;
mod trust;

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Running, Spawner, UNWANTED};
use crate::channel::{Channel, is_readable};
use crate::machine::{Place, Waiting, group_name};
use crate::patience::Patience;
use crate::protocol::{Origin, Source, Spec};
use crate::sandbox::Ends;
use crate::spares::FAILURES_MAX;
use crate::sys;
use crate::template::midwife::{Work, deliver};
use crate::template::nest::Nest;

/// Tells our clients to stand as a template, on [`crate::TEMPLATE_FD`].
const TEMPLATE_NAME: &str = "_LAMBIC_TEMPLATE";
/// A start takes a tenth of a second, and some seconds where everything else comes first.
pub(super) const LOADS_IN: Duration = Duration::from_secs(60);
/// A copy takes some milliseconds.
const LIVES_IN: Duration = Duration::from_secs(5);

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
    /// It is made to fork, or has to wait for what comes of its copy.
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
    nest: Nest,
    /// Environments that wait for a copy of it.
    stock: Vec<Waiting>,
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
    /// Whether its template waits for what comes of it.
    holds: bool,
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
    loading: Patience,
}

/// The environment of a copy.
struct Nested {
    pid: i32,
    slot: u32,
    /// The first process of its template's.
    template: i32,
    /// The kind of spares, if that is what is copied.
    kind: Option<u64>,
}

/// Where the next spare of a kind comes from.
enum Next {
    Fresh,
    /// There has to be a zygote first.
    Zygote,
    Copy,
}

impl Copies {
    pub(super) fn none() -> Copies {
        Copies {
            templates: Vec::new(),
            births: Vec::new(),
            queue: VecDeque::new(),
            wanted: VecDeque::new(),
            nested: Vec::new(),
            failures: Vec::new(),
            loading: Patience::of(LOADS_IN),
        }
    }

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
        reports.chain(self.loading.watched()).chain(self.templates.iter().flat_map(|template| {
            let is_starting = template.state == State::Starting;
            let kept = template.kept.iter();
            kept.flat_map(move |(control, _, stream)| {
                let stream = is_starting.then(|| stream.as_fd());
                std::iter::once(control.as_fd()).chain(stream)
            })
        }))
    }

    fn template(&mut self, pid: i32) -> Option<&mut Template> {
        self.templates.iter_mut().find(|template| template.pid == pid)
    }

    fn source(&self, kind: u64) -> Next {
        let failures = self.failures.iter().find(|(known, _)| *known == kind);
        if failures.is_some_and(|(_, count)| *count >= FAILURES_MAX) {
            return Next::Fresh;
        }
        self.known_zygote(kind).map_or(Next::Zygote, |_| Next::Copy)
    }

    /// Whether there has to be a zygote before there is anything of this kind.
    pub(super) fn lacks_zygote(&self, kind: u64) -> bool {
        matches!(self.source(kind), Next::Zygote)
    }

    fn known_zygote(&self, kind: u64) -> Option<&Template> {
        let is_it =
            |known: &&Template| known.whose == Whose::Kind(kind) && known.state != State::Retired;
        self.templates.iter().find(is_it)
    }

    /// Whether this is the first process of a copy's environment.
    pub(super) fn is_copy(&self, pid: i32) -> bool {
        self.nested.iter().any(|copy| copy.pid == pid)
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
            Next::Copy => self.copy_zygote(kind, spec),
        }
    }

    /// Whether the next spare of this kind can be begun now.
    pub(super) fn can_copy_spare(&self, kind: u64) -> bool {
        match self.copies.source(kind) {
            Next::Fresh | Next::Zygote => true,
            Next::Copy => self.is_free(kind),
        }
    }

    /// Whether a zygote waits for the word, and there is an environment for a copy.
    fn is_free(&self, kind: u64) -> bool {
        self.copies.known_zygote(kind).is_some_and(|zygote| {
            let has_one = !zygote.stock.is_empty() || self.makers.is_empty();
            zygote.state == State::Ready && has_one
        })
    }

    /// A copy for nobody yet.
    fn copy_zygote(&mut self, kind: u64, prepared: Spec) -> Result<(), String> {
        let (template, mut waiting, ends) = self.place_in_zygote(kind, &prepared)?;
        let told = self.machine.prepare_spare(&mut waiting, prepared, &[], Origin::Copied);
        let Ends { output, stream, output_inside, stream_inside, .. } = ends;
        let purpose = Purpose::Spare { kind, output, stream };
        self.begin(purpose, template, waiting, told, vec![output_inside, stream_inside])
    }

    /// A copy for a launch that found no spare. Its environment gets all of the function at once.
    fn copy_for(&mut self, wanted: Wanted) {
        let placed = match self.spares.prepared(wanted.kind) {
            Some(prepared) if wanted.spec.left_to_attach(&prepared).is_some() => {
                self.place_in_zygote(wanted.kind, &prepared)
            }
            _ => Err("it was started for something else".to_owned()),
        };
        let Ok((template, waiting, ends)) = placed else { return self.start_instead(wanted) };
        let told = self.machine.assign(&waiting, wanted.spec.clone(), &[], Origin::Copied);
        // Who is served in another way hears why from there.
        let told = told.map_err(|_| "it could not be told its function".to_owned());
        let Ends { output, stream, output_inside, stream_inside, .. } = ends;
        let purpose = Purpose::Wanted { wanted: Box::new(wanted), output, stream };
        let _ = self.begin(purpose, template, waiting, told, vec![output_inside, stream_inside]);
    }

    fn place_in_zygote(
        &mut self,
        kind: u64,
        prepared: &Spec,
    ) -> Result<(i32, Waiting, Ends), String> {
        let ends = Ends::of(prepared).map_err(|error| error.to_string())?;
        let zygote = self.copies.known_zygote(kind).ok_or("there is no zygote any more")?;
        let template = zygote.pid;
        let waiting = self.take_nested(template)?.ok_or("there is no environment for it")?;
        Ok((template, waiting, ends))
    }

    fn start_instead(&mut self, Wanted { id, spec, given, .. }: Wanted) {
        self.launch(id, spec, Source::Fresh, given);
    }

    /// Whether a launch of this kind that finds no spare is served by a zygote.
    pub(super) fn can_be_copied(&self, kind: u64, spec: &Spec) -> bool {
        let state = self.copies.known_zygote(kind).map(|zygote| zygote.state);
        let prepared = self.spares.prepared(kind);
        matches!(state, Some(State::Ready | State::Busy))
            && prepared.is_some_and(|prepared| spec.left_to_attach(&prepared).is_some())
    }

    /// Lets a launch wait for a copy.
    pub(super) fn want(&mut self, wanted: Wanted) {
        self.copies.wanted.push_back(wanted);
        self.serve_wanted();
        self.order_nested();
    }

    /// Begins with launches that wait for a copy, the first one first, as far as zygotes are free.
    pub(super) fn serve_wanted(&mut self) {
        let is_next = |spawner: &Spawner, wanted: &Wanted| {
            spawner.is_free(wanted.kind) || !spawner.has_zygote(wanted.kind)
        };
        while let Some(at) = self.copies.wanted.iter().position(|wanted| is_next(self, wanted)) {
            let Some(wanted) = self.copies.wanted.remove(at) else { return };
            match self.has_zygote(wanted.kind) {
                true => self.copy_for(wanted),
                false => self.start_instead(wanted),
            }
        }
    }

    fn has_zygote(&self, kind: u64) -> bool {
        let state = self.copies.known_zygote(kind).map(|zygote| zygote.state);
        matches!(state, Some(State::Ready | State::Busy))
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
        let (nest, stock) = (Nest::of(pid)?, Vec::new());
        let (whose, state, is_proven) = (Whose::Kind(kind), State::Starting, false);
        let zygote = Template { whose, state, pid, slot, word, nest, stock, is_proven, kept };
        self.copies.templates.push(zygote);
        self.copies.loading.begin();
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
                return match purpose {
                    Purpose::Wanted { wanted, .. } => {
                        self.start_instead(*wanted);
                        Ok(())
                    }
                    Purpose::Spare { .. } | Purpose::Launch { .. } => Err(reason),
                };
            }
        };
        if let Some(template) = self.copies.template(template) {
            template.state = State::Busy;
        }
        let kind = match &purpose {
            Purpose::Spare { kind, .. } => Some(*kind),
            Purpose::Wanted { wanted, .. } => Some(wanted.kind),
            Purpose::Launch { .. } => None,
        };
        self.copies.nested.push(Nested { pid: waiting.pid, slot: waiting.slot, template, kind });
        let (midwife, holds, is_lost) = (Some(midwife), true, false);
        let birth = Birth { purpose, template, waiting, midwife, report, holds, is_lost };
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
            is_awaited: matches!(purpose, Purpose::Wanted { .. }),
            report: &theirs,
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
        self.follow_births();
        let (mut ended, mut loaded) = (Vec::new(), Vec::new());
        let is_too_long = self.copies.loading.is_over();
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
        self.order_nested();
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
        let is_retired = |known: &&Template| known.state == State::Retired;
        let retired: Vec<i32> =
            copies.templates.iter().filter(is_retired).map(|known| known.pid).collect();
        retired.into_iter().for_each(|pid| self.discard_stock(pid));
        over.into_iter().for_each(|pid| self.end_template(pid));
    }

    fn end_template(&mut self, pid: i32) {
        if let Some(running) = self.running.iter().find(|running| running.pid == pid) {
            let _ = sys::signal_pidfd(running.pidfd.as_fd(), libc::SIGKILL);
        }
        self.discard_stock(pid);
        self.copies.templates.retain(|template| template.pid != pid);
        self.thaw_within(pid);
    }

    /// Lets the copies of a template that ends go on, so that they can end: until they have, it has not.
    pub(super) fn thaw_within(&self, template: i32) {
        let within = self.copies.nested.iter().filter(|copy| copy.template == template);
        within.for_each(|copy| self.machine.thaw(copy.slot));
    }
}
