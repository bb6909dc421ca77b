//! All extensions of one environment: who may register, who waits, who has what event.
//!
//! Pure: no clock, no I/O. `W` is whatever a waiting request is answered through. The platform
//! launches external extensions by the names of their files; internal ones appear by registering.

use super::life::{IllegalMove, Life, Move};

/// Most extensions of one environment, external and internal together.
pub const EXTENSIONS_MAX: usize = 10;

/// What an extension has registered for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Subscriptions {
    /// `INVOKE`
    pub invoke: bool,
    /// `SHUTDOWN`
    pub shutdown: bool,
}

impl Subscriptions {
    /// AWS's names, in the order in which its log has them.
    pub fn names(self) -> Vec<&'static str> {
        let all = [(self.invoke, "INVOKE"), (self.shutdown, "SHUTDOWN")];
        all.into_iter().filter(|(wanted, _)| *wanted).map(|(_, name)| name).collect()
    }
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No extension has this identifier.
    Unknown,
    /// Registration is over.
    Closed,
    /// The name is taken.
    NameTaken,
    /// There are [`EXTENSIONS_MAX`] of them.
    TooMany,
    /// An internal extension asked for SHUTDOWN.
    ShutdownOfInternal,
    /// The state of this extension does not allow it.
    State {
        /// Its name, or its identifier when it named itself by that.
        extension: String,
        /// The move.
        illegal: IllegalMove,
    },
}

/// What the log and telemetry tell of an extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its name.
    pub name: String,
    /// AWS's name of its state.
    pub state: &'static str,
    /// What it has registered for.
    pub events: Vec<&'static str>,
    /// What it has reported, or why it could not be started.
    pub error_type: Option<String>,
}

struct Member<W> {
    name: String,
    id: String,
    is_external: bool,
    events: Subscriptions,
    life: Life,
    waiting: Option<W>,
    error_type: Option<String>,
}

impl<W> Member<W> {
    fn step(&mut self, tried: Move) -> Result<(), IllegalMove> {
        self.life = self.life.step(tried)?;
        Ok(())
    }
}

/// See the module.
pub struct Crew<W> {
    members: Vec<Member<W>>,
    /// Whether registration is over.
    is_closed: bool,
    /// Whether those that ask for more are told that it is over.
    is_ending: bool,
}

/// What a request for the next event comes to.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<W> {
    /// It waits.
    Waits,
    /// The environment ends; this is its last event.
    Shutdown(W),
    /// It ends, and the extension is not to be told.
    Never,
}

impl<W> Crew<W> {
    /// These programs of `/opt/extensions` have been started, each with the identifier that it will
    /// be given.
    pub fn launched(programs: impl IntoIterator<Item = (String, String)>) -> Crew<W> {
        let member = |(name, id)| Member {
            name,
            id,
            is_external: true,
            events: Subscriptions::default(),
            life: Life::Started,
            waiting: None,
            error_type: None,
        };
        let members = programs.into_iter().map(member).collect();
        Crew { members, is_closed: false, is_ending: false }
    }

    /// Nobody, not even one that never registered.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether there are external extensions.
    pub fn has_external(&self) -> bool {
        self.members.iter().any(|member| member.is_external)
    }

    /// An extension registers. `fresh_id` is used if it is internal. Its identifier.
    pub fn register(
        &mut self,
        name: &str,
        events: Subscriptions,
        fresh_id: String,
    ) -> Result<String, Refusal> {
        let known = self.members.iter_mut().find(|member| member.name == name);
        if let Some(member) = known.filter(|member| member.is_external) {
            let extension = member.name.clone();
            member.step(Move::Register).map_err(|illegal| Refusal::State { extension, illegal })?;
            member.events = events;
            return Ok(member.id.clone());
        }
        if events.shutdown {
            return Err(Refusal::ShutdownOfInternal);
        }
        if self.is_closed {
            return Err(Refusal::Closed);
        }
        if self.members.len() >= EXTENSIONS_MAX {
            return Err(Refusal::TooMany);
        }
        if self.members.iter().any(|member| member.name == name) {
            return Err(Refusal::NameTaken);
        }
        self.members.push(Member {
            name: name.to_owned(),
            id: fresh_id.clone(),
            is_external: false,
            events,
            life: Life::Registered,
            waiting: None,
            error_type: None,
        });
        Ok(fresh_id)
    }

