//! From an input to a request on the wire, and what can be wrong with one.

use http::header::{HeaderName, HeaderValue};
use lambic_wire::{Request, uri};
use serde_json::{Map, Value, json};

use super::dice::Dice;
use super::model::{Model, Operation};
use crate::ops::testing::Harness;

/// A request before it is sent, in the parts that mutations work on.
#[derive(Clone)]
pub(super) struct Draft {
    method: String,
    /// Raw.
    path: String,
    /// Raw names and values.
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Draft {
    /// As a client sends this input.
    pub(super) fn of(model: &Model, operation: &Operation, input: &Map<String, Value>) -> Draft {
        let (path, literal) = operation.uri.split_once('?').unwrap_or((&operation.uri, ""));
        let mut draft = Draft {
            method: operation.method.clone(),
            path: path.to_owned(),
            query: uri::query_pairs(literal).map(|(a, b)| (a.to_owned(), b.to_owned())).collect(),
            headers: Vec::new(),
            body: Vec::new(),
        };
        let mut body = Map::new();
        let payload = model.payload(&operation.input);
        let (mut has_members, members) = (false, model.members(&operation.input));
        for member in &members {
            has_members |= member.location.is_none() && payload.is_none();
            let Some(value) = input.get(member.name) else { continue };
            match member.location {
                Some("uri") => {
                    let encoded = uri::encode(&plain(value)).into_owned();
                    let label = format!("{{{}}}", member.wire_name);
                    let greedy = format!("{{{}+}}", member.wire_name);
                    draft.path = draft.path.replace(&label, &encoded).replace(&greedy, &encoded);
                }
                Some("querystring") => {
                    let values = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
                    for value in values {
                        let encoded = uri::encode(&plain(&value)).into_owned();
                        draft.query.push((member.wire_name.to_owned(), encoded));
                    }
                }
                Some(_) => draft.headers.push((member.wire_name.to_owned(), plain(value))),
                None if payload == Some(member.name) => {
                    draft.body = plain(value).into_bytes();
                }
                None => {
                    body.insert(member.wire_name.to_owned(), value.clone());
                }
            }
        }
        if has_members {
            draft.body = Value::Object(body).to_string().into_bytes();
        }
        draft
    }

    /// As the service gets it.
    pub(super) fn request(&self) -> Request {
        let query: Vec<String> =
            self.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut request = Harness::request(&self.method, "/", &self.body);
        request.path.clone_from(&self.path);
        request.query = query.join("&");
        for (name, value) in &self.headers {
            if let (Ok(name), Ok(value)) =
                (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value.as_bytes()))
            {
                request.headers.insert(name, value);
            }
        }
        request
    }

    /// For a reader.
    pub(super) fn told(&self) -> String {
        let request = self.request();
        let body = String::from_utf8_lossy(&self.body);
        let body: String = body.chars().take(1_500).collect();
        let (method, path, query) = (&self.method, &self.path, &request.query);
        let path: String = path.chars().take(600).collect();
        format!("{method} {path}?{query} {:?}\n{body}", self.headers)
    }

    /// Makes something wrong with it, or at least unusual.
    pub(super) fn spoil(&mut self, dice: &mut Dice) {
        match dice.below(12) {
            0..=4 => self.spoil_document(dice),
            5 => self.spoil_bytes(dice),
            6 | 7 => self.spoil_path(dice),
            8 | 9 => self.spoil_query(dice),
            10 => self.headers.push((
                dice.pick(&["x-amz-invocation-type", "x-amz-log-type", "x-amz-client-context"])
                    .to_owned(),
                odd_text(dice),
            )),
            _ => {
                let methods = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"];
                dice.pick(&methods).clone_into(&mut self.method);
            }
        }
    }

    /// Replaces or removes one value somewhere in the document.
    fn spoil_document(&mut self, dice: &mut Dice) {
        let Ok(mut document) = serde_json::from_slice::<Value>(&self.body) else {
            return self.spoil_bytes(dice);
        };
        let count = count(&document);
        let mut at = dice.below(count);
        replace(&mut document, &mut at, dice);
        let mut text = document.to_string();
        // Numbers that a parsed document cannot hold.
        for (mark, number) in [("\"<huge>\"", "1e400"), ("\"<long>\"", "123456789012345678901234")]
        {
            text = text.replace(mark, number);
        }
        self.body = text.into_bytes();
    }

    fn spoil_bytes(&mut self, dice: &mut Dice) {
        let at = dice.below(self.body.len() + 1);
        match dice.below(9) {
            0 => self.body.truncate(at),
            1 => self.body.insert(at, 0xff),
            2 => self.body.insert(at, b'"'),
            3 => self.body = b"\xef\xbb\xbf{}".to_vec(),
            4 => self.body = [b"[".repeat(20_000), b"]".repeat(20_000)].concat(),
            5 => self.body.extend_from_slice(b"}"),
            6 => self.body = odd_text(dice).into_bytes(),
            7 => self.body = b"{\"Description\":\"a\",\"Description\":\"b\",\"\":{}}".to_vec(),
            _ => self.body.clear(),
        }
    }

