//! Java's regular expressions, in which AWS's models are written, for Rust's engine.
//!
//! Only where the two differ in meaning is a text changed: `\d` and `\s` are ASCII in Java and a
//! dot leaves out more line ends.

/// The expression for Rust, anchored at both ends.
pub(super) fn anchored(java: &str) -> String {
    let mut rust = String::from(r"\A(?:");
    let mut letters = java.chars().peekable();
    let mut in_class = false;
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => escape(&mut rust, letters.next(), in_class),
            '[' if !in_class => {
                in_class = true;
                rust.push('[');
                // A closing bracket or a caret right after the opening one belongs to the class.
                if letters.peek() == Some(&'^') {
                    letters.next();
                    rust.push('^');
                }
            }
            '[' => rust.push_str(r"\["),
            ']' if in_class => {
                in_class = false;
                rust.push(']');
            }
            '.' if !in_class => rust.push_str(r"[^\n\r\x{85}\x{2028}\x{2029}]"),
            other => rust.push(other),
        }
    }
    rust.push_str(r")\z");
    rust
}

fn escape(rust: &mut String, letter: Option<char>, in_class: bool) {
    match (letter, in_class) {
        (Some('d'), true) => rust.push_str("0-9"),
        (Some('d'), false) => rust.push_str("[0-9]"),
        (Some('s'), true) => rust.push_str(r" \t\n\x0B\f\r"),
        (Some('s'), false) => rust.push_str(r"[ \t\n\x0B\f\r]"),
        (Some('S'), true) => rust.push_str(r"\S"),
        (Some('S'), false) => rust.push_str(r"[^ \t\n\x0B\f\r]"),
        (Some(other), _) => {
            rust.push('\\');
            rust.push(other);
        }
        (None, _) => rust.push_str(r"\\"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_translated() {
        assert_eq!(anchored(r"\d{12}"), r"\A(?:[0-9]{12})\z");
        assert_eq!(anchored(r"[\d-]"), r"\A(?:[0-9-])\z");
        assert_eq!(anchored(r"[^\s]+"), r"\A(?:[^ \t\n\x0B\f\r]+)\z");
        assert_eq!(anchored(r"[.]\."), r"\A(?:[.]\.)\z");
    }
}