    /// Whether no launched one is still to register.
    pub fn all_registered(&self) -> bool {
        self.members.iter().all(|member| member.life != Life::Started)
    }

    /// From now on nobody may register.
    pub fn close(&mut self) {
        self.is_closed = true;
    }

    /// The extension asks for its next event.
    pub fn next(&mut self, id: &str, waiting: W) -> Result<Next<W>, Refusal> {
        let is_ending = self.is_ending;
        let member = self.member(id)?;
        let illegal = |illegal| Refusal::State { extension: id.to_owned(), illegal };
        member.step(Move::Next).map_err(illegal)?;
        if !is_ending {
            member.waiting = Some(waiting);
            return Ok(Next::Waits);
        }
        if !(member.is_external && member.events.shutdown) {
            return Ok(Next::Never);
        }
        member.step(Move::Event).map_err(illegal)?;
        Ok(Next::Shutdown(waiting))
    }

    /// The extension reports an error of this type, which ends the environment once it exits.
    pub fn report(&mut self, id: &str, tried: Move, error_type: &str) -> Result<(), Refusal> {
        let member = self.member(id)?;
        let before = member.life;
        member
            .step(tried)
            .map_err(|illegal| Refusal::State { extension: id.to_owned(), illegal })?;
        if member.life != before {
            member.error_type = Some(error_type.to_owned());
            member.waiting = None;
        }
        Ok(())
    }

    /// The name of the extension with this identifier.
    pub fn name(&self, id: &str) -> Option<&str> {
        self.members.iter().find(|member| member.id == id).map(|member| member.name.as_str())
    }

    /// Whether everybody waits for an event.
    pub fn is_ready(&self) -> bool {
        self.members.iter().all(|member| member.life == Life::Ready)
    }

    /// An invocation begins: those that registered for it have it from now on.
    pub fn invoke(&mut self) -> Vec<W> {
        self.give(|member| member.events.invoke)
    }

    /// The environment ends: external ones that registered for it are told, now or when they ask.
    pub fn shut_down(&mut self) -> Vec<W> {
        self.is_ending = true;
        let told = self.give(|member| member.is_external && member.events.shutdown);
        self.members.iter_mut().for_each(|member| member.waiting = None);
        told
    }

    /// Nobody hears anything any more.
    pub fn abandon(&mut self) {
        self.is_ending = true;
        self.members.iter_mut().for_each(|member| member.waiting = None);
    }

    /// Positions, among the launched ones, of those whose processes live; and whether each is told of
    /// the environment's end.
    pub fn living(&self) -> Vec<(usize, bool)> {
        let external = self.members.iter().filter(|member| member.is_external).enumerate();
        let lives = |member: &Member<W>| !matches!(member.life, Life::Exited | Life::LaunchError);
        external
            .filter(|(_, member)| lives(member))
            .map(|(at, member)| (at, member.events.shutdown))
            .collect()
    }

    /// The process of the launched one at this position has ended, or could not be started. What it
    /// had reported before.
    pub fn exited(&mut self, at: usize, tried: Move, error_type: Option<&str>) -> Option<Life> {
        let member = self.members.get_mut(at).filter(|member| member.is_external)?;
        let before = member.life;
        member.waiting = None;
        member.step(tried).ok()?;
        if let Some(error_type) = error_type {
            member.error_type = Some(error_type.to_owned());
        }
        Some(before)
    }

    /// Everybody, in the order of appearance.
    pub fn infos(&self) -> Vec<Info> {
        let info = |member: &Member<W>| Info {
            name: member.name.clone(),
            state: member.life.name(),
            events: member.events.names(),
            error_type: member.error_type.clone(),
        };
        self.members.iter().map(info).collect()
    }

    /// Where everybody is in its life.
    #[cfg(test)]
    pub fn lives(&self) -> Vec<Life> {
        self.members.iter().map(|member| member.life).collect()
    }

    fn member(&mut self, id: &str) -> Result<&mut Member<W>, Refusal> {
        let is_it = |member: &&mut Member<W>| member.id == id && member.life != Life::Started;
        self.members.iter_mut().find(is_it).ok_or(Refusal::Unknown)
    }

