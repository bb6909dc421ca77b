//! What the operations of event source mappings have in common: where they are, whose function they are
//! of, what they claim of a source, and how they are shown.

use std::collections::HashSet;

use lambic_front::Cx;
use lambic_model_lambda as model;
use lambic_model_lambda::errors;
use lambic_store::{Digest, Stored, Transaction};
use lambic_wire::{Arn, Error, Pairs, Timestamp};

use super::change::read_failed;
use super::event_invoke::shown_time;
use super::find;
use super::mapping_source::SERVERS;
use super::settings::refuse_if;
use crate::Lambda;
use crate::limits::invalid;
use crate::names::{self, Target};
use crate::state::mapping::{
    MappingRecord, MappingState, SchemaRegistry, SourceAccess, SourceClaim, SourceKind,
};

/// What authorisation is asked about.
pub(super) fn resource(cx: &Cx<'_, Lambda>, uuid: &str) -> Arn {
    Arn::new("lambda", cx.region, cx.account, format!("event-source-mapping:{uuid}"))
}

/// The mapping with this UUID, as the store has it.
pub(super) async fn read(
    cx: &Cx<'_, Lambda>,
    uuid: &str,
) -> Result<(Stored<MappingRecord>, MappingState), Error> {
    let found = present(cx, uuid).await?;
    found.ok_or_else(|| errors::resource_not_found("The resource you requested does not exist."))
}

async fn present(
    cx: &Cx<'_, Lambda>,
    uuid: &str,
) -> Result<Option<(Stored<MappingRecord>, MappingState)>, Error> {
    let table = cx.service.store.table::<MappingRecord>();
    let stored = table.get(&[cx.account, cx.region, uuid]).await.map_err(read_failed)?;
    Ok(stored.and_then(|stored| {
        let state = stored.value.state(cx.rt.now())?;
        Some((stored, state))
    }))
}

/// The function that events are for. It is one of the caller's own.
pub(super) fn function(cx: &Cx<'_, Lambda>, name: &str) -> Result<Target, Error> {
    let target = names::resolve(cx.account, cx.region, name, None)?;
    match find(cx, &target) {
        Ok(_) if target.account == cx.account => Ok(target),
        _ => Err(invalid("Function does not exist")),
    }
}

/// 501 for a mapping that would have to be obeyed.
pub(super) fn refuse_enabled(is_enabled: bool) -> Result<(), Error> {
    refuse_if(
        is_enabled,
        "An event source mapping with Enabled true (which it is unless Enabled false is given; event \
         sources are not read yet)",
    )
}

/// 400 for a change of a mapping whose last change is not in force yet.
pub(super) fn check_free(state: MappingState, verb: &str) -> Result<(), Error> {
    match state {
        MappingState::Disabled => Ok(()),
        _ => Err(errors::resource_in_use(format!(
            "Cannot {verb} the event source mapping because it is in use."
        ))),
    }
}

/// There is no mapping with this ARN, as the operations on tags say it.
pub(super) fn not_found(arn: &str) -> Error {
    errors::resource_not_found(format!("Event source mapping not found: {arn}"))
}

/// Takes what `record` reads of its source, except what it `has` already.
///
/// # Errors
/// 409 when another mapping reads it for the same function.
pub(super) async fn claim(
    cx: &Cx<'_, Lambda>,
    record: &MappingRecord,
    has: &[Digest],
    transaction: &mut Transaction,
) -> Result<(), Error> {
    let table = cx.service.store.table::<SourceClaim>();
    let own = SourceClaim { uuid: record.uuid.clone() };
    let mut taken = HashSet::new();
    for digest in record.claims() {
        // A caller may name a server twice.
        if has.contains(&digest) || !taken.insert(digest.clone()) {
            continue;
        }
        let key = [cx.account, cx.region, digest.as_str()];
        match table.get(&key).await.map_err(read_failed)? {
            None => transaction.insert(&key, &own),
            Some(claim) => {
                if let Some((other, _)) = present(cx, &claim.value.uuid).await? {
                    return Err(conflict(record, &other.value.uuid));
                }
                transaction.replace(&claim, &own);
            }
        }
    }
    Ok(())
}

