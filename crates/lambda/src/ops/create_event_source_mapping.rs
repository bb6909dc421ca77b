//! Makes a function read from a source: a queue, a stream, a topic, a database.
//!
//! What can be stored is stored, with `Enabled` false. A mapping that is enabled would have to be
//! obeyed, and nothing reads sources yet: it is refused by name, after everything that AWS refuses.
//!
//! ```text
//! POST /2015-03-31/event-source-mappings
//! {"FunctionName": "hello", "EventSourceArn": "arn:aws:sqs:us-east-1:000000000000:q",
//!  "Enabled": false}
//!
//! 202
//! {"UUID": "<any>", "EventSourceMappingArn": "<any>", "BatchSize": 10,
//!  "MaximumBatchingWindowInSeconds": 0, "EventSourceArn": "arn:aws:sqs:us-east-1:000000000000:q",
//!  "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:hello", "LastModified": "<any>",
//!  "State": "Creating", "StateTransitionReason": "USER_INITIATED", "FunctionResponseTypes": []}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{CreateEventSourceMappingRequest, EventSourceMappingConfiguration};
use lambic_store::Transaction;
use lambic_wire::{Arn, Error};

use super::change::{EDIT_ATTEMPTS_MAX, settle_at, write};
use super::mapping::{claim, function, refuse_enabled, show};
use super::mapping_settings::{apply, check, defaults, refuse_unsupported};
use super::mapping_source::{kind, source};
use super::settings;
use crate::Lambda;
use crate::limits::too_many_changes;
use crate::state::mapping::{MappingChange, MappingRecord};

/// The operation.
pub struct CreateEventSourceMapping;

impl Serve for CreateEventSourceMapping {
    type Service = Lambda;
    type Operation = model::ops::CreateEventSourceMapping;

    fn resource(cx: &Cx<'_, Lambda>, _: &CreateEventSourceMappingRequest) -> Arn {
        Arn::new("lambda", cx.region, cx.account, "*")
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        mut input: CreateEventSourceMappingRequest,
    ) -> Result<EventSourceMappingConfiguration, Error> {
        let kind = kind(&input)?;
        refuse_unsupported(kind, &input)?;
        let (uuid, now) = (cx.rt.uuid(), cx.rt.now());
        let source = source(kind, &input, &uuid, now)?;
        let mut settings = defaults(kind);
        apply(kind, &mut settings, &input)?;
        check(&source, &settings)?;
        let tags = settings::tags(input.tags.take().unwrap_or_default())?;
        let target = function(cx, &input.function_name)?;
        let record = MappingRecord {
            account: cx.account.to_owned(),
            region: cx.region.to_owned(),
            uuid,
            function_name: target.name,
            qualifier: target.qualifier,
            source,
            settings,
            tags,
            change: MappingChange::Created,
            settle_at_micros: settle_at(cx).micros(),
            last_modified_micros: now.micros(),
        };
        for _ in 0..EDIT_ATTEMPTS_MAX {
            let mut transaction = Transaction::new();
            claim(cx, &record, &[], &mut transaction).await?;
            refuse_enabled(input.enabled != Some(false))?;
            transaction.insert(&record.key(), &record);
            if write(cx, transaction).await?.is_some() {
                return Ok(show(&record, record.changing()));
            }
        }
        Err(too_many_changes())
    }
}

#[cfg(test)]
#[path = "mapping_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "mapping_refusals_tests.rs"]
mod refusals;
