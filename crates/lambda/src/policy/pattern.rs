//! Texts with `*`, `?` and `${variables}`, as policies write them.

use std::borrow::Cow;

use super::evaluate::{Facts, Found};

/// Whether something holds, where that can be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// It depends on what nobody tells us.
    Unknown,
}

impl Met {
    /// From what is known.
    pub fn of(known: bool) -> Met {
        if known { Met::Yes } else { Met::No }
    }

    /// Whether the contrary holds.
    pub fn inverted(self) -> Met {
        match self {
            Met::Yes => Met::No,
            Met::No => Met::Yes,
            Met::Unknown => Met::Unknown,
        }
    }

    /// Whether one of them holds.
    pub fn any(all: impl Iterator<Item = Met>) -> Met {
        Met::all(all.map(Met::inverted)).inverted()
    }

    /// Whether all of them hold.
    pub fn all(all: impl Iterator<Item = Met>) -> Met {
        let mut met = Met::Yes;
        for one in all {
            match one {
                Met::No => return Met::No,
                Met::Unknown => met = Met::Unknown,
                Met::Yes => {}
            }
        }
        met
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Char(char),
    /// `*`
    Any,
    /// `?`
    One,
    /// `${key}` or `${key, 'default'}`
    Variable {
        key: String,
        default: Option<String>,
    },
}

/// What a text of a policy may contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syntax {
    /// Whether `*` and `?` stand for other characters.
    pub wildcards: bool,
    /// Whether `${...}` stands for a value of the request: only in version 2012-10-17 do they.
    pub variables: bool,
}

/// One text of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<Piece>);

impl Pattern {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with it: a variable that is not closed or has no name.
    pub fn new(text: &str, syntax: Syntax) -> Result<Pattern, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            if syntax.variables && rest.starts_with("${") {
                let end = rest.find('}').ok_or_else(|| format!("'{text}' has an open variable"))?;
                pieces.push(variable(&rest[2..end]).ok_or_else(|| {
                    format!("'{text}' has a variable that is none: '{}'", &rest[..=end])
                })?);
                rest = &rest[end + 1..];
                continue;
            }
            pieces.push(match next {
                '*' if syntax.wildcards => Piece::Any,
                '?' if syntax.wildcards => Piece::One,
                other => Piece::Char(other),
            });
            rest = &rest[next.len_utf8()..];
        }
        Ok(Pattern(pieces))
    }

    /// Whether a text is of this form.
    pub fn matches(&self, text: &str, facts: &Facts<'_>) -> Met {
        self.with_values(facts, |pieces| glob(pieces, text))
    }

    /// The same, whatever the case of the letters.
    pub fn matches_ignoring_case(&self, text: &str, facts: &Facts<'_>) -> Met {
        self.with_values(facts, |pieces| {
            let lower: Vec<Piece> = pieces.iter().flat_map(lower).collect();
            glob(&lower, &text.to_lowercase())
        })
    }

    /// The same for an ARN: what stands between its first five colons is compared part by part, so that
    /// no wildcard reaches from one part into the next.
    pub fn matches_arn(&self, arn: &str, facts: &Facts<'_>) -> Met {
        self.with_values(facts, |pieces| arn_glob(pieces, arn))
    }

    fn with_values(&self, facts: &Facts<'_>, test: impl Fn(&[Piece]) -> bool) -> Met {
        match self.resolved(facts) {
            Ok(pieces) => Met::of(test(&pieces)),
            Err(met) => met,
        }
    }

    /// With its variables' values, which stand for themselves only. A variable without a value matches
    /// nothing.
    fn resolved(&self, facts: &Facts<'_>) -> Result<Cow<'_, [Piece]>, Met> {
        if !self.0.iter().any(|piece| matches!(piece, Piece::Variable { .. })) {
            return Ok(Cow::Borrowed(&self.0));
        }
        let mut pieces = Vec::new();
        for piece in &self.0 {
            let Piece::Variable { key, default } = piece else {
                pieces.push(piece.clone());
                continue;
            };
            let value = match (facts.find(key), default) {
                (Found::Unknown, _) => return Err(Met::Unknown),
                (Found::Values(values), _) if values.len() == 1 => values[0].to_string(),
                (_, Some(default)) => default.clone(),
                (_, None) => return Err(Met::No),
            };
            pieces.extend(value.chars().map(Piece::Char));
        }
        Ok(Cow::Owned(pieces))
    }
}

fn variable(inside: &str) -> Option<Piece> {
    if let "*" | "?" | "$" = inside {
        return inside.chars().next().map(Piece::Char);
    }
    let (key, default) = match inside.split_once(',') {
        Some((key, default)) => {
            let default = default.trim().strip_prefix('\'')?.strip_suffix('\'')?;
            (key.trim(), Some(default.to_owned()))
        }
        None => (inside, None),
    };
    let is_key = key.contains(':') && !key.contains(char::is_whitespace);
    is_key.then(|| Piece::Variable { key: key.to_ascii_lowercase(), default })
}

