//! Where webhooks may be sent: to nobody inside the firm's own network, unless that is allowed.
//!
//! Whoever may set up a webhook could else have crm call what only crm's machine reaches. So names are resolved here,
//! every address is looked at, and those very addresses are connected to: an answer of the name server that changes
//! between the look and the connection changes nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::{Context, Poll};

use axum::http::Uri;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use tower::Service;

/// Which addresses may be sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Those of the public internet.
    Public,
    /// All, by http as well.
    Private,
}

/// Why nothing is sent to an address.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It cannot be read as one.
    #[error(
        "expected is an address like https://hooks.example.com/crm, without user, password or fragment"
    )]
    Malformed,
    /// Whoever listens on the way would read along.
    #[error("expected is an https address; http is only allowed with CRM_WEBHOOK_PRIVATE=on")]
    Insecure,
    /// It is not of the public internet.
    #[error(
        "{0} is not an address of the public internet; CRM_WEBHOOK_PRIVATE=on allows private ones"
    )]
    Private(IpAddr),
}

/// The longest address.
const LONGEST: usize = 2_000;

impl Reach {
    /// Reads an address and looks at it as far as that is possible without asking for its name.
    ///
    /// # Errors
    /// See [`AddressError`].
    pub fn admit(self, url: &str) -> Result<Uri, AddressError> {
        let uri: Uri = url.parse().map_err(|_| AddressError::Malformed)?;
        let authority = uri.authority().ok_or(AddressError::Malformed)?;
        let is_odd = url.len() > LONGEST || url.contains('#') || authority.as_str().contains('@');
        if is_odd || authority.host().is_empty() {
            return Err(AddressError::Malformed);
        }
        match (uri.scheme_str(), self) {
            (Some("https"), _) | (Some("http"), Self::Private) => {}
            (Some("http"), Self::Public) => return Err(AddressError::Insecure),
            _ => return Err(AddressError::Malformed),
        }
        // The connector does not resolve what is an address already.
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = host.parse() {
            self.check(address)?;
        }
        Ok(uri)
    }

    fn check(self, address: IpAddr) -> Result<(), AddressError> {
        match self == Self::Private || is_public(address) {
            true => Ok(()),
            false => Err(AddressError::Private(address)),
        }
    }
}

/// Resolves names, and refuses those of which any address is out of reach.
#[derive(Clone, Debug)]
pub struct Resolver {
    reach: Reach,
    system: GaiResolver,
}

impl Resolver {
    /// With the system's resolver.
    pub fn new(reach: Reach) -> Self {
        Self { reach, system: GaiResolver::new() }
    }
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.system.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (reach, resolving) = (self.reach, self.system.call(name));
        async move {
            let addresses: Vec<SocketAddr> = resolving.await?.collect();
            for address in &addresses {
                reach.check(address.ip())?;
            }
            Ok(addresses.into_iter())
        }
        .boxed()
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// Not one of IANA's special-purpose addresses, multicast or reserved ones.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !matches!(
        (a, b, c),
        (0 | 10 | 127, _, _)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18..=19, _)
            | (198, 51, 100)
            | (203, 0, 113)
            | (224..=255, _, _)
    )
}

/// Global unicast, without what is for special purposes or leads elsewhere; an address of version 4 in one of version 6 is
/// looked at as such.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let embedded =
        |high: u16, low: u16| is_public_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match (a, b) {
        (0, 0) if (c, d, e, f) == (0, 0, 0, 0xffff) => embedded(g, h),
        // NAT64, by which networks without version 4 reach it.
        (0x64, 0xff9b) if (c, d, e, f) == (0, 0, 0, 0) => embedded(g, h),
        // Protocol assignments, Teredo among them; documentation; 6to4.
        (0x2001, 0..=0x1ff | 0xdb8) | (0x2002, _) | (0x3fff, 0..=0xfff) => false,
        _ => (0x2000..=0x3fff).contains(&a),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_inside_are_not_public_however_they_are_written() {
        for text in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        for text in [
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.20.0.1",
            "223.255.255.1",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
            "2606:4700::1111",
            "2001:4860:4860::8888",
        ] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn an_address_is_public_and_secure_unless_private_ones_are_allowed() {
        let check = |url: &str, public: Result<(), AddressError>, private: bool| {
            assert_eq!(Reach::Public.admit(url).map(drop), public, "{url}");
            assert_eq!(Reach::Private.admit(url).is_ok(), private, "{url}");
        };
        let inside = |text: &str| Err(AddressError::Private(text.parse().unwrap()));
        check("https://hooks.example.com/crm?a=1", Ok(()), true);
        check("https://1.1.1.1:8443/", Ok(()), true);
        check("http://hooks.example.com/", Err(AddressError::Insecure), true);
        check("https://127.0.0.1/", inside("127.0.0.1"), true);
        check("https://[::ffff:10.0.0.1]/", inside("::ffff:10.0.0.1"), true);
        for url in [
            "",
            "hooks",
            "/hooks",
            "ftp://a.example",
            "https://u:p@a.example/",
            "https://a.example/#x",
            "https://",
        ] {
            check(url, Err(AddressError::Malformed), false);
        }
    }

    #[tokio::test]
    async fn a_name_is_judged_by_every_address_that_it_has() {
        for name in ["localhost", "2130706433", "0x7f.1"] {
            let name: Name = name.parse().unwrap();
            let refused =
                Resolver::new(Reach::Public).call(name.clone()).await.map(drop).unwrap_err();
            assert!(refused.to_string().contains("CRM_WEBHOOK_PRIVATE=on"), "{name}: {refused}");
            assert!(Resolver::new(Reach::Private).call(name).await.is_ok());
        }
    }
}
