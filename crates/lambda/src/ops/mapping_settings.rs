//! How an event source mapping hands events over: which members each kind of source has, their defaults
//! and their limits.
//!
//! An update is looked at as a creation with fewer members: [`of_update`] makes one of the other.
//! Everything that only whoever reads a source has to obey is kept as it is given: nothing reads one
//! yet, and no mapping is enabled. `KMSKeyArn` asks for something at once, that filters are encrypted,
//! and is refused.

use lambic_model_lambda as model;
use lambic_model_lambda::{CreateEventSourceMappingRequest, UpdateEventSourceMappingRequest};
use lambic_wire::Error;

use super::destination::{self, Destination, invalid_arn, invalid_config};
use super::settings::refuse_if;
use crate::event_pattern;
use crate::limits::{FILTERS_MAX, invalid, out_of_range, too_many_filters};
use crate::state::mapping::{
    DocumentDb, MappingSettings, Pollers, SchemaRegistry, Source, SourceAccess, SourceKind,
};

/// Messages of a FIFO queue in one invoke, and of any queue that are not waited for.
const QUEUE_BATCH_MAX: i32 = 10;
/// Records in one invoke when nothing is said, for all that are no queues of SQS.
const BATCH_DEFAULT: i32 = 100;
/// Seconds that a record may be limited to, at least.
const RECORD_AGE_S_MIN: i32 = 60;
/// Pollers of one mapping when nothing is said.
const POLLERS_DEFAULT: i32 = 200;
/// Pollers of one mapping of a Kafka.
const KAFKA_POLLERS_MAX: i32 = 2_000;

/// A member that this kind of source does not have.
pub(super) fn unsupported(member: &str) -> Error {
    invalid(format!("Unsupported '{member}' parameter for given event source mapping type."))
}

/// A member that this kind of source cannot do without.
pub(super) fn required(member: &str) -> Error {
    invalid(format!("Required '{member}' parameter is missing."))
}

/// The members of an update, as a creation has them.
pub(super) fn of_update(
    update: UpdateEventSourceMappingRequest,
) -> CreateEventSourceMappingRequest {
    CreateEventSourceMappingRequest {
        function_name: update.function_name.unwrap_or_default(),
        enabled: update.enabled,
        batch_size: update.batch_size,
        filter_criteria: update.filter_criteria,
        kms_key_arn: update.kms_key_arn,
        metrics_config: update.metrics_config,
        logging_config: update.logging_config,
        scaling_config: update.scaling_config,
        maximum_batching_window_in_seconds: update.maximum_batching_window_in_seconds,
        parallelization_factor: update.parallelization_factor,
        destination_config: update.destination_config,
        maximum_record_age_in_seconds: update.maximum_record_age_in_seconds,
        bisect_batch_on_function_error: update.bisect_batch_on_function_error,
        maximum_retry_attempts: update.maximum_retry_attempts,
        tumbling_window_in_seconds: update.tumbling_window_in_seconds,
        source_access_configurations: update.source_access_configurations,
        function_response_types: update.function_response_types,
        amazon_managed_kafka_event_source_config: update.amazon_managed_kafka_event_source_config,
        self_managed_kafka_event_source_config: update.self_managed_kafka_event_source_config,
        document_db_event_source_config: update.document_db_event_source_config,
        provisioned_poller_config: update.provisioned_poller_config,
        ..CreateEventSourceMappingRequest::default()
    }
}

/// What holds when nothing is said.
pub(super) fn defaults(kind: SourceKind) -> MappingSettings {
    let is_queue = kind == SourceKind::Sqs;
    let mut settings = MappingSettings {
        batch_records_max: if is_queue { QUEUE_BATCH_MAX } else { BATCH_DEFAULT },
        window_s: (is_queue || kind.is_stream()).then_some(0),
        ..MappingSettings::default()
    };
    if kind.is_stream() {
        settings.parallelization_factor = Some(1);
        settings.record_age_s_max = Some(-1);
        settings.bisects = Some(false);
        settings.retries_max = Some(-1);
        settings.tumbling_window_s = Some(0);
    }
    settings
}

