//! The life of one extension, as one explicit machine.
//!
//! Started → Registered → Ready → Running → Ready …, with InitError, ExitError and Exited as ends.
//! An internal extension is born by its registration. The words are those of AWS's own states; an
//! illegal move is an error that names both.

use thiserror::Error;

/// Where an extension is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Life {
    /// Its process was started; it has not registered.
    Started,
    /// Registered, has not yet asked for an event.
    Registered,
    /// Asked for its next event and waits.
    Ready,
    /// Has an event.
    Running,
    /// Reported that it cannot start.
    InitError,
    /// Reported that it cannot go on.
    ExitError,
    /// Its process could not be started.
    LaunchError,
    /// Its process is gone.
    Exited,
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Move {
    /// It registers.
    Register,
    /// It asks for its next event.
    Next,
    /// The platform gives it an event.
    Event,
    /// It reports that it cannot start.
    InitError,
    /// It reports that it cannot go on.
    ExitError,
    /// Its process could not be started.
    LaunchError,
    /// Its process has ended.
    Exit,
}

/// A move that the state does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("State transition is not allowed")]
pub struct IllegalMove {
    /// The state it was in.
    pub from: Life,
    /// What was tried.
    pub tried: Move,
}

impl Life {
    /// The state after `tried`.
    pub fn step(self, tried: Move) -> Result<Life, IllegalMove> {
        match (self, tried) {
            (Life::Started, Move::Register) => Ok(Life::Registered),
            (Life::Started, Move::LaunchError) => Ok(Life::LaunchError),
            // Asking again while it waits takes the place of a request whose connection was lost.
            (Life::Registered | Life::Running | Life::Ready, Move::Next) => Ok(Life::Ready),
            (Life::Ready, Move::Event) => Ok(Life::Running),
            // The first report counts; repeating it is allowed.
            (Life::Registered | Life::InitError, Move::InitError) => Ok(Life::InitError),
            (Life::Registered | Life::Ready | Life::Running | Life::ExitError, Move::ExitError) => {
                Ok(Life::ExitError)
            }
            // What it reported before stays in the log.
            (Life::InitError | Life::ExitError | Life::LaunchError, Move::Exit) => Ok(self),
            (_, Move::Exit) => Ok(Life::Exited),
            _ => Err(IllegalMove { from: self, tried }),
        }
    }

    /// AWS's name of the state.
    pub fn name(self) -> &'static str {
        match self {
            Life::Started => "Started",
            Life::Registered => "Registered",
            Life::Ready => "Ready",
            Life::Running => "Running",
            Life::InitError => "InitError",
            Life::ExitError => "ExitError",
            Life::LaunchError => "LaunchError",
            Life::Exited => "Exited",
        }
    }
}

impl Move {
    /// AWS's name of the state that the move leads to.
    pub fn target(self) -> &'static str {
        match self {
            Move::Register => "Registered",
            Move::Next => "Ready",
            Move::Event => "Running",
            Move::InitError => "InitError",
            Move::ExitError | Move::Exit => "Exited",
            Move::LaunchError => "LaunchError",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_table() {
        let states = [
            Life::Started,
            Life::Registered,
            Life::Ready,
            Life::Running,
            Life::InitError,
            Life::ExitError,
            Life::LaunchError,
            Life::Exited,
        ];
        let moves = [
            Move::Register,
            Move::Next,
            Move::Event,
            Move::InitError,
            Move::ExitError,
            Move::LaunchError,
            Move::Exit,
        ];
        let mut table = String::new();
        for state in states {
            let cells = moves.map(|tried| match state.step(tried) {
                Ok(next) => next.name(),
                Err(_) => "-",
            });
            table.push_str(&format!("{}: {}\n", state.name(), cells.join(" ")));
        }
        assert_eq!(
            table,
            "Started: Registered - - - - LaunchError Exited\n\
             Registered: - Ready - InitError ExitError - Exited\n\
             Ready: - Ready Running - ExitError - Exited\n\
             Running: - Ready - - ExitError - Exited\n\
             InitError: - - - InitError - - InitError\n\
             ExitError: - - - - ExitError - ExitError\n\
             LaunchError: - - - - - - LaunchError\n\
             Exited: - - - - - - Exited\n"
        );
    }
}
