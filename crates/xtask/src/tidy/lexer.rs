//! Just enough of Rust's lexical rules to tell code from comments and text.
//!
//! Braces in a string and forbidden words in a comment must not count as code. This is no parser:
//! it blanks out what is not code and leaves every line where it was.

/// The code of `source` with comments, strings and character literals replaced by spaces.
pub(crate) fn code_only(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match token_end(bytes, at) {
            Some(end) => end,
            None => {
                at += 1;
                continue;
            }
        };
        for byte in &mut code[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8_lossy(&code).into_owned()
}

/// Where the comment, string or character literal that starts at `at` ends; `None` when there is
/// ordinary code at `at`.
fn token_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        return Some(at + rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()));
    }
    if rest.starts_with(b"/*") {
        return Some(at + block_comment_length(rest));
    }
    match rest[0] {
        b'"' => Some(at + quoted_length(rest)),
        b'r' if !follows_name(bytes, at) => raw_string_length(rest, 1).map(|length| at + length),
        b'b' | b'c' if !follows_name(bytes, at) && rest.get(1) == Some(&b'r') => {
            raw_string_length(rest, 2).map(|length| at + length)
        }
        b'\'' => character_length(rest).map(|length| at + length),
        _ => None,
    }
}

fn follows_name(bytes: &[u8], at: usize) -> bool {
    at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_')
}

fn block_comment_length(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn quoted_length(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// `r"…"`, `r#"…"#` and so on; `prefix` letters stand before the first `#` or quote.
fn raw_string_length(rest: &[u8], prefix: usize) -> Option<usize> {
    let hashes = rest[prefix..].iter().take_while(|b| **b == b'#').count();
    if rest.get(prefix + hashes) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.extend(std::iter::repeat_n(b'#', hashes));
    let body = prefix + hashes + 1;
    let length = rest[body..].windows(close.len()).position(|window| window == close);
    Some(length.map_or(rest.len(), |length| body + length + close.len()))
}

/// `'x'`, `'\n'`, `'\u{1f600}'`, but not the lifetime `'a`.
fn character_length(rest: &[u8]) -> Option<usize> {
    if rest.get(1) == Some(&b'\\') {
        let close = rest.iter().skip(3).position(|b| *b == b'\'')?;
        return Some(3 + close + 1);
    }
    let text = std::str::from_utf8(&rest[1..rest.len().min(6)])
        .or_else(|error| std::str::from_utf8(&rest[1..1 + error.valid_up_to()]))
        .ok()?;
    let length = text.chars().next()?.len_utf8();
    (rest.get(1 + length) == Some(&b'\'')).then_some(length + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, code: &str) {
        let got = code_only(source);
        assert_eq!(got.len(), source.len());
        assert_eq!(got.split_whitespace().collect::<Vec<_>>().join(" "), code);
    }

    #[test]
    fn only_code_is_left() {
        check("let a = \"{ // no\"; // {", "let a = ;");
        check("/* a /* b */ { */ x", "x");
        check("let c = '{'; fn f<'a>(x: &'a str) {}", "let c = ; fn f<'a>(x: &'a str) {}");
        check(r####"let s = r##"a"# { "##; }"####, "let s = ; }");
        check(r"let q = '\''; let u = '\u{7d}'; done", "let q = ; let u = ; done");
        check("let b = br\"{\"; for r in rows {}", "let b = ; for r in rows {}");
        check("'é' 'ab", "'ab");
    }
}