/// Whether every member that is given is one that this kind of source has.
///
/// # Errors
/// 400 naming the first that is not.
pub(super) fn refuse_unsupported(
    kind: SourceKind,
    given: &CreateEventSourceMappingRequest,
) -> Result<(), Error> {
    let (is_stream, is_kafka) = (kind.is_stream(), kind.is_kafka());
    let (is_queue, is_broker) = (kind == SourceKind::Sqs, kind == SourceKind::Mq);
    let is_records = is_stream || is_kafka;
    let destinations = given.destination_config.as_ref();
    let failure = destinations.and_then(|config| config.on_failure.as_ref());
    let failure = destination::given(failure.and_then(|side| side.destination.as_ref()));
    let succeeds = destinations.is_some_and(|config| config.on_success.is_some());
    if succeeds || failure.is_some() && !is_records {
        return Err(invalid(
            "Unsupported DestinationConfig parameter for given event source mapping type.",
        ));
    }
    let own = given.self_managed_kafka_event_source_config.as_ref();
    let logs = given.logging_config.as_ref().is_some_and(|log| log.system_log_level.is_some());
    let scales = given.scaling_config.as_ref().and_then(|config| config.maximum_concurrency);
    let pollers = given.provisioned_poller_config.as_ref();
    let metrics = given.metrics_config.as_ref().and_then(|config| config.metrics.as_ref());
    for (member, is_given, is_supported) in [
        ("parallelizationFactor", given.parallelization_factor.is_some(), is_stream),
        ("maximumRecordAgeInSeconds", given.maximum_record_age_in_seconds.is_some(), is_records),
        ("bisectBatchOnFunctionError", given.bisect_batch_on_function_error.is_some(), is_records),
        ("maximumRetryAttempts", given.maximum_retry_attempts.is_some(), is_records),
        ("tumblingWindowInSeconds", given.tumbling_window_in_seconds.is_some(), is_stream),
        ("functionResponseTypes", some(&given.function_response_types), is_records || is_queue),
        ("topics", some(&given.topics), is_kafka),
        ("queues", some(&given.queues), is_broker),
        (
            "sourceAccessConfigurations",
            some(&given.source_access_configurations),
            is_kafka || is_broker || kind == SourceKind::DocumentDb,
        ),
        (
            "selfManagedEventSource",
            given.self_managed_event_source.is_some(),
            kind == SourceKind::SelfManagedKafka,
        ),
        (
            "amazonManagedKafkaEventSourceConfig",
            given.amazon_managed_kafka_event_source_config.is_some(),
            kind == SourceKind::Msk,
        ),
        ("selfManagedKafkaEventSourceConfig", own.is_some(), kind == SourceKind::SelfManagedKafka),
        (
            "documentDBEventSourceConfig",
            given.document_db_event_source_config.is_some(),
            kind == SourceKind::DocumentDb,
        ),
        ("scalingConfig", scales.is_some(), is_queue),
        ("provisionedPollerConfig", pollers.is_some_and(asks_for_pollers), is_queue || is_kafka),
        ("metricsConfig", metrics.is_some(), is_queue || is_records),
        ("loggingConfig", logs, is_kafka),
        // AWS refuses it for every kind, although its model has it.
        ("ConsumptionMode", own.is_some_and(|config| config.consumption_mode.is_some()), false),
    ] {
        if is_given && !is_supported {
            return Err(unsupported(member));
        }
    }
    Ok(())
}

/// Whether there is something in it.
fn some<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_some_and(|list| !list.is_empty())
}

fn asks_for_pollers(config: &model::ProvisionedPollerConfig) -> bool {
    config.minimum_pollers.is_some()
        || config.maximum_pollers.is_some()
        || config.poller_group_name.is_some()
}

