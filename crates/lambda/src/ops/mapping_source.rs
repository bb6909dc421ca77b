//! What an event source mapping reads from: which kind of source an ARN names, and which members of the
//! request have to be there for it. Sources are not looked up: there is nobody here to be asked about
//! them.

use lambic_model_lambda as model;
use lambic_model_lambda::{CreateEventSourceMappingRequest, EventSourcePosition};
use lambic_rt::Timestamp;
use lambic_wire::Error;

use super::mapping_settings::{required, unsupported};
use crate::limits::invalid;
use crate::state::mapping::{Source, SourceKind};

/// The key of a Kafka's servers among a source's endpoints.
pub(super) const SERVERS: &str = "KAFKA_BOOTSTRAP_SERVERS";

impl SourceKind {
    /// Whether it has shards that are read in order.
    pub(super) fn is_stream(self) -> bool {
        matches!(self, SourceKind::Kinesis | SourceKind::DynamoDb)
    }

    /// Whether it is an Apache Kafka, whoever runs it.
    pub(super) fn is_kafka(self) -> bool {
        matches!(self, SourceKind::Msk | SourceKind::SelfManagedKafka)
    }
}

/// The kind of source that this ARN names.
fn kind_of(arn: &str) -> Option<SourceKind> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let [_, _, service, _, _, resource] = parts[..] else { return None };
    let kind = match service {
        "sqs" if !resource.is_empty() => SourceKind::Sqs,
        "kinesis" if resource.starts_with("stream/") => SourceKind::Kinesis,
        "dynamodb" if resource.starts_with("table/") && resource.contains("/stream/") => {
            SourceKind::DynamoDb
        }
        "kafka" if resource.starts_with("cluster/") => SourceKind::Msk,
        "mq" if resource.starts_with("broker:") => SourceKind::Mq,
        "rds" if resource.starts_with("cluster:") => SourceKind::DocumentDb,
        _ => return None,
    };
    Some(kind)
}

/// Which kind of source is meant.
///
/// # Errors
/// 400 for none, or none that events can be read from.
pub(super) fn kind(given: &CreateEventSourceMappingRequest) -> Result<SourceKind, Error> {
    match (&given.event_source_arn, &given.self_managed_event_source) {
        (Some(arn), _) => kind_of(arn).ok_or_else(unrecognized),
        (None, Some(_)) => Ok(SourceKind::SelfManagedKafka),
        (None, None) => Err(unrecognized()),
    }
}

fn unrecognized() -> Error {
    invalid("Unrecognized event source.")
}

/// The source that is meant. A Kafka's consumer group is `uuid` unless it is given.
///
/// # Errors
/// 400 for what is missing or makes no sense.
pub(super) fn source(
    kind: SourceKind,
    given: &CreateEventSourceMappingRequest,
    uuid: &str,
    now: Timestamp,
) -> Result<Source, Error> {
    let endpoints = given.self_managed_event_source.as_ref();
    let endpoints = endpoints.and_then(|source| source.endpoints.as_ref());
    let servers = endpoints.and_then(|all| all.get(SERVERS)).cloned().unwrap_or_default();
    if kind == SourceKind::SelfManagedKafka && servers.is_empty() {
        return Err(required("selfManagedEventSource"));
    }
    let names = match kind {
        SourceKind::Msk | SourceKind::SelfManagedKafka => ("topics", &given.topics),
        SourceKind::Mq => ("queues", &given.queues),
        _ => ("", &None),
    };
    let (member, names) = (names.0, names.1.clone().unwrap_or_default());
    if names.is_empty() && !member.is_empty() {
        return Err(required(member));
    }
    let (starting_position, starting_at_ms) = starting(kind, given, now)?;
    let consumer_group = consumer_group(given).cloned().unwrap_or_else(|| uuid.to_owned());
    Ok(Source {
        kind,
        arn: given.event_source_arn.clone(),
        servers,
        names,
        starting_position,
        starting_at_ms,
        consumer_group: kind.is_kafka().then_some(consumer_group),
    })
}