/// Gives back what `before` reads of its source and `after` does not.
pub(super) fn release(
    cx: &Cx<'_, Lambda>,
    before: &MappingRecord,
    after: &MappingRecord,
    transaction: &mut Transaction,
) {
    let kept = after.claims();
    for digest in before.claims().into_iter().filter(|digest| !kept.contains(digest)) {
        transaction.delete::<SourceClaim>(&[cx.account, cx.region, digest.as_str()]);
    }
}

/// In AWS's words, which differ from source to source.
fn conflict(record: &MappingRecord, uuid: &str) -> Error {
    let source = &record.source;
    let from = source.arn.clone().unwrap_or_else(|| source.servers.join(","));
    let (name, arn) = (&record.function_name, record.function_arn());
    let of = |what: &str| {
        format!(
            "An event source mapping with event source (\"{from}\"), function (\"{arn}\"){what} \
             already exists."
        )
    };
    let names = source.names.join(",");
    let text = match source.kind {
        SourceKind::Sqs => format!(
            "An event source mapping with SQS arn (\" {from} \") and function (\" {name} \") \
             already exists."
        ),
        SourceKind::Kinesis | SourceKind::DynamoDb => format!(
            "The event source arn (\" {from} \") and function (\" {name} \") provided mapping \
             already exists."
        ),
        SourceKind::Msk | SourceKind::SelfManagedKafka => of(&format!(", topics (\"{names}\")")),
        SourceKind::Mq => of(&format!(", queues (\"{names}\")")),
        SourceKind::DocumentDb => of(""),
    };
    let hint = "Please update or delete the existing mapping with UUID";
    errors::resource_conflict(format!("{text} {hint} {uuid}"))
}

/// As callers read it.
pub(super) fn show(
    record: &MappingRecord,
    state: MappingState,
) -> model::EventSourceMappingConfiguration {
    let (source, settings) = (&record.source, &record.settings);
    let kind = source.kind;
    let is_stream = kind.is_stream();
    let reason = if is_stream { "User action" } else { "USER_INITIATED" };
    let result = (kind != SourceKind::Sqs).then(|| "No records processed".to_owned());
    let mut shown = model::EventSourceMappingConfiguration {
        uuid: Some(record.uuid.clone()),
        event_source_mapping_arn: Some(record.arn()),
        event_source_arn: source.arn.clone(),
        function_arn: Some(record.function_arn()),
        starting_position: source.starting_position.as_deref().map(Into::into),
        starting_position_timestamp: source.starting_at_ms.map(|epoch_ms| Timestamp { epoch_ms }),
        last_modified: Some(shown_time(record.last_modified_micros)),
        last_processing_result: result,
        state: Some(state.name().to_owned()),
        state_transition_reason: Some(reason.to_owned()),
        batch_size: Some(settings.batch_records_max),
        maximum_batching_window_in_seconds: settings.window_s,
        parallelization_factor: settings.parallelization_factor,
        maximum_record_age_in_seconds: settings.record_age_s_max,
        bisect_batch_on_function_error: settings.bisects,
        maximum_retry_attempts: settings.retries_max,
        tumbling_window_in_seconds: settings.tumbling_window_s,
        filter_criteria: show_filters(&settings.filters),
        ..model::EventSourceMappingConfiguration::default()
    };
    if is_stream || kind == SourceKind::Sqs || settings.reports_item_failures {
        let reports = settings.reports_item_failures;
        let types = reports.then_some(model::FunctionResponseType::ReportBatchItemFailures);
        shown.function_response_types = Some(types.into_iter().collect());
    }
    if is_stream || settings.on_failure.is_some() {
        shown.destination_config = Some(model::DestinationConfig {
            on_success: None,
            on_failure: Some(model::OnFailure { destination: settings.on_failure.clone() }),
        });
    }
    show_access(record, &mut shown);
    show_scaling(record, &mut shown);
    shown
}

