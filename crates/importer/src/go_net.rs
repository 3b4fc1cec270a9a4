//! Broken connections in the words of Go's `net` and `crypto/tls`, which people know from OpenShift and search
//! for (spec §3.7): `Get "https://host/v2/": dial tcp 10.0.0.1:443: i/o timeout`.

use std::error::Error;
use std::io;

use rustls::CertificateError;
use rustls::InvalidMessage;
use url::Url;

use crate::failure::{Cause, Fault};
use crate::guard::{self, LookupError, PrivateAddress};

/// Tells what a request broke on.
pub(crate) async fn explain(method: &str, url: &Url, error: &reqwest::Error) -> Fault {
    if let Some(refused) = find::<PrivateAddress>(error) {
        return Fault::new(Cause::Forbidden, refused.to_string());
    }
    let (cause, words) =
        if error.is_connect() && !is_tls(error) { connect(url, error).await } else { exchange(url, error) };
    Fault::new(cause, in_request(method, url, &words))
}

/// Puts words on a request the way Go's `url.Error` does.
pub(crate) fn in_request(method: &str, url: &Url, words: &str) -> String {
    let mut method = method.to_ascii_lowercase();
    if let Some(first) = method.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    format!("{method} {:?}: {words}", shown(url))
}

/// A URL as it may be shown: a query may hold what a storage service signed, a user part a password.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

/// No connection came about.
async fn connect(url: &Url, error: &reqwest::Error) -> (Cause, String) {
    if let Some(lookup) = find::<LookupError>(error) {
        let cause = if lookup.temporary { Cause::Flaky } else { Cause::Unreachable };
        return (cause, format!("dial tcp: {lookup}"));
    }
    let why = match find::<io::Error>(error) {
        _ if error.is_timeout() => "i/o timeout".to_owned(),
        Some(e) => match e.kind() {
            io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
            _ => format!("connect: {}", syscall_words(e)),
        },
        None => innermost(error),
    };
    let port = url.port_or_known_default().unwrap_or_default();
    // Go names the address it tried first. Asking again is only for the words.
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let address = match guard::lookup(host).await {
        Ok(addresses) => addresses.first().map(|a| std::net::SocketAddr::new(a.ip(), port).to_string()),
        Err(_) => None,
    };
    (Cause::Unreachable, format!("dial tcp {}: {why}", address.unwrap_or_else(|| format!("{host}:{port}"))))
}

/// A connection came about and broke.
fn exchange(url: &Url, error: &reqwest::Error) -> (Cause, String) {
    if let Some(tls) = find::<rustls::Error>(error) {
        return tls_words(url, tls);
    }
    if error.is_timeout() {
        let waiting = if in_body(error) {
            "Client.Timeout or context cancellation while reading body"
        } else {
            "Client.Timeout exceeded while awaiting headers"
        };
        return (Cause::Flaky, format!("context deadline exceeded ({waiting})"));
    }
    match find::<io::Error>(error) {
        Some(e) if e.kind() == io::ErrorKind::UnexpectedEof => (Cause::Flaky, end_of_file(error).into()),
        Some(e) => (Cause::Flaky, format!("read: {}", syscall_words(e))),
        None if in_body(error) => (Cause::Flaky, end_of_file(error).into()),
        None if innermost(error).contains("before message completed") => (Cause::Flaky, "EOF".into()),
        None => (Cause::BadAnswer, format!("malformed HTTP response ({})", innermost(error))),
    }
}

fn in_body(error: &reqwest::Error) -> bool {
    error.is_body() || error.is_decode()
}

/// Within a body Go did not expect the end, before one it did.
fn end_of_file(error: &reqwest::Error) -> &'static str {
    if in_body(error) { "unexpected EOF" } else { "EOF" }
}

fn tls_words(url: &Url, error: &rustls::Error) -> (Cause, String) {
    let host = url.host_str().unwrap_or_default();
    let x509 = |words: String| format!("tls: failed to verify certificate: x509: {words}");
    let words = match error {
        // The first byte of "HTTP/1.1 400 Bad Request" is no TLS record type.
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "http: server gave HTTP response to HTTPS client".to_owned()
        }
        rustls::Error::InvalidMessage(InvalidMessage::MessageTooLarge) => {
            return (Cause::HttpOnly, "tls: oversized record received".to_owned());
        }
        rustls::Error::InvalidCertificate(why) => match why {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => {
                x509("certificate has expired or is not yet valid".into())
            }
            CertificateError::NotValidForName => x509(format!("certificate is not valid for {host}")),
            CertificateError::NotValidForNameContext { presented, .. } => {
                let names: Vec<_> = presented.iter().map(|name| bare_name(name)).collect();
                x509(format!("certificate is valid for {}, not {host}", names.join(", ")))
            }
            CertificateError::Revoked => x509("certificate has been revoked".into()),
            // A self-signed certificate is often marked as an authority; Go calls it what it is: unknown.
            CertificateError::UnknownIssuer | CertificateError::Other(_) => {
                x509("certificate signed by unknown authority".into())
            }
            other => x509(other.to_string()),
        },
        rustls::Error::AlertReceived(alert) => format!("remote error: tls: {alert:?}"),
        other => format!("tls: {other}"),
    };
    (Cause::Unreachable, words)
}

