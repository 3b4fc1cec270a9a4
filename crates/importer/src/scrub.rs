//! Taking secrets out of text: a registry may repeat what it was sent, and not always as it was sent.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// A text without secrets, in whatever encoding they come back. Ones of a letter or two are left: they would make
/// holes in every word.
pub(crate) fn scrub(text: &str, secrets: &[&str]) -> String {
    let mut forms: Vec<_> = secrets.iter().flat_map(|secret| encodings(secret)).collect();
    forms.retain(|form| form.len() > 2);
    // The longest first: what is left of one must not give away the rest of it.
    forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
    forms.dedup();
    forms.iter().fold(text.to_owned(), |text, form| text.replace(form, "[secret]"))
}

/// A secret as it is, within JSON, within a URL, and within base64 of any text that it is in.
fn encodings(secret: &str) -> Vec<String> {
    let mut forms = vec![secret.to_owned()];
    if let Ok(json) = serde_json::to_string(secret) {
        forms.push(json.trim_matches('"').to_owned());
    }
    forms.push(url::form_urlencoded::byte_serialize(secret.as_bytes()).collect());
    for hex in [|byte| format!("%{byte:02X}"), |byte: u8| format!("%{byte:02x}")] {
        let percent =
            |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte).into() } else { hex(byte) };
        forms.push(secret.bytes().map(percent).collect());
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let percent = |byte: u8| if unreserved(byte) { char::from(byte).into() } else { hex(byte) };
        forms.push(secret.bytes().map(percent).collect());
    }
    // Base64 takes three bytes at a time. With nothing, one or two bytes before it a secret looks different; the
    // characters that it shares with its neighbours do not count.
    for (before, shared) in [(0, 0), (1, 2), (2, 3)] {
        let bytes = [&[0; 2][..before], secret.as_bytes()].concat();
        let whole = bytes.len() / 3 * 4;
        if let Some(own) = BASE64.encode(&bytes).get(shared..whole) {
            forms.extend([own.to_owned(), own.replace('+', "-").replace('/', "_")]);
        }
    }
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_in_every_encoding() {
        let secret = "s3cr\"t of/me~+";
        let check = |text: String| {
            let scrubbed = scrub(&text, &[secret]);
            assert!(scrubbed.contains("[secret]") && scrubbed.len() < text.len() + 8, "{text}: {scrubbed}");
            for part in ["3cr", "t of", "of/me", "of%2Fme", "of%2fme", "of+me"] {
                assert!(!scrubbed.contains(part), "{text}: {scrubbed}");
            }
        };
        check(format!("not {secret}!"));
        check(format!("not {secret:?}!"));
        check("not s3cr%22t+of%2Fme%7E%2B!".into());
        check("not s3cr%22t%20of%2Fme~%2B!".into());
        check("not s3cr%22t%20of%2fme%7e%2b!".into());
        for before in ["", "u:", "me:", "you:", "Bearer ", "Basic "] {
            for after in ["", "1", "12", "123"] {
                let encoded = BASE64.encode(format!("{before}{secret}{after}"));
                for encoded in [encoded.clone(), encoded.replace('+', "-").replace('/', "_")] {
                    let scrubbed = scrub(&encoded, &[secret]);
                    // All but the characters shared with the neighbours.
                    let left = scrubbed.replace("[secret]", "").len();
                    let neighbours = (before.len() + after.len()).div_ceil(3) * 4;
                    assert!(scrubbed.contains("[secret]") && left <= neighbours + 8, "{encoded}: {scrubbed}");
                }
            }
        }
        assert_eq!(scrub("a b ab", &["a", ""]), "a b ab");
    }
}