fn show_filters(filters: &[String]) -> Option<model::FilterCriteria> {
    let filter = |pattern: &String| model::Filter { pattern: Some(pattern.clone()) };
    let all = filters.iter().map(filter).collect();
    (!filters.is_empty()).then_some(model::FilterCriteria { filters: Some(all) })
}

/// Where the source is and how one gets at it.
fn show_access(record: &MappingRecord, shown: &mut model::EventSourceMappingConfiguration) {
    let (source, settings) = (&record.source, &record.settings);
    let access = |one: &SourceAccess| model::SourceAccessConfiguration {
        r#type: Some(one.kind.as_str().into()),
        uri: Some(one.uri.clone()),
    };
    if !settings.access.is_empty() {
        shown.source_access_configurations = Some(settings.access.iter().map(access).collect());
    }
    let schema_registry_config = settings.schema_registry.as_ref().map(show_registry);
    let consumer_group_id = source.consumer_group.clone();
    let names = source.names.clone();
    match source.kind {
        SourceKind::Msk => {
            shown.topics = Some(names);
            shown.amazon_managed_kafka_event_source_config =
                Some(model::AmazonManagedKafkaEventSourceConfig {
                    consumer_group_id,
                    schema_registry_config,
                });
        }
        SourceKind::SelfManagedKafka => {
            shown.topics = Some(names);
            shown.self_managed_event_source = Some(model::SelfManagedEventSource {
                endpoints: Some(Pairs(vec![(SERVERS.to_owned(), source.servers.clone())])),
            });
            shown.self_managed_kafka_event_source_config =
                Some(model::SelfManagedKafkaEventSourceConfig {
                    consumer_group_id,
                    schema_registry_config,
                    consumption_mode: None,
                });
        }
        SourceKind::Mq => shown.queues = Some(names),
        SourceKind::DocumentDb | SourceKind::Sqs => {}
        SourceKind::Kinesis | SourceKind::DynamoDb => {}
    }
    if let Some(from) = &settings.document_db {
        shown.document_db_event_source_config = Some(model::DocumentDBEventSourceConfig {
            database_name: Some(from.database.clone()),
            collection_name: from.collection.clone(),
            full_document: Some(from.full_document.as_str().into()),
        });
    }
}

fn show_registry(registry: &SchemaRegistry) -> model::KafkaSchemaRegistryConfig {
    let access = |one: &SourceAccess| model::KafkaSchemaRegistryAccessConfig {
        r#type: Some(one.kind.as_str().into()),
        uri: Some(one.uri.clone()),
    };
    let validated = |attribute: &String| model::KafkaSchemaValidationConfig {
        attribute: Some(attribute.as_str().into()),
    };
    model::KafkaSchemaRegistryConfig {
        schema_registry_uri: Some(registry.uri.clone()),
        event_record_format: Some(registry.record_format.as_str().into()),
        access_configs: Some(registry.access.iter().map(access).collect()),
        schema_validation_configs: Some(registry.validated.iter().map(validated).collect()),
    }
}

/// How much of it is read at a time, and what is told of that.
fn show_scaling(record: &MappingRecord, shown: &mut model::EventSourceMappingConfiguration) {
    let settings = &record.settings;
    let concurrency = settings.concurrency_max;
    shown.scaling_config =
        concurrency.map(|max| model::ScalingConfig { maximum_concurrency: Some(max) });
    shown.provisioned_poller_config =
        settings.pollers.as_ref().map(|pollers| model::ProvisionedPollerConfig {
            minimum_pollers: Some(pollers.min),
            maximum_pollers: Some(pollers.max),
            poller_group_name: pollers.group.clone(),
        });
    shown.metrics_config =
        settings.metrics.as_ref().map(|names| model::EventSourceMappingMetricsConfig {
            metrics: Some(names.iter().map(|name| name.as_str().into()).collect()),
        });
    shown.logging_config = settings.log_level.as_deref().map(|level| {
        model::EventSourceMappingLoggingConfig { system_log_level: Some(level.into()) }
    });
}