/// rustls presents a name as `DnsName("a.example")` or `IpAddress(10.0.0.1)`.
fn bare_name(presented: &str) -> &str {
    presented.split(['"', '(', ')']).rfind(|part| !part.is_empty()).unwrap_or(presented)
}

fn syscall_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::ConnectionReset => "connection reset by peer".into(),
        io::ErrorKind::ConnectionAborted => "software caused connection abort".into(),
        io::ErrorKind::HostUnreachable => "no route to host".into(),
        io::ErrorKind::NetworkUnreachable => "network is unreachable".into(),
        io::ErrorKind::BrokenPipe => "broken pipe".into(),
        io::ErrorKind::TimedOut => "i/o timeout".into(),
        _ => error.to_string(),
    }
}

fn is_tls(error: &reqwest::Error) -> bool {
    find::<rustls::Error>(error).is_some()
}

/// The first error of type `E` in the chain. `io::Error` hides what it carries from `source`, so it is opened.
fn find<E: Error + 'static>(error: &reqwest::Error) -> Option<&E> {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

fn innermost(error: &reqwest::Error) -> String {
    let mut last: &dyn Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use rustls::AlertDescription;

    use super::*;

    #[test]
    fn handshakes_fail_in_gos_words() {
        let check = |error: rustls::Error, words: &str| {
            let url = Url::parse("https://reg.example:5000/v2/").expect("a URL");
            assert_eq!(tls_words(&url, &error).1, words);
        };
        let certificate = rustls::Error::InvalidCertificate;
        check(
            certificate(CertificateError::UnknownIssuer),
            "tls: failed to verify certificate: x509: certificate signed by unknown authority",
        );
        check(
            certificate(CertificateError::Expired),
            "tls: failed to verify certificate: x509: certificate has expired or is not yet valid",
        );
        check(
            certificate(CertificateError::NotValidForName),
            "tls: failed to verify certificate: x509: certificate is not valid for reg.example",
        );
        check(
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType),
            "http: server gave HTTP response to HTTPS client",
        );
        check(
            rustls::Error::AlertReceived(AlertDescription::HandshakeFailure),
            "remote error: tls: HandshakeFailure",
        );
        assert_eq!(bare_name("DnsName(\"a.example\")"), "a.example");
        assert_eq!(bare_name("IpAddress(10.0.0.1)"), "10.0.0.1");
    }

    #[test]
    fn system_calls_fail_in_gos_words() {
        use io::ErrorKind as K;
        let check = |kind: K, words: &str| assert_eq!(syscall_words(&kind.into()), words);
        check(K::ConnectionRefused, "connection refused");
        check(K::ConnectionReset, "connection reset by peer");
        check(K::HostUnreachable, "no route to host");
        check(K::NetworkUnreachable, "network is unreachable");
        check(K::BrokenPipe, "broken pipe");
    }

    #[test]
    fn a_request_is_named_without_what_its_address_may_hide() {
        let check = |url: &str, text: &str| {
            assert_eq!(in_request("GET", &Url::parse(url).expect(url), "EOF"), text);
        };
        check("https://a:5000/v2/", "Get \"https://a:5000/v2/\": EOF");
        check("https://u:p@a/b?X-Signature=s", "Get \"https://a/b\": EOF");
    }

    #[tokio::test]
    async fn no_connection_in_time_is_an_io_timeout() {
        // A listener that accepts nobody: once its queue is full, connections hang.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let hang = std::time::Duration::from_millis(200);
        let mut waiting = Vec::new();
        while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, hang) {
            waiting.push(stream);
        }
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().connect_timeout(hang).no_proxy().build().expect("a client");
        let url = Url::parse(&format!("http://{address}/v2/")).expect("a URL");
        let error = client.get(url.clone()).send().await.expect_err("nobody answers");
        assert_eq!(
            explain("GET", &url, &error).await.text,
            format!("Get \"{url}\": dial tcp {address}: i/o timeout")
        );
    }
}