    fn give(&mut self, to: impl Fn(&Member<W>) -> bool) -> Vec<W> {
        let mut given = Vec::new();
        for member in self.members.iter_mut().filter(|member| to(member)) {
            if member.step(Move::Event).is_ok() {
                given.extend(member.waiting.take());
            }
        }
        given
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Subscriptions = Subscriptions { invoke: true, shutdown: true };
    const INVOKE: Subscriptions = Subscriptions { invoke: true, shutdown: false };
    const NONE: Subscriptions = Subscriptions { invoke: false, shutdown: false };

    fn crew(names: &[&str]) -> Crew<u32> {
        Crew::launched(names.iter().map(|name| ((*name).to_owned(), format!("id-{name}"))))
    }

    fn register(
        crew: &mut Crew<u32>,
        name: &str,
        events: Subscriptions,
    ) -> Result<String, Refusal> {
        crew.register(name, events, format!("id-{name}"))
    }

    #[test]
    fn those_that_registered_for_it_get_an_event_and_all_have_to_come_back() {
        let mut crew = crew(&["a", "b"]);
        assert!(!crew.all_registered());
        register(&mut crew, "a", BOTH).unwrap();
        register(&mut crew, "b", NONE).unwrap();
        assert!(crew.all_registered() && !crew.is_ready());
        register(&mut crew, "inner", INVOKE).unwrap();
        for (waiting, id) in ["id-a", "id-b", "id-inner"].into_iter().enumerate() {
            assert_eq!(crew.next(id, waiting as u32), Ok(Next::Waits));
        }
        assert!(crew.is_ready());
        assert_eq!(crew.invoke(), [0, 2]);
        assert!(!crew.is_ready());
        crew.next("id-a", 3).unwrap();
        assert!(!crew.is_ready());
        crew.next("id-inner", 4).unwrap();
        assert!(crew.is_ready());
        assert_eq!(crew.shut_down(), [3]);
        assert_eq!(crew.living(), [(0, true), (1, false)]);
        assert_eq!(crew.next("id-inner", 5), Ok(Next::Never));
    }

    #[test]
    fn one_that_is_busy_is_told_of_the_end_when_it_asks() {
        let mut crew = crew(&["a"]);
        register(&mut crew, "a", BOTH).unwrap();
        crew.next("id-a", 1).unwrap();
        crew.invoke();
        assert_eq!(crew.shut_down(), [] as [u32; 0]);
        assert_eq!(crew.next("id-a", 2), Ok(Next::Shutdown(2)));
    }

    #[test]
    fn who_may_register() {
        let mut crew = crew(&["a"]);
        assert_eq!(crew.next("id-a", 1), Err(Refusal::Unknown), "not registered yet");
        register(&mut crew, "a", BOTH).unwrap();
        let again = register(&mut crew, "a", BOTH);
        assert!(matches!(again, Err(Refusal::State { .. })), "{again:?}");
        assert_eq!(register(&mut crew, "i", BOTH), Err(Refusal::ShutdownOfInternal));
        register(&mut crew, "i", INVOKE).unwrap();
        assert_eq!(register(&mut crew, "i", INVOKE), Err(Refusal::NameTaken));
        for number in 0..EXTENSIONS_MAX - 2 {
            register(&mut crew, &format!("n{number}"), NONE).unwrap();
        }
        assert_eq!(register(&mut crew, "more", NONE), Err(Refusal::TooMany));
        crew.close();
        assert_eq!(register(&mut crew, "late", NONE), Err(Refusal::Closed));
        assert_eq!(crew.next("nobody", 1), Err(Refusal::Unknown));
    }

    #[test]
    fn the_first_report_counts() {
        let mut crew = crew(&["a"]);
        register(&mut crew, "a", INVOKE).unwrap();
        crew.report("id-a", Move::InitError, "Extension.One").unwrap();
        crew.report("id-a", Move::InitError, "Extension.Two").unwrap();
        assert!(crew.next("id-a", 1).is_err());
        assert_eq!(crew.exited(0, Move::Exit, None), Some(Life::InitError));
        assert_eq!(
            crew.infos(),
            [Info {
                name: "a".to_owned(),
                state: "InitError",
                events: vec!["INVOKE"],
                error_type: Some("Extension.One".to_owned()),
            }]
        );
    }
}
