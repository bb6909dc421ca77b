//! Routes of all operations, with both spellings of the path's end.

use http::Method;
use lambic_model_lambda::{Op, ROUTES, Routed, route};
use lambic_wire::route::Segment;

#[track_caller]
fn check(method: &str, path: &str, query: &str, expected: Op) {
    let routed = route(&method.parse().unwrap(), path, query);
    assert!(matches!(routed, Routed::Op(op, _) if op == expected), "{method} {path}: {routed:?}");
}

#[test]
fn every_route_leads_home() {
    assert_eq!(ROUTES.len(), Op::ALL.len());
    for route in ROUTES {
        let mut path = String::new();
        for segment in route.segments {
            path.push('/');
            path.push_str(match segment {
                Segment::Fixed(text) => text,
                Segment::Label(_) | Segment::Greedy(_) => "arn%3Aaws%3Ax%2Fy",
            });
        }
        let query = route.query.map(|(name, value)| format!("{name}={value}")).unwrap_or_default();
        check(route.method, &path, &query, route.op);
        check(route.method, &format!("{path}/"), &query, route.op);
    }
}

#[test]
fn queries_dispatch() {
    check("GET", "/2018-10-31/layers", "find=LayerVersion&Arn=x", Op::GetLayerVersionByArn);
    check("GET", "/2018-10-31/layers", "Marker=find", Op::ListLayers);
    let path = "/2019-09-30/functions/f/provisioned-concurrency";
    check("GET", path, "List=ALL", Op::ListProvisionedConcurrencyConfigs);
    check("GET", path, "Qualifier=1", Op::GetProvisionedConcurrencyConfig);
    check("GET", path, "", Op::GetProvisionedConcurrencyConfig);
}

#[test]
fn labels_are_decoded() {
    let path = "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aa%3A1%3Afunction%3Af/aliases/live";
    let Routed::Op(op, labels) = route(&Method::GET, path, "") else { panic!("not found") };
    assert_eq!(op, Op::GetAlias);
    let expected = [("FunctionName", "arn:aws:lambda:a:1:function:f"), ("Name", "live")];
    assert!(labels.iter().map(|(name, value)| (*name, value.as_str())).eq(expected));
}

#[test]
fn strangers() {
    assert_eq!(route(&Method::PATCH, "/2015-03-31/functions", ""), Routed::MethodNotAllowed);
    for path in ["/", "", "*", "/2015-03-31", "/2015-03-31/functions//code", "/functions", "//"] {
        assert_eq!(route(&Method::GET, path, ""), Routed::Unknown, "{path}");
    }
}