    fn spoil_path(&mut self, dice: &mut Dice) {
        let mut pieces: Vec<String> = self.path.split('/').map(str::to_owned).collect();
        let at = 1 + dice.below(pieces.len() - 1);
        pieces[at] = match dice.below(5) {
            0 => uri::encode(&odd_text(dice)).into_owned(),
            1 => String::new(),
            2 => dice
                .pick(&["%00", "%ff%fe", "%", "%zz", "%2F", "..", "%2e%2e", "+", " "])
                .to_owned(),
            3 => format!("{}:{}", pieces[at], dice.pick(&["live", "$LATEST", "1", "", ":", "%20"])),
            _ => "x".repeat(dice.pick(&[&64usize, &65, &140, &141, &257, &9_000]).to_owned()),
        };
        self.path = pieces.join("/");
        if dice.percent(20) {
            self.path.push('/');
        }
    }

    fn spoil_query(&mut self, dice: &mut Dice) {
        let names = [
            "Qualifier",
            "MaxItems",
            "Marker",
            "FunctionVersion",
            "RevisionId",
            "List",
            "find",
            "%ff",
            "tagKeys",
            "FunctionName",
            "CompatibleRuntime",
        ];
        let value = match dice.below(6) {
            0 => uri::encode(&odd_text(dice)).into_owned(),
            1 => dice.pick(&["%ff", "%", "%zz", "+", "a=b", ""]).to_owned(),
            2 => dice
                .pick(&["-1", "0", "1", "10000", "10001", "2147483648", "1.5", "NaN"])
                .to_owned(),
            _ => dice.pick(&["%24LATEST", "1", "live", "ALL", "LayerVersion", "f"]).to_owned(),
        };
        if !self.query.is_empty() && dice.percent(40) {
            let at = dice.below(self.query.len());
            self.query[at].1 = value;
        } else {
            self.query.push((dice.pick(&names).to_owned(), value));
        }
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Values in a document, itself included.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum::<usize>(),
        Value::Object(members) => members.values().map(count).sum(),
        _ => 0,
    }
}

/// Puts something else in the place of value number `at`.
fn replace(value: &mut Value, at: &mut usize, dice: &mut Dice) {
    if *at == 0 {
        *at = usize::MAX;
        *value = odd_value(dice, value);
        return;
    }
    *at -= 1;
    match value {
        Value::Array(items) => {
            for item in items {
                if *at != usize::MAX {
                    replace(item, at, dice);
                }
            }
        }
        Value::Object(members) => {
            let mut gone = None;
            for (name, member) in members.iter_mut() {
                if *at == usize::MAX {
                    break;
                }
                if *at == 0 && dice.percent(25) {
                    (gone, *at) = (Some(name.clone()), usize::MAX);
                    break;
                }
                replace(member, at, dice);
            }
            if let Some(name) = gone {
                members.remove(&name);
            }
        }
        _ => {}
    }
}

fn odd_value(dice: &mut Dice, old: &Value) -> Value {
    match dice.below(14) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!([]),
        3 => json!({}),
        4 => json!([old, old]),
        5 => json!({"a": old}),
        6 => json!(dice.pick(&[
            &-1i64,
            &0,
            &1,
            &i64::from(i32::MAX),
            &i64::MAX,
            &i64::MIN,
            &2_147_483_648
        ])),
        7 => json!(dice.pick(&[&0.5f64, &-0.0, &1e308, &1.0, &3.0])),
        8 => json!("<huge>"),
        9 => json!("<long>"),
        10 => json!([null, old]),
        _ => json!(odd_text(dice)),
    }
}

fn odd_text(dice: &mut Dice) -> String {
    let odd = [
        "",
        " ",
        "\u{0}",
        "\n",
        "a\u{202e}b",
        "🦀",
        "é\u{301}",
        "\u{feff}",
        "null",
        "true",
        "-1",
        "1e3",
        "$LATEST",
        "$LATEST.PUBLISHED",
        "../../etc/passwd",
        "%2e%2e",
        "a b",
        "a:b",
        "arn:",
        "arn:aws:lambda",
        "*",
        "[]",
        "arn:aws:lambda:eu-west-1:000000000000:function:f",
        "arn:aws:lambda:us-east-1:111122223333:function:f",
        "arn:aws:lambda:us-east-1:000000000000:function:f:live",
        "f:$LATEST",
        "000000000000:f:1",
        "$",
        "99999999999999999999",
        "0",
        "01",
        "A",
        "'\"<>&",
        "\\",
        "{\"fail\":1}",
        "f.g",
    ];
    match dice.below(12) {
        0 => "x".repeat(dice.pick(&[&64usize, &65, &128, &129, &256, &257, &10_001]).to_owned()),
        1 => "ü".repeat(dice.pick(&[&64usize, &65, &256, &257]).to_owned()),
        _ => dice.pick(&odd).to_owned(),
    }
}
