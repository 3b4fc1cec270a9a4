//! W3C trace context (<https://www.w3.org/TR/trace-context/>): kept with the events that a request makes.

use tonic::metadata::MetadataMap;

/// The `traceparent` of a request. Empty where there is none; one that is malformed is none (section 3.2.2.5 there).
pub(super) fn parent(metadata: &MetadataMap) -> String {
    let header = metadata.get("traceparent").and_then(|value| value.to_str().ok());
    header.filter(|text| is_traceparent(text)).unwrap_or_default().to_owned()
}

/// Version `00`: `00-<trace id>-<parent id>-<flags>`, in lowercase hexadecimal digits, no id all zero. Later versions may
/// add parts; what they mean is not known here.
fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &str, digits: usize| {
        part.len() == digits && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let id = |part: &str, digits| hex(part, digits) && part.bytes().any(|b| b != b'0');
    matches!(parts[..], ["00", trace, parent, flags] if id(trace, 32) && id(parent, 16) && hex(flags, 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_traceparent() {
        let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        assert!(is_traceparent(&format!("00-{trace}-{parent}-01")));
        let zeros = "0".repeat(32);
        for bad in [
            String::new(),
            format!("00-{trace}-{parent}"),
            format!("00-{trace}-{parent}-01-x"),
            format!("01-{trace}-{parent}-01"),
            format!("00-{}-{parent}-01", trace.to_uppercase()),
            format!("00-{zeros}-{parent}-01"),
            format!("00-{trace}-{parent}-0\n"),
        ] {
            assert!(!is_traceparent(&bad), "{bad}");
        }
    }
}