fn lower(piece: &Piece) -> Vec<Piece> {
    match piece {
        Piece::Char(char) => char.to_lowercase().map(Piece::Char).collect(),
        other => vec![other.clone()],
    }
}

fn arn_glob(pieces: &[Piece], arn: &str) -> bool {
    if *pieces == [Piece::Any] {
        return true;
    }
    let colon = |piece: &Piece| *piece == Piece::Char(':');
    let mut parts = arn.splitn(6, ':');
    let mut patterns = pieces.splitn(6, colon);
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return true,
            (Some(pattern), Some(part)) if glob(pattern, part) => {}
            _ => return false,
        }
    }
}

/// Each `*` takes as little as it can and more when what follows it does not fit: at most the product
/// of both lengths in steps.
fn glob(pieces: &[Piece], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut in_text) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while in_text < text.len() {
        match pieces.get(at) {
            Some(Piece::Any) => {
                last_star = Some((at, in_text));
                at += 1;
            }
            Some(Piece::One) => (at, in_text) = (at + 1, in_text + 1),
            Some(Piece::Char(char)) if *char == text[in_text] => {
                (at, in_text) = (at + 1, in_text + 1);
            }
            _ => match &mut last_star {
                Some((star, taken)) => {
                    *taken += 1;
                    (at, in_text) = (*star + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pieces[at..].iter().all(|piece| *piece == Piece::Any)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::evaluate::tests::with_facts;

    const ALL: Syntax = Syntax { wildcards: true, variables: true };

    fn matches(pattern: &str, text: &str) -> Met {
        with_facts(|facts| Pattern::new(pattern, ALL).unwrap().matches(text, facts))
    }

    fn matches_arn(pattern: &str, arn: &str) -> bool {
        with_facts(|facts| Pattern::new(pattern, ALL).unwrap().matches_arn(arn, facts)) == Met::Yes
    }

    #[test]
    fn wildcards() {
        for (pattern, text, expect) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("a*c", "abbbc", true),
            ("a*c", "abbbcd", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*ab*ab*", "xabab", true),
            ("*ab*ab*", "xab", false),
            ("a${*}c", "a*c", true),
            ("a${*}c", "abc", false),
            ("ä?", "äö", true),
        ] {
            assert_eq!(matches(pattern, text), Met::of(expect), "{pattern} {text}");
        }
    }

    #[test]
    fn variables() {
        // The caller of these facts is the root of 111111111111.
        let root = "arn:aws:iam::111111111111:root";
        assert_eq!(matches("a-${aws:PrincipalAccount}-*", "a-111111111111-b"), Met::Yes);
        assert_eq!(matches("${AWS:principalarn}", root), Met::Yes);
        assert_eq!(matches("${aws:PrincipalOrgID}", ""), Met::No);
        assert_eq!(matches("${aws:PrincipalOrgID, 'none'}", "none"), Met::Yes);
        assert_eq!(matches("${aws:SomethingNew}", "x"), Met::Unknown);
        for bad in ["${aws:x", "${}", "${x}", "${aws:x, y}"] {
            assert!(Pattern::new(bad, ALL).is_err(), "{bad}");
        }
        let plain = Syntax { wildcards: true, variables: false };
        assert!(Pattern::new("${aws:x", plain).is_ok());
    }

    #[test]
    fn arns_part_by_part() {
        let arn = "arn:aws:lambda:us-east-1:111111111111:function:f:live";
        for (pattern, expect) in [
            ("*", true),
            (arn, true),
            ("arn:aws:lambda:*:111111111111:function:f:*", true),
            ("arn:aws:lambda:us-east-1:111111111111:function:f", false),
            ("arn:aws:lambda:us-east-1:111111111111:*", true),
            ("arn:aws:lambda:*:function:f:live", false),
            ("arn:aws:*", false),
            ("arn:*:*:*:*:*", true),
        ] {
            assert_eq!(matches_arn(pattern, arn), expect, "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn as_a_slow_matcher_says(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
            fn slow(pattern: &[u8], text: &[u8]) -> bool {
                match (pattern.first(), text.first()) {
                    (None, None) => true,
                    (Some(b'*'), _) if slow(&pattern[1..], text) => true,
                    (Some(b'*'), Some(_)) => slow(pattern, &text[1..]),
                    (Some(b'?'), Some(_)) => slow(&pattern[1..], &text[1..]),
                    (Some(one), Some(other)) if one == other => slow(&pattern[1..], &text[1..]),
                    _ => false,
                }
            }
            let expect = Met::of(slow(pattern.as_bytes(), text.as_bytes()));
            prop_assert_eq!(matches(&pattern, &text), expect);
        }

        #[test]
        fn nothing_panics(pattern in ".{0,40}", text in ".{0,40}") {
            with_facts(|facts| {
                if let Ok(pattern) = Pattern::new(&pattern, ALL) {
                    pattern.matches(&text, facts);
                    pattern.matches_ignoring_case(&text, facts);
                    pattern.matches_arn(&text, facts);
                }
            });
        }
    }
}