/// Puts what is given into `settings`.
///
/// # Errors
/// 400 for a value that makes no sense by itself, 501 for one that is not offered.
pub(super) fn apply(
    kind: SourceKind,
    settings: &mut MappingSettings,
    given: &CreateEventSourceMappingRequest,
) -> Result<(), Error> {
    settings.batch_records_max = given.batch_size.unwrap_or(settings.batch_records_max);
    let set = |to: &mut Option<i32>, given: Option<i32>| *to = given.or(*to);
    set(&mut settings.window_s, given.maximum_batching_window_in_seconds);
    set(&mut settings.parallelization_factor, given.parallelization_factor);
    set(&mut settings.record_age_s_max, given.maximum_record_age_in_seconds);
    set(&mut settings.retries_max, given.maximum_retry_attempts);
    set(&mut settings.tumbling_window_s, given.tumbling_window_in_seconds);
    settings.bisects = given.bisect_batch_on_function_error.or(settings.bisects);
    if let Some(types) = &given.function_response_types {
        settings.reports_item_failures = !types.is_empty();
    }
    if let Some(criteria) = &given.filter_criteria {
        settings.filters = filters(criteria)?;
    }
    if let Some(config) = &given.destination_config {
        settings.on_failure = on_failure(kind, config)?;
    }
    if let Some(access) = &given.source_access_configurations {
        settings.access = source_access(kind, access)?;
    }
    if let Some(config) = &given.amazon_managed_kafka_event_source_config {
        settings.schema_registry = schema_registry(config.schema_registry_config.as_ref())?;
    }
    if let Some(config) = &given.self_managed_kafka_event_source_config {
        settings.schema_registry = schema_registry(config.schema_registry_config.as_ref())?;
    }
    if let Some(config) = &given.document_db_event_source_config {
        settings.document_db = Some(document_db(settings.document_db.take(), config)?);
    }
    if let Some(config) = &given.scaling_config {
        settings.concurrency_max = config.maximum_concurrency;
    }
    if let Some(config) = &given.provisioned_poller_config {
        settings.pollers = pollers(kind, settings.pollers.take(), config)?;
    }
    if let Some(config) = &given.metrics_config {
        let names = config.metrics.as_ref();
        settings.metrics = names.map(|all| all.iter().map(|one| one.as_str().to_owned()).collect());
    }
    if let Some(config) = &given.logging_config {
        let level = config.system_log_level.as_ref();
        settings.log_level = level.map(|level| level.as_str().to_owned());
    }
    let key = given.kms_key_arn.as_ref();
    refuse_if(key.is_some_and(|arn| !arn.is_empty()), "KMSKeyArn of an event source mapping")
}

fn filters(criteria: &model::FilterCriteria) -> Result<Vec<String>, Error> {
    let filters = criteria.filters.as_deref().unwrap_or_default();
    if filters.len() > FILTERS_MAX {
        return Err(too_many_filters());
    }
    let pattern = |filter: &model::Filter| {
        let pattern = filter.pattern.clone().unwrap_or_default();
        match event_pattern::check(&pattern) {
            Ok(()) => Ok(pattern),
            Err(_) => Err(invalid("Invalid filter pattern definition.")),
        }
    };
    filters.iter().map(pattern).collect()
}

fn on_failure(
    kind: SourceKind,
    config: &model::DestinationConfig,
) -> Result<Option<String>, Error> {
    let side = config.on_failure.as_ref();
    let Some(arn) = destination::given(side.and_then(|side| side.destination.as_ref())) else {
        return Ok(None);
    };
    match destination::kind(arn) {
        Some(Destination::KafkaTopic) if kind.is_kafka() => {}
        Some(Destination::Queue | Destination::Topic | Destination::Bucket) => {
            if !destination::is_whole(arn) {
                return Err(invalid_arn(arn));
            }
        }
        _ => return Err(invalid_config(config)),
    }
    Ok(Some(arn.to_owned()))
}

