//! X-Ray: the header that an invocation carries, after "Tracing header" in the X-Ray guide and
//! "Visualize Lambda function invocations using AWS X-Ray" in Lambda's.
//!
//! What the caller sent goes on: `Root`, `Parent`, `Sampled` and `Lineage`. What is missing or
//! malformed is made; without a usable `Root` nothing of the header is believed. `Lineage` gets this
//! invocation in addition ([`super::lineage`]). The caller's
//! `Sampled` always stands. Where it leaves the decision open, a function whose `TracingConfig` is
//! `Active` samples and one that is `PassThrough` does not. A sampled invocation of an `Active`
//! function is a segment of its own: its id is the `Parent` that the function sees, and stands in
//! the REPORT line.
//!
//! Two things are not as on AWS. An `Active` function samples every invocation that is left to it,
//! not one in a second and a twentieth of the others. And the platform's own segments go nowhere,
//! because there is no X-Ray behind it; those of the function's X-Ray SDK go to
//! `AWS_XRAY_DAEMON_ADDRESS`, which a function may set.

use std::fmt::Write;

use lambic_rt::Rt;

use super::lineage;

/// The sampled segment of one invocation; what the REPORT line says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Such as `1-5759e988-bd862e3fe1be46a994272793`.
    pub trace_id: String,
    /// Sixteen hexadecimal digits.
    pub id: String,
}

/// One invocation as X-Ray sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trace {
    /// For the function, such as `Root=1-…;Parent=…;Sampled=0;Lineage=…`.
    pub(super) header: String,
    /// Only of a sampled invocation of an `Active` function.
    pub(super) segment: Option<Segment>,
}

/// Continues the caller's trace or begins one. `active`: the function's `TracingConfig`; `function_id`:
/// what stands for it in a lineage.
pub(super) fn trace(rt: &Rt, active: bool, function_id: &str, from_caller: Option<&str>) -> Trace {
    let given = Given::read(from_caller.unwrap_or_default());
    let mut random = [0_u8; 20];
    rt.fill_random(&mut random);
    let root = match given.root {
        Some(root) => root.to_owned(),
        None => root_of(rt, &random[..12]),
    };
    let sampled = given.sampled.unwrap_or(active);
    let own = hex(&random[12..]);
    let segment = (active && sampled).then(|| Segment { trace_id: root.clone(), id: own.clone() });
    let parent = match given.parent {
        Some(parent) if segment.is_none() => parent.to_owned(),
        _ => own,
    };
    let lineage = lineage::continued(function_id, given.lineage);
    let sampled = if sampled { "1" } else { "0" };
    let header =
        ["Root=", &root, ";Parent=", &parent, ";Sampled=", sampled, ";Lineage=", &lineage].concat();
    Trace { header, segment }
}

/// What is usable of a caller's header, with a `Root` if it had none: for whoever has to tell the trace
/// before the invocation begins.
pub(crate) fn with_root(rt: &Rt, from_caller: Option<&str>) -> String {
    let given = Given::read(from_caller.unwrap_or_default());
    let root = given.root.map_or_else(|| new_root(rt), str::to_owned);
    let mut header = format!("Root={root}");
    let mut add = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            let _ = write!(header, ";{name}={value}");
        }
    };
    add("Parent", given.parent);
    add("Sampled", given.sampled.map(|sampled| if sampled { "1" } else { "0" }));
    add("Lineage", given.lineage);
    header
}

fn new_root(rt: &Rt) -> String {
    let mut random = [0_u8; 12];
    rt.fill_random(&mut random);
    root_of(rt, &random)
}

fn root_of(rt: &Rt, random: &[u8]) -> String {
    let second = rt.now().seconds() as u32;
    ["1-", &hex(&second.to_be_bytes()), "-", &hex(random)].concat()
}

/// The lineage of a trace header, if it has one and is to be believed.
pub(super) fn lineage_of(header: &str) -> Option<&str> {
    Given::read(header).lineage
}

/// The well-formed parts of a caller's header.
#[derive(Default)]
struct Given<'a> {
    root: Option<&'a str>,
    parent: Option<&'a str>,
    sampled: Option<bool>,
    lineage: Option<&'a str>,
}

