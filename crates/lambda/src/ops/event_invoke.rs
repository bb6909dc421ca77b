//! What the operations of asynchronous invocation settings have in common: whose they are, what they
//! may be, and how they are shown.

use lambic_front::Cx;
use lambic_model_lambda as model;
use lambic_model_lambda::errors;
use lambic_wire::{Error, Timestamp};

use super::destination::{self, Destination, invalid_arn, invalid_config};
use super::find;
use crate::Lambda;
use crate::limits::invalid;
use crate::names::{self, LATEST, Target};
use crate::state::event_invoke::EventInvoke;
use crate::state::function::FunctionRecord;

/// Whose settings are meant: without a qualifier, those of `$LATEST`.
pub(super) fn resolve(
    cx: &Cx<'_, Lambda>,
    name: &str,
    qualifier: Option<&str>,
) -> Result<(Target, String), Error> {
    let mut target = names::resolve(cx.account, cx.region, name, qualifier)?;
    let qualifier = target.qualifier.get_or_insert_with(|| LATEST.to_owned()).clone();
    Ok((target, qualifier))
}

/// The settings of this qualifier, if there are any.
pub(super) fn present<'a>(
    record: &'a FunctionRecord,
    target: &Target,
    qualifier: &str,
) -> Result<&'a EventInvoke, Error> {
    let settings = record.qualified.get(qualifier);
    settings.and_then(|settings| settings.event_invoke.as_ref()).ok_or_else(|| absent(target))
}

/// There are no settings of this qualifier, or there is not even the function.
pub(super) fn absent(target: &Target) -> Error {
    let arn = target.qualified_arn();
    errors::resource_not_found(format!("The function {arn} doesn't have an EventInvokeConfig"))
}

/// There is no such function, version or alias.
pub(super) fn no_function() -> Error {
    errors::resource_not_found("The function doesn't exist.")
}

/// Whether there is what settings are given for, and they may be given.
pub(super) fn check(
    cx: &Cx<'_, Lambda>,
    target: &Target,
    retries_max: Option<i32>,
    event_age_s_max: Option<i32>,
    destinations: Option<&model::DestinationConfig>,
) -> Result<(), Error> {
    if retries_max.is_none() && event_age_s_max.is_none() && destinations.is_none() {
        return Err(invalid(
            "You must specify at least one of error handling or destination setting.",
        ));
    }
    find(cx, target).map_err(|_| no_function())?;
    let Some(config) = destinations else { return Ok(()) };
    let success = config.on_success.as_ref().and_then(|side| side.destination.as_ref());
    let failure = config.on_failure.as_ref().and_then(|side| side.destination.as_ref());
    let success = destination::given(success).map(|arn| (arn, true));
    let failure = destination::given(failure).map(|arn| (arn, false));
    for (arn, is_success) in success.into_iter().chain(failure) {
        match destination::kind(arn) {
            None | Some(Destination::KafkaTopic) => return Err(invalid_config(config)),
            Some(Destination::Bucket) if is_success => return Err(invalid_config(config)),
            Some(Destination::Function) => check_function(cx, target, arn)?,
            Some(_) if destination::is_whole(arn) => {}
            Some(_) => return Err(invalid_arn(arn)),
        }
    }
    Ok(())
}

/// A function that is told of outcomes is there, and not the one that they are of.
fn check_function(cx: &Cx<'_, Lambda>, own: &Target, arn: &str) -> Result<(), Error> {
    let other = names::resolve(cx.account, cx.region, arn, None).map_err(|_| invalid_arn(arn))?;
    if (&other.account, &other.name) == (&own.account, &own.name) {
        return Err(invalid("You can't specify the function as a destination for itself."));
    }
    find(cx, &other).map_err(|_| invalid_arn(arn))?;
    Ok(())
}

/// The destinations as they are stored.
pub(super) fn destinations(
    config: Option<&model::DestinationConfig>,
) -> (Option<String>, Option<String>) {
    let Some(config) = config else { return (None, None) };
    let success = config.on_success.as_ref().and_then(|side| side.destination.as_ref());
    let failure = config.on_failure.as_ref().and_then(|side| side.destination.as_ref());
    let stored = |given| destination::given(given).map(str::to_owned);
    (stored(success), stored(failure))
}

/// As callers read them.
pub(super) fn show(
    record: &FunctionRecord,
    qualifier: &str,
    settings: &EventInvoke,
) -> model::FunctionEventInvokeConfig {
    model::FunctionEventInvokeConfig {
        last_modified: Some(shown_time(settings.last_modified_micros)),
        function_arn: Some(format!("{}:{qualifier}", record.arn())),
        maximum_retry_attempts: settings.retries_max,
        maximum_event_age_in_seconds: settings.event_age_s_max,
        destination_config: Some(model::DestinationConfig {
            on_success: Some(model::OnSuccess { destination: settings.on_success.clone() }),
            on_failure: Some(model::OnFailure { destination: settings.on_failure.clone() }),
        }),
    }
}

/// A moment as it is sent: to the millisecond.
pub(super) fn shown_time(micros: i64) -> Timestamp {
    Timestamp { epoch_ms: micros.div_euclid(1_000) }
}
