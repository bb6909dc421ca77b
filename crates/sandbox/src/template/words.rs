//! What the daemon, the spawner and init processes say to each other about templates; part of
//! `protocol`.

use serde::{Deserialize, Serialize};

/// What an environment is made from.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Source {
    /// Nothing.
    Fresh,
    /// A spare of this kind, or else of the second, if one is at hand.
    Spare { kind: u64, second: Option<u64> },
    /// It has to do with a template.
    Template(Role),
}

/// What an environment has to do with a template. The daemon numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// It is started as any other; from then on the program is told to fork on
    /// [`crate::TEMPLATE_FD`] whenever a copy is wanted. It ends with the environment.
    Becomes(u64),
    /// It is a copy of that template's program, which goes on as after a `fork`, with the pipes and the
    /// stream of this environment in place of its own.
    From(u64),
}

/// Where the program of an environment comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Origin {
    /// It is started.
    Started,
    /// It is started and then stands as a template. After the other pipes comes the socket on which it
    /// is told to fork.
    Template,
    /// As that, for spares: it has nothing of any function, and folders for what comes with code.
    Zygote,
    /// It is a copy of a template, which has its pipes already: init opens its environment to it and
    /// waits for [`Adopt`].
    Copied,
}

impl Origin {
    /// Whether it stands as a template.
    pub(crate) fn is_template(self) -> bool {
        matches!(self, Origin::Template | Origin::Zygote)
    }
}

/// A launch has got a copy of which nobody knows yet whether it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum NewCopy {
    /// It was a spare that had not loaded itself.
    Spare,
    /// It was made for this launch: its environment had all of the function before it came.
    Whole,
}

/// To the init process of a copy's environment: its program is there, a child of it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Adopt {
    /// As it is numbered inside.
    pub(crate) pid: i32,
}
