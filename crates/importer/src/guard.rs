//! The network guard: which addresses a server that others can reach may connect to on their behalf.
//!
//! A reference is a wish to make this server open a connection. Without a guard, anyone who may import could
//! look into the network behind the server, or ask a cloud's metadata service for its secrets. The check is
//! made on the addresses the connection will really use: names are checked in the resolver the HTTP client
//! calls ([`Resolver`]), literal addresses before every hop ([`check_literal`]).

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// A host whose address is not on the public internet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "registry {host} is at {address}, which is not a public address: set import.allow_private_networks, or \
     allow this registry in the configuration"
)]
pub(crate) struct PrivateAddress {
    host: String,
    address: IpAddr,
}

/// A name that could not be resolved. Displays as Go does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("lookup {host}: {why}")]
pub(crate) struct LookupError {
    host: String,
    why: String,
    /// Whether another try soon may go better.
    pub(crate) temporary: bool,
}

/// Resolves names for the HTTP client, and refuses private addresses if told to.
pub(crate) struct Resolver {
    pub(crate) guarded: bool,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guarded = self.guarded;
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let addresses = lookup(&host).await?;
            if guarded {
                // One private address among public ones is as bad: the connection picks whichever answers.
                for address in &addresses {
                    check(&host, address.ip())?;
                }
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// The addresses of a host, in the order in which they are tried. Port 0 stands for "the URL's".
pub(crate) async fn lookup(host: &str) -> Result<Vec<SocketAddr>, LookupError> {
    let fail = |why: String, temporary| LookupError { host: host.to_owned(), why, temporary };
    match tokio::net::lookup_host((host, 0)).await {
        Ok(addresses) => {
            let addresses: Vec<_> = addresses.collect();
            if addresses.is_empty() { Err(fail("no such host".into(), false)) } else { Ok(addresses) }
        }
        Err(e) => Err(match reason(&e) {
            text if text.contains("Temporary failure") => fail(text, true),
            text if text.contains("not known") || text.contains("No address") => {
                fail("no such host".into(), false)
            }
            text => fail(text, false),
        }),
    }
}

/// The resolver's own words, without the standard library's preamble.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once("information: ").map_or(text.clone(), |(_, why)| why.to_owned())
}

/// Refuses a URL whose host is written as a private address. The URL parser has already turned spellings
/// like `127.1` or `0x7f000001` into addresses.
pub(crate) fn check_literal(url: &Url) -> Result<(), PrivateAddress> {
    let address = match url.host() {
        Some(Host::Ipv4(v4)) => IpAddr::V4(v4),
        Some(Host::Ipv6(v6)) => IpAddr::V6(v6),
        Some(Host::Domain(_)) | None => return Ok(()),
    };
    check(&authority(url), address)
}

/// Host and port as the URL has them.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn check(host: &str, address: IpAddr) -> Result<(), PrivateAddress> {
    if is_public(address) { Ok(()) } else { Err(PrivateAddress { host: host.to_owned(), address }) }
}

/// Whether an address is one of the public internet (IANA special-purpose registries).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => embedded_v4(v6).map_or_else(|| is_public_v6(v6), is_public_v4),
    }
}

fn is_public_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    !(v4.is_private()
        || v4.is_loopback()
        || v4.is_link_local()
        || v4.is_multicast()
        || v4.is_documentation()
        || a == 0 // "This network", unspecified.
        || a >= 240 // Reserved, broadcast.
        || (a == 100 && (64..128).contains(&b)) // Carrier-grade NAT.
        || (a == 192 && b == 0 && c == 0) // IETF protocol assignments.
        || (a == 198 && (18..20).contains(&b))) // Benchmarking.
}

fn is_public_v6(v6: Ipv6Addr) -> bool {
    // Only 2000::/3 is handed out; documentation (twice) and Teredo lie inside it.
    let [first, second, ..] = v6.segments();
    (first & 0xe000) == 0x2000
        && !(first == 0x2001 && (second == 0x0db8 || second == 0))
        && !(first == 0x3fff && second < 0x1000)
}

/// The IPv4 address that an IPv6 address leads to: mapped, compatible, NAT64, 6to4.
fn embedded_v4(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = v6.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match s {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => Some(v4(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Resolver(guarded: {})", self.guarded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_pass() {
        let check = |address: &str, public: bool| {
            assert_eq!(is_public(address.parse().expect(address)), public, "{address}");
        };
        check("8.8.8.8", true);
        check("172.32.0.1", true);
        check("2606:4700::1111", true);
        check("127.0.0.1", false);
        check("127.255.0.3", false);
        check("10.1.2.3", false);
        check("172.16.0.1", false);
        check("172.31.255.255", false);
        check("192.168.0.1", false);
        check("169.254.169.254", false); // Cloud metadata.
        check("100.64.0.1", false);
        check("100.127.255.255", false);
        check("100.128.0.1", true);
        check("169.254.0.1", false);
        check("239.255.255.255", false);
        check("0.0.0.0", false);
        check("224.0.0.1", false);
        check("255.255.255.255", false);
        check("198.18.0.1", false);
        check("::", false);
        check("::1", false);
        check("fe80::1", false);
        check("fc00::1", false);
        check("fd00:ec2::254", false); // Cloud metadata.
        check("ff02::1", false);
        check("2001:db8::1", false);
        check("::ffff:127.0.0.1", false);
        check("::ffff:8.8.8.8", true);
        check("64:ff9b::10.0.0.1", false);
        check("2002:7f00:1::", false);
        check("::ffff:169.254.169.254", false);
        check("64:ff9b::a9fe:a9fe", false);
        check("64:ff9b::8.8.8.8", true);
        check("64:ff9b:1::1", false); // NAT64 within one network.
        check("fd00::8", false);
        check("fec0::1", false);
        check("3fff::1", false);
        check("2001::1", false);
    }

    #[test]
    fn every_spelling_of_an_address_is_an_address() {
        let check = |url: &str, refused: bool| {
            assert_eq!(check_literal(&Url::parse(url).expect(url)).is_err(), refused, "{url}");
        };
        check("http://127.0.0.1:5000/", true);
        check("http://127.1/", true);
        check("http://2130706433/", true);
        check("http://0x7f.0.0.1/", true);
        check("http://0177.0.0.1/", true);
        check("http://0/", true);
        check("http://2852039166/", true); // 169.254.169.254.
        check("http://0xa9fea9fe/", true);
        check("http://[::1]/", true);
        check("http://[fd00::1]/", true);
        check("http://[64:ff9b::7f00:1]/", true);
        check("http://[::ffff:10.0.0.1]/", true);
        check("http://8.8.8.8/", false);
        check("http://localhost/", false); // A name: the resolver's business.
    }

    #[tokio::test]
    async fn a_name_is_checked_by_what_it_resolves_to() {
        let refused = Resolver { guarded: true }.resolve("localhost".parse().expect("a name")).await;
        assert!(refused.err().expect("refused").downcast_ref::<PrivateAddress>().is_some());
        assert!(Resolver { guarded: false }.resolve("localhost".parse().expect("a name")).await.is_ok());
    }
}