/// The consumer group that is asked for.
pub(super) fn consumer_group(given: &CreateEventSourceMappingRequest) -> Option<&String> {
    let managed = given.amazon_managed_kafka_event_source_config.as_ref();
    let own = given.self_managed_kafka_event_source_config.as_ref();
    managed
        .and_then(|config| config.consumer_group_id.as_ref())
        .or_else(|| own.and_then(|config| config.consumer_group_id.as_ref()))
}

/// From where on it is read.
fn starting(
    kind: SourceKind,
    given: &CreateEventSourceMappingRequest,
    now: Timestamp,
) -> Result<(Option<String>, Option<i64>), Error> {
    let at = given.starting_position_timestamp.map(|at| at.epoch_ms);
    let position = match (kind, &given.starting_position) {
        (SourceKind::Sqs, Some(_)) => {
            return Err(invalid("StartingPosition is not valid for SQS event sources."));
        }
        (SourceKind::Mq, Some(_)) => return Err(unsupported("startingPosition")),
        (SourceKind::Sqs | SourceKind::Mq, None) if at.is_some() => {
            return Err(unsupported("startingPositionTimestamp"));
        }
        (SourceKind::Sqs | SourceKind::Mq, None) => return Ok((None, None)),
        (SourceKind::Kinesis | SourceKind::DynamoDb, None) => {
            return Err(invalid(
                "1 validation error detected: Value null at 'startingPosition' failed to satisfy \
                 constraint: Member must not be null.",
            ));
        }
        (SourceKind::Msk | SourceKind::SelfManagedKafka, None) => EventSourcePosition::TrimHorizon,
        (SourceKind::DocumentDb, None) => EventSourcePosition::Latest,
        (_, Some(position)) => position.clone(),
    };
    let text = Some(position.as_str().to_owned());
    match (position, at) {
        (model::EventSourcePosition::AtTimestamp, _) if kind == SourceKind::DynamoDb => {
            let arn = given.event_source_arn.as_deref().unwrap_or_default();
            Err(invalid(format!("Unsupported starting position for arn type: {arn}")))
        }
        (model::EventSourcePosition::AtTimestamp, None) => {
            Err(invalid("Need to specify a timestamp"))
        }
        (model::EventSourcePosition::AtTimestamp, Some(at)) if at < 0 => Err(invalid(
            "Received Exception while reading from provided stream. class java.lang.Long can not \
             be converted to a Timestamp",
        )),
        (model::EventSourcePosition::AtTimestamp, Some(at)) if at > now.micros() / 1_000 => {
            Err(invalid("StartingPositionTimestamp cannot be in the future."))
        }
        (model::EventSourcePosition::AtTimestamp, Some(at)) => Ok((text, Some(at))),
        (_, Some(_)) => Err(invalid("Timestamp only valid with StartingPosition AT_TIMESTAMP")),
        (_, None) => Ok((text, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_by_arn() {
        let at = "us-east-1:000000000000";
        for (arn, expected) in [
            (format!("arn:aws:sqs:{at}:q"), Some(SourceKind::Sqs)),
            (format!("arn:aws:sqs:{at}:"), None),
            (format!("arn:aws:kinesis:{at}:stream/s"), Some(SourceKind::Kinesis)),
            (format!("arn:aws:kinesis:{at}:stream/s/consumer/c:1"), Some(SourceKind::Kinesis)),
            (format!("arn:aws:kinesis:{at}:s"), None),
            (format!("arn:aws:dynamodb:{at}:table/t/stream/2024"), Some(SourceKind::DynamoDb)),
            (format!("arn:aws:dynamodb:{at}:table/t"), None),
            (format!("arn:aws:kafka:{at}:cluster/c/uuid-1"), Some(SourceKind::Msk)),
            (format!("arn:aws:mq:{at}:broker:b:b-1"), Some(SourceKind::Mq)),
            (format!("arn:aws:rds:{at}:cluster:c"), Some(SourceKind::DocumentDb)),
            (format!("arn:aws:sns:{at}:t"), None),
            ("q".to_owned(), None),
        ] {
            assert_eq!(kind_of(&arn), expected, "{arn}");
        }
    }
}
