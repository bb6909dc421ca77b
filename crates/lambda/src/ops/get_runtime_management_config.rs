//! What it does, in one sentence, and what it refuses.
//!
//! ```text
//! GET /the/path
//!
//! 200 {}
//! ```

use lambic_front::{Cx, InputOf, OutputOf, Serve};
use lambic_model_lambda as model;
use lambic_wire::{Arn, Error};

use crate::Lambda;
use crate::names;

/// The operation.
pub struct GetRuntimeManagementConfig;

impl Serve for GetRuntimeManagementConfig {
    type Service = Lambda;
    type Operation = model::ops::GetRuntimeManagementConfig;

    fn resource(cx: &Cx<'_, Lambda>, input: &InputOf<Self>) -> Arn {
        names::resource(cx.account, cx.region, &input.function_name)
    }

    async fn run(cx: &Cx<'_, Lambda>, input: InputOf<Self>) -> Result<OutputOf<Self>, Error> {
        // Store the intent; a reconciler in `tasks/` does what takes long.
        Err(Error::not_offered("GetRuntimeManagementConfig"))
    }
}
