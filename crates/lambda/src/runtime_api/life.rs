//! The life of the runtime in one execution environment, as one explicit machine.
//!
//! Init → Idle → Running → Answering → Settling → Idle …, with InitFailed, RestoreFailed and Dead as
//! ends. A function with SnapStart goes from Init to Idle by RestoreReady and Restoring. Every
//! request of the runtime and every deed of the platform is a [`Move`]; one that the state does
//! not allow is an error with AWS's words.

use thiserror::Error;

/// Where the runtime is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Life {
    /// Started, has not yet asked for work.
    Init,
    /// Reported that it cannot start.
    InitFailed,
    /// Initialized, and waits to be restored.
    RestoreReady,
    /// Restored, and at its hooks.
    Restoring,
    /// Reported that a hook failed.
    RestoreFailed,
    /// Asked for work and waits.
    Idle,
    /// Has an event.
    Running,
    /// Is sending its response or error.
    Answering,
    /// Has answered and not yet asked for the next event.
    Settling,
    /// Gone.
    Dead,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Move {
    /// The runtime asks for the next event.
    Next,
    /// The runtime begins to send a response.
    Response,
    /// The runtime begins to send an error.
    Error,
    /// What the runtime sent is complete.
    Answered,
    /// What the runtime sent broke off; it may try again.
    Broken,
    /// The runtime reports that it cannot start.
    InitError,
    /// The runtime is initialized and asks to be restored.
    RestoreNext,
    /// The platform restores it.
    Restore,
    /// The runtime reports that it cannot be restored.
    RestoreError,
    /// The platform hands it an event.
    HandOut,
    /// The process ended, or the platform ends it.
    Die,
}

/// A move that the state does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("State transition from {} to {} failed for runtime. Error: State transition is not allowed", .from.name(), .tried.target())]
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
            // Asking again while it waits or works is allowed and changes nothing.
            (Life::Init | Life::Restoring | Life::Idle | Life::Settling, Move::Next) => {
                Ok(Life::Idle)
            }
            (Life::Running, Move::Next) => Ok(Life::Running),
            (Life::Idle, Move::HandOut) => Ok(Life::Running),
            (Life::Running, Move::Response | Move::Error) => Ok(Life::Answering),
            (Life::Answering, Move::Answered) => Ok(Life::Settling),
            (Life::Answering, Move::Broken) => Ok(Life::Running),
            (Life::Init, Move::InitError) => Ok(Life::InitFailed),
            (Life::Init, Move::RestoreNext) => Ok(Life::RestoreReady),
            (Life::RestoreReady, Move::Restore) => Ok(Life::Restoring),
            // What goes wrong now went wrong while it was restored, whatever the runtime calls it.
            (Life::Restoring, Move::RestoreError | Move::InitError) => Ok(Life::RestoreFailed),
            (_, Move::Die) => Ok(Life::Dead),
            _ => Err(IllegalMove { from: self, tried }),
        }
    }

    /// AWS's name of the state.
    fn name(self) -> &'static str {
        match self {
            Life::Init => "Started",
            Life::InitFailed => "InitError",
            Life::RestoreReady => "RestoreReady",
            Life::Restoring => "Restoring",
            Life::RestoreFailed => "RestoreError",
            Life::Idle => "Ready",
            Life::Running => "Running",
            Life::Answering => "InvocationResponse",
            Life::Settling => "ResponseSent",
            Life::Dead => "Exited",
        }
    }
}

impl Move {
    /// AWS's name of the state that the move leads to.
    fn target(self) -> &'static str {
        match self {
            Move::Next => "Ready",
            Move::Response => "InvocationResponse",
            Move::Error => "InvocationErrorResponse",
            Move::Answered => "ResponseSent",
            Move::Broken | Move::HandOut => "Running",
            Move::InitError => "InitError",
            Move::RestoreNext => "RestoreReady",
            Move::Restore => "Restoring",
            Move::RestoreError => "RestoreError",
            Move::Die => "Exited",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [Life; 10] = [
        Life::Init,
        Life::InitFailed,
        Life::RestoreReady,
        Life::Restoring,
        Life::RestoreFailed,
        Life::Idle,
        Life::Running,
        Life::Answering,
        Life::Settling,
        Life::Dead,
    ];
    const MOVES: [Move; 11] = [
        Move::Next,
        Move::Response,
        Move::Error,
        Move::Answered,
        Move::Broken,
        Move::InitError,
        Move::RestoreNext,
        Move::Restore,
        Move::RestoreError,
        Move::HandOut,
        Move::Die,
    ];

    #[test]
    fn the_whole_table() {
        let mut table = String::new();
        for state in STATES {
            let cells = MOVES.map(|tried| match state.step(tried) {
                Ok(next) => format!("{next:?}"),
                Err(_) => "-".to_owned(),
            });
            table.push_str(&format!("{state:?}: {}\n", cells.join(" ")));
        }
        assert_eq!(
            table,
            "Init: Idle - - - - InitFailed RestoreReady - - - Dead\n\
             InitFailed: - - - - - - - - - - Dead\n\
             RestoreReady: - - - - - - - Restoring - - Dead\n\
             Restoring: Idle - - - - RestoreFailed - - RestoreFailed - Dead\n\
             RestoreFailed: - - - - - - - - - - Dead\n\
             Idle: Idle - - - - - - - - Running Dead\n\
             Running: Running Answering Answering - - - - - - - Dead\n\
             Answering: - - - Settling Running - - - - - Dead\n\
             Settling: Idle - - - - - - - - - Dead\n\
             Dead: - - - - - - - - - - Dead\n"
        );
    }

    #[test]
    fn refused_in_the_words_of_aws() {
        assert_eq!(
            Life::Idle.step(Move::InitError).unwrap_err().to_string(),
            "State transition from Ready to InitError failed for runtime. \
             Error: State transition is not allowed"
        );
    }
}