impl<'a> Given<'a> {
    fn read(header: &'a str) -> Given<'a> {
        let part = |name: &str| {
            header.split(';').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
        };
        let Some(root) = part("Root").filter(|root| is_root(root)) else {
            return Given::default();
        };
        Given {
            root: Some(root),
            parent: part("Parent").filter(|parent| parent.len() == 16 && is_hex(parent)),
            sampled: match part("Sampled") {
                Some("1") => Some(true),
                Some("0") => Some(false),
                // `?` asks for a decision.
                _ => None,
            },
            lineage: part("Lineage").filter(|text| lineage::is_lineage(text)),
        }
    }
}

fn is_root(root: &str) -> bool {
    let parts: Vec<&str> = root.split('-').collect();
    matches!(parts.as_slice(), ["1", time, id]
        if time.len() == 8 && id.len() == 24 && is_hex(time) && is_hex(id))
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn hex(bytes: &[u8]) -> String {
    let digit = |four_bits: u8| char::from(b"0123456789abcdef"[usize::from(four_bits)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "1-5759e988-bd862e3fe1be46a994272793";
    const PARENT: &str = "53995c3f42cd8ad8";

    const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:f";

    /// Without its lineage, which is that of this one invocation.
    fn header(active: bool, given: Option<&str>) -> String {
        let header = trace(&Rt::simulated(5), active, &lineage::id(ARN), given).header;
        let own = format!(";Lineage={}:0", lineage::id(ARN));
        header.strip_suffix(&own).expect("it ends with its lineage").to_owned()
    }

    #[test]
    fn a_whole_header_passes_as_it_is() {
        for tail in ["Sampled=1", "Sampled=0"] {
            let given = format!("Root={ROOT};Parent={PARENT};{tail}");
            assert_eq!(header(false, Some(&given)), given);
        }
        let given = format!("Root={ROOT};Parent={PARENT};Sampled=1;Lineage=a87bd80c:1|68fd508a:5");
        let grown = trace(&Rt::simulated(5), false, &lineage::id(ARN), Some(&given)).header;
        assert_eq!(grown, format!("{given}|{}:0", lineage::id(ARN)));
        let given = format!("Sampled=0; Parent={PARENT}; Root={ROOT}");
        let ordered = format!("Root={ROOT};Parent={PARENT};Sampled=0");
        assert_eq!(header(true, Some(&given)), ordered, "an upstream 0 stands, also when Active");
    }

    #[test]
    fn what_is_missing_or_malformed_is_made() {
        let made_length = "Root=;Parent=;Sampled=0".len() + ROOT.len() + PARENT.len();
        for parent in ["", ";Parent=53995c3f42cd8ad", ";Parent=53995c3f42cd8adg"] {
            let grown = header(false, Some(&format!("Root={ROOT}{parent};Sampled=?")));
            assert!(grown.starts_with(&format!("Root={ROOT};Parent=")), "{grown}");
            assert_eq!(
                (grown.len(), grown.ends_with(";Sampled=0")),
                (made_length, true),
                "{grown}"
            );
        }
        let bad = [
            "nonsense",
            "",
            "Root=1-x-y;Sampled=1",
            "Root=2-5759e988-bd862e3fe1be46a994272793;Sampled=1",
            "Root=1-5759e988-bd862e3fe1be46a99427279\u{e4};Sampled=1;Lineage=a:1",
            ";;;===;Root;Root=",
        ];
        for given in bad.map(Some).into_iter().chain([None]) {
            let made = header(false, given);
            assert_eq!((made.len(), made.ends_with(";Sampled=0")), (made_length, true), "{made}");
            assert!(!made.contains("Root=2") && made.starts_with("Root=1-"), "{made}");
        }
        let long = "a:1|".repeat(100);
        for lineage in ["a:1 x", "", long.as_str()] {
            let given = format!("Root={ROOT};Parent={PARENT};Sampled=0;Lineage={lineage}");
            assert!(!header(false, Some(&given)).contains("Lineage"), "{given}");
        }
    }

    #[test]
    fn an_active_function_decides_where_the_caller_did_not_and_is_a_segment() {
        let rt = Rt::simulated(5);
        let sampled = format!("Root={ROOT};Parent={PARENT};Sampled=1");
        let open = format!("Root={ROOT};Parent={PARENT}");
        for given in [Some(sampled.as_str()), Some(open.as_str()), None] {
            let made = trace(&rt, true, &lineage::id(ARN), given);
            let segment = made.segment.expect("sampled");
            assert_ne!(segment.id, PARENT);
            let lineage = lineage::id(ARN);
            let (root, id) = (&segment.trace_id, &segment.id);
            let expected = format!("Root={root};Parent={id};Sampled=1;Lineage={lineage}:0");
            assert_eq!(made.header, expected);
            assert_eq!(given.is_some(), segment.trace_id == ROOT);
        }
        let refused = open.replace(';', ";Sampled=0;");
        assert_eq!(trace(&rt, true, &lineage::id(ARN), Some(&refused)).segment, None);
        assert_eq!(trace(&rt, false, &lineage::id(ARN), Some(&sampled)).segment, None);
    }
}
