//! `POST /lambic/imported/<modules>`: a runtime client of ours says, when its function is initialized,
//! which of the modules that spares can have imported already it has imported from where a spare would.
//! Only on the stream that it inherited. It is believed, because it is the function's own matter.

use super::answer::{Answer, accepted};
use super::desk::Desk;

pub(super) fn post(desk: &Desk, modules: &str) -> Answer {
    desk.owner.imported(modules);
    accepted()
}