fn source_access(
    kind: SourceKind,
    given: &[model::SourceAccessConfiguration],
) -> Result<Vec<SourceAccess>, Error> {
    let access = |one: &model::SourceAccessConfiguration| {
        let way = one.r#type.as_ref().ok_or_else(|| required("type"))?;
        let uri = one.uri.clone().ok_or_else(|| required("uri"))?;
        match has_access(kind, way.as_str()) {
            true => Ok(SourceAccess { kind: way.as_str().to_owned(), uri }),
            false => Err(unsupported("sourceAccessConfigurations")),
        }
    };
    given.iter().map(access).collect()
}

/// Whether this is a way to get at a source of this kind.
fn has_access(kind: SourceKind, way: &str) -> bool {
    match kind {
        SourceKind::Mq => matches!(way, "BASIC_AUTH" | "VIRTUAL_HOST"),
        SourceKind::DocumentDb => way == "BASIC_AUTH",
        SourceKind::Msk => {
            !matches!(way, "BASIC_AUTH" | "VIRTUAL_HOST" | "VPC_SUBNET" | "VPC_SECURITY_GROUP")
        }
        SourceKind::SelfManagedKafka => way != "VIRTUAL_HOST",
        SourceKind::Sqs | SourceKind::Kinesis | SourceKind::DynamoDb => false,
    }
}

fn schema_registry(
    config: Option<&model::KafkaSchemaRegistryConfig>,
) -> Result<Option<SchemaRegistry>, Error> {
    let Some(config) = config.filter(|config| **config != Default::default()) else {
        return Ok(None);
    };
    let uri = config.schema_registry_uri.clone().ok_or_else(|| required("schemaRegistryURI"))?;
    let record_format = config.event_record_format.as_ref();
    let record_format = record_format.ok_or_else(|| required("eventRecordFormat"))?;
    let access = |one: &model::KafkaSchemaRegistryAccessConfig| {
        let way = one.r#type.as_ref().ok_or_else(|| required("type"))?;
        let uri = one.uri.clone().ok_or_else(|| required("uri"))?;
        Ok(SourceAccess { kind: way.as_str().to_owned(), uri })
    };
    let validated = |one: &model::KafkaSchemaValidationConfig| {
        let attribute = one.attribute.as_ref().ok_or_else(|| required("attribute"))?;
        Ok(attribute.as_str().to_owned())
    };
    let all_access = config.access_configs.iter().flatten().map(access);
    let all_validated = config.schema_validation_configs.iter().flatten().map(validated);
    Ok(Some(SchemaRegistry {
        uri,
        record_format: record_format.as_str().to_owned(),
        access: all_access.collect::<Result<_, Error>>()?,
        validated: all_validated.collect::<Result<_, Error>>()?,
    }))
}

fn document_db(
    present: Option<DocumentDb>,
    config: &model::DocumentDBEventSourceConfig,
) -> Result<DocumentDb, Error> {
    let (database, collection, full_document) = match present {
        Some(present) => (Some(present.database), present.collection, Some(present.full_document)),
        None => (None, None, None),
    };
    let database = config.database_name.clone().or(database);
    let given = config.full_document.as_ref().map(|full| full.as_str().to_owned());
    Ok(DocumentDb {
        database: database.ok_or_else(|| required("databaseName"))?,
        collection: config.collection_name.clone().or(collection),
        full_document: given.or(full_document).unwrap_or_else(|| "Default".to_owned()),
    })
}

