//! AWS's names in Rust's spelling.

/// `KMSKeyArn` → `kms_key_arn`, `CodeSha256` → `code_sha256`.
pub(super) fn snake(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut text = String::new();
    for (index, letter) in letters.iter().enumerate() {
        let before = index.checked_sub(1).map(|place| letters[place]);
        let after = letters.get(index + 1);
        let starts_word = letter.is_ascii_uppercase()
            && before.is_some_and(|before| {
                !before.is_ascii_uppercase() || after.is_some_and(char::is_ascii_lowercase)
            });
        if starts_word {
            text.push('_');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

/// The same, escaped where it is a keyword: `Type` → `r#type`.
pub(super) fn field(name: &str) -> String {
    let snake = snake(name);
    match snake.as_str() {
        "type" | "match" | "enum" | "move" | "ref" | "use" | "impl" | "where" | "fn" | "gen" => {
            format!("r#{snake}")
        }
        _ => snake,
    }
}

/// `FunctionName` → `FUNCTION_NAME`.
pub(super) fn screaming(name: &str) -> String {
    snake(name).to_ascii_uppercase()
}

/// `FunctionName` → `functionName`, as members are spelt in AWS's error texts.
pub(super) fn lower_first(name: &str) -> String {
    let mut letters = name.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => String::new(),
    }
}

/// A shape's name as a Rust type.
pub(super) fn type_name(name: &str) -> String {
    let mut letters = name.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}

/// An enumeration's value as a variant: `python3.13` → `Python3_13`, `PER_TENANT` → `PerTenant`.
pub(super) fn variant(value: &str) -> String {
    let mut text = String::new();
    for part in value.split(|letter: char| !letter.is_ascii_alphanumeric()) {
        let Some(first) = part.chars().next() else { continue };
        let both_digits = first.is_ascii_digit() && text.ends_with(|c: char| c.is_ascii_digit());
        if both_digits || (text.is_empty() && first.is_ascii_digit()) {
            text.push('_');
        }
        text.push(first.to_ascii_uppercase());
        let shouted = part.chars().all(|letter| !letter.is_ascii_lowercase());
        for letter in part.chars().skip(1) {
            text.push(if shouted { letter.to_ascii_lowercase() } else { letter });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        for (from, to) in [
            ("FunctionName", "function_name"),
            ("KMSKeyArn", "kms_key_arn"),
            ("CodeSha256", "code_sha256"),
            ("S3ObjectVersion", "s3_object_version"),
            ("EC2ErrorCode", "ec2_error_code"),
            ("UUID", "uuid"),
            ("DocumentDBEventSourceConfig", "document_db_event_source_config"),
        ] {
            assert_eq!(snake(from), to);
        }
        assert_eq!(lower_first("KMSKeyArn"), "kMSKeyArn");
        for (from, to) in [
            ("python3.13", "Python3_13"),
            ("nodejs4.3-edge", "Nodejs4_3Edge"),
            ("provided.al2023", "ProvidedAl2023"),
            ("x86_64", "X86_64"),
            ("PER_TENANT", "PerTenant"),
            ("RequestResponse", "RequestResponse"),
            ("SASL_SCRAM_512_AUTH", "SaslScram512Auth"),
        ] {
            assert_eq!(variant(from), to);
        }
    }
}
