//! Which private network the environments of a function are in.
//!
//! An operator gives each network the names of its functions, with `*` for any number of any
//! characters; the networks themselves are the sandbox's. A function keeps its network whatever its
//! version, account or region.

/// The networks and their functions, in the order in which they are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    list: Vec<(String, Vec<String>)>,
}

impl Networks {
    /// Names of networks, each with the patterns of its functions.
    pub fn new(list: Vec<(String, Vec<String>)>) -> Networks {
        Networks { list }
    }

    /// The first network that has this function; `None` is the default one.
    pub fn of(&self, function_name: &str) -> Option<&str> {
        let has = |patterns: &[String]| patterns.iter().any(|p| matches(p, function_name));
        self.list.iter().find(|(_, patterns)| has(patterns)).map(|(network, _)| network.as_str())
    }
}

/// Whether `pattern` describes the whole of `name`. What stands between the asterisks is searched
/// for once, from left to right, so the time is the length of both and not their product.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(name) = name.strip_prefix(start) else { return false };
    let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
    let Some(mut name) = name.strip_suffix(end) else { return false };
    for part in middle.split('*') {
        match name.find(part) {
            Some(at) => name = &name[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_describe_whole_names() {
        for (pattern, name) in [
            ("orders", "orders"),
            ("*", "x"),
            ("**", ""),
            ("orders-*", "orders-"),
            ("orders-*", "orders-1"),
            ("*-prod", "a-prod-prod"),
            ("a*a", "aa"),
            ("a*b*c", "a-b-b-c"),
            ("a*bc*bc", "abcbc"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("orders", "orders-1"),
            ("orders-*", "my-orders-1"),
            ("a*a", "a"),
            ("a*b*c", "a-c-b"),
            ("a*bc*bc", "abc"),
            ("Orders", "orders"),
            ("", "x"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    /// The definition, with the time it takes.
    fn slowly(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern.first(), name.first()) {
            (None, None) => true,
            (Some(b'*'), _) if slowly(&pattern[1..], name) => true,
            (Some(b'*'), Some(_)) => slowly(pattern, &name[1..]),
            (Some(a), Some(b)) if a == b => slowly(&pattern[1..], &name[1..]),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn it_is_the_definition(pattern in "[ab*]{0,8}", name in "[ab]{0,10}") {
            prop_assert_eq!(matches(&pattern, &name), slowly(pattern.as_bytes(), name.as_bytes()));
        }
    }

    #[test]
    fn the_first_network_that_has_a_function_is_its_own() {
        let network = |name: &str, patterns: &[&str]| {
            (name.to_owned(), patterns.iter().map(|pattern| (*pattern).to_owned()).collect())
        };
        let networks =
            Networks::new(vec![network("a", &["one", "x-*"]), network("b", &["x-1", "two"])]);
        assert_eq!(networks.of("x-1"), Some("a"));
        assert_eq!(networks.of("two"), Some("b"));
        assert_eq!(networks.of("three"), None);
    }
}