/// Without a member, none are wanted any more.
fn pollers(
    kind: SourceKind,
    present: Option<Pollers>,
    config: &model::ProvisionedPollerConfig,
) -> Result<Option<Pollers>, Error> {
    if !asks_for_pollers(config) {
        return Ok(None);
    }
    let floor = if kind == SourceKind::Sqs { 2 } else { 1 };
    let (min, max, group) = match present {
        Some(present) => (present.min, present.max, present.group),
        None => (floor, POLLERS_DEFAULT, None),
    };
    let (min, max) = (config.minimum_pollers.unwrap_or(min), config.maximum_pollers.unwrap_or(max));
    let ceiling = if kind.is_kafka() { KAFKA_POLLERS_MAX } else { i32::MAX };
    for (member, value) in [("minimumPollers", min), ("maximumPollers", max)] {
        if !(floor..=ceiling).contains(&value) {
            let member = format!("provisionedPollerConfig.{member}");
            return Err(out_of_range(&member, value.into(), floor.into(), ceiling.into()));
        }
    }
    if min > max {
        return Err(invalid("MinimumPollers must not be greater than MaximumPollers."));
    }
    let group = match &config.poller_group_name {
        Some(_) if !kind.is_kafka() => return Err(unsupported("pollerGroupName")),
        Some(name) => Some(name.clone()).filter(|name| !name.is_empty()),
        None => group,
    };
    Ok(Some(Pollers { min, max, group }))
}

/// Whether the settings go together.
///
/// # Errors
/// 400 with AWS's reason.
pub(super) fn check(source: &Source, settings: &MappingSettings) -> Result<(), Error> {
    let kind = source.kind;
    if kind == SourceKind::Sqs {
        check_queue(source, settings)?;
    }
    if settings.record_age_s_max.is_some_and(|age| (0..RECORD_AGE_S_MIN).contains(&age)) {
        return Err(invalid(
            "MaximumRecordAgeInSeconds must be -1 or a value between 60 and 604800.",
        ));
    }
    let has_access = !settings.access.is_empty();
    if !has_access
        && matches!(kind, SourceKind::SelfManagedKafka | SourceKind::Mq | SourceKind::DocumentDb)
    {
        return Err(required("sourceAccessConfigurations"));
    }
    if kind == SourceKind::DocumentDb && settings.document_db.is_none() {
        return Err(required("documentDBEventSourceConfig"));
    }
    let only_counts = |all: &Vec<String>| all.iter().all(|name| name == "EventCount");
    if !kind.is_kafka() && settings.metrics.as_ref().is_some_and(|all| !only_counts(all)) {
        return Err(unsupported("metricsConfig"));
    }
    if kind.is_kafka() && settings.pollers.is_none() {
        // What AWS has for a Kafka in provisioned mode only.
        for (member, is_set) in [
            ("maximumRecordAgeInSeconds", settings.record_age_s_max.is_some()),
            ("bisectBatchOnFunctionError", settings.bisects.is_some()),
            ("maximumRetryAttempts", settings.retries_max.is_some()),
            ("functionResponseTypes", settings.reports_item_failures),
            ("schemaRegistryConfig", settings.schema_registry.is_some()),
            ("metricsConfig", settings.metrics.as_ref().is_some_and(|all| !all.is_empty())),
            ("loggingConfig", settings.log_level.is_some()),
        ] {
            if is_set {
                return Err(unsupported(member));
            }
        }
    }
    Ok(())
}

fn check_queue(source: &Source, settings: &MappingSettings) -> Result<(), Error> {
    let is_fifo = source.arn.as_ref().is_some_and(|arn| arn.ends_with(".fifo"));
    let is_large = settings.batch_records_max > QUEUE_BATCH_MAX;
    let waits = settings.window_s.is_some_and(|seconds| seconds > 0);
    if is_fifo && waits {
        return Err(invalid("Batching window is not supported for FIFO queues"));
    }
    if is_fifo && is_large {
        return Err(invalid("Batch size greater than 10 is not supported for FIFO queues"));
    }
    if is_large && !waits {
        return Err(invalid(
            "Maximum batch window in seconds must be greater than 0 if maximum batch size is \
             greater than 10",
        ));
    }
    if settings.concurrency_max.is_some() && settings.pollers.is_some() {
        return Err(invalid(
            "ScalingConfig and ProvisionedPollerConfig cannot be used at the same time.",
        ));
    }
    Ok(())
}
